//! Globs over names of repositories and over tags.
//!
//! `*` is any text within one component, `**` as a whole component any number of them; at the end of a pattern at least
//! one, so that `prod/**` is what is below `prod`. All other characters mean themselves.

use std::fmt;

use thiserror::Error;

use crate::oci::Tag;

/// Which repositories a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryPattern {
    text: String,
    /// What every match begins with.
    prefix: String,
    components: Vec<Component>,
}

/// Which tags a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagPattern(String);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Component {
    /// `**`: any number of components.
    Deep,
    /// One component, perhaps with `*`.
    One(String),
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(super) enum BadPattern {
    #[error("a pattern without an empty component is expected here")]
    Empty,
    #[error("`**` stands alone between slashes")]
    DeepInText,
    #[error("only * and ** are special, and names have no upper-case letters")]
    Repository,
    #[error("only * is special, within the characters of tags")]
    Tag,
    #[error("no rule is about marker tags, which begin with unsigned-")]
    Marker,
}

impl RepositoryPattern {
    pub(super) fn parse(text: &str) -> Result<Self, BadPattern> {
        let mut components = Vec::new();
        for component in text.split('/') {
            components.push(match component {
                "" => return Err(BadPattern::Empty),
                "**" => Component::Deep,
                _ if component.contains("**") => return Err(BadPattern::DeepInText),
                _ if component.bytes().all(is_in_repository) => {
                    Component::One(component.to_owned())
                }
                _ => return Err(BadPattern::Repository),
            });
        }
        // At the end something has to follow.
        if components.last() == Some(&Component::Deep) {
            components.push(Component::One("*".to_owned()));
        }
        let prefix = text.split('*').next().unwrap_or_default();
        Ok(Self {
            text: text.to_owned(),
            prefix: prefix.to_owned(),
            components,
        })
    }

    /// Whether the rule is about the repository of this name, whose components are given beside it.
    pub(super) fn matches(&self, name: &str, components: &[&str]) -> bool {
        if self.is_literal() {
            return name == self.text;
        }
        let is_deep = |pattern: &Component| matches!(pattern, Component::Deep);
        let fits = |pattern: &Component, name: &&str| match pattern {
            Component::Deep => false,
            Component::One(text) => glob(text.as_bytes(), name.as_bytes(), is_star, u8::eq),
        };
        name.starts_with(&self.prefix) && glob(&self.components, components, is_deep, fits)
    }

    fn matches_text(&self, name: &str) -> bool {
        self.matches(name, &name.split('/').collect::<Vec<_>>())
    }

    /// Whether whatever `other` matches is certain to be matched by this.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.text == other.text
            || self.text == "**"
            || (other.is_literal() && self.matches_text(&other.text))
            || self
                .text
                .strip_suffix("**")
                .is_some_and(|start| !start.contains('*') && other.prefix.starts_with(start))
    }

    fn is_literal(&self) -> bool {
        self.prefix.len() == self.text.len()
    }
}

impl TagPattern {
    pub(super) fn parse(text: &str) -> Result<Self, BadPattern> {
        let is_valid = !text.is_empty()
            && !text.contains("**")
            && text.bytes().all(|byte| is_in_tag(byte) || byte == b'*');
        match text {
            _ if !is_valid => Err(BadPattern::Tag),
            _ if text.starts_with(super::MARKER) => Err(BadPattern::Marker),
            _ => Ok(Self(text.to_owned())),
        }
    }

    /// Whether the rule is about `tag`, unless that is a marker.
    #[must_use]
    pub fn matches(&self, tag: &Tag) -> bool {
        self.matches_text(tag.as_str())
    }

    /// Whether it matches every tag.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.0 == "*"
    }

    fn matches_text(&self, tag: &str) -> bool {
        glob(self.0.as_bytes(), tag.as_bytes(), is_star, u8::eq)
    }

    /// Whether whatever `other` matches is certain to be matched by this.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self == other || self.is_all() || (!other.0.contains('*') && self.matches_text(&other.0))
    }
}

impl fmt::Display for RepositoryPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for TagPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_in_repository(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-' | b'*')
}

fn is_in_tag(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

fn is_star(byte: &u8) -> bool {
    *byte == b'*'
}

/// Whether `pattern` matches all of `text`, where a star stands for any number of elements. When something does not fit,
/// the last star takes one more: the time is bounded by the product of both lengths.
fn glob<P, T>(
    pattern: &[P],
    text: &[T],
    is_star: impl Fn(&P) -> bool,
    fits: impl Fn(&P, &T) -> bool,
) -> bool {
    let (mut at, mut read) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    while let Some(element) = text.get(read) {
        match pattern.get(at) {
            Some(star) if is_star(star) => {
                last_star = Some((at, read));
                at += 1;
            }
            Some(one) if fits(one, element) => {
                at += 1;
                read += 1;
            }
            Some(_) | None => {
                let Some((star, taken)) = last_star else {
                    return false;
                };
                last_star = Some((star, taken + 1));
                at = star + 1;
                read = taken + 1;
            }
        }
    }
    pattern.iter().skip(at).all(is_star)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn repository(text: &str) -> RepositoryPattern {
        RepositoryPattern::parse(text).unwrap()
    }

    #[test]
    fn repositories_are_matched_by_component() {
        for (pattern, name, matches, why) in [
            ("prod/app", "prod/app", true, "itself"),
            ("prod/app", "prod/app/x", false, "something below"),
            ("prod/*", "prod/app", true, "one component"),
            ("prod/*", "prod/app/x", false, "two components"),
            ("prod/*", "prod", false, "none"),
            ("prod/**", "prod/app", true, "one below"),
            ("prod/**", "prod/team/app", true, "two below"),
            ("prod/**", "prod", false, "not below itself"),
            ("prod/**", "production/app", false, "another beginning"),
            ("**", "a", true, "everything"),
            ("**", "a/b/c", true, "everything"),
            ("*", "a", true, "one component"),
            ("*", "a/b", false, "two components"),
            ("**/app", "app", true, "any depth is also none"),
            ("**/app", "a/b/app", true, "any depth"),
            ("**/app", "a/myapp", false, "components are whole"),
            ("a/**/z", "a/z", true, "none between"),
            ("a/**/z", "a/b/c/z", true, "two between"),
            ("a/**/z", "ab/z", false, "components are whole"),
            ("a*/x", "abc/x", true, "text within a component"),
            ("a*/x", "a/x", true, "empty text"),
            ("a*c*e/x", "abcde/x", true, "two stars"),
            ("**/b/**/d", "a/b/c/b/d", true, "goes back"),
            ("*/b", "a/b", true, "one before"),
            ("a.b/c", "axb/c", false, "a dot is a dot"),
        ] {
            assert_eq!(
                repository(pattern).matches_text(name),
                matches,
                "{pattern} {name}: {why}"
            );
        }
    }

    #[test]
    fn tags_are_matched_as_text() {
        for (pattern, tag, matches) in [
            ("*", "v1", true),
            ("v*", "v1.2", true),
            ("v*", "latest", false),
            ("v*-rc*", "v1-rc2", true),
            ("V1", "v1", false),
            ("latest", "latest", true),
            ("latest", "latest2", false),
        ] {
            let pattern = TagPattern::parse(pattern).unwrap();
            assert_eq!(
                pattern.matches(&tag.parse().unwrap()),
                matches,
                "{pattern} {tag}"
            );
        }
    }

    #[test]
    fn what_could_never_match_is_refused() {
        for (text, expected) in [
            ("", BadPattern::Empty),
            ("/prod", BadPattern::Empty),
            ("prod//x", BadPattern::Empty),
            ("prod/", BadPattern::Empty),
            ("prod**", BadPattern::DeepInText),
            ("a/b***", BadPattern::DeepInText),
            ("Prod/*", BadPattern::Repository),
            ("prod/a?", BadPattern::Repository),
            ("prod/{a,b}", BadPattern::Repository),
            ("prod/[ab]", BadPattern::Repository),
            ("registry:5000/a", BadPattern::Repository),
        ] {
            assert_eq!(RepositoryPattern::parse(text), Err(expected), "{text}");
        }
        for (text, expected) in [
            ("", BadPattern::Tag),
            ("v?", BadPattern::Tag),
            ("**", BadPattern::Tag),
            ("a/b", BadPattern::Tag),
            ("unsigned-*", BadPattern::Marker),
        ] {
            assert_eq!(TagPattern::parse(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn cover_is_claimed_only_where_it_is_certain() {
        for (wide, narrow, covers) in [
            ("**", "a/*", true),
            ("a/*", "a/*", true),
            ("a/*", "a/b", true),
            ("a/**", "a/b/*", true),
            ("a/**", "a/b*/c", true),
            ("a/**", "a*/c", false),
            ("a/**", "a", false),
            ("a/*", "a/**", false),
            ("*", "**", false),
            ("**", "**", true),
            ("**/x", "a/x", true),
        ] {
            assert_eq!(
                repository(wide).covers(&repository(narrow)),
                covers,
                "{wide} {narrow}"
            );
        }
        let tag = |text| TagPattern::parse(text).unwrap();
        assert!(tag("*").covers(&tag("v*")) && tag("v*").covers(&tag("v1")));
        assert!(!tag("v*").covers(&tag("*")) && !tag("v*").covers(&tag("v1*")));
    }

    proptest! {
        #[test]
        fn what_is_covered_is_matched(
            wide in "(a|b|\\*|\\*\\*)(/(a|b|a\\*|\\*|\\*\\*)){0,3}",
            narrow in "(a|b|\\*|\\*\\*)(/(a|b|a\\*|\\*|\\*\\*)){0,3}",
            name in "[ab](/[ab]{1,2}){0,4}",
        ) {
            let (wide, narrow) = (repository(&wide), repository(&narrow));
            prop_assert!(
                !wide.covers(&narrow) || !narrow.matches_text(&name) || wide.matches_text(&name)
            );
        }
    }
}
