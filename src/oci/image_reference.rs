//! An image as people write it: `[host/]repository[:tag][@digest]`.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::{Digest, Reference, RepositoryName, Tag};

/// The tag of a reference without one.
const LATEST: &str = "latest";

/// An image, by repository and tag, digest, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageReference {
    /// The host, and perhaps port, before the repository.
    pub host: Option<String>,
    /// The repository.
    pub repository: RepositoryName,
    /// The tag; `latest` if neither tag nor digest is written.
    pub tag: Option<Tag>,
    /// The digest.
    pub digest: Option<Digest>,
}

/// What is no reference.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{text:?} is no reference: {problem}")]
pub struct InvalidImageReference {
    text: String,
    problem: &'static str,
}

impl ImageReference {
    /// What the registry is asked for: the digest where there is one.
    #[must_use]
    pub fn asked(&self) -> Option<Reference> {
        let by_tag = || self.tag.clone().map(Reference::Tag);
        self.digest.clone().map(Reference::Digest).or_else(by_tag)
    }
}

impl FromStr for ImageReference {
    type Err = InvalidImageReference;

    fn from_str(text: &str) -> Result<Self, InvalidImageReference> {
        let wrong = |problem| InvalidImageReference {
            text: text.to_owned(),
            problem,
        };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        let (host, rest) = match rest.split_once('/') {
            Some((first, rest)) if is_host(first) => (Some(first), rest),
            Some(_) | None => (None, rest),
        };
        if host.is_some_and(|host| !host.chars().all(of_host)) {
            return Err(wrong("the host is invalid"));
        }
        let (repository, tag) = match rest.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (rest, None),
        };
        let digest = digest.map(str::parse).transpose();
        let digest: Option<Digest> = digest.or(Err(wrong("the part after @ is no digest")))?;
        let tag = tag.or(digest.is_none().then_some(LATEST));
        let tag = tag.map(str::parse).transpose();
        let repository = repository.parse();
        Ok(Self {
            host: host.map(str::to_owned),
            repository: repository.or(Err(wrong("the name of the repository is invalid")))?,
            tag: tag.or(Err(wrong("the tag is invalid")))?,
            digest,
        })
    }
}

impl fmt::Display for ImageReference {
    /// Without the host.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.repository)?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(formatter, "@{digest}")?;
        }
        Ok(())
    }
}

/// Whether the first part of a name is a host, as every client tells it.
fn is_host(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':'])
}

/// Hosts are repeated in commands that people type.
fn of_host(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '.' | ':' | '-' | '_' | '[' | ']')
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn references_are_read_as_clients_read_them() {
        let full = format!("registry.example:5000/team/app:v1@{DIGEST}");
        let by_digest = format!("team/app@{DIGEST}");
        for (text, host, shown) in [
            ("app", None, "app:latest".to_owned()),
            ("team/app:v1", None, "team/app:v1".to_owned()),
            ("localhost/app", Some("localhost"), "app:latest".to_owned()),
            (
                "localhost:5000/app:v1",
                Some("localhost:5000"),
                "app:v1".to_owned(),
            ),
            ("10.0.0.1/a/b", Some("10.0.0.1"), "a/b:latest".to_owned()),
            (
                &full,
                Some("registry.example:5000"),
                format!("team/app:v1@{DIGEST}"),
            ),
            (&by_digest, None, by_digest.clone()),
        ] {
            let read: ImageReference = text.parse().unwrap();
            assert_eq!(read.host.as_deref(), host, "{text}");
            assert_eq!(read.to_string(), shown, "{text}");
            assert_eq!(
                matches!(read.asked(), Some(Reference::Digest(_))),
                text.contains('@'),
                "{text}: a digest is stronger than a tag"
            );
        }
    }

    #[test]
    fn what_is_none_says_which_part_is_wrong() {
        for (text, problem) in [
            ("", "repository"),
            ("App", "repository"),
            ("localhost:5000/", "repository"),
            ("app:", "tag"),
            ("app:-x", "tag"),
            ("app@", "digest"),
            ("app@sha256:00", "digest"),
            ("app:v1:v2", "tag"),
            ("https://registry.example/app", "repository"),
            ("$(id).example/app", "host"),
        ] {
            let error = text.parse::<ImageReference>().unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }
}
