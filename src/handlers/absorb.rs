//! The referrers tag schema, written by clients that believe there is no Referrers API: the entries of the index are
//! read again and merged, the index itself is no truth of its own.

use std::collections::HashSet;

use http::Response;

use super::answer;
use super::error::HandlerError;
use super::manifest_push::Pushed;
use super::{Handlers, unique};
use crate::body::Body;
use crate::oci::Digest;
use crate::store::NewManifest;

/// Entries that neither side has, after which an index is no list of referrers.
const MOST_UNKNOWN: usize = 64;

impl Handlers {
    /// Absorbs an index pushed as the fallback tag of `subject`; `None` if it is something else with such a name.
    pub(super) async fn absorb(
        &self,
        pushed: &Pushed<'_>,
        subject: &Digest,
    ) -> Result<Option<Response<Body>>, HandlerError> {
        let permit = self.push_permit(pushed).await?;
        let writer = self.custody.writer(&permit);
        let known: HashSet<Digest> = writer
            .reader()
            .referrers(subject)
            .await?
            .into_iter()
            .map(|referrer| referrer.descriptor.digest)
            .collect();
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
            if manifest.subject.as_ref().map(|subject| &subject.digest) != Some(subject) {
                return Ok(None);
            }
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
