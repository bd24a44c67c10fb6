//! Reading keys. A section is asked for each key it has, once, by name, meaning, kind and default; the answer is the typed
//! value, and the question itself is remembered. So one place declares a key, and the settings, the refusal of unknown keys,
//! the dump and the schema all follow from it.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::kind::Kind;
use super::mistake::{Mistake, Problem};
use super::written::{Node, Origin, Source, Value, Written};

/// A key that was asked for.
#[derive(Debug)]
pub(super) struct Declared {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) content: Content,
}

/// What a declared key holds.
#[derive(Debug)]
pub(super) enum Content {
    /// More keys.
    Section(Vec<Declared>),
    /// A value: its type, its default, and what is in force.
    Value {
        schema: Json,
        default: Option<Json>,
        effective: Option<Json>,
        origin: Origin,
    },
    /// Something that later versions understand.
    Later,
}

/// The keys of one mapping, of all sources together, the strongest last.
#[derive(Debug)]
pub(super) struct Section<'a> {
    directory: &'a Path,
    mistakes: &'a mut Vec<Mistake>,
    path: String,
    written: Vec<Written>,
    declared: Vec<Declared>,
}

impl<'a> Section<'a> {
    /// The outermost section. Relative paths of variables and flags start at `directory`.
    pub(super) fn root(
        directory: &'a Path,
        mistakes: &'a mut Vec<Mistake>,
        written: Vec<Written>,
    ) -> Self {
        Self {
            directory,
            mistakes,
            path: String::new(),
            written,
            declared: Vec::new(),
        }
    }

    /// The working directory.
    pub(super) fn directory(&self) -> &'a Path {
        self.directory
    }

    /// A mapping, read by `read`.
    pub(super) fn section<T>(
        &mut self,
        name: &'static str,
        about: &'static str,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> T {
        let mut inner = Vec::new();
        for Written { source, node, .. } in self.take(name) {
            match node.value {
                Value::Null => {}
                Value::Mapping(entries) => {
                    inner.extend(entries.into_iter().map(|(key, node)| Written {
                        source: source.clone(),
                        key,
                        node,
                    }))
                }
                found @ (Value::Bool(_)
                | Value::Integer(_)
                | Value::Float(_)
                | Value::Text(_)
                | Value::List(_)) => {
                    let expected = "a mapping of keys".into();
                    let found = found.to_string();
                    self.report(
                        source.at(node.line),
                        name,
                        Problem::Unexpected { expected, found },
                    );
                }
            }
        }
        let mut section = Section {
            directory: self.directory,
            mistakes: self.mistakes,
            path: join(&self.path, name),
            written: inner,
            declared: Vec::new(),
        };
        let value = read(&mut section);
        let keys = section.finish();
        self.declare(name, about, Content::Section(keys));
        value
    }

    /// A key with a default.
    pub(super) fn value<K: Kind>(
        &mut self,
        name: &'static str,
        about: &'static str,
        kind: &K,
        default: K::Value,
    ) -> K::Value {
        let shown = Some(kind.show(&default));
        self.read(name, about, kind, shown).0.unwrap_or(default)
    }

    /// A key that may be absent.
    pub(super) fn optional<K: Kind>(
        &mut self,
        name: &'static str,
        about: &'static str,
        kind: &K,
    ) -> Option<K::Value> {
        self.read(name, about, kind, None).0
    }

    /// A key that has to be there. Nothing is returned only if a mistake was reported.
    pub(super) fn required<K: Kind>(
        &mut self,
        name: &'static str,
        about: &'static str,
        kind: &K,
        flag: &'static str,
    ) -> Option<K::Value> {
        let (value, was_written) = self.read(name, about, kind, None);
        if !was_written {
            let path = join(&self.path, name);
            let variable = format!("REGSEAL__{}", path.replace('.', "__").to_uppercase());
            self.report(Origin::Default, name, Problem::Required { variable, flag });
        }
        value
    }

    /// A key of later versions: refused, whatever it holds, unless that is nothing.
    pub(super) fn later(&mut self, name: &'static str, about: &'static str) {
        for written in self.take(name) {
            if written.node.value != Value::Null {
                let origin = written.source.at(written.node.line);
                self.report(origin, name, Problem::NotYetSupported);
            }
        }
        self.declare(name, about, Content::Later);
    }

    /// Reports what nobody asked for, and returns what was asked for.
    pub(super) fn finish(mut self) -> Vec<Declared> {
        for written in std::mem::take(&mut self.written) {
            let origin = written.source.at(written.node.line);
            let suggestion = self.nearest(&written.key);
            self.report(origin, &written.key, Problem::UnknownKey { suggestion });
        }
        self.declared
    }

    /// The strongest value of a key, and whether anybody has written one. The weaker ones are parsed as well: they are
    /// mistakes waiting for the day the stronger one goes.
    fn read<K: Kind>(
        &mut self,
        name: &'static str,
        about: &'static str,
        kind: &K,
        default: Option<Json>,
    ) -> (Option<K::Value>, bool) {
        let mut strongest = None;
        let mut origin = Origin::Default;
        let mut was_written = false;
        for Written { source, node, .. } in self.take(name) {
            if node.value == Value::Null {
                continue;
            }
            was_written = true;
            match kind.read(&node, &self.base(&source)) {
                Ok(value) => {
                    strongest = Some(value);
                    origin = source.at(node.line);
                }
                Err(faults) => {
                    for fault in faults {
                        self.report(source.at(fault.line), name, fault.problem);
                    }
                }
            }
        }
        let effective = strongest
            .as_ref()
            .map(|value| kind.show(value))
            .or_else(|| default.clone());
        let content = Content::Value {
            schema: kind.schema(),
            default,
            effective,
            origin,
        };
        self.declare(name, about, content);
        (strongest, was_written)
    }

    /// Takes out what the sources say about a key; a file may say it once.
    fn take(&mut self, name: &str) -> Vec<Written> {
        let (taken, rest) = std::mem::take(&mut self.written)
            .into_iter()
            .partition::<Vec<_>, _>(|written| written.key == name);
        self.written = rest;
        let mut in_file = taken
            .iter()
            .filter(|written| matches!(written.source, Source::File(_)));
        if let Some(Written {
            node: Node { line: first, .. },
            ..
        }) = in_file.next()
        {
            for again in in_file {
                let origin = again.source.at(again.node.line);
                self.report(origin, name, Problem::WrittenTwice { first: *first });
            }
        }
        taken
    }

    /// The directory that relative paths of a source start from.
    fn base(&self, source: &Source) -> PathBuf {
        match source {
            Source::File(path) => self.directory.join(path.parent().unwrap_or(Path::new(""))),
            Source::Variable(_) | Source::Flag(_) => self.directory.to_owned(),
        }
    }

    /// The declared key that `key` looks like a slip of.
    fn nearest(&self, key: &str) -> Option<String> {
        let names = self.declared.iter().map(|declared| declared.name);
        let (distance, name) = names
            .map(|name| (strsim::damerau_levenshtein(name, key), name))
            .min()?;
        (distance <= 1.max(name.len() / 3)).then(|| name.to_owned())
    }

    fn declare(&mut self, name: &'static str, about: &'static str, content: Content) {
        self.declared.push(Declared {
            name,
            about,
            content,
        });
    }

    fn report(&mut self, origin: Origin, key: &str, problem: Problem) {
        let key = join(&self.path, key);
        self.mistakes.push(Mistake {
            origin,
            key,
            problem,
        });
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        return key.to_owned();
    }
    format!("{path}.{key}")
}
