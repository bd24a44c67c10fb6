//! The referrers tag schema, written by clients that believe there is no Referrers API: the entries of the index are
//! read again and merged, the index itself is no truth of its own.

use std::collections::HashSet;

use http::Response;

use super::answer;
use super::error::HandlerError;
use super::manifest_push::Pushed;
use super::{Handlers, unique};
use crate::body::Body;
use crate::oci::companion_tag::referrers_tag;
use crate::oci::{Digest, Tag};
use crate::store::NewManifest;

/// Entries that neither side has, after which an index is no list of referrers.
const MOST_UNKNOWN: usize = 64;

impl Handlers {
    /// Absorbs an index pushed as a fallback tag; `None` if it is something else with such a name. Of the subjects that
    /// the tag may mean, those that have referrers already are `subjects`.
    pub(super) async fn absorb(
        &self,
        pushed: &Pushed<'_>,
        tag: &Tag,
        subjects: &[Digest],
    ) -> Result<Option<Response<Body>>, HandlerError> {
        let permit = self.push_permit(pushed).await?;
        let writer = self.custody.writer(&permit);
        let mut known: HashSet<Digest> = HashSet::new();
        for subject in subjects {
            let referrers = writer.reader().referrers(subject).await?;
            known.extend(referrers.into_iter().map(|found| found.descriptor.digest));
        }
        let entries = unique(pushed.manifest.manifests.iter());
        let mut is_fallback = entries.is_empty();
        let mut unknown = 0;
        for entry in entries {
            if known.contains(&entry.digest) {
                is_fallback = true;
                continue;
            }
            let Some((bytes, manifest)) = self
                .manifest_upstream(pushed.caller, pushed.name, &entry.digest)
                .await?
            else {
                // Deleted while the client wrote its list: it was a referrer.
                if writer.reader().was_deleted(&entry.digest).await? {
                    is_fallback = true;
                    continue;
                }
                unknown += 1;
                if unknown > MOST_UNKNOWN {
                    return Ok(None);
                }
                continue;
            };
            let subject = manifest.subject.as_ref().map(|subject| &subject.digest);
            let Some(subject) = subject.filter(|subject| referrers_tag(subject) == tag.as_str())
            else {
                return Ok(None);
            };
            is_fallback = true;
            let found = NewManifest {
                bytes,
                digest: entry.digest.clone(),
                manifest: &manifest,
            };
            writer.reader().merge(subject, found).await?;
        }
        if !is_fallback {
            return Ok(None);
        }
        writer
            .reader()
            .keep_generated(pushed.bytes.clone(), &pushed.manifest.media_type)
            .await?;
        answer::created(pushed.name, &pushed.digest, None).map(Some)
    }
}
