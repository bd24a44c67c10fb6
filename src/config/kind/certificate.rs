//! Files of certificates and keys. They are read and judged here, so that a mistake in one names the key and the line that
//! name it; shown are their paths.

use std::fs;
use std::path::{Path, PathBuf};

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value as Json;

use super::{Fault, FilePath, Kind, Node};
use crate::certificates::{self, CertificateError};
use crate::config::mistake::Problem;

/// A file with a certificate, and those between it and its authority.
pub(in crate::config) struct CertificateFile;

/// A file with a private key.
pub(in crate::config) struct KeyFile;

/// A file with authorities to trust.
pub(in crate::config) struct AuthoritiesFile;

impl Kind for CertificateFile {
    type Value = (PathBuf, Vec<CertificateDer<'static>>);

    fn read(&self, node: &Node, base: &Path) -> Result<Self::Value, Vec<Fault>> {
        judged(node, base, certificates::chain)
    }

    fn show(&self, (path, _): &Self::Value) -> Json {
        FilePath.show(path)
    }

    fn schema(&self) -> Json {
        FilePath.schema()
    }
}

impl Kind for KeyFile {
    type Value = (PathBuf, PrivateKeyDer<'static>);

    fn read(&self, node: &Node, base: &Path) -> Result<Self::Value, Vec<Fault>> {
        judged(node, base, certificates::key)
    }

    fn show(&self, (path, _): &Self::Value) -> Json {
        FilePath.show(path)
    }

    fn schema(&self) -> Json {
        FilePath.schema()
    }
}

impl Kind for AuthoritiesFile {
    type Value = PathBuf;

    fn read(&self, node: &Node, base: &Path) -> Result<PathBuf, Vec<Fault>> {
        Ok(judged(node, base, certificates::authorities)?.0)
    }

    fn show(&self, path: &PathBuf) -> Json {
        FilePath.show(path)
    }

    fn schema(&self) -> Json {
        FilePath.schema()
    }
}

/// The path, and what `judge` makes of the content.
fn judged<T>(
    node: &Node,
    base: &Path,
    judge: fn(&[u8]) -> Result<T, CertificateError>,
) -> Result<(PathBuf, T), Vec<Fault>> {
    let path = FilePath.read(node, base)?;
    let content = match fs::read(&path) {
        Ok(content) => content,
        Err(source) => return Err(node.fault(Problem::File { path, source })),
    };
    match judge(&content) {
        Ok(judged) => Ok((path, judged)),
        Err(source) => Err(node.fault(Problem::Certificate { path, source })),
    }
}
