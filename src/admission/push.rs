//! Judges what is pushed: an image by its tag, a signature by itself.

use std::sync::Arc;

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use super::context::Context;
use super::standing::{EXISTING, Standing};
use super::verdicts::{About, Signature};
use super::{Admission, AdmissionError, Described, Elsewhere, Unsigned};
use crate::oci::{Descriptor, Digest, Manifest, Reference, RepositoryName, Tag};
use crate::policy::{Coverage, OnPush, OnUntrusted, Rule, marker_tag};
use crate::store::{Mark, StoreError};
use crate::verification::Conclusion;

/// Marks of a repository that are looked at again whenever they are listed.
const LOOKED_AT: usize = 32;

/// A manifest that is about to get a tag.
#[derive(Clone, Copy)]
pub struct PushAsked<'a> {
    /// Where.
    pub repository: &'a RepositoryName,
    /// The tag.
    pub tag: &'a Tag,
    /// Digest of the manifest.
    pub digest: &'a Digest,
    /// The manifest.
    pub manifest: &'a Manifest,
    /// Its length in bytes.
    pub size: u64,
}

/// What was decided about a push, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// What happens.
    pub decision: PushDecision,
    /// The rule that decided; none if no rule is about the tag.
    pub rule: Option<String>,
    /// Who has signed, each with one signature.
    pub signed_by: BTreeMap<String, Digest>,
    /// Why it passes without a signature.
    pub exemption: Option<String>,
}

/// What happens to a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushDecision {
    /// It passes, as if there were no policy.
    Admit,
    /// It is unsigned, and that is allowed.
    Allow(Unsigned),
    /// It passes with a warning.
    Warn(Unsigned),
    /// It passes, and the tag is marked.
    Mark(Unsigned),
    /// It is refused; the manifest is kept for this long, to be signed.
    Reject(Unsigned, Duration),
}

/// What a pushed signature is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examined {
    /// Each signature that the manifest holds.
    pub signatures: Vec<Signature>,
    /// Why it is refused: it contradicts itself or its subject.
    pub invalid: Option<String>,
    /// Why it counts for nobody, where it does not.
    pub untrusted: Option<String>,
    /// Whether a rule refuses it for that: not what is of a kind that is not verified here, or could not be decided.
    pub rejects_untrusted: bool,
}

impl Admission {
    /// Judges a manifest that is about to get a tag. What is unsigned is put on record if that is final: if whatever
    /// signatures the registry behind has were looked for.
    ///
    /// # Errors
    /// What a decision needs could not be had, and the rule does not let the unsigned pass.
    pub async fn push(
        &self,
        asked: PushAsked<'_>,
        is_final: bool,
        elsewhere: &dyn Elsewhere,
    ) -> Result<Push, AdmissionError> {
        let mut context = Context::new(self, asked.repository, elsewhere);
        let described = Described::of(asked.manifest, asked.size);
        let children = described.children.clone();
        context.describe(asked.digest, described);
        let snapshot = Arc::clone(&context.snapshot);
        let Some(rule) = snapshot.policy().rule_for(asked.repository, asked.tag) else {
            return Ok(Push {
                decision: PushDecision::Admit,
                rule: None,
                signed_by: BTreeMap::new(),
                exemption: None,
            });
        };
        let mut signed_by = BTreeMap::new();
        let mut exemption = None;
        let decision = match context.stands(rule, asked.digest, &children).await {
            Ok(Standing::Unsigned(unsigned)) => match rule.on_unsigned_push {
                OnPush::Allow => PushDecision::Allow(unsigned),
                OnPush::Warn => PushDecision::Warn(unsigned),
                OnPush::Tag => PushDecision::Mark(unsigned),
                OnPush::Reject => PushDecision::Reject(unsigned, rule.keep),
            },
            Ok(Standing::Signed(by)) => {
                signed_by = by;
                PushDecision::Admit
            }
            Ok(Standing::Exempt(reason)) => {
                exemption = Some(reason);
                PushDecision::Admit
            }
            Ok(Standing::Existing) => {
                exemption = Some(EXISTING.to_owned());
                PushDecision::Admit
            }
            Err(error) if rule.on_unsigned_push == OnPush::Reject => return Err(error),
            Err(error) => undecided(rule, asked.digest, &error),
        };
        let push = Push {
            decision,
            rule: Some(rule.name.clone()),
            signed_by,
            exemption,
        };
        if is_final || matches!(push.decision, PushDecision::Admit) {
            self.audit_push(&snapshot, &asked, &push);
        }
        Ok(push)
    }

    /// Verifies a signature that is being pushed; its blobs are in the store already.
    ///
    /// # Errors
    /// The store failed.
    pub async fn examine(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        digest: &Digest,
        manifest: &Manifest,
        is_tag: bool,
        elsewhere: &dyn Elsewhere,
    ) -> Result<Examined, AdmissionError> {
        let snapshot = self.snapshot();
        let mut context = Context::new(self, repository, elsewhere);
        // The digest binds; media type and length are compared again when the image is judged.
        let about = context
            .about(subject)
            .await
            .unwrap_or_else(|_outage| About {
                digest: subject.clone(),
                described: None,
            });
        let mut found = self
            .read_manifest(repository, digest, manifest, is_tag, elsewhere)
            .await?;
        if is_tag {
            // A writer of the tag writes again what was there: that was judged when it came.
            let new = self.new_layers(repository, subject, manifest).await?;
            if found.len() == new.len() {
                let mut new = new.into_iter();
                found.retain(|_| new.next() == Some(true));
            }
        }
        let signatures = self.opinions(&snapshot, repository, &about, found);
        let reason = |wanted: Conclusion| {
            let best = signatures.iter().filter_map(Signature::best);
            best.filter(|opinion| opinion.verdict.conclusion == wanted)
                .find_map(|opinion| opinion.verdict.reason())
        };
        let counts = signatures
            .iter()
            .any(|signature| signature.accepted_by().next().is_some());
        let is_untrusted = signatures.iter().any(|signature| {
            let best = signature.best();
            best.is_some_and(|opinion| opinion.verdict.conclusion == Conclusion::Untrusted)
        });
        let rejects = |rule: &&Rule| rule.on_untrusted_push == OnUntrusted::Reject;
        let rules = snapshot.policy().rules_of(repository);
        let rejects_untrusted = is_untrusted && rules.iter().any(rejects);
        let is_told = rejects_untrusted || !counts && !signatures.is_empty();
        let untrusted = is_told.then(|| {
            [
                Conclusion::Undetermined,
                Conclusion::Untrusted,
                Conclusion::Unsupported,
            ]
            .into_iter()
            .find_map(reason)
            .unwrap_or_else(|| "no authority of the policy names its signer".to_owned())
        });
        let examined = Examined {
            invalid: reason(Conclusion::Invalid),
            untrusted,
            rejects_untrusted,
            signatures,
        };
        self.audit_signature(&snapshot, repository, subject, digest, &examined);
        Ok(examined)
    }

    /// Of each layer, whether it is new under the `.sig` tag of `subject`. One version is in memory at a time.
    async fn new_layers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        manifest: &Manifest,
    ) -> Result<Vec<bool>, AdmissionError> {
        let layers = manifest.layers.iter();
        let mut new: HashSet<_> = layers.map(identity).collect();
        for source in self.sources(repository, subject).await? {
            if source.is_tag
                && let Some((bytes, link)) =
                    self.store.read_manifest(repository, &source.digest).await?
                && let Ok(version) = Manifest::parse(&bytes, &link.media_type)
            {
                for layer in &version.layers {
                    new.remove(&identity(layer));
                }
            }
        }
        let layers = manifest.layers.iter();
        Ok(layers.map(|layer| new.contains(&identity(layer))).collect())
    }

    /// A tag of an unsigned image was let pass: it is marked.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn mark(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        unsigned: &Unsigned,
        digest: &Digest,
    ) -> Result<(), StoreError> {
        let mark = Mark {
            digest: digest.clone(),
            rule: unsigned.rule.clone(),
            missing: unsigned.missing.clone(),
            at: self.clock.now(),
        };
        self.store.set_mark(repository, tag, mark).await
    }

    /// The mark of a tag, as it was set.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn mark_of(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Result<Option<Mark>, StoreError> {
        self.store.mark(repository, tag).await
    }

    /// Whatever a tag was marked for, it names something else now, or something signed.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn unmark(&self, repository: &RepositoryName, tag: &Tag) -> Result<(), StoreError> {
        self.store.clear_mark(repository, tag, None).await?;
        Ok(())
    }

    /// Whether a rule asks for signatures of what an index lists.
    #[must_use]
    pub fn asks_of_children(&self, rule: &str) -> bool {
        let snapshot = self.snapshot();
        let rule = snapshot.policy().rule(rule);
        rule.is_some_and(|rule| rule.coverage != Coverage::Index)
    }

    /// The registry behind has deleted a tag, or a manifest with all its tags: their marks go.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn deleted(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<(), StoreError> {
        self.changed(repository);
        match reference {
            Reference::Tag(tag) => {
                self.store.clear_mark(repository, tag, None).await?;
            }
            Reference::Digest(digest) => {
                self.store.forget_kept(repository, digest).await?;
                for tag in self.store.tags_naming(repository, digest).await? {
                    self.store
                        .clear_mark(repository, &tag, Some(digest))
                        .await?;
                }
            }
        }
        Ok(())
    }

    /// A signature of `subject` has arrived: marks of what it completes go.
    ///
    /// # Errors
    /// What a decision needs could not be had; the marks are looked at again when they are read.
    pub async fn signed(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        elsewhere: &dyn Elsewhere,
    ) -> Result<(), AdmissionError> {
        self.changed(repository);
        let mut context = Context::new(self, repository, elsewhere);
        let mut digests = vec![subject.clone()];
        digests.extend_from_slice(&context.ancestors(subject).await?);
        for digest in digests {
            for tag in context.tags(&digest).await? {
                self.look_at_mark(&mut context, &tag, &digest).await?;
            }
        }
        Ok(())
    }

    /// The tag that the mark called `marker` is about, and the digest it marks, if it is still unsigned.
    ///
    /// # Errors
    /// What a decision needs could not be had.
    pub async fn marked_by(
        &self,
        repository: &RepositoryName,
        marker: &Tag,
        elsewhere: &dyn Elsewhere,
    ) -> Result<Option<(Tag, Digest)>, AdmissionError> {
        for (tag, mark) in self.store.marks(repository).await? {
            if marker_tag(&tag) == *marker {
                let mut context = Context::new(self, repository, elsewhere);
                let left = self.look_at_mark(&mut context, &tag, &mark.digest).await?;
                return Ok(left.then_some((tag, mark.digest)));
            }
        }
        Ok(None)
    }

    /// The names of the marks of what is still unsigned, in order.
    ///
    /// # Errors
    /// What a decision needs could not be had.
    pub async fn marker_tags(
        &self,
        repository: &RepositoryName,
        elsewhere: &dyn Elsewhere,
    ) -> Result<Vec<Tag>, AdmissionError> {
        let mut context = Context::new(self, repository, elsewhere);
        let mut markers = Vec::new();
        for (number, (tag, mark)) in self.store.marks(repository).await?.into_iter().enumerate() {
            // Of many, and where it cannot be decided, the mark stays as it was set.
            let is_marked = number >= LOOKED_AT
                || self
                    .look_at_mark(&mut context, &tag, &mark.digest)
                    .await
                    .unwrap_or(true);
            if is_marked {
                markers.push(marker_tag(&tag));
            }
        }
        markers.sort_unstable();
        Ok(markers)
    }

    /// Clears the mark of `tag` on `digest` if it is not unsigned any more; whether a mark is left.
    async fn look_at_mark(
        &self,
        context: &mut Context<'_>,
        tag: &Tag,
        digest: &Digest,
    ) -> Result<bool, AdmissionError> {
        let repository = context.repository;
        let marked = self.store.mark(repository, tag).await?;
        if marked.is_none_or(|mark| mark.digest != *digest) {
            return Ok(false);
        }
        let snapshot = Arc::clone(&context.snapshot);
        let is_unsigned = match snapshot.policy().rule_for(repository, tag) {
            Some(rule) if rule.on_unsigned_push == OnPush::Tag => {
                let children = context.children(digest).await?;
                let standing = context.stands(rule, digest, &children).await?;
                matches!(standing, Standing::Unsigned(_))
            }
            _ => false,
        };
        if !is_unsigned {
            self.store.clear_mark(repository, tag, Some(digest)).await?;
            tracing::info!(
                oci.repository = %repository,
                oci.tag = %tag,
                oci.digest = %digest,
                "the unsigned mark is gone"
            );
        }
        Ok(is_unsigned)
    }
}

/// What makes a payload with its signature another one.
fn identity(layer: &Descriptor) -> (Digest, Option<BTreeMap<String, String>>) {
    (layer.digest.clone(), layer.annotations.clone())
}

/// Nobody can say whether it is signed, and it may pass unsigned.
fn undecided(rule: &Rule, digest: &Digest, error: &AdmissionError) -> PushDecision {
    let unsigned = Unsigned::undecided(rule, digest, error);
    match rule.on_unsigned_push {
        OnPush::Allow => PushDecision::Allow(unsigned),
        OnPush::Tag => PushDecision::Mark(unsigned),
        OnPush::Warn | OnPush::Reject => PushDecision::Warn(unsigned),
    }
}
