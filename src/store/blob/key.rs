//! Keys of objects.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// S3 takes keys of 1024 bytes; the configured prefix needs some of them.
const MAX_LENGTH: usize = 900;
/// A component is a file name.
const MAX_COMPONENT: usize = 255;

/// A key: components of `[A-Za-z0-9._+=-]` joined by `/`, none empty, none beginning with a dot.
///
/// Ordered by its bytes, as LIST is.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(String);

/// The text is no key.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("invalid object key {0:?}")]
pub struct InvalidKey(String);

impl Key {
    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Key {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        if text.len() > MAX_LENGTH || !text.split('/').all(is_component) {
            return Err(InvalidKey(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Whether `text` may stand between two slashes of a key.
pub(super) fn is_component(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_COMPONENT
        && !text.starts_with('.')
        && text.bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'+' | b'=' | b'-')
        })
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_cannot_leave_their_folder() {
        for (text, valid, why) in [
            ("v1/blobs/sha256/44/4413", true, "a blob"),
            ("v1/repos/a/_links/blake3+b64u-ab_-=", true, "any digest"),
            ("", false, "empty"),
            ("a//b", false, "empty component"),
            ("/a", false, "absolute"),
            ("a/", false, "trailing slash"),
            ("a/../b", false, "parent"),
            ("a/./b", false, "self"),
            (".tmp/a", false, "hidden"),
            ("a\\b", false, "backslash"),
            ("a\0b", false, "nul"),
            ("a%2fb", false, "percent"),
            ("ä", false, "not ASCII"),
        ] {
            assert_eq!(text.parse::<Key>().is_ok(), valid, "{why}: {text:?}");
        }
        let long = "a".repeat(255);
        assert!(long.parse::<Key>().is_ok());
        assert!(format!("{long}a").parse::<Key>().is_err());
    }
}
