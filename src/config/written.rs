//! What is written in the sources of configuration, and where.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::yaml::Node;

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
