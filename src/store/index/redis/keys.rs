//! The names of keys. All keys of a repository have the hash tag `{<repository>}`, so that one node of a cluster has
//! them all and a script may change them at once.
//!
//! - `<prefix>:state`: the epoch, whether the index is complete, and the servers it was begun on
//! - `<prefix>:rebuild`, `<prefix>:sweep`: who does it, while it does
//! - `<prefix>:{<repository>}:m`: epoch, incarnation and counters of the repository
//! - `<prefix>:{<repository>}:<incarnation>s<digest>`: a subject
//! - `<prefix>:{<repository>}:<incarnation>l<number>`: a bucket of links
//! - `<prefix>:{<repository>}:<incarnation>t<tag>`: the versions of a tag
//! - `<prefix>:{<repository>}:<incarnation>v<digest>`: the verdicts on a subject. They alone have their time and go:
//!   nothing follows from their absence, and nothing else would ever remove them.

use super::{SCHEMA, codec};
use crate::oci::{Digest, RepositoryName, Tag};

/// The bytes of an incarnation in a key.
pub(super) const INCARNATION: usize = 8;
/// The number of slots of a cluster.
pub(super) const SLOTS: u16 = 16384;

/// Makes and reads the names of keys.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
    /// What the index is of: the form of its rows, and the object store that they are made from.
    pub(super) schema: String,
}

/// What a key is that [`Keys::parse`] knows.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Key {
    Meta(RepositoryName),
    /// Incarnation, kind and rest, after the base.
    Row(RepositoryName, Vec<u8>),
}

/// What a row's key is of.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Subject(Digest),
    Tag(Tag),
    Bucket,
    Verdicts,
}

impl Keys {
    pub(super) fn new(prefix: &str, objects: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            schema: format!("{SCHEMA} {objects}").trim_end().to_owned(),
        }
    }

    pub(super) fn state(&self) -> String {
        format!("{}:state", self.prefix)
    }

    pub(super) fn rebuild(&self) -> String {
        format!("{}:rebuild", self.prefix)
    }

    pub(super) fn sweep(&self) -> String {
        format!("{}:sweep", self.prefix)
    }

    pub(super) fn meta(&self, repository: &RepositoryName) -> String {
        format!("{}:{{{repository}}}:m", self.prefix)
    }

    /// A pattern for SCAN that all keys of repositories match.
    pub(super) fn pattern(&self) -> String {
        let mut pattern = String::new();
        for character in self.prefix.chars() {
            if matches!(character, '*' | '?' | '[' | ']' | '\\') {
                pattern.push('\\');
            }
            pattern.push(character);
        }
        pattern + ":{*"
    }

    /// `None` for the keys of others.
    pub(super) fn parse(&self, key: &[u8]) -> Option<Key> {
        let rest = key
            .strip_prefix(self.prefix.as_bytes())?
            .strip_prefix(b":{")?;
        let end = rest.iter().position(|byte| *byte == b'}')?;
        let (name, rest) = rest.split_at_checked(end)?;
        let repository = std::str::from_utf8(name).ok()?.parse().ok()?;
        let rest = rest.strip_prefix(b"}:")?;
        if rest == b"m" {
            return Some(Key::Meta(repository));
        }
        (rest.len() > INCARNATION).then(|| Key::Row(repository, rest.to_vec()))
    }
}

/// What follows the incarnation in the key of a subject.
pub(super) fn subject(digest: &Digest) -> Vec<u8> {
    let mut key = vec![b's'];
    key.extend(codec::digest(digest));
    key
}

/// What follows the incarnation in the key of the verdicts on a subject.
pub(super) fn verdicts(digest: &Digest) -> Vec<u8> {
    let mut key = vec![b'v'];
    key.extend(codec::digest(digest));
    key
}

/// What follows the incarnation in the key of a tag.
pub(super) fn tag(tag: &Tag) -> Vec<u8> {
    format!("t{tag}").into_bytes()
}

/// Reads what follows the base.
pub(super) fn kind(row: &[u8]) -> Option<Kind> {
    let (kind, rest) = row.get(INCARNATION..)?.split_first()?;
    match kind {
        b's' => codec::read_digest(rest).map(Kind::Subject),
        b't' => Some(Kind::Tag(std::str::from_utf8(rest).ok()?.parse().ok()?)),
        b'l' => Some(Kind::Bucket),
        b'v' => Some(Kind::Verdicts),
        _ => None,
    }
}

/// The slot of a key in a cluster: of what stands between its first braces, if there is something.
pub(super) fn slot(key: &[u8]) -> u16 {
    let tag = key
        .iter()
        .position(|byte| *byte == b'{')
        .and_then(|open| key.get(open + 1..))
        .and_then(|rest| {
            let close = rest.iter().position(|byte| *byte == b'}')?;
            rest.get(..close)
        })
        .filter(|tag| !tag.is_empty());
    crc16(tag.unwrap_or(key)) % SLOTS
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
            if crc & 0x8000 == 0 {
                crc << 1
            } else {
                crc << 1 ^ 0x1021
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot(b"foo"), 12182);
        assert_eq!(slot(b"rx1:{foo}:m"), 12182);
        assert_eq!(
            slot(b"{}foo"),
            crc16(b"{}foo") % SLOTS,
            "an empty tag is none"
        );
        let keys = Keys::new("rx1", "");
        let repository: RepositoryName = "a/b".parse().unwrap();
        assert_eq!(slot(keys.meta(&repository).as_bytes()), slot(b"a/b"));
    }

    #[test]
    fn keys_are_read_as_they_are_made() {
        let keys = Keys::new("r[x]1", "");
        let repository: RepositoryName = "a/b".parse().unwrap();
        let meta = keys.meta(&repository);
        assert_eq!(
            keys.parse(meta.as_bytes()),
            Some(Key::Meta(repository.clone()))
        );
        let mut row = b"12345678".to_vec();
        row.extend(subject(&Digest::sha256(b"s")));
        let mut key = b"r[x]1:{a/b}:".to_vec();
        key.extend(&row);
        assert_eq!(keys.parse(&key), Some(Key::Row(repository, row.clone())));
        assert_eq!(kind(&row), Some(Kind::Subject(Digest::sha256(b"s"))));
        assert_eq!(kind(b"12345678tv1"), Some(Kind::Tag("v1".parse().unwrap())));
        assert_eq!(kind(b"12345678l0"), Some(Kind::Bucket));
        let mut row = b"12345678".to_vec();
        row.extend(verdicts(&Digest::sha256(b"s")));
        assert_eq!(kind(&row), Some(Kind::Verdicts));
        assert_eq!(kind(b"12345678"), None);
        for foreign in ["r[x]1:state", "rx1:{a}:m", "r[x]1:{A}:m", "r[x]1:{a}", ""] {
            assert_eq!(keys.parse(foreign.as_bytes()), None, "{foreign}");
        }
        assert_eq!(keys.pattern(), r"r\[x\]1:{*");
    }
}
