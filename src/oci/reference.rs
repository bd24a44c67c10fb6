//! What a manifest is asked for by: a tag or a digest.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::{Digest, Tag, companion_tag};

/// `<tag-or-digest>` of the manifest endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    /// By tag.
    Tag(Tag),
    /// By digest.
    Digest(Digest),
}

impl Reference {
    /// The tag, if it is one.
    #[must_use]
    pub fn tag(&self) -> Option<&Tag> {
        match self {
            Self::Tag(tag) => Some(tag),
            Self::Digest(_) => None,
        }
    }
}

/// Neither a tag nor a digest; a colon says that a digest was meant.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidReference {
    /// `DIGEST_INVALID`
    #[error("invalid digest")]
    Digest,
    /// `MANIFEST_INVALID`
    #[error("invalid tag")]
    Tag,
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        if text.contains(':') {
            return text
                .parse()
                .map(Self::Digest)
                .or(Err(InvalidReference::Digest));
        }
        let tag = companion_tag::cut(text).unwrap_or(text);
        tag.parse().map(Self::Tag).or(Err(InvalidReference::Tag))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(formatter),
            Self::Digest(digest) => fmt::Display::fmt(digest, formatter),
        }
    }
}
