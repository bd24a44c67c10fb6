//! Trust stores: directories with the certificates that are trusted (trust-store-trust-policy, "Trust store").
//!
//! The layout is notation's: `x509/{ca,signingAuthority,tsa}/<name>/`, certificates in PEM or DER, several per file as
//! one likes. All is read once, within bounds; a store that cannot be read whole trusts nobody.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use der::{Reader as _, SliceReader};
use rustls::pki_types::pem::{PemObject, SectionKind};

use super::certificate::Certificate;
use super::mistake::{Mistake, TrustError};

/// The largest file that is read.
pub(super) const LARGEST: u64 = 1 << 20;

/// The most files that are read, of all stores together, and the most entries of a directory.
pub(super) const MOST_FILES: usize = 1000;

/// What the certificates of a store are trusted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StoreType {
    /// Signers who hold their own key.
    Ca,
    /// Services that sign for others, and say when.
    SigningAuthority,
    /// Time-stamping authorities.
    Tsa,
}

impl StoreType {
    const ALL: [Self; 3] = [Self::Ca, Self::SigningAuthority, Self::Tsa];

    /// The name in documents and directories.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ca => "ca",
            Self::SigningAuthority => "signingAuthority",
            Self::Tsa => "tsa",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A store, as a statement lists it: `type:name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreName {
    kind: StoreType,
    name: String,
}

impl StoreName {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once(':')?;
        Self::new(StoreType::parse(kind)?, name)
    }

    fn new(kind: StoreType, name: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let is_name = !name.is_empty() && name.bytes().all(allowed);
        // These two are directories that lead out of the store.
        (is_name && name != "." && name != "..").then(|| Self {
            kind,
            name: name.to_owned(),
        })
    }

    /// What it is trusted for.
    #[must_use]
    pub fn kind(&self) -> StoreType {
        self.kind
    }
}

impl fmt::Display for StoreName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.as_str(), self.name)
    }
}

/// All trust stores.
#[derive(Clone, Debug, Default)]
pub struct TrustStores {
    stores: BTreeMap<StoreName, Vec<Certificate>>,
}

impl TrustStores {
    /// Reads the stores below a directory. One that is not there has no stores.
    ///
    /// # Errors
    /// Every mistake, each with the store and file where it is.
    pub fn read(directory: &Path) -> Result<Self, Vec<TrustError>> {
        let mut reader = StoreReader::default();
        reader.types(&directory.join("x509"));
        if reader.mistakes.is_empty() {
            Ok(reader.read)
        } else {
            Err(reader.mistakes)
        }
    }

    /// The certificates of a store; `None` if there is no such store.
    #[must_use]
    pub fn certificates(&self, store: &StoreName) -> Option<&[Certificate]> {
        self.stores.get(store).map(Vec::as_slice)
    }

    /// Every store with its certificates.
    pub fn iter(&self) -> impl Iterator<Item = (&StoreName, &[Certificate])> {
        self.stores
            .iter()
            .map(|(name, certificates)| (name, certificates.as_slice()))
    }
}

#[derive(Default)]
struct StoreReader {
    read: TrustStores,
    files: usize,
    mistakes: Vec<TrustError>,
}

impl StoreReader {
    fn note(&mut self, place: &str, mistake: Mistake) {
        self.mistakes.push(TrustError::new(place, mistake));
    }

    fn types(&mut self, directory: &Path) {
        for (name, path) in self.directory("x509", directory, true) {
            match StoreType::parse(&name) {
                Some(kind) => self.stores(kind, &path),
                None => self.note(&name, Mistake::NotAStoreType),
            }
        }
    }

    fn stores(&mut self, kind: StoreType, directory: &Path) {
        for (name, path) in self.directory(kind.as_str(), directory, false) {
            let place = format!("{}:{name}", kind.as_str());
            match StoreName::new(kind, &name) {
                Some(store) => self.store(store, &path),
                None => self.note(&place, Mistake::StoreName),
            }
        }
    }

    fn store(&mut self, store: StoreName, directory: &Path) {
        let before = self.mistakes.len();
        let mut certificates = Vec::new();
        for (name, path) in self.directory(&store.to_string(), directory, false) {
            self.files += 1;
            if self.files > MOST_FILES {
                // Once is enough, however many there are.
                if self.files == MOST_FILES + 1 {
                    self.note(&store.to_string(), Mistake::TooManyFiles);
                }
                break;
            }
            let place = format!("{store}/{name}");
            match read_file(&path, store.kind) {
                Ok(found) => certificates.extend(found),
                Err(mistake) => self.note(&place, mistake),
            }
        }
        if certificates.is_empty() && self.mistakes.len() == before {
            self.note(&store.to_string(), Mistake::NoCertificate);
        }
        self.read.stores.insert(store, certificates);
    }

    /// The entries of a directory, in order of their names.
    fn directory(&mut self, place: &str, path: &Path, may_lack: bool) -> Vec<(String, PathBuf)> {
        match entries(path) {
            Ok(entries) => entries,
            Err(Mistake::Io(error)) if may_lack && error.kind() == io::ErrorKind::NotFound => {
                Vec::new()
            }
            Err(mistake) => {
                self.note(place, mistake);
                Vec::new()
            }
        }
    }
}

fn entries(directory: &Path) -> Result<Vec<(String, PathBuf)>, Mistake> {
    let metadata = fs::symlink_metadata(directory).map_err(Mistake::Io)?;
    if metadata.is_symlink() {
        return Err(Mistake::SymbolicLink);
    }
    if !metadata.is_dir() {
        return Err(Mistake::NotADirectory);
    }
    let mut entries = Vec::new();
    for entry in fs::read_dir(directory).map_err(Mistake::Io)? {
        let entry = entry.map_err(Mistake::Io)?;
        if entries.len() == MOST_FILES {
            return Err(Mistake::TooManyFiles);
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        entries.push((name, entry.path()));
    }
    entries.sort();
    Ok(entries)
}

fn read_file(path: &Path, kind: StoreType) -> Result<Vec<Certificate>, Mistake> {
    let metadata = fs::symlink_metadata(path).map_err(Mistake::Io)?;
    if metadata.is_symlink() {
        return Err(Mistake::SymbolicLink);
    }
    if !metadata.is_file() {
        return Err(Mistake::NotAFile);
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(Mistake::Io)?;
    let mut file = file.take(LARGEST + 1);
    file.read_to_end(&mut bytes).map_err(Mistake::Io)?;
    // Nothing is left to take only if there was more than is allowed.
    if file.limit() == 0 {
        return Err(Mistake::TooLarge);
    }
    let certificates = certificates(&bytes)?;
    for certificate in &certificates {
        if let Some(why) = lacks(certificate, kind) {
            return Err(Mistake::NotAnAnchor {
                subject: certificate.subject(),
                why,
            });
        }
    }
    Ok(certificates)
}

/// The certificates of a file, PEM or DER.
pub(super) fn certificates(bytes: &[u8]) -> Result<Vec<Certificate>, Mistake> {
    let mut encoded: Vec<Vec<u8>> = Vec::new();
    if bytes.windows(10).any(|window| window == b"-----BEGIN") {
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes) {
            match section {
                Ok((SectionKind::Certificate, section)) => encoded.push(section),
                _ => return Err(Mistake::NotACertificate),
            }
        }
    } else {
        let mut reader = SliceReader::new(bytes).or(Err(Mistake::NotACertificate))?;
        while !reader.is_finished() {
            let certificate = reader.tlv_bytes().or(Err(Mistake::NotACertificate))?;
            encoded.push(certificate.to_vec());
        }
    }
    if encoded.is_empty() {
        return Err(Mistake::NoCertificate);
    }
    let parse = |encoded: &Vec<u8>| Certificate::parse(encoded).or(Err(Mistake::NotACertificate));
    encoded.iter().map(parse).collect()
}

/// What a certificate lacks to be an anchor of this kind.
fn lacks(certificate: &Certificate, kind: StoreType) -> Option<&'static str> {
    match kind {
        StoreType::Ca | StoreType::SigningAuthority => {
            let trusted = certificate.is_authority() || certificate.is_issued_by(certificate);
            (!trusted).then_some("is neither a CA nor self-signed")
        }
        StoreType::Tsa => {
            let trusted = certificate.is_authority() && certificate.is_issued_by(certificate);
            (!trusted).then_some("is no self-signed root CA")
        }
    }
}
