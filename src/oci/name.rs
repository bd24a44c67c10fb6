//! Repository names (distribution-spec "Pulling manifests", `<name>`).

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The longest name that is taken: clients limit host and name together to this.
const MAX_LENGTH: usize = 255;

/// A repository name: lower-case components joined by `/`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryName(String);

/// The name is outside the grammar `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/...)*` (`NAME_INVALID`).
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("invalid repository name")]
pub struct InvalidName;

impl RepositoryName {
    /// The name as it stands in a path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RepositoryName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if text.len() > MAX_LENGTH || !text.split('/').all(is_component) {
            return Err(InvalidName);
        }
        Ok(Self(text.to_owned()))
    }
}

/// Alphanumeric runs joined by one separator: `.`, `_`, `__` or any number of `-`.
fn is_component(component: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut separator = Vec::new();
    let mut last_was_alphanumeric = false;
    for byte in component.bytes() {
        if alphanumeric(byte) {
            let joined = match separator.as_slice() {
                [] | [b'.'] | [b'_'] | [b'_', b'_'] => true,
                dashes => dashes.iter().all(|&byte| byte == b'-'),
            };
            if !joined || (!separator.is_empty() && !last_was_alphanumeric) {
                return false;
            }
            separator.clear();
            last_was_alphanumeric = true;
        } else if last_was_alphanumeric {
            separator.push(byte);
        } else {
            return false;
        }
    }
    last_was_alphanumeric && separator.is_empty()
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_grammar_are_taken() {
        for name in [
            "a",
            "library/alpine",
            "a.b/c__d/e---f",
            "manifests/blobs",
            "0/1",
            "a_b",
        ] {
            assert!(name.parse::<RepositoryName>().is_ok(), "{name}");
        }
    }

    #[test]
    fn names_outside_the_grammar_are_rejected() {
        for (name, why) in [
            ("", "empty"),
            ("A", "upper case"),
            ("a//b", "empty component"),
            ("/a", "leading slash"),
            ("a/", "trailing slash"),
            ("..", "dots alone"),
            ("a/../b", "parent segment"),
            ("a..b", "two dots"),
            ("a___b", "three underscores"),
            ("a._b", "mixed separators"),
            ("-a", "leading separator"),
            ("a-", "trailing separator"),
            ("_uploads", "leading underscore"),
            ("a%2fb", "encoded slash"),
            ("ä", "not ASCII"),
        ] {
            assert!(name.parse::<RepositoryName>().is_err(), "{why}: {name:?}");
        }
        assert!(
            "a".repeat(256).parse::<RepositoryName>().is_err(),
            "too long"
        );
    }
}
