//! What is written in one source of configuration, before anything is known about its meaning: a small tree with a line
//! per key, because a mistake is only quickly mended when its place is named.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};

/// How many characters of a text a message repeats.
const SHOWN: usize = 60;

/// A value and the line it starts on; the lines of a variable or a flag mean nothing.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) line: u64,
    pub(super) value: Value,
}

/// A YAML value. Mappings keep repeated keys, so that they can be reported like every other mistake.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Mapping(Vec<(String, Node)>),
}

/// Whose words a value is.
#[derive(Clone, Debug)]
pub(super) enum Source {
    File(Arc<Path>),
    Variable(Arc<str>),
    Flag(&'static str),
}

/// A key with its value, as one source has it.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) source: Source,
    pub(super) key: String,
    pub(super) node: Node,
}

/// Where the value of a key, or a mistake, comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody has written it.
    Default,
    /// The file in general, where no line can be named.
    File(Arc<Path>),
    /// A line of the file.
    Line(Arc<Path>, u64),
    /// An environment variable.
    Variable(Arc<str>),
    /// A flag of the command line.
    Flag(&'static str),
}

impl Value {
    /// Parses a YAML document.
    pub(super) fn from_yaml(text: &str) -> Result<Self, serde_saphyr::Error> {
        let options = serde_saphyr::options! {
            duplicate_keys: DuplicateKeyPolicy::PassThrough,
            non_finite_float_policy: NonFiniteFloatPolicy::AsString,
            strict_booleans: true,
            with_snippet: false,
        };
        serde_saphyr::from_str_with_options(text, options)
    }

    /// Whether anything is written: an empty mapping is, one that holds nothing but nothing is not.
    pub(super) fn says_something(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Mapping(entries) => {
                entries.is_empty() || entries.iter().any(|(_, node)| node.value.says_something())
            }
            Self::Bool(_) | Self::Integer(_) | Self::Float(_) | Self::Text(_) | Self::List(_) => {
                true
            }
        }
    }
}

/// Shows the kind of a value, and the value itself where that helps to find it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("nothing"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Text(text) if text.contains("://") && text.contains('@') => {
                f.write_str("a URL with userinfo")
            }
            Self::Text(text) if text.chars().nth(SHOWN).is_some() => {
                let start: String = text.chars().take(SHOWN).collect();
                write!(f, "{start:?} and more")
            }
            Self::Text(text) => write!(f, "{text:?}"),
            Self::List(_) => f.write_str("a list"),
            Self::Mapping(_) => f.write_str("a mapping"),
        }
    }
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Source {
    /// The origin of what this source says on `line`.
    pub(super) fn at(&self, line: u64) -> Origin {
        match self {
            Self::File(path) => Origin::Line(Arc::clone(path), line),
            Self::Variable(name) => Origin::Variable(Arc::clone(name)),
            Self::Flag(name) => Origin::Flag(name),
        }
    }
}

impl Origin {
    /// The order in which mistakes are told: file by line, environment, flags, and what is nowhere.
    pub(super) fn rank(&self) -> (u8, u64) {
        match self {
            Self::File(_) => (0, 0),
            Self::Line(_, line) => (0, *line),
            Self::Variable(_) => (1, 0),
            Self::Flag(_) => (2, 0),
            Self::Default => (3, 0),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Line(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element::<Spanned<Value>>()? {
            list.push(Node {
                line: element.referenced.line(),
                value: element.value,
            });
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut mapping = Vec::new();
        while let Some(key) = entries.next_key::<Spanned<String>>()? {
            let node = Node {
                line: key.referenced.line(),
                value: entries.next_value()?,
            };
            mapping.push((key.value, node));
        }
        Ok(Value::Mapping(mapping))
    }
}
