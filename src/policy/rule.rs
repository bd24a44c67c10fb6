//! A rule: what it is about, what it requires, and what happens where that is missing.

use std::time::Duration;

use super::Requirement;
use super::pattern::{RepositoryPattern, TagPattern};
use crate::clock::UnixMillis;
use crate::oci::{Digest, Tag};

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name, which no other rule has.
    pub name: String,
    /// The repositories it is about.
    pub repositories: Vec<RepositoryPattern>,
    /// The tags it is about.
    pub tags: Vec<TagPattern>,
    /// Whose signatures an image needs; `None` only where pushes and pulls are allowed without any.
    pub require: Option<Requirement>,
    /// What happens to a push by tag of an image that lacks them.
    pub on_unsigned_push: OnPush,
    /// What happens to a signature that no authority accepts.
    pub on_untrusted_push: OnUntrusted,
    /// What happens to a pull of an image that lacks them.
    pub on_unsigned_pull: OnPull,
    /// What happens to a pull of an image that was there before regseal.
    pub existing: Existing,
    /// How long a manifest that was rejected is kept, so that it can be signed.
    pub keep: Duration,
    /// Whose signatures count for an index.
    pub coverage: Coverage,
    /// Images that need no signature.
    pub exempt: Vec<Exemption>,
    /// Its line in the file.
    pub(super) line: u64,
}

/// What happens to a push of an image that is not signed as required.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnPush {
    /// It passes.
    Allow,
    /// It passes with a warning.
    Warn,
    /// It passes, and the image is marked.
    Tag,
    /// It is refused.
    Reject,
}

/// What happens to a signature that no authority accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnUntrusted {
    /// It is stored, and counts for nothing.
    Store,
    /// It is refused.
    Reject,
}

/// What happens to a pull of an image that is not signed as required; the weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OnPull {
    /// It passes.
    Allow,
    /// It passes with a warning.
    Warn,
    /// It is refused.
    Deny,
}

/// What happens to a pull of an image that was there before regseal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// As to any other.
    Deny,
    /// It passes.
    Allow,
}

/// Whose signatures count for an image index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// Those of the index itself.
    Index,
    /// Those that all its children have.
    Children,
    /// Those of the index, or else those that all its children have.
    Either,
    /// Those that the index and all its children have.
    All,
}

/// An image that needs no signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exemption {
    /// Which.
    pub digest: Digest,
    /// Why.
    pub reason: String,
    /// The instant from which it needs one again.
    pub until: Option<UnixMillis>,
    /// Its line in the file.
    pub(super) line: u64,
}

impl Rule {
    /// The exemption of an image, if there is one at `now`.
    #[must_use]
    pub fn exemption(&self, digest: &Digest, now: UnixMillis) -> Option<&Exemption> {
        let mut exempt = self.exempt.iter();
        exempt.find(|exemption| exemption.digest == *digest && exemption.holds_at(now))
    }

    /// Whether an image that is not signed as required can be kept out of this rule's repositories.
    #[must_use]
    pub fn rejects(&self) -> bool {
        self.on_unsigned_push == OnPush::Reject
    }

    /// Whether it is about this repository, whatever the tag; the components of the name are given beside it.
    pub(super) fn is_about(&self, name: &str, components: &[&str]) -> bool {
        let mut patterns = self.repositories.iter();
        patterns.any(|pattern| pattern.matches(name, components))
    }

    /// Whether it is about this tag.
    pub(super) fn is_about_tag(&self, tag: &Tag) -> bool {
        self.tags.iter().any(|pattern| pattern.matches(tag))
    }

    /// Whether it is about every tag.
    pub(super) fn is_about_all_tags(&self) -> bool {
        self.tags.iter().any(TagPattern::is_all)
    }
}

impl Exemption {
    /// Whether it counts at `now`.
    #[must_use]
    pub fn holds_at(&self, now: UnixMillis) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

macro_rules! words {
    ($type:ident: $($word:literal $variant:ident),+) => {
        impl $type {
            /// The words of the file, with what they mean.
            pub(super) const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$variant)),+];

            /// The word in the file, in answers, logs and metrics.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }
    };
}

words!(OnPush: "allow" Allow, "warn" Warn, "tag" Tag, "reject" Reject);
words!(OnUntrusted: "store" Store, "reject" Reject);
words!(OnPull: "allow" Allow, "warn" Warn, "deny" Deny);
words!(Existing: "deny" Deny, "allow" Allow);
words!(Coverage: "index" Index, "children" Children, "either" Either, "all" All);
