//! Digests (image-spec `descriptor.md`, "Digests").

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest as engine;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// Longer digests are refused: they name files and keys.
const MAX_LENGTH: usize = 200;

/// `algorithm ":" encoded`. Registered algorithms have their exact length and lower-case hex; others only the grammar.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    text: String,
    colon: usize,
}

/// The digest is outside the grammar, or not of its algorithm's form (`DIGEST_INVALID`).
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("invalid digest")]
pub struct InvalidDigest;

impl Digest {
    /// The SHA-256 digest of `bytes`.
    #[must_use]
    pub fn sha256(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::sha256();
        hasher.update(bytes);
        hasher.finish()
    }

    /// The SHA-512 digest of `bytes`.
    #[must_use]
    pub fn sha512(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::sha512();
        hasher.update(bytes);
        hasher.finish()
    }

    /// Whether it is of the algorithm that every registry knows, and by which policy knows a manifest.
    #[must_use]
    pub fn is_canonical(&self) -> bool {
        self.algorithm() == "sha256"
    }

    /// `algorithm:encoded`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The part before the colon.
    #[must_use]
    pub fn algorithm(&self) -> &str {
        self.text.get(..self.colon).unwrap_or_default()
    }

    /// The part after the colon.
    #[must_use]
    pub fn encoded(&self) -> &str {
        self.text.get(self.colon + 1..).unwrap_or_default()
    }

    /// `algorithm-encoded`: the form in object keys.
    #[must_use]
    pub fn key_form(&self) -> String {
        format!("{}-{}", self.algorithm(), self.encoded())
    }

    /// Whether `bytes` hash to this digest; false for an algorithm that is not supported.
    #[must_use]
    pub fn matches(&self, bytes: &[u8]) -> bool {
        self.hasher().is_some_and(|mut hasher| {
            hasher.update(bytes);
            hasher.finish() == *self
        })
    }

    /// A hasher of this digest's algorithm; `None` if it is not supported.
    #[must_use]
    pub fn hasher(&self) -> Option<Hasher> {
        match self.algorithm() {
            "sha256" => Some(Hasher::sha256()),
            "sha512" => Some(Hasher::sha512()),
            _ => None,
        }
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let (algorithm, encoded) = text.split_once(':').ok_or(InvalidDigest)?;
        let hex_length = match algorithm {
            "sha256" => Some(64),
            "sha384" => Some(96),
            "sha512" => Some(128),
            _ => None,
        };
        let valid = match hex_length {
            Some(length) => {
                encoded.len() == length
                    && encoded
                        .bytes()
                        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            }
            None => is_algorithm(algorithm) && is_encoded(encoded),
        };
        if !valid || text.len() > MAX_LENGTH {
            return Err(InvalidDigest);
        }
        Ok(Self {
            text: text.to_owned(),
            colon: algorithm.len(),
        })
    }
}

fn is_algorithm(text: &str) -> bool {
    text.split(['+', '.', '_', '-']).all(|part| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    })
}

fn is_encoded(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'=' | b'_' | b'-'))
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

/// Computes a digest of bytes that arrive in pieces.
pub struct Hasher {
    algorithm: &'static str,
    context: engine::Context,
}

impl Hasher {
    /// A SHA-256 hasher.
    #[must_use]
    pub fn sha256() -> Self {
        Self::new("sha256", &engine::SHA256)
    }

    /// A SHA-512 hasher.
    #[must_use]
    pub fn sha512() -> Self {
        Self::new("sha512", &engine::SHA512)
    }

    fn new(algorithm: &'static str, engine: &'static engine::Algorithm) -> Self {
        Self {
            algorithm,
            context: engine::Context::new(engine),
        }
    }

    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
    }

    /// The digest of everything added.
    #[must_use]
    pub fn finish(self) -> Digest {
        let mut text = String::with_capacity(self.algorithm.len() + 129);
        text.push_str(self.algorithm);
        text.push(':');
        for byte in self.context.finish().as_ref() {
            for nibble in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
            }
        }
        Digest {
            text,
            colon: self.algorithm.len(),
        }
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Hasher")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_object_has_its_known_digest() {
        let digest = Digest::sha256(b"{}");
        assert_eq!(
            digest.as_str(),
            "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        );
        assert!(digest.matches(b"{}"));
        assert!(!digest.matches(b"{ }"));
    }

    #[test]
    fn digests_follow_the_grammar() {
        let hex = "a".repeat(64);
        for (text, valid, why) in [
            (format!("sha256:{hex}"), true, "registered"),
            (
                format!("sha256:{}", hex.to_uppercase()),
                false,
                "upper-case hex",
            ),
            (
                format!("sha256:{hex}a"),
                false,
                "too long for its algorithm",
            ),
            ("sha256:baddigeststring".to_owned(), false, "not hex"),
            ("sha512:aa".to_owned(), false, "too short"),
            ("blake3+b64u:ab_-=".to_owned(), true, "unregistered"),
            ("multi--hash:aa".to_owned(), false, "empty algorithm part"),
            ("sha256:".to_owned(), false, "nothing encoded"),
            ("a:b/c".to_owned(), false, "slash"),
            (
                format!("x:{}", "a".repeat(300)),
                false,
                "too long for a key",
            ),
        ] {
            assert_eq!(text.parse::<Digest>().is_ok(), valid, "{why}: {text}");
        }
    }
}
