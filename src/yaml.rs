//! A YAML document before anything is known about its meaning: a small tree with a line per key, because a mistake is only
//! quickly mended when its place is named. Repeated keys are kept, so that they can be reported like every other mistake.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Spanned, UserMessageFormatter};

/// How many characters of a text a message repeats.
const SHOWN: usize = 60;

/// A value and the line it starts on; in text that is no file the lines mean nothing.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) line: u64,
    pub(crate) value: Value,
}

/// A YAML value. Mappings keep repeated keys, so that they can be reported like every other mistake.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Mapping(Vec<(String, Node)>),
}

/// The text is no YAML.
#[derive(Clone, Debug)]
pub(crate) struct SyntaxError {
    /// The line, where one can be named.
    pub(crate) line: Option<u64>,
    /// What is wrong, for people.
    pub(crate) problem: String,
}

impl Value {
    /// Parses a YAML document.
    pub(crate) fn from_yaml(text: &str) -> Result<Self, SyntaxError> {
        let options = serde_saphyr::options! {
            duplicate_keys: DuplicateKeyPolicy::PassThrough,
            non_finite_float_policy: NonFiniteFloatPolicy::AsString,
            strict_booleans: true,
            with_snippet: false,
        };
        serde_saphyr::from_str_with_options(text, options).map_err(|error| SyntaxError {
            line: error
                .location()
                .map(|location| location.line())
                .filter(|line| *line > 0),
            problem: error.render_with_formatter(&UserMessageFormatter),
        })
    }

    /// Whether anything is written: an empty mapping is, one that holds nothing but nothing is not.
    pub(crate) fn says_something(&self) -> bool {
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

impl Node {
    /// The text, if it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::Null
            | Value::Bool(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::List(_)
            | Value::Mapping(_) => None,
        }
    }

    /// The number, if it is a whole one.
    pub(crate) fn integer(&self) -> Option<i128> {
        match self.value {
            Value::Integer(value) => Some(value),
            Value::Null
            | Value::Bool(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::List(_)
            | Value::Mapping(_) => None,
        }
    }

    /// The elements, if it is a list.
    pub(crate) fn list(&self) -> Option<&[Self]> {
        match &self.value {
            Value::List(elements) => Some(elements),
            Value::Null
            | Value::Bool(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::Mapping(_) => None,
        }
    }
}

/// Which of `names` is meant by one that nobody knows, if it looks like a slip of one.
pub(crate) fn nearest<'a>(
    names: impl IntoIterator<Item = &'a str>,
    written: &str,
) -> Option<&'a str> {
    let (distance, name) = names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(name, written), name))
        .min()?;
    (distance <= 1.max(name.len() / 3)).then_some(name)
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
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
