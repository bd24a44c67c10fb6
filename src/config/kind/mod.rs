//! What a key can hold. A kind reads a value, shows it in a form that it reads again, and describes it to a JSON schema.

mod bucket;
mod certificate;
mod network;
mod quantity;
mod redis_url;
mod secret;
mod url;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

pub(super) use self::bucket::{Bucket, Prefix};
pub(super) use self::certificate::{AuthoritiesFile, CertificateFile, KeyFile};
pub(super) use self::network::Networks;
pub(super) use self::quantity::{Size, Span};
pub(super) use self::redis_url::{RedisAddress, RedisUrl};
pub(super) use self::secret::{Files, ReadableFile, SecretFile, SecretText, names_secret};
pub(super) use self::url::{Hosts, Url, Urls};
use super::mistake::Problem;
use crate::yaml::{Node, Value};

/// The type of a key.
pub(super) trait Kind {
    /// What a value becomes.
    type Value;

    /// Reads a value; a relative path in it starts at `base`.
    fn read(&self, node: &Node, base: &Path) -> Result<Self::Value, Vec<Fault>>;

    /// The value as it would be written.
    fn show(&self, value: &Self::Value) -> Json;

    /// What may be written, as a JSON schema with a `type` of one word.
    fn schema(&self) -> Json;
}

/// What is wrong with a value, and on which line of it.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) line: u64,
    pub(super) problem: Problem,
}

/// How a value is refused.
impl Node {
    /// The one fault of this value: it is not what was expected.
    fn unexpected(&self, expected: impl Into<Cow<'static, str>>) -> Vec<Fault> {
        self.fault(Problem::Unexpected {
            expected: expected.into(),
            found: self.value.to_string(),
        })
    }

    fn fault(&self, problem: Problem) -> Vec<Fault> {
        vec![Fault {
            line: self.line,
            problem,
        }]
    }
}

/// `true` or `false`.
pub(super) struct Flag;

impl Kind for Flag {
    type Value = bool;

    fn read(&self, node: &Node, _: &Path) -> Result<bool, Vec<Fault>> {
        match node.value {
            Value::Bool(value) => Ok(value),
            Value::Null
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::List(_)
            | Value::Mapping(_) => Err(node.unexpected("true or false")),
        }
    }

    fn show(&self, value: &bool) -> Json {
        json!(value)
    }

    fn schema(&self) -> Json {
        json!({"type": "boolean"})
    }
}

/// A whole number within a range.
pub(super) struct Count(pub(super) RangeInclusive<usize>);

impl Kind for Count {
    type Value = usize;

    fn read(&self, node: &Node, _: &Path) -> Result<usize, Vec<Fault>> {
        let number = node.integer().and_then(|value| usize::try_from(value).ok());
        number
            .filter(|value| self.0.contains(value))
            .ok_or_else(|| {
                let (least, most) = (self.0.start(), self.0.end());
                node.unexpected(format!("a whole number from {least} to {most}"))
            })
    }

    fn show(&self, value: &usize) -> Json {
        json!(value)
    }

    fn schema(&self) -> Json {
        json!({"type": "integer", "minimum": self.0.start(), "maximum": self.0.end()})
    }
}

/// An address to listen on.
pub(super) struct Address;

impl Kind for Address {
    type Value = SocketAddr;

    fn read(&self, node: &Node, _: &Path) -> Result<SocketAddr, Vec<Fault>> {
        let address = node.text().and_then(|text| text.parse().ok());
        address.ok_or_else(|| node.unexpected("an IP address and a port such as 0.0.0.0:8080"))
    }

    fn show(&self, value: &SocketAddr) -> Json {
        json!(value.to_string())
    }

    fn schema(&self) -> Json {
        json!({"type": "string", "examples": ["0.0.0.0:8080", "[::]:8080"]})
    }
}

/// The path of a file or a directory. Whether it exists is seen by whoever opens it.
pub(super) struct FilePath;

impl Kind for FilePath {
    type Value = PathBuf;

    fn read(&self, node: &Node, base: &Path) -> Result<PathBuf, Vec<Fault>> {
        match node.text() {
            // Collecting the components leaves out each `.` between them.
            Some(path) if !path.is_empty() => Ok(base.join(path).components().collect()),
            Some(_) | None => Err(node.unexpected("a path")),
        }
    }

    fn show(&self, value: &PathBuf) -> Json {
        json!(value.to_string_lossy())
    }

    fn schema(&self) -> Json {
        json!({"type": "string", "minLength": 1})
    }
}

/// Text of one line that is not empty.
pub(super) struct Name;

impl Kind for Name {
    type Value = String;

    fn read(&self, node: &Node, _: &Path) -> Result<String, Vec<Fault>> {
        match node.text() {
            Some(text) if !text.is_empty() && !text.contains(char::is_control) => {
                Ok(text.to_owned())
            }
            Some(_) | None => Err(node.unexpected("a name")),
        }
    }

    fn show(&self, value: &String) -> Json {
        json!(value)
    }

    fn schema(&self) -> Json {
        json!({"type": "string", "minLength": 1})
    }
}

/// What the keys of regseal in Redis begin with.
pub(super) struct KeyPrefix;

impl Kind for KeyPrefix {
    type Value = String;

    fn read(&self, node: &Node, _: &Path) -> Result<String, Vec<Fault>> {
        // Braces would move keys to other nodes of a cluster.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':');
        match node.text() {
            Some(text) if (1..=64).contains(&text.len()) && text.chars().all(is_plain) => {
                Ok(text.to_owned())
            }
            Some(_) | None => {
                Err(node
                    .unexpected("1 to 64 letters, digits, dots, underscores, hyphens and colons"))
            }
        }
    }

    fn show(&self, value: &String) -> Json {
        json!(value)
    }

    fn schema(&self) -> Json {
        json!({"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,64}$"})
    }
}

/// One of a few words. A word without a value belongs to a later version.
pub(super) struct Choice<T: 'static>(pub(super) &'static [(&'static str, Option<T>)]);

impl<T: Copy + PartialEq> Choice<T> {
    fn words(&self) -> impl Iterator<Item = &'static str> {
        self.0
            .iter()
            .filter(|(_, value)| value.is_some())
            .map(|(word, _)| *word)
    }
}

impl<T: Copy + PartialEq> Kind for Choice<T> {
    type Value = T;

    fn read(&self, node: &Node, _: &Path) -> Result<T, Vec<Fault>> {
        // YAML 1.1, which other programs write, takes the words `on` and `off` for booleans.
        let written = match node.value {
            Value::Bool(true) => Some("on"),
            Value::Bool(false) => Some("off"),
            Value::Null
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::List(_)
            | Value::Mapping(_) => node.text(),
        };
        let chosen = self.0.iter().find(|(word, _)| written == Some(word));
        match chosen {
            Some((_, Some(value))) => Ok(*value),
            Some((word, None)) => {
                Err(node.fault(Problem::ValueNotYetSupported((*word).to_owned())))
            }
            None => Err(node.unexpected(self.words().collect::<Vec<_>>().join(" or "))),
        }
    }

    fn show(&self, value: &T) -> Json {
        let chosen = self
            .0
            .iter()
            .find(|(_, candidate)| candidate.as_ref() == Some(value));
        json!(chosen.map(|(word, _)| word))
    }

    fn schema(&self) -> Json {
        json!({"type": "string", "enum": self.words().collect::<Vec<_>>()})
    }
}

/// A list of media types.
pub(super) struct MediaTypes;

impl Kind for MediaTypes {
    type Value = Vec<String>;

    fn read(&self, node: &Node, _: &Path) -> Result<Vec<String>, Vec<Fault>> {
        let Some(elements) = node.list() else {
            return Err(node.unexpected("a list of media types"));
        };
        let mut media_types = Vec::new();
        let mut faults = Vec::new();
        for element in elements {
            match element.text() {
                Some(text) if is_media_type(text) => media_types.push(text.to_owned()),
                Some(_) | None => faults.extend(
                    element.unexpected("a media type such as application/vnd.example+json"),
                ),
            }
        }
        if faults.is_empty() {
            Ok(media_types)
        } else {
            Err(faults)
        }
    }

    fn show(&self, value: &Vec<String>) -> Json {
        json!(value)
    }

    fn schema(&self) -> Json {
        json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true})
    }
}

/// Whether `text` is a type and a subtype, each a name as RFC 6838 section 4.2 restricts it.
fn is_media_type(text: &str) -> bool {
    let is_name = |name: &str| {
        let special = |c| matches!(c, '!' | '#' | '$' | '&' | '-' | '^' | '_' | '.' | '+');
        (1..=127).contains(&name.len())
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || special(c))
    };
    text.split_once('/')
        .is_some_and(|(kind, subtype)| is_name(kind) && is_name(subtype))
}
