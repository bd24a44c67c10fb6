//! Reading keys. A section is asked for each key it has, once, by name, meaning, kind and default; the answer is the typed
//! value, and the question itself is remembered. So one place declares a key, and the settings, the refusal of unknown keys,
//! the dump and the schema all follow from it.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::kind::{Kind, SecretFile, SecretText};
use super::mistake::{Mistake, Problem};
use super::written::{Origin, Source, Written};
use crate::secret::Secret;
use crate::yaml::{Node, Value, nearest};

/// A key that was asked for.
#[derive(Debug)]
pub(super) struct Declared {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) content: Content,
    /// Whether it counts; not if another one was chosen in its place.
    pub(super) in_force: bool,
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
    /// Whether what is required here is missed: not in an alternative that nobody has chosen, or if it cannot be read.
    in_force: bool,
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
            in_force: true,
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
        self.mapping(name, about, true, read)
    }

    /// A mapping that counts only if somebody has written it; then what `read` makes of it.
    pub(super) fn alternative<T>(
        &mut self,
        name: &'static str,
        about: &'static str,
        read: impl FnOnce(&mut Section<'_>) -> Option<T>,
    ) -> Option<T> {
        let in_force = self.origin(name).is_some();
        let value = self.mapping(name, about, in_force, read);
        value.filter(|_| in_force)
    }

    /// Where the strongest source says something about a key; to be asked before the key is read.
    pub(super) fn origin(&self, name: &str) -> Option<Origin> {
        let says = |written: &&Written| written.key == name && written.node.value.says_something();
        let strongest = self.written.iter().rfind(says)?;
        Some(strongest.source.at(strongest.node.line))
    }

    /// The first of these keys that is written, and where; to be asked before they are read.
    pub(super) fn first_written(&self, names: &[&'static str]) -> Option<(Origin, &'static str)> {
        let mut written = names.iter().map(|name| (self.origin(name), *name));
        written.find_map(|(origin, name)| Some((origin?, name)))
    }

    /// Of two keys at most one may be written; to be asked before they are read.
    pub(super) fn exclusive(&mut self, one: &'static str, other: &'static str) {
        if let (Some(first), Some(second)) = (self.origin(one), self.origin(other)) {
            let (origin, key, excluded) = if first.rank() > second.rank() {
                (first, one, other)
            } else {
                (second, other, one)
            };
            let other = join(&self.path, excluded);
            self.report(origin, key, Problem::Excludes { other });
        }
    }

    /// Another key was chosen in place of this one.
    pub(super) fn out_of_force(&mut self, name: &'static str) {
        for declared in &mut self.declared {
            declared.in_force &= declared.name != name;
        }
    }

    fn mapping<T>(
        &mut self,
        name: &'static str,
        about: &'static str,
        in_force: bool,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> T {
        let mut inner = Vec::new();
        let mut is_mapping = true;
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
                    is_mapping = false;
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
            in_force: self.in_force && in_force && is_mapping,
            written: inner,
            declared: Vec::new(),
        };
        let value = read(&mut section);
        let keys = section.finish();
        self.declare(name, about, Content::Section(keys));
        if !in_force {
            self.out_of_force(name);
        }
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
        let read = self.read(name, about, kind, shown.clone(), shown);
        read.0.unwrap_or(default)
    }

    /// A key whose default follows from other keys.
    pub(super) fn derived<K: Kind>(
        &mut self,
        name: &'static str,
        about: &'static str,
        kind: &K,
        default: K::Value,
    ) -> K::Value {
        let shown = Some(kind.show(&default));
        let read = self.read(name, about, kind, None, shown);
        read.0.unwrap_or(default)
    }

    /// A key that may be absent, and means nothing, which is a mistake, unless `applies`.
    pub(super) fn only_if<K: Kind>(
        &mut self,
        (applies, condition): (bool, &'static str),
        name: &'static str,
        about: &'static str,
        kind: &K,
    ) -> Option<K::Value> {
        if let Some(origin) = self.origin(name).filter(|_| !applies) {
            self.report(origin, name, Problem::OnlyIf(condition));
        }
        self.optional(name, about, kind)
    }

    /// A secret, written out or in a file; the names and meanings of both keys.
    pub(super) fn secret(
        &mut self,
        (name, about): (&'static str, &'static str),
        (file, about_file): (&'static str, &'static str),
    ) -> Option<Secret> {
        self.exclusive(name, file);
        let text = self.optional(name, about, &SecretText);
        let content = self.optional(file, about_file, &SecretFile);
        text.or(content.map(|(_, secret)| secret))
    }

    /// A key that may be absent.
    pub(super) fn optional<K: Kind>(
        &mut self,
        name: &'static str,
        about: &'static str,
        kind: &K,
    ) -> Option<K::Value> {
        self.read(name, about, kind, None, None).0
    }

    /// A key that has to be there. Nothing is returned only if a mistake was reported, or the section is not in force.
    pub(super) fn required<K: Kind>(
        &mut self,
        name: &'static str,
        about: &'static str,
        kind: &K,
        flag: Option<&'static str>,
    ) -> Option<K::Value> {
        let (value, was_written) = self.read(name, about, kind, None, None);
        if !was_written && self.in_force {
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
        fallback: Option<Json>,
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
            .or(fallback);
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
        nearest(names, key).map(str::to_owned)
    }

    fn declare(&mut self, name: &'static str, about: &'static str, content: Content) {
        self.declared.push(Declared {
            name,
            about,
            content,
            in_force: true,
        });
    }

    /// Reports a mistake; `key` is relative to this section.
    pub(super) fn report(&mut self, origin: Origin, key: &str, problem: Problem) {
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
