//! Authorities: who may sign, and what each makes of a signature. The only place that calls the verifiers.

use std::path::{Path, PathBuf};

use super::files;
use super::reading::Reader;
use super::trust::Trust;
use crate::clock::UnixMillis;
use crate::oci::RepositoryName;
use crate::verification::cosign::{Hash, KeyAuthority, PublicKey};
use crate::verification::notary::{Identity, Statement, StoreName, StoreType};
use crate::verification::{
    Check, CheckName, Conclusion, Evidence, Family, Outcome, Subject, Verdict, notary,
};

/// Somebody whose signatures count, as the policy file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    pub(super) name: String,
    pub(super) source: Source,
    /// Its line in the file.
    pub(super) line: u64,
}

/// Where it is written whom to trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// In the trust policy: in a statement of this name, or in the one that is about the repository.
    Notation { statement: Option<String> },
    /// In a public key.
    Cosign { key: KeySource, hash: Option<Hash> },
}

/// Where a public key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeySource {
    File(PathBuf),
    Inline(String),
}

impl Authority {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whose signatures it can accept.
    #[must_use]
    pub fn family(&self) -> Family {
        match self.source {
            Source::Notation { .. } => Family::Notation,
            Source::Cosign { .. } => Family::Cosign,
        }
    }

    /// Where it stands in the file.
    pub(super) fn path(&self) -> String {
        format!("authorities.{}", self.name)
    }
}

/// What an authority makes of signatures.
#[derive(Clone, Debug)]
pub(super) enum Verifier {
    /// What is signed with a key.
    Key(KeyAuthority),
    /// What is signed by whom a statement of the trust policy names.
    Statement(Option<String>),
}

/// The verifier of an authority, with the bytes it was made from, and the file they were in.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) verifier: Verifier,
    pub(super) bytes: Vec<u8>,
    pub(super) file: Option<PathBuf>,
}

impl Authority {
    /// Reads what the authority trusts in; paths start at `base`.
    pub(super) fn load(&self, base: &Path, reader: &mut Reader) -> Option<Loaded> {
        match &self.source {
            Source::Notation { statement } => Some(Loaded {
                verifier: Verifier::Statement(statement.clone()),
                bytes: Vec::new(),
                file: None,
            }),
            Source::Cosign { key, hash } => {
                let (bytes, file) = match key {
                    KeySource::Inline(text) => (text.clone().into_bytes(), None),
                    KeySource::File(path) => {
                        let path = base.join(path);
                        (self.key_file(&path, reader)?, Some(path))
                    }
                };
                let key = self.key(&bytes, *hash, file.as_deref(), reader)?;
                Some(Loaded {
                    verifier: Verifier::Key(KeyAuthority { key }),
                    bytes,
                    file,
                })
            }
        }
    }

    fn key_file(&self, file: &Path, reader: &mut Reader) -> Option<Vec<u8>> {
        match files::read(file) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                self.wrong_key(
                    reader,
                    format!("{}: cannot be read: {error}", file.display()),
                );
                None
            }
        }
    }

    fn key(
        &self,
        bytes: &[u8],
        hash: Option<Hash>,
        file: Option<&Path>,
        reader: &mut Reader,
    ) -> Option<PublicKey> {
        let key = match std::str::from_utf8(bytes) {
            Ok(text) => PublicKey::from_pem(text, hash).map_err(|error| error.to_string()),
            Err(_) => Err("not a text in PEM".to_owned()),
        };
        key.map_err(|problem| {
            let file = file.map_or_else(String::new, |file| format!("{}: ", file.display()));
            self.wrong_key(reader, format!("{file}{problem}"));
        })
        .ok()
    }

    fn wrong_key(&self, reader: &mut Reader, problem: String) {
        let path = format!("{}.cosign.key", self.path());
        reader.report(Some(self.line), &path, problem);
    }
}

impl Verifier {
    /// What the authority makes of `evidence`, which is stored in `repository`; `None` where that is of another family.
    pub(super) fn examine(
        &self,
        trust: Option<&Trust>,
        repository: &RepositoryName,
        evidence: &Evidence,
        subject: &Subject<'_>,
        now: UnixMillis,
    ) -> Option<Verdict> {
        match (self, evidence) {
            (Self::Key(authority), _) => authority.verify(evidence, subject),
            (Self::Statement(name), Evidence::Envelope { media_type, bytes }) => {
                let statement = trust.and_then(|trust| {
                    let statement = trust.statement(name.as_deref(), repository)?;
                    Some((statement, trust.stores()))
                });
                Some(match statement {
                    Some((statement, stores)) => {
                        notary::verify(bytes, media_type, subject, statement, stores, now)
                    }
                    None => nobody_trusted(bytes, media_type, subject, repository),
                })
            }
            (Self::Statement(_), Evidence::SimpleSigning { .. } | Evidence::Bundle { .. }) => None,
        }
    }

    /// What two authorities have in common that must not both be counted: one signature would be of both.
    pub(super) fn overlap(&self, other: &Self, trust: Option<&Trust>) -> Option<String> {
        match (self, other) {
            (Self::Key(one), Self::Key(other)) => {
                let fingerprint = one.key.fingerprint();
                (fingerprint == other.key.fingerprint()).then(|| format!("the key {fingerprint}"))
            }
            (Self::Statement(Some(one)), Self::Statement(Some(other))) if one == other => {
                Some(format!("the statement {one:?}"))
            }
            (Self::Statement(Some(one)), Self::Statement(Some(other))) => {
                let statement = |name: &str| {
                    let mut statements = trust?.statements().iter();
                    statements.find(|statement| statement.name() == name)
                };
                let both = (statement(one)?, statement(other)?);
                trust_the_same(both.0, both.1).then(|| {
                    format!("for the same signers by the statements {one:?} and {other:?}")
                })
            }
            (Self::Statement(None), Self::Statement(_))
            | (Self::Statement(_), Self::Statement(None)) => {
                Some("the statement of the repository".to_owned())
            }
            (Self::Key(_), Self::Statement(_)) | (Self::Statement(_), Self::Key(_)) => None,
        }
    }
}

/// Whether some signer is trusted by both, as far as names of stores and identities tell.
fn trust_the_same(one: &Statement, other: &Statement) -> bool {
    let mut stores = one.trust_stores().iter();
    let of_signers = |store: &StoreName| store.kind() != StoreType::Tsa;
    let shares_store =
        stores.any(|store| of_signers(store) && other.trust_stores().contains(store));
    let is_anyone = |identity: &Identity| matches!(identity, Identity::Anyone);
    let mut identities = one.trusted_identities().iter();
    shares_store
        && (other.trusted_identities().iter().any(is_anyone)
            || identities.any(|identity| {
                is_anyone(identity) || other.trusted_identities().contains(identity)
            }))
}

/// The verdict where no statement is about the repository: whatever is wrong without trust, or else that nobody is trusted.
fn nobody_trusted(
    envelope: &[u8],
    media_type: &str,
    subject: &Subject<'_>,
    repository: &RepositoryName,
) -> Verdict {
    let mut verdict = notary::examine_integrity(envelope, media_type, subject);
    if matches!(
        verdict.conclusion,
        Conclusion::Valid | Conclusion::Untrusted
    ) {
        verdict.conclusion = Conclusion::Untrusted;
        verdict
            .checks
            .retain(|check| check.name != CheckName::Authenticity);
        let detail = format!("no statement of the trust policy is about {repository}");
        let check = Check::new(CheckName::Authenticity, Outcome::Failed, detail);
        verdict.checks.push(check);
    }
    verdict
}
