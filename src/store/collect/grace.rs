//! Deleted subjects: their referrers wait for them to come back, and go in the end.

use std::collections::BTreeSet;
use std::time::Duration;

use super::unless_damaged;
use crate::oci::{Digest, RepositoryName, Tag};
use crate::store::blob::Condition;
use crate::store::error::StoreError;
use crate::store::layout::{self, Place};
use crate::store::records::Stamp;
use crate::store::signatures::SignatureStore;

/// Behind the digest of a subject in the tags that cosign gives it.
const COSIGN: [&str; 3] = ["sig", "att", "sbom"];

/// What becomes of the referrers of a subject that is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnSubjectDelete {
    /// They stay.
    Keep,
    /// A collector deletes them, unless the subject comes back within its grace.
    Grace,
    /// They are deleted at once.
    Delete,
}

impl SignatureStore {
    /// Does to the referrers and cosign tags of a subject that was deleted what `on` says. What fails after the mark is
    /// written is left to a collector.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn subject_deleted(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        on: OnSubjectDelete,
    ) -> Result<(), StoreError> {
        if on == OnSubjectDelete::Keep {
            return Ok(());
        }
        let key = layout::orphaned(repository, subject);
        self.put_record(&key, &self.stamp(), Condition::Always)
            .await?;
        if on == OnSubjectDelete::Delete {
            self.end_grace(repository, subject, Duration::ZERO, false)
                .await?;
        }
        Ok(())
    }

    /// Keeps the referrers of a subject that has come back.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn subject_pushed(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<(), StoreError> {
        let key = layout::orphaned(repository, subject);
        Ok(self.blobs.delete(&key).await?)
    }

    /// Deletes the referrers and cosign tags of a subject that was deleted `grace` ago, then its mark; `true` if so.
    /// The mark is looked at before each: a push of the subject removes it, and what is left then stays.
    pub(super) async fn end_grace(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        grace: Duration,
        dry_run: bool,
    ) -> Result<bool, StoreError> {
        if !self.grace_is_over(repository, subject, grace).await? {
            return Ok(false);
        }
        if dry_run {
            return Ok(true);
        }
        let under = layout::referrers(repository, subject);
        let referrers: BTreeSet<Digest> = self
            .keys(&under)
            .await?
            .iter()
            .filter_map(|key| match layout::place(key)? {
                (_, Place::Referrer { digest, .. }) => Some(digest),
                _ => None,
            })
            .collect();
        for digest in referrers {
            if !self.grace_is_over(repository, subject, grace).await? {
                return Ok(false);
            }
            self.delete_manifest(repository, &digest).await?;
        }
        for suffix in COSIGN {
            let Ok(tag) = format!("{}.{suffix}", subject.key_form()).parse::<Tag>() else {
                continue;
            };
            if !self.grace_is_over(repository, subject, grace).await? {
                return Ok(false);
            }
            self.delete_tag(repository, &tag).await?;
        }
        self.blobs
            .delete(&layout::orphaned(repository, subject))
            .await?;
        Ok(true)
    }

    async fn grace_is_over(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        grace: Duration,
    ) -> Result<bool, StoreError> {
        let key = layout::orphaned(repository, subject);
        let mark = unless_damaged(self.record::<Stamp>(&key).await)?.flatten();
        Ok(mark.is_some_and(|mark| mark.time.saturating_add(grace) <= self.clock.now()))
    }
}
