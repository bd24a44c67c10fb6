//! Judges what is pushed: an image by each tag that it gets, a signature by itself.

use std::collections::BTreeMap;

use http::Response;
use http::header::WARNING;

use super::Handlers;
use super::aliases::is_second;
use super::behind::Behind;
use super::error::HandlerError;
use super::gate::{quoted_warning, warning};
use super::manifest_push::Pushed;
use crate::admission::{self, Admission, PushAsked, PushDecision, Unsigned};
use crate::auth::{Caller, Permit, Push};
use crate::body::Body;
use crate::oci::{CompanionTag, Digest, Reference, RepositoryName, Tag};
use crate::route::query;

/// What was decided about a push, to be carried out once the registry behind has taken it.
#[derive(Debug, Default)]
pub(super) struct Admitted {
    /// The tags, each with what is missing where it passes unsigned.
    tags: BTreeMap<Tag, Passing>,
    is_concerned: bool,
}

#[derive(Debug)]
enum Passing {
    Quietly,
    Warned(Unsigned),
    Marked(Unsigned),
}

impl Admitted {
    /// Of the tags that were asked for with a digest, those that the registry behind has set.
    pub(super) fn retain(&mut self, set: &[Tag]) {
        self.tags.retain(|tag, _| set.contains(tag));
    }
}

impl Handlers {
    /// What judges pushes to `name`, if anything does.
    pub(super) fn admission(&self, name: &RepositoryName) -> Option<&Admission> {
        self.admission
            .as_ref()
            .filter(|admission| admission.concerns(name))
    }

    /// Judges an image by every tag that it is about to get: that of the path, and those of the query, which newer
    /// registries set for a push by digest.
    ///
    /// # Errors
    /// It is refused; then it was kept, if the caller may push.
    pub(super) async fn admit(&self, pushed: &Pushed<'_>) -> Result<Admitted, HandlerError> {
        let Some(admission) = self.admission(pushed.name) else {
            return Ok(Admitted::default());
        };
        let mut admitted = Admitted {
            is_concerned: true,
            ..Admitted::default()
        };
        for tag in tags(pushed)? {
            // No rule is about such a name: it must not become a way around them.
            if admission::is_marker(&tag) {
                return Err(HandlerError::MarkerTag { tag });
            }
            // As good as a push by digest: no other manifest ever gets this name, and it is judged when it is read.
            if is_own_name(&tag, &Digest::sha256(&pushed.bytes)) {
                continue;
            }
            let passing = self.admit_tag(admission, pushed, &tag).await?;
            admitted.tags.insert(tag, passing);
        }
        Ok(admitted)
    }

    async fn admit_tag(
        &self,
        admission: &Admission,
        pushed: &Pushed<'_>,
        tag: &Tag,
    ) -> Result<Passing, HandlerError> {
        let sha256 = Digest::sha256(&pushed.bytes);
        let asked = PushAsked {
            repository: pushed.name,
            tag,
            digest: &sha256,
            manifest: &pushed.manifest,
            size: u64::try_from(pushed.bytes.len()).unwrap_or(u64::MAX),
        };
        let behind = Behind {
            handlers: self,
            caller: pushed.caller,
            name: pushed.name,
        };
        let mut push = admission.push(asked, false, &behind).await?;
        if push.decision != PushDecision::Admit {
            self.find_signatures(pushed.caller, pushed.name, &sha256)
                .await;
            push = admission.push(asked, true, &behind).await?;
        }
        if push.decision != PushDecision::Admit && is_second(&pushed.digest) {
            // The signatures of the name that it is pushed by are signatures of the same bytes.
            self.find_signatures(pushed.caller, pushed.name, &pushed.digest)
                .await;
            let asked = PushAsked {
                digest: &pushed.digest,
                ..asked
            };
            let by_second = admission.push(asked, false, &behind).await?;
            if by_second.decision == PushDecision::Admit {
                push = by_second;
            }
        }
        Ok(match push.decision {
            PushDecision::Admit | PushDecision::Allow(_) => Passing::Quietly,
            PushDecision::Warn(unsigned) => Passing::Warned(unsigned),
            PushDecision::Mark(unsigned) => Passing::Marked(unsigned),
            PushDecision::Reject(unsigned, keep) => {
                // Whoever may not push learns that, and nothing is kept for him.
                let permit = self.push_permit(pushed).await?;
                let writer = self.custody.writer(&permit);
                let until = admission.now().saturating_add(keep);
                let media_type = &pushed.manifest.media_type;
                writer
                    .keep_rejected(&sha256, media_type, pushed.bytes.clone(), until)
                    .await?;
                // Where the children have to be signed as well, they have to be seen for that.
                if admission.asks_of_children(&unsigned.rule) {
                    let children = pushed.children();
                    admission
                        .note_children(pushed.name, &sha256, &children)
                        .await?;
                }
                return Err(self.denied(pushed.parts, pushed.name, &unsigned, true));
            }
        })
    }

    /// The registry behind has taken the image: its tags and children are noted, marks set and cleared.
    ///
    /// # Errors
    /// A mark could not be set: pushed again, it is.
    pub(super) async fn admitted(
        &self,
        pushed: &Pushed<'_>,
        admitted: Admitted,
        response: &mut Response<Body>,
    ) -> Result<(), HandlerError> {
        let Some(admission) = self
            .admission(pushed.name)
            .filter(|_| admitted.is_concerned)
        else {
            return Ok(());
        };
        let (name, sha256) = (pushed.name, Digest::sha256(&pushed.bytes));
        // An index that nothing names vouches for nobody: it is noted when a tag names it, or when it may be read.
        let mut noted = Ok(());
        if !admitted.tags.is_empty() {
            let children = pushed.children();
            noted = admission.note_children(name, &sha256, &children).await;
        }
        for (tag, passing) in &admitted.tags {
            if noted.is_ok() {
                noted = admission.note_tag(name, &sha256, tag).await;
            }
            match passing {
                Passing::Marked(unsigned) => {
                    admission.mark(name, tag, unsigned, &sha256).await?;
                }
                Passing::Quietly | Passing::Warned(_) if admission.marks(name) => {
                    admission.unmark(name, tag).await?;
                }
                Passing::Quietly | Passing::Warned(_) => {}
            }
            if let Passing::Marked(unsigned) | Passing::Warned(unsigned) = passing
                && let Some(warning) = warning(unsigned)
            {
                response.headers_mut().append(WARNING, warning);
            }
        }
        admission.changed(name);
        if let Err(error) = noted {
            tracing::warn!(
                oci.repository = %name,
                oci.digest = %sha256,
                error = &error as &dyn std::error::Error,
                "what a tag names was not noted: reads by digest are judged by every rule"
            );
        }
        Ok(())
    }

    /// Verifies a signature whose blobs are in the store, before it is recorded.
    ///
    /// # Errors
    /// It contradicts itself or its subject, or counts for nobody where a rule refuses that.
    pub(super) async fn examine(
        &self,
        pushed: &Pushed<'_>,
        subject: &Digest,
        is_tag: bool,
    ) -> Result<Option<String>, HandlerError> {
        let Some(admission) = self.admission(pushed.name) else {
            return Ok(None);
        };
        let behind = Behind {
            handlers: self,
            caller: pushed.caller,
            name: pushed.name,
        };
        let digest = &pushed.digest;
        let examined = admission.examine(
            pushed.name,
            subject,
            digest,
            &pushed.manifest,
            is_tag,
            &behind,
        );
        let examined = Box::pin(examined).await?;
        if let Some(reason) = examined.invalid {
            return Err(HandlerError::SignatureInvalid { reason });
        }
        match examined.untrusted {
            Some(reason) if examined.rejects_untrusted => {
                Err(HandlerError::SignatureUntrusted { reason })
            }
            untrusted => Ok(untrusted),
        }
    }

    /// A signature of `subject` was recorded: what it completes is decided anew, and marks go.
    pub(super) async fn signature_recorded(
        &self,
        caller: &Caller,
        permit: &Permit<Push>,
        subject: &Digest,
        untrusted: Option<String>,
        response: &mut Response<Body>,
    ) {
        let name = permit.repository();
        let Some(admission) = self.admission(name) else {
            return;
        };
        let behind = Behind {
            handlers: self,
            caller,
            name,
        };
        if let Err(error) = Box::pin(admission.signed(name, subject, &behind)).await {
            tracing::warn!(
                oci.repository = %name,
                oci.subject = %subject,
                error = &error as &dyn std::error::Error,
                "marks were not looked at; they are when they are read"
            );
        }
        if let Some(reason) = untrusted
            && let Some(warning) = quoted_warning(&format!(
                "the signature is stored and counts for no authority of the policy: {reason}"
            ))
        {
            response.headers_mut().append(WARNING, warning);
        }
    }
}

/// Whether a tag is `sha256-<hex>` of the very manifest that it names, as `cosign copy` makes them.
pub(super) fn is_own_name(tag: &Tag, sha256: &Digest) -> bool {
    matches!(CompanionTag::parse(tag), Some(CompanionTag::Referrers(digest)) if digest == *sha256)
}

/// The tags that a push sets.
fn tags(pushed: &Pushed<'_>) -> Result<Vec<Tag>, HandlerError> {
    match pushed.reference {
        Reference::Tag(tag) => Ok(vec![tag.clone()]),
        Reference::Digest(_) => query::values(&pushed.parts.uri, "tag")
            .map(|tag| tag.parse().or(Err(HandlerError::QueryTag)))
            .collect(),
    }
}
