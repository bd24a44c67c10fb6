//! Whether a digest is signed as one rule asks, by itself or through an index.

use std::sync::Arc;

use super::context::Context;
use super::verdicts::SignedBy;
use super::{AdmissionError, Unsigned};
use crate::oci::Digest;
use crate::policy::{Coverage, Existing, Rule};
use crate::verification::Family;

/// Why what was there before passes.
pub(super) const EXISTING: &str = "it was there before regseal";

/// How a digest stands to a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Signed as the rule asks, or the rule asks nothing.
    Signed(SignedBy),
    /// Exempt, for this reason.
    Exempt(String),
    /// It was there before regseal.
    Existing,
    /// Not signed.
    Unsigned(Unsigned),
}

impl Standing {
    fn is_good(&self) -> bool {
        !matches!(self, Self::Unsigned(_))
    }
}

impl Context<'_> {
    /// How `digest` stands to `rule`, where a tag of that rule names it; `children` are those it lists if it is an
    /// index. The index vouches for itself, the children, either, or all together (`coverage`).
    pub(super) async fn stands(
        &mut self,
        rule: &Rule,
        digest: &Digest,
        children: &[Digest],
    ) -> Result<Standing, AdmissionError> {
        let by_children = |coverage| match coverage {
            Coverage::Index => false,
            Coverage::Children | Coverage::Either | Coverage::All => !children.is_empty(),
        };
        if !by_children(rule.coverage) {
            return self.own(rule, digest).await;
        }
        let own = match rule.coverage {
            Coverage::Children => None,
            // One that cannot be decided is not needed if all the children are signed.
            Coverage::Either => match self.own(rule, digest).await {
                Ok(own) => Some(own),
                Err(undecided) => {
                    return match self.by_children(rule, digest, children).await? {
                        Standing::Unsigned(_) => Err(undecided),
                        standing @ (Standing::Signed(_)
                        | Standing::Exempt(_)
                        | Standing::Existing) => Ok(standing),
                    };
                }
            },
            Coverage::Index | Coverage::All => Some(self.own(rule, digest).await?),
        };
        match (&own, rule.coverage) {
            (Some(own), Coverage::Either) if own.is_good() => return Ok(own.clone()),
            (Some(own), Coverage::All) if !own.is_good() => return Ok(own.clone()),
            _ => {}
        }
        match (self.by_children(rule, digest, children).await?, own) {
            // Either would do; the signature of the index is one instead of many.
            (Standing::Unsigned(_), Some(own)) if rule.coverage == Coverage::Either => Ok(own),
            (standing, _) => Ok(standing),
        }
    }

    /// How an index stands to `rule` by the signatures of its children.
    async fn by_children(
        &mut self,
        rule: &Rule,
        digest: &Digest,
        children: &[Digest],
    ) -> Result<Standing, AdmissionError> {
        let mut by = SignedBy::new();
        let mut lacking: Option<Unsigned> = None;
        for child in children {
            match self.own(rule, child).await? {
                Standing::Signed(signed) => by.extend(signed),
                Standing::Exempt(_) | Standing::Existing => {}
                Standing::Unsigned(child) => match &mut lacking {
                    Some(lacking) => lacking.add(child),
                    None => lacking = Some(child),
                },
            }
        }
        Ok(match lacking {
            Some(lacking) => Standing::Unsigned(Unsigned {
                digest: digest.clone(),
                ..lacking
            }),
            None => Standing::Signed(by),
        })
    }

    /// How `digest` stands to `rule` because `ancestor`, an index that lists it, is named by a tag of that rule.
    pub(super) async fn stands_by(
        &mut self,
        rule: &Rule,
        ancestor: &Digest,
        digest: &Digest,
    ) -> Result<Standing, AdmissionError> {
        match rule.coverage {
            Coverage::Index => self.own(rule, ancestor).await,
            Coverage::Children => self.own(rule, digest).await,
            Coverage::Either => {
                let own = self.own(rule, digest).await?;
                if own.is_good() {
                    return Ok(own);
                }
                self.own(rule, ancestor).await
            }
            Coverage::All => {
                let own = self.own(rule, digest).await?;
                if !own.is_good() {
                    return Ok(own);
                }
                self.own(rule, ancestor).await
            }
        }
    }

    /// How `digest` stands to `rule` by its own signatures.
    async fn own(&mut self, rule: &Rule, digest: &Digest) -> Result<Standing, AdmissionError> {
        let now = self.admission.clock.now();
        if let Some(exemption) = rule.exemption(digest, now) {
            return Ok(Standing::Exempt(exemption.reason.clone()));
        }
        let Some(require) = &rule.require else {
            return Ok(Standing::Signed(SignedBy::new()));
        };
        let signatures = self.signatures(digest).await?;
        let by = signatures.by.keys().map(String::as_str).collect();
        let missing = require.missing(&by);
        if missing.is_empty() {
            return Ok(Standing::Signed(signatures.by.clone()));
        }
        let missing: Vec<String> = missing.into_iter().map(str::to_owned).collect();
        if rule.existing == Existing::Allow
            && self
                .admission
                .store
                .in_inventory(self.repository, digest)
                .await?
        {
            return Ok(Standing::Existing);
        }
        if let Some(reason) = &signatures.unreadable {
            return Err(AdmissionError::Unreadable {
                subject: digest.to_string(),
                reason: reason.clone(),
            });
        }
        let policy = self.snapshot.policy();
        let commands = missing
            .iter()
            .filter_map(|authority| policy.authority(authority))
            .map(|authority| (command(authority.family()), digest.clone()))
            .collect();
        let about = self.about(digest).await?;
        let (admission, snapshot) = (self.admission, Arc::clone(&self.snapshot));
        let there = admission.signatures(&snapshot, self.repository, &about, self.elsewhere);
        let there = there.await?;
        let wanted = require.authorities();
        let reasons = there.all.iter().flat_map(|signature| {
            let mut opinions = signature.opinions.iter();
            let found = opinions.find_map(|opinion| {
                let authority = opinion.authority.as_deref();
                let authority = authority.filter(|name| wanted.contains(name))?;
                Some(format!("{authority}: {}", opinion.verdict.reason()?))
            });
            found.map(|reason| format!("{}: {reason}", signature.digest))
        });
        Ok(Standing::Unsigned(Unsigned {
            rule: rule.name.clone(),
            requires: require.to_string(),
            digest: digest.clone(),
            missing,
            commands,
            reasons: reasons.take(MAX_REASONS).collect(),
        }))
    }
}

/// The command that signs a reference, as it is typed in front of it. cosign without a log, which is what a key alone
/// proves; its key is where `cosign generate-key-pair` leaves it.
fn command(family: Family) -> &'static str {
    match family {
        Family::Notation => "notation sign",
        Family::Cosign => {
            "cosign sign --key cosign.key --use-signing-config=false --tlog-upload=false"
        }
    }
}

/// Signatures whose verdicts a refusal names.
const MAX_REASONS: usize = 3;
/// Commands that a refusal names.
const MAX_COMMANDS: usize = 16;

impl Unsigned {
    /// What another child lacks as well.
    fn add(&mut self, other: Self) {
        for authority in other.missing {
            if !self.missing.contains(&authority) {
                self.missing.push(authority);
            }
        }
        self.commands.extend(other.commands);
        self.commands.truncate(MAX_COMMANDS);
        self.reasons.extend(other.reasons);
        self.reasons.truncate(MAX_REASONS);
    }
}
