//! The policy with all that it trusts in, as it was at one moment.

use std::path::{Path, PathBuf};

use super::authority::{Authority, Verifier};
use super::inventory::Inventory;
use super::mistake::{LoadErrors, Warning};
use super::reading::Reader;
use super::trust::Trust;
use super::{Policy, Requirement, document, files};
use crate::clock::UnixMillis;
use crate::oci::{Digest, Hasher, RepositoryName};
use crate::verification::{Evidence, Family, Subject, Verdict};

/// How many digits of a hash name a revision.
const REVISION: usize = 16;

/// Where a snapshot is read from.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The policy file.
    pub policy_file: PathBuf,
    /// The directory with the trust policy and the trust stores of notation.
    pub trust_directory: Option<PathBuf>,
    /// The host, and perhaps port, by which the scopes of a trust policy know the registry.
    pub registry: Option<String>,
    /// The present instant, by which something has expired.
    pub now: UnixMillis,
}

/// The policy with all that it trusts in. It never changes; a reload makes another one.
#[derive(Debug)]
pub struct Snapshot {
    policy: Policy,
    /// The authorities, in the order of the policy.
    verifiers: Vec<(String, Verifier)>,
    /// What authorities of the Notary Project trust in, if there are any.
    trust: Option<Trust>,
    revision: Revision,
    watched: Vec<PathBuf>,
}

/// What a snapshot was made from: a verdict of another one has to be made again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Revision {
    /// Of the policy file and the keys that it names.
    pub policy: String,
    /// Of the trust directory, and of the name by which its scopes know the registry.
    pub trust: String,
}

/// What one authority makes of one signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opinion {
    /// The name of the authority.
    pub authority: String,
    /// What it makes of it.
    pub verdict: Verdict,
}

impl Snapshot {
    /// Reads everything, each file once.
    ///
    /// # Errors
    /// Everything that is wrong with any of it.
    pub fn load(sources: &Sources) -> Result<(Self, Vec<Warning>), LoadErrors> {
        let mut reader = Reader::new(&sources.policy_file);
        let loaded = load(sources, &mut reader);
        reader.finish(loaded)
    }

    /// Where there is no policy: no rule, nobody who is trusted.
    #[must_use]
    pub fn without_policy() -> Self {
        let nothing = || Fingerprint::new().finish();
        Self {
            policy: Policy::default(),
            verifiers: Vec::new(),
            trust: None,
            revision: Revision {
                policy: nothing(),
                trust: nothing(),
            },
            watched: Vec::new(),
        }
    }

    /// What it was made from.
    #[must_use]
    pub fn revision(&self) -> &Revision {
        &self.revision
    }

    /// The rules.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The files and directories it was read from.
    #[must_use]
    pub fn watched(&self) -> &[PathBuf] {
        &self.watched
    }

    /// What the authorities make of a signature that is stored in `repository`: one opinion for each of its family.
    #[must_use]
    pub fn examine(
        &self,
        repository: &RepositoryName,
        evidence: &Evidence,
        subject: &Subject<'_>,
        now: UnixMillis,
    ) -> Vec<Opinion> {
        let trust = self.trust.as_ref();
        let examine = |(name, verifier): &(String, Verifier)| {
            Some(Opinion {
                authority: name.clone(),
                verdict: verifier.examine(trust, repository, evidence, subject, now)?,
            })
        };
        self.verifiers.iter().filter_map(examine).collect()
    }

    /// What is trusted, for people.
    #[must_use]
    pub fn inventory(&self) -> Inventory {
        Inventory::of(&self.policy, &self.verifiers, self.trust.as_ref())
    }
}

fn load(sources: &Sources, reader: &mut Reader) -> Option<(Snapshot, Vec<Warning>)> {
    let file = &sources.policy_file;
    let text = match files::read(file).map(String::from_utf8) {
        Ok(Ok(text)) => text,
        Ok(Err(_)) => {
            reader.report(None, "", "is not UTF-8");
            return None;
        }
        Err(error) => {
            reader.report(None, "", format!("cannot be read: {error}"));
            return None;
        }
    };
    let read = document::read(reader, &text, sources.now);
    let base = file.parent().unwrap_or(Path::new(""));
    let mut watched = vec![file.clone()];
    let mut hashed = Fingerprint::new();
    hashed.add(text.as_bytes());
    let mut verifiers = Vec::new();
    for authority in &read.authorities {
        let Some(loaded) = authority.load(base, reader) else {
            continue;
        };
        hashed.add(authority.name().as_bytes());
        hashed.add(&loaded.bytes);
        watched.extend(loaded.file);
        verifiers.push((authority.name().to_owned(), loaded.verifier));
    }
    let trust = trust(sources, &read.authorities, reader);
    let mut hashed_trust = Fingerprint::new();
    if let Some(trust) = &trust {
        trust.hash(&mut hashed_trust);
        watched.extend(trust.watched());
    }
    let (policy, mut warnings) = read.policy();
    let policy = policy?;
    counted_as_one(&policy, &verifiers, trust.as_ref(), reader);
    if let Some(trust) = &trust {
        for authority in policy.authorities() {
            let place = reader.place(Some(authority.line), &authority.path());
            warnings.extend(trust.lint(authority, &place));
        }
        warnings.extend(trust.lint_certificates(sources.now));
    }
    let snapshot = Snapshot {
        policy,
        verifiers,
        trust,
        revision: Revision {
            policy: hashed.finish(),
            trust: hashed_trust.finish(),
        },
        watched,
    };
    Some((snapshot, warnings))
}

/// The trust directory, if some authority needs it.
fn trust(sources: &Sources, authorities: &[Authority], reader: &mut Reader) -> Option<Trust> {
    let is_notation = |authority: &&Authority| authority.family() == Family::Notation;
    let needing = authorities.iter().find(is_notation)?;
    let Some(directory) = &sources.trust_directory else {
        let path = format!("{}.notation", needing.path());
        reader.report(Some(needing.line), &path, "needs trust.directory");
        return None;
    };
    let trust = Trust::load(directory, sources.registry.as_deref(), reader)?;
    for authority in authorities {
        trust.check(authority, reader);
    }
    Some(trust)
}

/// Of authorities that are counted, no two may accept one signature because they are one.
fn counted_as_one(
    policy: &Policy,
    verifiers: &[(String, Verifier)],
    trust: Option<&Trust>,
    reader: &mut Reader,
) {
    let find = |name: &str| {
        let (_, verifier) = verifiers.iter().find(|(known, _)| known == name)?;
        Some(verifier)
    };
    let overlap = |one: &str, other: &str| match (find(one), find(other)) {
        (Some(one), Some(other)) => one.overlap(other, trust),
        _ => None,
    };
    for (index, rule) in policy.rules().iter().enumerate() {
        for counted in rule.require.iter().flat_map(Requirement::counted) {
            for (position, one) in counted.iter().enumerate() {
                let earlier = counted.iter().take(position);
                let mut same = earlier.filter(|other| *other != one).filter_map(|other| {
                    let material = overlap(other, one)?;
                    Some(format!(
                        "{other:?} and {one:?} are both {material}, which could count twice"
                    ))
                });
                if let Some(problem) = same.next() {
                    reader.report(Some(rule.line), &format!("rules[{index}].require"), problem);
                }
            }
        }
    }
}

/// A hash of parts, each with its length, so that no two lists of parts are one text.
pub(super) struct Fingerprint(Hasher);

impl Fingerprint {
    pub(super) fn new() -> Self {
        Self(Hasher::sha256())
    }

    pub(super) fn add(&mut self, part: &[u8]) {
        self.0.update(part.len().to_string().as_bytes());
        self.0.update(b":");
        self.0.update(part);
    }

    pub(super) fn finish(self) -> String {
        let digest: Digest = self.0.finish();
        digest.encoded().chars().take(REVISION).collect()
    }
}
