//! Reading a YAML file key by key: what is missing, unknown, written twice or of another type is a mistake with its line
//! and path, and reading goes on.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::mistake::{LoadErrors, Mistake, Place};
use super::times;
use crate::clock::UnixMillis;
use crate::oci::Digest;
use crate::yaml::{Node, Value, nearest};

/// A file that is being read.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) file: PathBuf,
    mistakes: Vec<Mistake>,
}

/// The keys of a mapping that have not been asked for yet.
#[derive(Debug)]
pub(super) struct Fields {
    pub(super) path: String,
    pub(super) line: u64,
    entries: Vec<(String, Node)>,
    known: Vec<&'static str>,
}

/// A value with its path.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<'a> {
    pub(super) path: &'a str,
    pub(super) node: &'a Node,
}

impl Reader {
    pub(super) fn new(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            mistakes: Vec::new(),
        }
    }

    /// The outermost mapping of the document.
    pub(super) fn document(&mut self, text: &str) -> Option<Fields> {
        match Value::from_yaml(text) {
            Ok(value) => {
                let node = Node { line: 1, value };
                self.fields(At {
                    path: "",
                    node: &node,
                })
            }
            Err(error) => {
                let problem = format!("not valid YAML: {}", error.problem);
                self.report(error.line, "", problem);
                None
            }
        }
    }

    /// Whatever was made of the file, or everything that is wrong with it, in the order of its lines.
    pub(super) fn finish<T>(mut self, value: Option<T>) -> Result<T, LoadErrors> {
        match value {
            Some(value) if self.mistakes.is_empty() => Ok(value),
            Some(_) | None => {
                // Other files follow, in the order in which they were read.
                let own = |place: &Place| place.file == self.file;
                self.mistakes
                    .sort_by_key(|mistake| (!own(&mistake.place), mistake.place.line));
                Err(LoadErrors(self.mistakes))
            }
        }
    }

    pub(super) fn place(&self, line: Option<u64>, path: &str) -> Place {
        Place {
            file: self.file.clone(),
            line,
            path: path.to_owned(),
        }
    }

    pub(super) fn report(&mut self, line: Option<u64>, path: &str, problem: impl Into<String>) {
        self.report_at(self.place(line, path), problem);
    }

    pub(super) fn report_at(&mut self, place: Place, problem: impl Into<String>) {
        let problem = problem.into();
        self.mistakes.push(Mistake { place, problem });
    }

    pub(super) fn wrong(&mut self, at: At<'_>, problem: impl Into<String>) {
        self.report(Some(at.node.line), at.path, problem);
    }

    pub(super) fn unexpected(&mut self, at: At<'_>, expected: &str) {
        let found = &at.node.value;
        self.wrong(at, format!("expected {expected}, found {found}"));
    }

    /// The keys of a mapping, each once.
    pub(super) fn fields(&mut self, at: At<'_>) -> Option<Fields> {
        let Value::Mapping(written) = &at.node.value else {
            self.unexpected(at, "a mapping of keys");
            return None;
        };
        let mut entries: Vec<(String, Node)> = Vec::new();
        for (key, node) in written {
            if let Some((_, first)) = entries.iter().find(|(name, _)| name == key) {
                let problem = format!("written twice, first on line {}", first.line);
                self.report(Some(node.line), &join(at.path, key), problem);
            } else {
                entries.push((key.clone(), node.clone()));
            }
        }
        Some(Fields {
            path: at.path.to_owned(),
            line: at.node.line,
            entries,
            known: Vec::new(),
        })
    }

    /// Reads the elements of a list that is not empty.
    pub(super) fn list<T>(
        &mut self,
        at: At<'_>,
        what: &str,
        mut read: impl FnMut(&mut Self, At<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Some(elements) = at.node.list() else {
            self.unexpected(at, &format!("a list of {what}"));
            return None;
        };
        if elements.is_empty() {
            self.wrong(at, format!("expected a list of {what}, found an empty one"));
            return None;
        }
        let mut read_all = Some(Vec::new());
        for (index, node) in elements.iter().enumerate() {
            let path = format!("{}[{index}]", at.path);
            let element = read(self, At { path: &path, node });
            read_all = match (read_all, element) {
                (Some(mut all), Some(element)) => {
                    all.push(element);
                    Some(all)
                }
                _ => None,
            };
        }
        read_all
    }

    /// One of a few words; those of `later` are of later versions.
    pub(super) fn word<T: Copy>(
        &mut self,
        at: At<'_>,
        words: &[(&'static str, T)],
        later: &[&str],
    ) -> Option<T> {
        let written = at.node.text();
        if let Some((_, value)) = words.iter().find(|(word, _)| written == Some(word)) {
            return Some(*value);
        }
        if let Some(word) = written.filter(|word| later.contains(word)) {
            self.wrong(at, format!("{word:?} is not yet supported"));
            return None;
        }
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let meant = written.and_then(|written| nearest(names.iter().copied(), written));
        let (expected, found) = (names.join(" or "), &at.node.value);
        let suggestion = suggestion(meant);
        self.wrong(
            at,
            format!("expected {expected}, found {found}{suggestion}"),
        );
        None
    }

    /// A name, which occurs in messages, headers and metrics.
    pub(super) fn name(&mut self, at: At<'_>) -> Option<String> {
        match at.node.text() {
            Some(text) if is_name(text) => Some(text.to_owned()),
            Some(_) | None => {
                self.unexpected(at, NAME);
                None
            }
        }
    }

    /// A text that `T` can be made from.
    pub(super) fn parsed<T: FromStr>(&mut self, at: At<'_>, expected: &str) -> Option<T> {
        let parsed = at.node.text().and_then(|text| text.parse().ok());
        if parsed.is_none() {
            self.unexpected(at, expected);
        }
        parsed
    }

    pub(super) fn digest(&mut self, at: At<'_>) -> Option<Digest> {
        self.parsed(at, "a digest such as sha256:<64 hex digits>")
    }

    /// Text of one line that is not empty.
    pub(super) fn line(&mut self, at: At<'_>) -> Option<String> {
        match at.node.text() {
            Some(text) if !text.trim().is_empty() && !text.contains(char::is_control) => {
                Some(text.to_owned())
            }
            Some(_) | None => {
                self.unexpected(at, "text of one line");
                None
            }
        }
    }

    /// A span of time such as `1h`, within a range.
    pub(super) fn span(&mut self, at: At<'_>, least: Duration, most: Duration) -> Option<Duration> {
        let span = at.node.text().and_then(times::span);
        if let Some(span) = span.filter(|span| (least..=most).contains(span)) {
            return Some(span);
        }
        let range = format!("{}s to {}h", least.as_secs(), most.as_secs() / 3600);
        self.unexpected(at, &format!("a duration such as 30m or 1h, from {range}"));
        None
    }

    /// An instant: RFC 3339, or a date, of which the whole day is meant if it is an end, and else the beginning.
    pub(super) fn instant(&mut self, at: At<'_>, is_end: bool) -> Option<UnixMillis> {
        let instant = at.node.text().and_then(|text| times::instant(text, is_end));
        if instant.is_none() {
            self.unexpected(at, "a date such as 2027-01-31, or 2027-01-31T12:00:00Z");
        }
        instant
    }
}

impl Fields {
    /// Takes out a key.
    pub(super) fn take(&mut self, name: &'static str) -> Option<Node> {
        self.known.push(name);
        let index = self.entries.iter().position(|(key, _)| key == name)?;
        Some(self.entries.remove(index).1)
    }

    /// Takes out a key and reads it.
    pub(super) fn read<T>(
        &mut self,
        reader: &mut Reader,
        name: &'static str,
        read: impl FnOnce(&mut Reader, At<'_>) -> Option<T>,
    ) -> Option<T> {
        let node = self.take(name)?;
        let path = join(&self.path, name);
        read(
            reader,
            At {
                path: &path,
                node: &node,
            },
        )
    }

    /// A key that has to be there.
    pub(super) fn required<T>(
        &mut self,
        reader: &mut Reader,
        name: &'static str,
        read: impl FnOnce(&mut Reader, At<'_>) -> Option<T>,
    ) -> Option<T> {
        if !self.has(name) {
            reader.report(Some(self.line), &join(&self.path, name), "required");
        }
        self.read(reader, name, read)
    }

    /// Keys of later versions.
    pub(super) fn later(&mut self, reader: &mut Reader, names: &[&'static str]) -> bool {
        let mut found = false;
        for name in names {
            found |= self.has(name);
            self.read(reader, name, |reader, at| {
                reader.wrong(at, "not yet supported");
                Some(())
            });
        }
        found
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|(key, _)| key == name)
    }

    pub(super) fn line_of(&self, name: &str) -> Option<u64> {
        let (_, node) = self.entries.iter().find(|(key, _)| key == name)?;
        Some(node.line)
    }

    /// All keys that are there, whose names the file chooses.
    pub(super) fn all(self) -> Vec<(String, Node)> {
        self.entries
    }

    /// Reports what nobody has asked for.
    pub(super) fn finish(self, reader: &mut Reader) {
        for (key, node) in &self.entries {
            let meant = suggestion(nearest(self.known.iter().copied(), key));
            let path = join(&self.path, key);
            reader.report(Some(node.line), &path, format!("unknown key{meant}"));
        }
    }
}

const NAME: &str = "a name of 1 to 64 letters, digits, dots, underscores and hyphens";

pub(super) fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=64).contains(&text.len()) && text.bytes().all(is_plain)
}

pub(super) fn suggestion(meant: Option<&str>) -> String {
    meant.map_or_else(String::new, |meant| format!(" (did you mean {meant:?}?)"))
}

pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        return key.to_owned();
    }
    format!("{path}.{key}")
}
