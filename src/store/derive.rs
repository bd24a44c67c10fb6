//! Rows made from records: what a repair, a rebuild and a look again have in common.

use crate::oci::{Digest, RepositoryName, Tag};

use super::error::StoreError;
use super::records::{Link, Referrer, Stale, TagVersion};
use super::signatures::SignatureStore;

/// How often a subject is derived again when it changes meanwhile, before it is left to the next repair.
const ATTEMPTS: usize = 8;

impl SignatureStore {
    /// Makes the rows of what `stale` names those of its records.
    pub(super) async fn repair(&self, stale: &Stale) -> Result<(), StoreError> {
        if let Some(subject) = &stale.subject {
            self.derive_subject(&stale.repository, subject).await?;
        }
        for digest in &stale.links {
            self.derive_link(&stale.repository, digest).await?;
        }
        if let Some(Ok(tag)) = stale.tag.as_deref().map(str::parse) {
            self.derive_tag(&stale.repository, &tag).await?;
        }
        Ok(())
    }

    /// Makes the index's rows of a subject those of its records, under the subject's generation; returns how many.
    pub(super) async fn derive_subject(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<usize, StoreError> {
        for _ in 0..ATTEMPTS {
            let generation = self.index.generation(repository, subject).await?;
            let referrers: Vec<Referrer> = self.stored_referrers(repository, subject).await?;
            let count = referrers.len();
            let replaced = self
                .index
                .replace_subject(repository, subject, referrers, generation)
                .await?;
            if replaced {
                return Ok(count);
            }
        }
        Err(StoreError::Unavailable {
            operation: "derive a subject that keeps changing",
            source: Box::new(Busy),
        })
    }

    /// Makes the index's row of a link that of its record.
    ///
    /// Without a generation: written, then compared with the record again, until both agree. Whoever changes the
    /// record after the last comparison writes the row after it too, so the row ends as the record does. If it does not
    /// come to that, this process owes it.
    pub(super) async fn derive_link(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<(), StoreError> {
        // Cut off in between, it may leave the row of a record that is gone, which no walk over records would find.
        let change = self.owed.change(Stale {
            links: vec![digest.clone()],
            ..Stale::of(repository)
        });
        let mut record = self.readable_link(repository, digest).await?;
        loop {
            match &record {
                Some(link) => {
                    let row = [(digest.clone(), link.clone())];
                    self.index.put_links(repository, &row).await?;
                }
                None => self.index.remove_link(repository, digest).await?,
            }
            let now = self.readable_link(repository, digest).await?;
            if now == record {
                change.finished();
                return Ok(());
            }
            record = now;
        }
    }

    /// A link by its records; none, also if it is damaged: one of them must not keep the others from being derived.
    pub(super) async fn readable_link(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Link>, StoreError> {
        match self.stored_link(repository, digest).await {
            Err(StoreError::Corrupt { key }) => {
                tracing::error!(%key, "a link cannot be read");
                Ok(None)
            }
            outcome => outcome,
        }
    }

    /// Gives the index every version of a tag. Versions are never changed or removed.
    async fn derive_tag(&self, repository: &RepositoryName, tag: &Tag) -> Result<(), StoreError> {
        let versions: Vec<(u64, TagVersion)> = self.stored_tag_versions(repository, tag).await?;
        for (number, version) in versions {
            self.index
                .put_tag_version(repository, tag, number, &version)
                .await?;
        }
        Ok(())
    }
}

/// A subject changed during each attempt to derive it.
#[derive(Debug, thiserror::Error)]
#[error("it changed during every attempt")]
struct Busy;
