//! What the authorities make of the signatures of a digest: verified once, remembered by what it is about.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Context as Hash, SHA256};
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use moka::future::Cache;
use serde::{Deserialize, Serialize};
use tokio::time::timeout_at;

use super::evidence::{Content, Found, Source};
use super::{Admission, AdmissionError, Elsewhere};
use crate::clock::UnixMillis;
use crate::oci::{Digest, RepositoryName};
use crate::policy::Snapshot;
use crate::verification::{Check, CheckName, Conclusion, Family, Outcome, Subject, Verdict};

/// Signatures that are read at once.
const PARALLEL: usize = 16;
/// Verifying the signatures of one digest takes no longer; what is done by then is remembered for the next time.
const BUDGET: Duration = Duration::from_secs(10);
/// A row of verdicts is believed no longer, whatever it says.
const ROW_LIVES: Duration = Duration::from_secs(3600);
/// About the memory that an entry takes before its texts, in bytes.
const ENTRY: usize = 256;
/// What rows of verdicts are sealed for.
const PURPOSE: &[u8] = b"verdicts";

/// A manifest that has to be signed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct About {
    pub(super) digest: Digest,
    /// Media type and length, where they are known.
    pub(super) described: Option<(String, u64)>,
}

impl About {
    fn subject(&self) -> Subject<'_> {
        Subject {
            digest: &self.digest,
            media_type: self
                .described
                .as_ref()
                .map(|(media_type, _)| media_type.as_str()),
            size: self.described.as_ref().map(|(_, size)| *size),
        }
    }
}

/// What one authority makes of a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opinion {
    /// The authority; none where the signature was looked at without one.
    pub authority: Option<String>,
    /// What it makes of it.
    pub verdict: Verdict,
}

/// One signature, and what each authority makes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Digest of its manifest, or of its layer where one manifest holds several.
    pub digest: Digest,
    /// Its family.
    pub family: Family,
    /// The opinion of each authority of this family; one without an authority if there is none.
    pub opinions: Vec<Opinion>,
}

impl Signature {
    /// The opinion that counts most: one that accepts, else the one that says most of why not.
    #[must_use]
    pub fn best(&self) -> Option<&Opinion> {
        self.opinions
            .iter()
            .min_by_key(|opinion| match opinion.verdict.conclusion {
                Conclusion::Valid => 0,
                Conclusion::Undetermined => 1,
                Conclusion::Invalid => 2,
                Conclusion::Untrusted => 3,
                Conclusion::Unsupported => 4,
            })
    }

    /// The authorities that accept it.
    pub fn accepted_by(&self) -> impl Iterator<Item = &str> {
        let valid = |opinion: &&Opinion| opinion.verdict.conclusion == Conclusion::Valid;
        self.opinions
            .iter()
            .filter(valid)
            .filter_map(|opinion| opinion.authority.as_deref())
    }

    /// About the memory it takes, in bytes.
    fn weight(&self) -> usize {
        let checks = self
            .opinions
            .iter()
            .flat_map(|opinion| &opinion.verdict.checks);
        let details: usize = checks.map(|check| ENTRY / 4 + check.detail.len()).sum();
        ENTRY + details
    }

    fn valid_until(&self) -> Option<UnixMillis> {
        let verdicts = self.opinions.iter().map(|opinion| &opinion.verdict);
        verdicts.filter_map(|verdict| verdict.valid_until).min()
    }
}

/// Authorities, each with the digest of a signature that it accepts.
pub(super) type SignedBy = BTreeMap<String, Digest>;

/// The signatures of one digest.
#[derive(Clone, Debug, Default)]
pub(super) struct Signatures {
    pub(super) all: Vec<Signature>,
    /// The authorities of which at least one signature is good, each with one.
    pub(super) by: SignedBy,
    /// What could not be read: without it nothing is certain but what was found.
    pub(super) unreadable: Option<String>,
}

/// Sealed, beside the rows of the index.
#[derive(Serialize, Deserialize)]
struct Row {
    /// Hash of all that the verdicts rest on.
    basis: String,
    until: UnixMillis,
    by: SignedBy,
}

/// Verdicts of this process. What a key names never changes its meaning; only time ends a verdict.
#[derive(Clone)]
pub(super) struct Remembered(Cache<Known, Arc<Vec<Signature>>>);

type Known = (RepositoryName, String, About, Source);

impl Remembered {
    /// As many as fit into about `capacity` bytes: how long verdicts are is up to who writes signatures.
    pub(super) fn new(capacity: u64) -> Self {
        let weigh = |_: &Known, signatures: &Arc<Vec<Signature>>| {
            let bytes: usize = signatures.iter().map(Signature::weight).sum();
            u32::try_from(bytes + ENTRY).unwrap_or(u32::MAX)
        };
        Self(
            Cache::builder()
                .max_capacity(capacity)
                .weigher(weigh)
                .build(),
        )
    }
}

impl Admission {
    /// The authorities that have signed: by the row of the index if it fits, else by the signatures.
    pub(super) async fn signed_by(
        &self,
        snapshot: &Snapshot,
        repository: &RepositoryName,
        about: &About,
        elsewhere: &dyn Elsewhere,
    ) -> Result<Signatures, AdmissionError> {
        let sources = self.sources(repository, &about.digest).await?;
        if sources.is_empty() {
            return Ok(Signatures::default());
        }
        let basis = basis(snapshot, repository, about, &sources);
        if let Some(by) = self.row(repository, about, &basis).await {
            return Ok(Signatures {
                by,
                ..Signatures::default()
            });
        }
        let signatures = self
            .examine_sources(snapshot, repository, about, sources, elsewhere)
            .await?;
        if signatures.unreadable.is_none() && signatures.all.iter().all(is_decided) {
            self.keep_row(repository, about, basis, &signatures).await;
        }
        Ok(signatures)
    }

    /// Every signature of a digest, verified.
    pub(super) async fn signatures(
        &self,
        snapshot: &Snapshot,
        repository: &RepositoryName,
        about: &About,
        elsewhere: &dyn Elsewhere,
    ) -> Result<Signatures, AdmissionError> {
        let sources = self.sources(repository, &about.digest).await?;
        self.examine_sources(snapshot, repository, about, sources, elsewhere)
            .await
    }

    async fn examine_sources(
        &self,
        snapshot: &Snapshot,
        repository: &RepositoryName,
        about: &About,
        sources: Vec<Source>,
        elsewhere: &dyn Elsewhere,
    ) -> Result<Signatures, AdmissionError> {
        let deadline = tokio::time::Instant::now() + BUDGET;
        let mut signatures = Signatures::default();
        let mut examined = stream::iter(sources)
            .map(|source| -> BoxFuture<'_, _> {
                Box::pin(self.examine_source(snapshot, repository, about, source, elsewhere))
            })
            .buffered(PARALLEL);
        loop {
            let Ok(next) = timeout_at(deadline, examined.next()).await else {
                signatures.unreadable = Some("verification took too long".to_owned());
                break;
            };
            let Some(found) = next else {
                break;
            };
            let found = match found {
                Ok(found) => found,
                Err(AdmissionError::Unreadable { reason, .. }) => {
                    signatures.unreadable = Some(reason);
                    continue;
                }
                // One that is out of reach does not hide another that is good.
                Err(error) => {
                    tracing::warn!(
                        oci.repository = %repository,
                        oci.subject = %about.digest,
                        error = &error as &dyn std::error::Error,
                        "a signature was not verified"
                    );
                    signatures.unreadable = Some(error.to_string());
                    continue;
                }
            };
            for signature in found.iter() {
                for authority in signature.accepted_by() {
                    let by = signatures.by.entry(authority.to_owned());
                    by.or_insert_with(|| signature.digest.clone());
                }
            }
            signatures.all.extend(found.iter().cloned());
        }
        Ok(signatures)
    }

    async fn examine_source(
        &self,
        snapshot: &Snapshot,
        repository: &RepositoryName,
        about: &About,
        source: Source,
        elsewhere: &dyn Elsewhere,
    ) -> Result<Arc<Vec<Signature>>, AdmissionError> {
        let key = (
            repository.clone(),
            revision(snapshot),
            about.clone(),
            source,
        );
        let now = self.clock.now();
        if let Some(known) = self.verdicts.0.get(&key).await
            && known.iter().all(|signature| holds(signature, now))
        {
            return Ok(known);
        }
        let found = self.read(repository, &key.3, elsewhere).await?;
        let unreadable = found.iter().find_map(|found| match &found.content {
            Content::Unreadable(_, why) => Some(*why),
            Content::Evidence(_) | Content::Malformed(..) => None,
        });
        let signatures = Arc::new(self.opinions(snapshot, repository, about, found));
        if unreadable.is_none() {
            self.verdicts.0.insert(key, Arc::clone(&signatures)).await;
        }
        Ok(signatures)
    }

    /// What the authorities make of signatures that were read.
    pub(super) fn opinions(
        &self,
        snapshot: &Snapshot,
        repository: &RepositoryName,
        about: &About,
        found: Vec<Found>,
    ) -> Vec<Signature> {
        let now = self.clock.now();
        let judge = |found: Found| {
            let started = Instant::now();
            let (family, opinions) = match &found.content {
                Content::Evidence(evidence) => {
                    let opinions = snapshot.examine(repository, evidence, &about.subject(), now);
                    let opinions = opinions.into_iter().map(|opinion| Opinion {
                        authority: Some(opinion.authority),
                        verdict: opinion.verdict,
                    });
                    (evidence.family(), opinions.collect())
                }
                Content::Malformed(family, why) => {
                    (*family, vec![nobody(*family, Conclusion::Invalid, why)])
                }
                Content::Unreadable(family, why) => (
                    *family,
                    vec![nobody(*family, Conclusion::Undetermined, why)],
                ),
            };
            let signature = Signature {
                digest: found.digest,
                family,
                opinions,
            };
            self.metrics.verified(&signature, started.elapsed());
            signature
        };
        found.into_iter().map(judge).collect()
    }

    async fn row(
        &self,
        repository: &RepositoryName,
        about: &About,
        basis: &str,
    ) -> Option<SignedBy> {
        let sealed = self.store.verdicts(repository, &about.digest).await?;
        let opened = self.sealer.open(&sealed_for(repository, about), &sealed)?;
        let row: Row = serde_json::from_slice(&opened).ok()?;
        (row.basis == basis && self.clock.now() < row.until).then_some(row.by)
    }

    /// Best effort: without the row another replica verifies for itself.
    async fn keep_row(
        &self,
        repository: &RepositoryName,
        about: &About,
        basis: String,
        signatures: &Signatures,
    ) {
        let now = self.clock.now();
        let longest = now.saturating_add(ROW_LIVES);
        let ends = signatures.all.iter().filter_map(Signature::valid_until);
        let row = Row {
            basis,
            until: ends.min().map_or(longest, |end| end.min(longest)),
            by: signatures.by.clone(),
        };
        let Ok(plain) = serde_json::to_vec(&row) else {
            return;
        };
        match self.sealer.seal(&sealed_for(repository, about), &plain) {
            Ok(sealed) => {
                self.store
                    .put_verdicts(repository, &about.digest, sealed.into())
                    .await;
            }
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "verdicts were not sealed"
            ),
        }
    }
}

/// All that verdicts about a digest rest on, but for time.
fn basis(
    snapshot: &Snapshot,
    repository: &RepositoryName,
    about: &About,
    sources: &[Source],
) -> String {
    let mut sorted: Vec<&Source> = sources.iter().collect();
    sorted.sort_unstable();
    let described = about.described.as_ref();
    let mut hash = Hash::new(&SHA256);
    let mut part = |text: &str| {
        hash.update(&text.len().to_be_bytes());
        hash.update(text.as_bytes());
    };
    part(&revision(snapshot));
    part(repository.as_str());
    part(about.digest.as_str());
    part(described.map_or("", |(media_type, _)| media_type));
    part(&described.map_or_else(String::new, |(_, size)| size.to_string()));
    for source in sorted {
        part(source.digest.as_str());
        part(if source.is_tag { "tag" } else { "referrer" });
    }
    hash.finish()
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The policy and the trust material, as one text.
pub(super) fn revision(snapshot: &Snapshot) -> String {
    let revision = snapshot.revision();
    format!("{}.{}", revision.policy, revision.trust)
}

/// A row of one subject is no row of another.
fn sealed_for(repository: &RepositoryName, about: &About) -> Vec<u8> {
    let of = format!("{repository}@{}", about.digest);
    [PURPOSE, b"\0", of.as_bytes()].concat()
}

fn holds(signature: &Signature, now: UnixMillis) -> bool {
    let mut opinions = signature.opinions.iter();
    opinions.all(|opinion| opinion.verdict.holds_at(now))
}

fn is_decided(signature: &Signature) -> bool {
    let mut opinions = signature.opinions.iter();
    opinions.all(|opinion| opinion.verdict.conclusion != Conclusion::Undetermined)
}

/// A verdict that needs no authority.
fn nobody(family: Family, conclusion: Conclusion, why: &str) -> Opinion {
    let outcome = match conclusion {
        Conclusion::Undetermined => Outcome::Undetermined,
        Conclusion::Valid
        | Conclusion::Untrusted
        | Conclusion::Invalid
        | Conclusion::Unsupported => Outcome::Failed,
    };
    Opinion {
        authority: None,
        verdict: Verdict {
            family,
            conclusion,
            identity: None,
            checks: vec![Check::new(CheckName::Integrity, outcome, why)],
            valid_until: None,
        },
    }
}
