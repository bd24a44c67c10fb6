//! Judges what is read: the digest that is served, on every way to it.
//!
//! A digest is allowed if a tag that is known to have named it, or to have named an index that lists it, is allowed by
//! its rule. With no known tag every rule of the repository has to be content. The referrers of an admitted image are
//! admitted with it, unless they are images themselves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::context::Context;
use super::standing::{EXISTING, Standing};
use super::verdicts::revision;
use super::{Admission, AdmissionError, Described, Elsewhere, Unsigned};
use crate::oci::{Digest, Manifest, RepositoryName, Tag};
use crate::policy::{OnPull, Policy, Rule, Snapshot, is_marker};

/// A manifest that is about to be served.
#[derive(Clone, Copy)]
pub struct PullAsked<'a> {
    /// Where.
    pub repository: &'a RepositoryName,
    /// The tag it was asked by; none by digest, or as a blob.
    pub tag: Option<&'a Tag>,
    /// Digest of the bytes.
    pub digest: &'a Digest,
    /// The manifest; none if its bytes are not one that can be read.
    pub manifest: Option<&'a Manifest>,
    /// Length in bytes.
    pub size: u64,
}

/// What was decided about a read, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pull {
    /// What happens.
    pub decision: PullDecision,
    /// The rule that decided; none if none is about it.
    pub rule: Option<String>,
    /// Who has signed, each with one signature.
    pub signed_by: BTreeMap<String, Digest>,
    /// Why it passes without a signature.
    pub exemption: Option<String>,
}

/// What happens to a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PullDecision {
    /// It is answered.
    Allow,
    /// It is answered, with a warning.
    Warn(Unsigned),
    /// It is refused.
    Deny(Unsigned),
}

impl Pull {
    fn allowed(rule: Option<&Rule>) -> Self {
        Self {
            decision: PullDecision::Allow,
            rule: rule.map(|rule| rule.name.clone()),
            signed_by: BTreeMap::new(),
            exemption: None,
        }
    }
}

impl Pull {
    fn is_allowed(&self) -> bool {
        self.decision == PullDecision::Allow
    }
}

impl PullDecision {
    fn severity(&self) -> u8 {
        match self {
            Self::Allow => 0,
            Self::Warn(_) => 1,
            Self::Deny(_) => 2,
        }
    }
}

/// What a decision is about, and the state of things in which it was made.
pub(super) type Key = (RepositoryName, Digest, Option<Tag>, String, u64);

impl Admission {
    /// Judges a manifest that is about to be served. What was decided within [`super::BELIEVED`] holds, and many who
    /// ask at once cost one decision.
    ///
    /// # Errors
    /// What a decision needs could not be had.
    pub async fn pull(
        &self,
        asked: PullAsked<'_>,
        elsewhere: &dyn Elsewhere,
    ) -> Result<Arc<Pull>, Arc<AdmissionError>> {
        let judged = Box::pin(async {
            let (pull, snapshot) = self.judge(asked, elsewhere).await?;
            if pull.decision == PullDecision::Allow {
                self.audit_pull(&snapshot, &asked, &pull);
            }
            Ok(pull)
        });
        self.decided.try_get_with(self.key(&asked), judged).await
    }

    /// As [`Self::pull`], after whatever signatures the registry behind has were looked for: what is still unsigned is
    /// put on record here, once.
    ///
    /// # Errors
    /// What a decision needs could not be had.
    pub async fn pull_again(
        &self,
        asked: PullAsked<'_>,
        elsewhere: &dyn Elsewhere,
    ) -> Result<Arc<Pull>, AdmissionError> {
        let (pull, snapshot) = Box::pin(self.judge(asked, elsewhere)).await?;
        self.audit_pull(&snapshot, &asked, &pull);
        self.decided
            .insert(self.key(&asked), Arc::clone(&pull))
            .await;
        Ok(pull)
    }

    /// Whether `digest`, or an index that lists it, was refused at its push and is kept to be signed.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn is_kept(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        elsewhere: &dyn Elsewhere,
    ) -> Result<bool, AdmissionError> {
        if self.store.kept(repository, digest).await?.is_some() {
            return Ok(true);
        }
        let mut context = Context::new(self, repository, elsewhere);
        for ancestor in &*context.ancestors(digest).await? {
            if self.store.kept(repository, ancestor).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn key(&self, asked: &PullAsked<'_>) -> Key {
        (
            asked.repository.clone(),
            asked.digest.clone(),
            asked.tag.cloned(),
            revision(&self.snapshot.load()),
            self.generation(asked.repository).load(Ordering::Relaxed),
        )
    }

    async fn judge(
        &self,
        asked: PullAsked<'_>,
        elsewhere: &dyn Elsewhere,
    ) -> Result<(Arc<Pull>, Arc<Snapshot>), AdmissionError> {
        let mut context = Context::new(self, asked.repository, elsewhere);
        if let Some(manifest) = asked.manifest {
            context.describe(asked.digest, Described::of(manifest, asked.size));
        }
        let pull = Arc::new(context.judge(&asked).await?);
        Ok((pull, context.snapshot))
    }
}

impl Context<'_> {
    /// What would happen to a read.
    pub(super) async fn judge(&mut self, asked: &PullAsked<'_>) -> Result<Pull, AdmissionError> {
        let subject = asked.manifest.and_then(subject_to_follow);
        let digest = match (asked.tag, &subject) {
            (None, Some(subject)) => subject,
            _ => asked.digest,
        };
        let by_itself = self.judge_digest(asked.tag, digest).await?;
        if by_itself.decision == PullDecision::Allow || digest == asked.digest {
            return Ok(by_itself);
        }
        // The subject is not admitted: it may be signed itself.
        let own = self.judge_digest(None, asked.digest).await?;
        Ok(milder(by_itself, own))
    }

    async fn judge_digest(
        &mut self,
        tag: Option<&Tag>,
        digest: &Digest,
    ) -> Result<Pull, AdmissionError> {
        let snapshot = Arc::clone(&self.snapshot);
        let policy = snapshot.policy();
        // No rule is about the name of a mark: what a real tag of such a name names is judged by its digest.
        if let Some(tag) = tag.filter(|tag| !is_marker(tag)) {
            return self.by_tag(policy, tag, digest, None).await;
        }
        let mut best: Option<Result<Pull, AdmissionError>> = None;
        for tag in self.tags(digest).await? {
            let pull = self.by_tag(policy, &tag, digest, None).await;
            if pull.as_ref().is_ok_and(Pull::is_allowed) {
                return pull;
            }
            best = Some(milder_of(best, pull));
        }
        for ancestor in &*self.ancestors(digest).await? {
            for tag in self.tags(ancestor).await? {
                let pull = self.by_tag(policy, &tag, digest, Some(ancestor)).await;
                if pull.as_ref().is_ok_and(Pull::is_allowed) {
                    return pull;
                }
                best = Some(milder_of(best, pull));
            }
        }
        match best {
            Some(best) => best,
            None => self.by_every_rule(policy, digest).await,
        }
    }

    /// By the rule of a tag that names `digest`, or the index `through`, which lists it.
    async fn by_tag(
        &mut self,
        policy: &Policy,
        tag: &Tag,
        digest: &Digest,
        through: Option<&Digest>,
    ) -> Result<Pull, AdmissionError> {
        let Some(rule) = policy.rule_for(self.repository, tag) else {
            return Ok(Pull::allowed(None));
        };
        self.by_rule(rule, digest, through).await
    }

    async fn by_every_rule(
        &mut self,
        policy: &Policy,
        digest: &Digest,
    ) -> Result<Pull, AdmissionError> {
        let mut worst = Pull::allowed(None);
        for rule in policy.rules_of(self.repository) {
            let pull = self.by_rule(rule, digest, None).await?;
            if pull.decision.severity() > worst.decision.severity() || worst.rule.is_none() {
                worst = pull;
            }
        }
        Ok(worst)
    }

    async fn by_rule(
        &mut self,
        rule: &Rule,
        digest: &Digest,
        through: Option<&Digest>,
    ) -> Result<Pull, AdmissionError> {
        let allow = Pull::allowed(Some(rule));
        if rule.on_unsigned_pull == OnPull::Allow {
            return Ok(allow);
        }
        let standing = match self.standing(rule, digest, through).await {
            Ok(standing) => standing,
            Err(error) if rule.on_unsigned_pull == OnPull::Warn => {
                return Ok(Pull {
                    decision: PullDecision::Warn(Unsigned::undecided(rule, digest, &error)),
                    ..allow
                });
            }
            Err(error) => return Err(error),
        };
        let unsigned = match standing {
            Standing::Unsigned(unsigned) => unsigned,
            Standing::Signed(signed_by) => return Ok(Pull { signed_by, ..allow }),
            Standing::Exempt(reason) => {
                return Ok(Pull {
                    exemption: Some(reason),
                    ..allow
                });
            }
            Standing::Existing => {
                return Ok(Pull {
                    exemption: Some(EXISTING.to_owned()),
                    ..allow
                });
            }
        };
        Ok(Pull {
            decision: match rule.on_unsigned_pull {
                OnPull::Deny => PullDecision::Deny(unsigned),
                OnPull::Warn | OnPull::Allow => PullDecision::Warn(unsigned),
            },
            ..allow
        })
    }

    async fn standing(
        &mut self,
        rule: &Rule,
        digest: &Digest,
        through: Option<&Digest>,
    ) -> Result<Standing, AdmissionError> {
        if let Some(through) = through {
            return self.stands_by(rule, through, digest).await;
        }
        let children = self.children(digest).await?;
        let standing = self.stands(rule, digest, &children).await?;
        if !matches!(standing, Standing::Unsigned(_)) {
            return Ok(standing);
        }
        for ancestor in &*self.ancestors(digest).await? {
            let by = self.stands_by(rule, ancestor, digest).await?;
            if !matches!(by, Standing::Unsigned(_)) {
                return Ok(by);
            }
        }
        Ok(standing)
    }
}

/// The subject of a referrer that is admitted with it: it is nothing that a client takes for an image.
fn subject_to_follow(manifest: &Manifest) -> Option<Digest> {
    let subject = manifest.subject.as_ref();
    let subject = subject.filter(|_| !manifest.is_image_to_some())?;
    Some(subject.digest.clone())
}

/// The milder of two that do not allow; what could not be decided might have allowed.
fn milder_of(
    one: Option<Result<Pull, AdmissionError>>,
    other: Result<Pull, AdmissionError>,
) -> Result<Pull, AdmissionError> {
    match one {
        None => other,
        Some(Err(error)) => Err(error),
        Some(Ok(one)) => Ok(milder(one, other?)),
    }
}

fn milder(one: Pull, other: Pull) -> Pull {
    if other.decision.severity() < one.decision.severity() {
        other
    } else {
        one
    }
}
