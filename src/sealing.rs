//! Sealing of what regseal hands out or keeps where others can write, and believes again when it comes back.
//!
//! AES-256-GCM. What is sealed is a version, the id of the key, a nonce and the ciphertext; all before the nonce is authenticated, and
//! so is the context, which says what it is for and for whom: sealed for one context, it opens in no other. The nonce is
//! random, so a key is good for 2^32 sealings; adding a new first key is all that a change of keys takes.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::{digest, rand};
use base64ct::{Base64, Encoding};
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

const VERSION: u8 = 1;
const KEY_LENGTH: usize = 32;
const ID_LENGTH: usize = 4;
const HEADER_LENGTH: usize = 1 + ID_LENGTH;

/// Seals with one key, and opens with several.
#[derive(Debug)]
pub struct Sealer {
    keys: Vec<SealingKey>,
}

/// One key.
pub struct SealingKey {
    id: [u8; ID_LENGTH],
    bytes: Zeroizing<[u8; KEY_LENGTH]>,
    cipher: RandomizedNonceKey,
}

/// Nothing was sealed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SealingError {
    /// There is no key to seal with.
    #[error("there is no key to seal with")]
    NoKey,
    /// The cipher, or the randomness it needs, failed.
    #[error("the cipher failed")]
    Cipher,
}

/// The text is no key.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("not a key: one line with the base64 of 32 bytes is expected")]
pub struct InvalidKey;

impl Sealer {
    /// The first key seals, all open.
    #[must_use]
    pub fn new(keys: Vec<SealingKey>) -> Self {
        Self { keys }
    }

    /// Seals `plain` for `context`, which begins with the purpose.
    ///
    /// # Errors
    /// There is no key, or no randomness.
    pub fn seal(&self, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, SealingError> {
        let key = self.keys.first().ok_or(SealingError::NoKey)?;
        let mut sealed = key.header().to_vec();
        let mut text = plain.to_vec();
        let sealing = key
            .cipher
            .seal_in_place_append_tag(authenticated(&sealed, context), &mut text);
        let Ok(nonce) = sealing else {
            text.zeroize();
            return Err(SealingError::Cipher);
        };
        sealed.extend_from_slice(nonce.as_ref());
        sealed.append(&mut text);
        Ok(sealed)
    }

    /// What was sealed for `context` with one of the keys; `None` for everything else.
    #[must_use]
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (header, rest) = sealed.split_at_checked(HEADER_LENGTH)?;
        let (nonce, text) = rest.split_at_checked(NONCE_LEN)?;
        self.keys
            .iter()
            .filter(|key| key.header() == header)
            .find_map(|key| {
                let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
                let mut text = text.to_vec();
                let plain = key
                    .cipher
                    .open_in_place(nonce, authenticated(header, context), &mut text)
                    .ok()?
                    .len();
                text.truncate(plain);
                Some(text)
            })
    }
}

impl SealingKey {
    /// A new key.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn generate() -> Result<Self, SealingError> {
        let mut bytes = Zeroizing::new([0; KEY_LENGTH]);
        rand::fill(bytes.as_mut_slice()).or(Err(SealingError::Cipher))?;
        Self::from_bytes(bytes).ok_or(SealingError::Cipher)
    }

    /// The key of a file: base64 of 32 bytes on one line.
    ///
    /// # Errors
    /// It is something else.
    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        let line = text.strip_suffix('\n').unwrap_or(text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        let mut bytes = Zeroizing::new([0; KEY_LENGTH]);
        let length = Base64::decode(line, bytes.as_mut_slice())
            .or(Err(InvalidKey))?
            .len();
        if length != KEY_LENGTH {
            return Err(InvalidKey);
        }
        Self::from_bytes(bytes).ok_or(InvalidKey)
    }

    /// What [`Self::parse`] reads.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(Base64::encode_string(self.bytes.as_slice()));
        text.push('\n');
        text
    }

    fn from_bytes(bytes: Zeroizing<[u8; KEY_LENGTH]>) -> Option<Self> {
        let mut named = digest::Context::new(&digest::SHA256);
        named.update(b"regseal sealing key id");
        named.update(bytes.as_slice());
        let id = named.finish().as_ref().first_chunk().copied()?;
        let cipher = RandomizedNonceKey::new(&AES_256_GCM, bytes.as_slice()).ok()?;
        Some(Self { id, bytes, cipher })
    }

    fn header(&self) -> [u8; HEADER_LENGTH] {
        let [a, b, c, d] = self.id;
        [VERSION, a, b, c, d]
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

fn authenticated(header: &[u8], context: &[u8]) -> Aad<Vec<u8>> {
    Aad::from([header, context].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SealingKey {
        SealingKey::from_bytes(Zeroizing::new([byte; KEY_LENGTH])).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_in_its_context_only() {
        let sealer = Sealer::new(vec![key(1)]);
        let sealed = sealer.seal(b"relay a", b"plain").unwrap();
        assert_eq!(sealer.open(b"relay a", &sealed).unwrap(), b"plain");
        for context in [&b"relay b"[..], b"verdict a", b"", b"relay a "] {
            assert_eq!(sealer.open(context, &sealed), None);
        }
        assert_ne!(sealer.seal(b"relay a", b"plain").unwrap(), sealed);
        let empty = sealer.seal(b"", b"").unwrap();
        assert_eq!(sealer.open(b"", &empty).unwrap(), b"");
    }

    #[test]
    fn a_change_of_any_bit_and_any_shorter_text_stay_closed() {
        let sealer = Sealer::new(vec![key(1)]);
        let sealed = sealer.seal(b"c", b"plain").unwrap();
        for at in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[at / 8] ^= 1 << (at % 8);
            assert_eq!(sealer.open(b"c", &changed), None, "bit {at}");
        }
        for end in 0..sealed.len() {
            assert_eq!(sealer.open(b"c", &sealed[..end]), None, "length {end}");
        }
    }

    #[test]
    fn the_first_key_seals_and_all_open() {
        let old = Sealer::new(vec![key(1)]);
        let changing = Sealer::new(vec![key(2), key(1)]);
        let new = Sealer::new(vec![key(2)]);
        let by_old = old.seal(b"c", b"1").unwrap();
        let by_new = changing.seal(b"c", b"2").unwrap();
        assert_eq!(changing.open(b"c", &by_old).unwrap(), b"1");
        assert_eq!(changing.open(b"c", &by_new).unwrap(), b"2");
        assert_eq!(new.open(b"c", &by_new).unwrap(), b"2");
        assert_eq!(new.open(b"c", &by_old), None);
        assert_eq!(old.open(b"c", &by_new), None);
        let without = Sealer::new(Vec::new());
        assert_eq!(without.seal(b"c", b"3"), Err(SealingError::NoKey));
        assert_eq!(without.open(b"c", &by_old), None);
    }

    #[test]
    fn keys_are_read_as_they_are_written() {
        let made = SealingKey::generate().unwrap();
        let text = made.to_text();
        let read = SealingKey::parse(&text).unwrap();
        let sealed = Sealer::new(vec![made]).seal(b"c", b"plain").unwrap();
        assert_eq!(
            Sealer::new(vec![read]).open(b"c", &sealed).unwrap(),
            b"plain"
        );
        let good = Base64::encode_string(&[7; 32]);
        let (short, long) = (
            Base64::encode_string(&[7; 31]),
            Base64::encode_string(&[7; 33]),
        );
        for (text, is_key) in [
            (good.clone(), true),
            (format!("{good}\n"), true),
            (format!("{good}\r\n"), true),
            (format!("{good}\n\n"), false),
            (format!(" {good}"), false),
            (format!("{good}\n{good}\n"), false),
            (short, false),
            (long, false),
            (String::new(), false),
            ("not base64".to_owned(), false),
        ] {
            assert_eq!(SealingKey::parse(&text).is_ok(), is_key, "{text:?}");
        }
    }

    #[test]
    fn nothing_of_a_key_is_printed() {
        let sealer = Sealer::new(vec![key(7)]);
        assert_eq!(format!("{sealer:?}"), "Sealer { keys: [***] }");
        assert_eq!(format!("{:?}", key(7)), "***");
    }
}
