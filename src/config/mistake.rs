//! What can be wrong with a configuration. All mistakes of a run are collected and told together, one a line, each with its
//! place and its key; values that could be secret are not repeated.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::written::Origin;
use crate::certificates::CertificateError;

/// Why there are no settings.
#[derive(Debug, Error)]
pub enum ConfigErrors {
    /// The file could not be read, so that nothing can be said about it.
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable {
        /// The file, as it was named.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The configuration is wrong; all that is wrong with it, in the order of file, environment and flags.
    #[error("{}", Lines(.0))]
    Mistakes(Vec<Mistake>),
}

/// One mistake.
#[derive(Debug)]
pub struct Mistake {
    /// Where it is.
    pub origin: Origin,
    /// The dotted key, or nothing if no key can be named.
    pub key: String,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a key or its value.
#[derive(Debug, Error)]
pub enum Problem {
    /// The file is not YAML.
    #[error("not valid YAML: {0}")]
    Syntax(String),
    /// There is no such key.
    #[error("unknown key{}", Suggestion(.suggestion.as_deref()))]
    UnknownKey {
        /// The key that may have been meant.
        suggestion: Option<String>,
    },
    /// The key, or this value of it, belongs to a later version.
    #[error("not yet supported")]
    NotYetSupported,
    /// As above, of one value of a key that is supported.
    #[error("{0:?} is not yet supported")]
    ValueNotYetSupported(String),
    /// The key occurs a second time.
    #[error("written twice, first on line {first}")]
    WrittenTwice {
        /// The line of the first occurrence.
        first: u64,
    },
    /// Nobody has written a key that has no default.
    #[error("required: set it in the file{}", Others(.variable, *.flag))]
    Required {
        /// The variable of that key.
        variable: String,
        /// Its flag, if it has one.
        flag: Option<&'static str>,
    },
    /// Another key is written, beside which this one may not be.
    #[error("only one of this and {other} can be set")]
    Excludes {
        /// The other key.
        other: String,
    },
    /// Another key is missing without which this one cannot be.
    #[error("needs {0}")]
    Needs(&'static str),
    /// The key has no effect.
    #[error("has an effect only with {0}")]
    OnlyIf(&'static str),
    /// A file that is read for its content cannot be.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file has nothing in it.
    #[error("{} is empty", .0.display())]
    EmptyFile(PathBuf),
    /// A file of certificates or keys is not what it has to be.
    #[error("{} {source}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: CertificateError,
    },
    /// A secret is no text; it is not repeated.
    #[error("expected a text that is not empty, in quotes if it looks like something else")]
    SecretExpected,
    /// The value is of the wrong type or out of range.
    #[error("expected {expected}, found {found}")]
    Unexpected {
        /// What the key takes.
        expected: Cow<'static, str>,
        /// What is there.
        found: String,
    },
    /// A URL says more than can be honoured here.
    #[error("a URL without {0} is expected here")]
    UrlPart(&'static str),
    /// The bytes of a variable are not text.
    #[error("the value is not UTF-8")]
    NotText,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.origin != Origin::Default {
            write!(f, "{}: ", self.origin)?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}", self.problem)
    }
}

struct Lines<'a>(&'a [Mistake]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{mistake}")?;
        }
        Ok(())
    }
}

struct Others<'a>(&'a str, Option<&'static str>);

impl fmt::Display for Others<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(flag) => write!(f, ", with {} or with {flag}", self.0),
            None => write!(f, " or with {}", self.0),
        }
    }
}

struct Suggestion<'a>(Option<&'a str>);

impl fmt::Display for Suggestion<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .map_or(Ok(()), |key| write!(f, " (did you mean {key:?}?)"))
    }
}
