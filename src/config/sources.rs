//! The sources of configuration: the file, the environment and the flags, each turned into the tree that is written in it.
//! The process environment is read here and nowhere else.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::kind::names_secret;
use super::mistake::{ConfigErrors, Mistake, Problem};
use super::written::{Origin, Source, Written};
use crate::yaml::{Node, Value};

/// The prefix of our variables. What follows is the key, `__` for each dot.
const PREFIX: &str = "REGSEAL__";

/// Variables that other programs know as well, and the keys they set.
const SHARED_VARIABLES: [(&str, &[&str]); 3] = [
    ("AWS_ENDPOINT_URL_S3", &["storage", "s3", "endpoint"]),
    (
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        &["telemetry", "otlp", "endpoint"],
    ),
    ("OTEL_SERVICE_NAME", &["telemetry", "service_name"]),
];

/// The flags that are settings, as they were typed.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--upstream`.
    pub upstream: Option<String>,
    /// `--listen`.
    pub listen: Option<String>,
    /// `--admin`.
    pub admin: Option<String>,
    /// `--data`.
    pub data: Option<String>,
    /// `--policy`.
    pub policy: Option<String>,
    /// How many times `-v` was given.
    pub verbose: u8,
}

/// What the process finds around it.
#[derive(Clone, Debug)]
pub struct Environment {
    pub(super) directory: PathBuf,
    variables: Vec<(OsString, OsString)>,
    docker_config: Option<PathBuf>,
}

impl Environment {
    /// An environment of a working directory and variables. Only the variables that set a key are kept, since others may
    /// hold secrets that are none of our business.
    pub fn new<N: Into<OsString>, V: Into<OsString>>(
        directory: impl Into<PathBuf>,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let variables: Vec<(OsString, OsString)> = variables
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        let place = |name: &str| {
            let mut variables = variables.iter();
            let (_, value) = variables.find(|(found, value)| found == name && !value.is_empty())?;
            Some(PathBuf::from(value))
        };
        let docker = place("DOCKER_CONFIG").or_else(|| Some(place("HOME")?.join(".docker")));
        let docker_config = docker.map(|docker| docker.join("config.json"));
        let mut variables: Vec<_> = variables
            .into_iter()
            .filter(|(name, _): &(OsString, OsString)| name.to_str().is_some_and(is_ours))
            .collect();
        variables.sort();
        Self {
            directory: directory.into(),
            variables,
            docker_config,
        }
    }

    /// Where `docker login` writes its credentials.
    #[must_use]
    pub fn docker_config(&self) -> Option<&Path> {
        self.docker_config.as_deref()
    }

    /// The environment of this process.
    ///
    /// # Errors
    /// If the process has no working directory (it has been deleted).
    pub fn of_process() -> io::Result<Self> {
        Ok(Self::new(std::env::current_dir()?, std::env::vars_os()))
    }
}

/// Everything that is written, the weakest source first.
pub(super) fn read(
    flags: &Flags,
    environment: &Environment,
    mistakes: &mut Vec<Mistake>,
) -> Result<Vec<Written>, ConfigErrors> {
    let mut written = Vec::new();
    if let Some(path) = &flags.config {
        let text = std::fs::read_to_string(environment.directory.join(path)).map_err(|source| {
            ConfigErrors::Unreadable {
                path: path.clone(),
                source,
            }
        })?;
        written.extend(file(path, &text, mistakes));
    }
    let (mut shared, own) = variables(environment, mistakes);
    // Where AWS is, is said on many machines whose objects are in a directory.
    let uses_s3 = written.iter().chain(&own).any(writes_s3);
    shared.retain(|written| uses_s3 || !writes_s3(written));
    written.extend(shared);
    written.extend(own);
    written.extend(flags_as_keys(flags));
    Ok(written)
}

fn writes_s3(written: &Written) -> bool {
    let Value::Mapping(storage) = &written.node.value else {
        return false;
    };
    written.key == "storage"
        && storage
            .iter()
            .any(|(key, node)| key == "s3" && node.value.says_something())
}

fn file(path: &Path, text: &str, mistakes: &mut Vec<Mistake>) -> Vec<Written> {
    let path: Arc<Path> = Arc::from(path);
    let mut report = |origin, problem| {
        let key = String::new();
        mistakes.push(Mistake {
            origin,
            key,
            problem,
        });
        Vec::new()
    };
    match Value::from_yaml(text) {
        Ok(Value::Null) => Vec::new(),
        Ok(Value::Mapping(entries)) => {
            let source = Source::File(path);
            let written = entries.into_iter().map(|(key, node)| Written {
                source: source.clone(),
                key,
                node,
            });
            written.collect()
        }
        Ok(
            found @ (Value::Bool(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::List(_)),
        ) => {
            let expected = "a mapping of keys".into();
            let found = found.to_string();
            report(Origin::File(path), Problem::Unexpected { expected, found })
        }
        Err(error) => {
            let origin = match error.line {
                Some(line) => Origin::Line(path, line),
                None => Origin::File(path),
            };
            report(origin, Problem::Syntax(error.problem))
        }
    }
}

fn is_ours(variable: &str) -> bool {
    variable.starts_with(PREFIX) || !shared_key(variable).is_empty()
}

/// The key of a shared variable; empty for all others.
fn shared_key(variable: &str) -> &'static [&'static str] {
    let shared = SHARED_VARIABLES.iter().find(|(name, _)| *name == variable);
    shared.map_or(&[], |(_, key)| key)
}

/// The shared variables, and ours, which are stronger.
fn variables(
    environment: &Environment,
    mistakes: &mut Vec<Mistake>,
) -> (Vec<Written>, Vec<Written>) {
    let mut shared = Vec::new();
    let mut own = Vec::new();
    for (name, value) in &environment.variables {
        let Some(name) = name.to_str() else { continue };
        let source = Source::Variable(name.into());
        let own_key = name.strip_prefix(PREFIX).map(str::to_lowercase);
        let path: Vec<&str> = match &own_key {
            Some(key) => key.split("__").collect(),
            None => shared_key(name).to_vec(),
        };
        let Some(text) = value.to_str() else {
            mistakes.push(Mistake {
                origin: source.at(0),
                key: path.join("."),
                problem: Problem::NotText,
            });
            continue;
        };
        let as_it_stands = Value::Text(text.to_owned());
        if own_key.is_some() {
            let is_secret = path.last().is_some_and(|key| names_secret(key));
            let value = if is_secret && !text.is_empty() {
                // A password may look like a number, or like anything else.
                as_it_stands
            } else {
                // Text that is no YAML, such as `[::]:8080`, is meant as it stands.
                Value::from_yaml(text).unwrap_or(as_it_stands)
            };
            own.extend(nested(&source, &path, value));
        } else if !text.is_empty() {
            shared.extend(nested(&source, &path, as_it_stands));
        }
    }
    (shared, own)
}

fn flags_as_keys(flags: &Flags) -> Vec<Written> {
    let level = match flags.verbose {
        0 => None,
        1 => Some("debug".to_owned()),
        2.. => Some("trace".to_owned()),
    };
    let typed: [(&'static str, &[&str], &Option<String>); 6] = [
        ("--upstream", &["upstream", "url"], &flags.upstream),
        ("--listen", &["listen", "address"], &flags.listen),
        ("--admin", &["admin", "address"], &flags.admin),
        ("--data", &["storage", "directory"], &flags.data),
        ("--policy", &["policy", "file"], &flags.policy),
        ("-v", &["telemetry", "log", "level"], &level),
    ];
    let mut written = Vec::new();
    for (flag, path, value) in typed {
        if let Some(value) = value {
            written.extend(nested(
                &Source::Flag(flag),
                path,
                Value::Text(value.clone()),
            ));
        }
    }
    written
}

/// `value` at the end of a path of keys.
fn nested(source: &Source, path: &[&str], value: Value) -> Option<Written> {
    let (key, inner) = path.split_first()?;
    let value = inner.iter().rev().fold(value, |value, key| {
        Value::Mapping(vec![((*key).to_owned(), Node { line: 0, value })])
    });
    Some(Written {
        source: source.clone(),
        key: (*key).to_owned(),
        node: Node { line: 0, value },
    })
}
