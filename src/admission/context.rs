//! One question: what it reads is read once.

use std::collections::HashMap;
use std::sync::Arc;

use super::verdicts::{About, Signatures};
use super::{Admission, AdmissionError, Described, Elsewhere};
use crate::oci::{Digest, Manifest, RepositoryName, Tag};
use crate::policy::{Snapshot, is_marker};

/// Indexes above a manifest that are looked at, and how far above.
const MAX_ANCESTORS: usize = 64;
const MAX_DEPTH: usize = 4;

/// One question about one repository, by one snapshot.
pub(super) struct Context<'a> {
    pub(super) admission: &'a Admission,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) repository: &'a RepositoryName,
    pub(super) elsewhere: &'a dyn Elsewhere,
    signatures: HashMap<Digest, Arc<Signatures>>,
    described: HashMap<Digest, Option<Described>>,
    ancestors: HashMap<Digest, Arc<[Digest]>>,
}

impl<'a> Context<'a> {
    pub(super) fn new(
        admission: &'a Admission,
        repository: &'a RepositoryName,
        elsewhere: &'a dyn Elsewhere,
    ) -> Self {
        Self {
            admission,
            snapshot: admission.snapshot(),
            repository,
            elsewhere,
            signatures: HashMap::new(),
            described: HashMap::new(),
            ancestors: HashMap::new(),
        }
    }

    /// What a manifest is that is at hand.
    pub(super) fn describe(&mut self, digest: &Digest, described: Described) {
        self.described.insert(digest.clone(), Some(described));
    }

    /// Who has signed `digest`.
    pub(super) async fn signatures(
        &mut self,
        digest: &Digest,
    ) -> Result<Arc<Signatures>, AdmissionError> {
        if let Some(known) = self.signatures.get(digest) {
            return Ok(Arc::clone(known));
        }
        let about = self.about(digest).await?;
        let signed =
            self.admission
                .signed_by(&self.snapshot, self.repository, &about, self.elsewhere);
        let signed = Arc::new(signed.await?);
        self.signatures.insert(digest.clone(), Arc::clone(&signed));
        Ok(signed)
    }

    /// `digest` with all that is known of it.
    pub(super) async fn about(&mut self, digest: &Digest) -> Result<About, AdmissionError> {
        let described = self.described(digest).await?;
        Ok(About {
            digest: digest.clone(),
            described: described.map(|described| (described.media_type, described.size)),
        })
    }

    /// What an index lists; nothing if it is none.
    pub(super) async fn children(
        &mut self,
        digest: &Digest,
    ) -> Result<Vec<Digest>, AdmissionError> {
        let described = self.described(digest).await?;
        Ok(described.map_or_else(Vec::new, |described| described.children))
    }

    /// What `digest` is, by the registry behind or by what is kept to be signed.
    async fn described(&mut self, digest: &Digest) -> Result<Option<Described>, AdmissionError> {
        if let Some(known) = self.described.get(digest) {
            return Ok(known.clone());
        }
        let mut found = self.elsewhere.describe(digest).await?;
        if found.is_none()
            && let Some(kept) = self.admission.store.kept(self.repository, digest).await?
            && let Ok(manifest) = Manifest::parse(&kept.bytes, &kept.media_type)
        {
            let size = u64::try_from(kept.bytes.len()).unwrap_or(u64::MAX);
            found = Some(Described::of(&manifest, size));
        }
        self.described.insert(digest.clone(), found.clone());
        Ok(found)
    }

    /// The tags that are known to have named `digest`.
    pub(super) async fn tags(&self, digest: &Digest) -> Result<Vec<Tag>, AdmissionError> {
        let store = &self.admission.store;
        let mut tags = store.tags_naming(self.repository, digest).await?;
        // No rule is about the name of a mark.
        tags.retain(|tag| !is_marker(tag));
        Ok(tags)
    }

    /// The indexes that list `digest`, and those that list them, nearest first.
    pub(super) async fn ancestors(
        &mut self,
        digest: &Digest,
    ) -> Result<Arc<[Digest]>, AdmissionError> {
        if let Some(known) = self.ancestors.get(digest) {
            return Ok(Arc::clone(known));
        }
        let mut found: Vec<Digest> = Vec::new();
        let mut level = vec![digest.clone()];
        for _ in 0..MAX_DEPTH {
            let mut next = Vec::new();
            for child in &level {
                for parent in self.admission.store.parents(self.repository, child).await? {
                    if parent != *digest && !found.contains(&parent) && found.len() < MAX_ANCESTORS
                    {
                        found.push(parent.clone());
                        next.push(parent);
                    }
                }
            }
            if next.is_empty() {
                break;
            }
            level = next;
        }
        let found: Arc<[Digest]> = found.into();
        self.ancestors.insert(digest.clone(), Arc::clone(&found));
        Ok(found)
    }
}
