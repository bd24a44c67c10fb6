//! Secrets, written out or in a file. Neither is ever shown, nor repeated in a mistake.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use super::{Fault, FilePath, Kind, Node};
use crate::config::mistake::Problem;
use crate::secret::{HIDDEN, Secret};

/// Whether the value of a key of this name may be a secret; the name of a file is not what is in it.
pub(in crate::config) fn names_secret(name: &str) -> bool {
    let secret = ["password", "secret", "token"];
    secret.iter().any(|word| name.contains(word)) && !name.ends_with("_file")
}

/// A secret that is written out.
pub(in crate::config) struct SecretText;

impl Kind for SecretText {
    type Value = Secret;

    fn read(&self, node: &Node, _: &Path) -> Result<Secret, Vec<Fault>> {
        match node.text() {
            Some(text) if !text.is_empty() => Ok(Secret::new(text)),
            Some(_) | None => Err(node.fault(Problem::SecretExpected)),
        }
    }

    fn show(&self, _: &Secret) -> Json {
        json!(HIDDEN)
    }

    fn schema(&self) -> Json {
        json!({"type": "string", "minLength": 1, "writeOnly": true})
    }
}

/// A file whose content, without the line break at its end, is a secret; shown is its path.
pub(in crate::config) struct SecretFile;

impl Kind for SecretFile {
    type Value = (PathBuf, Secret);

    fn read(&self, node: &Node, base: &Path) -> Result<(PathBuf, Secret), Vec<Fault>> {
        let path = FilePath.read(node, base)?;
        let content = match fs::read_to_string(&path) {
            Ok(content) => content,
            Err(source) => return Err(node.fault(Problem::File { path, source })),
        };
        match content.trim_end_matches(['\r', '\n']) {
            "" => Err(node.fault(Problem::EmptyFile(path))),
            secret => {
                let secret = Secret::new(secret);
                Ok((path, secret))
            }
        }
    }

    fn show(&self, (path, _): &(PathBuf, Secret)) -> Json {
        FilePath.show(path)
    }

    fn schema(&self) -> Json {
        FilePath.schema()
    }
}

/// A list of files that have to be there.
pub(in crate::config) struct Files;

impl Kind for Files {
    type Value = Vec<PathBuf>;

    fn read(&self, node: &Node, base: &Path) -> Result<Vec<PathBuf>, Vec<Fault>> {
        let Some(elements) = node.list() else {
            return Err(node.unexpected("a list of paths"));
        };
        let mut paths = Vec::new();
        let mut faults = Vec::new();
        for element in elements {
            match ReadableFile.read(element, base) {
                Ok(path) => paths.push(path),
                Err(found) => faults.extend(found),
            }
        }
        if faults.is_empty() {
            Ok(paths)
        } else {
            Err(faults)
        }
    }

    fn show(&self, paths: &Vec<PathBuf>) -> Json {
        paths.iter().map(|path| FilePath.show(path)).collect()
    }

    fn schema(&self) -> Json {
        json!({"type": "array", "items": FilePath.schema()})
    }
}

/// A file that has to be there and readable.
pub(in crate::config) struct ReadableFile;

impl Kind for ReadableFile {
    type Value = PathBuf;

    fn read(&self, node: &Node, base: &Path) -> Result<PathBuf, Vec<Fault>> {
        let path = FilePath.read(node, base)?;
        match fs::read(&path) {
            Ok(content) if content.is_empty() => Err(node.fault(Problem::EmptyFile(path))),
            Ok(_) => Ok(path),
            Err(source) => Err(node.fault(Problem::File { path, source })),
        }
    }

    fn show(&self, path: &PathBuf) -> Json {
        FilePath.show(path)
    }

    fn schema(&self) -> Json {
        FilePath.schema()
    }
}
