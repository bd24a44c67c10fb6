//! Tags (distribution-spec "Pulling manifests", `<reference>` as a tag).

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The longest tag of the grammar.
pub const MAX_LENGTH: usize = 128;

/// A tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(String);

/// The tag is outside the grammar.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("invalid tag")]
pub struct InvalidTag;

impl Tag {
    /// The tag as it stands in a path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = InvalidTag;

    fn from_str(text: &str) -> Result<Self, InvalidTag> {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let mut bytes = text.bytes();
        let first = bytes.next().is_some_and(word);
        if !first
            || text.len() > MAX_LENGTH
            || !bytes.all(|byte| word(byte) || byte == b'.' || byte == b'-')
        {
            return Err(InvalidTag);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_follow_the_grammar() {
        for (tag, valid) in [
            ("latest", true),
            ("_a.b-C", true),
            ("1", true),
            ("", false),
            (".a", false),
            ("-a", false),
            ("a:b", false),
            ("a/b", false),
            ("a%2f", false),
        ] {
            assert_eq!(tag.parse::<Tag>().is_ok(), valid, "{tag:?}");
        }
        assert!("a".repeat(128).parse::<Tag>().is_ok());
        assert!("a".repeat(129).parse::<Tag>().is_err());
    }
}
