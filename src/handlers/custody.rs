//! The only way from a handler to the store: with a permit, and only in the permit's repository.
//!
//! Content addressed is not authorised: a digest that is known opens nothing without the permit of a repository that
//! links it. What can be asked without a permit ([`Custody::link`]) decides the way of a request and is never answered.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use http_body_util::BodyExt;

use crate::auth::{Permit, Pull, Push};
use crate::body::Body;
use crate::clock::UnixMillis;
use crate::oci::{Digest, RepositoryName, Tag};
use crate::store::{
    Content, Kept, Link, NewManifest, OnSubjectDelete, Referrer, ServedTag, SignatureStore, Source,
    StoreError,
};

/// The store behind the permits.
#[derive(Clone, Debug)]
pub(super) struct Custody {
    store: Arc<SignatureStore>,
}

/// What a caller who may pull reads of one repository.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    store: &'a SignatureStore,
    repository: &'a RepositoryName,
}

/// What a caller who may push writes in one repository, and reads there: whoever may push may pull.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    reader: Reader<'a>,
}

impl Custody {
    pub(super) fn new(store: Arc<SignatureStore>) -> Self {
        Self { store }
    }

    /// Whether and as what the store holds `digest` for `repository`: decides where a request goes, not what it gets.
    pub(super) async fn link(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Link>, StoreError> {
        self.store.link(repository, digest).await
    }

    /// As [`Self::link`], by the records alone: what another replica has acknowledged is among them at once. By the
    /// index while they cannot be read.
    pub(super) async fn recorded_link(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Link>, StoreError> {
        match self.store.recorded_link(repository, digest).await {
            Ok(link) => Ok(link),
            Err(_outage) => self.store.link(repository, digest).await,
        }
    }

    /// The other name of a digest: decides by which name a request is forwarded, never whether it is answered.
    pub(super) async fn alias(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Digest>, StoreError> {
        self.store.alias(repository, digest).await
    }

    /// Whether there is any second name in the repository.
    pub(super) async fn has_aliases(
        &self,
        repository: &RepositoryName,
    ) -> Result<bool, StoreError> {
        self.store.has_aliases(repository).await
    }

    /// Whether `tag` was set by a push by this very digest: decides by which of two names its manifest is called.
    pub(super) async fn is_tagged(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        tag: &Tag,
    ) -> Result<bool, StoreError> {
        self.store.is_tagged(repository, digest, tag).await
    }

    /// The registry behind has shown the repository to somebody.
    pub(super) fn note_shown(&self, repository: &RepositoryName) {
        self.store.note_shown(repository);
    }

    /// Whether the store has referrers of `subject`: decides how the caller's right is asked for.
    pub(super) async fn has_referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<bool, StoreError> {
        self.store.has_referrers(repository, subject).await
    }

    /// The subjects that have referrers and share a referrers tag that was cut, two at most: decides where a request goes.
    pub(super) async fn subjects_of_cut_tag(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Result<Vec<Digest>, StoreError> {
        self.store.subjects_of_cut_tag(repository, tag).await
    }

    /// Keeps the bytes of an upload that the registry behind has accepted from the caller; nobody can read them until
    /// a manifest claims them.
    pub(super) async fn stage(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        bytes: Bytes,
    ) -> Result<(), StoreError> {
        self.store.stage(repository, digest, bytes).await
    }

    /// The bytes of something the registry behind may lack, to be uploaded there with the caller's own credential.
    pub(super) async fn restorable(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Content>, StoreError> {
        self.store.read(repository, digest).await
    }

    /// What was refused at its push and is kept to be signed; only for a caller who may push.
    pub(super) async fn kept(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Kept>, StoreError> {
        self.store.kept(repository, digest).await
    }

    /// Reading, for a caller who may pull.
    pub(super) fn reader<'a>(&'a self, permit: &'a Permit<Pull>) -> Reader<'a> {
        Reader {
            store: &self.store,
            repository: permit.repository(),
        }
    }

    /// Writing, for a caller who may push.
    pub(super) fn writer<'a>(&'a self, permit: &'a Permit<Push>) -> Writer<'a> {
        Writer {
            reader: Reader {
                store: &self.store,
                repository: permit.repository(),
            },
        }
    }
}

impl Reader<'_> {
    pub(super) async fn content(&self, digest: &Digest) -> Result<Option<Content>, StoreError> {
        self.store.read(self.repository, digest).await
    }

    pub(super) async fn manifest(
        &self,
        digest: &Digest,
    ) -> Result<Option<(Bytes, Link)>, StoreError> {
        self.store.read_manifest(self.repository, digest).await
    }

    pub(super) async fn referrers(&self, subject: &Digest) -> Result<Vec<Referrer>, StoreError> {
        self.store.referrers(self.repository, subject).await
    }

    pub(super) async fn tag(&self, tag: &Tag) -> Result<Option<ServedTag>, StoreError> {
        self.store.tag(self.repository, tag).await
    }

    /// Keeps an index that is made from what the caller may read, so that it can be read by digest as well.
    pub(super) async fn keep_generated(
        &self,
        bytes: Bytes,
        media_type: &str,
    ) -> Result<Digest, StoreError> {
        self.store
            .put_generated(self.repository, bytes, media_type)
            .await
    }

    /// Adds a referrer that the registry behind has; a deletion or a record that is there wins.
    pub(super) async fn merge(
        &self,
        subject: &Digest,
        found: NewManifest<'_>,
    ) -> Result<(), StoreError> {
        self.store
            .merge_upstream_referrer(self.repository, subject, found)
            .await
    }

    /// Forgets a referrer that the registry behind no longer has.
    pub(super) async fn forget(
        &self,
        subject: &Digest,
        referrer: &Digest,
    ) -> Result<(), StoreError> {
        self.store
            .forget_upstream_referrer(self.repository, subject, referrer)
            .await
    }

    /// Adds what the registry behind has under a cosign tag as one more version, after its blobs.
    pub(super) async fn merge_tag(
        &self,
        tag: &Tag,
        found: NewManifest<'_>,
    ) -> Result<(), StoreError> {
        self.store
            .merge_upstream_tag(self.repository, tag, found)
            .await
    }

    /// Keeps a blob that the caller has read from the registry behind.
    pub(super) async fn put_blob(
        &self,
        digest: &Digest,
        body: Body,
        limit: u64,
    ) -> Result<u64, StoreError> {
        let stream = body.into_data_stream().map_err(std::io::Error::other);
        let stored = self
            .store
            .put_blob(self.repository, digest, Box::pin(stream), limit);
        stored.await
    }

    /// Whether a manifest was deleted through regseal.
    pub(super) async fn was_deleted(&self, digest: &Digest) -> Result<bool, StoreError> {
        self.store.deleted(self.repository, digest).await
    }
}

impl<'a> Writer<'a> {
    /// Reading, and merging what is found.
    pub(super) fn reader(&self) -> &Reader<'a> {
        &self.reader
    }

    /// Takes a blob that this repository has in the store or in staging; `None` if it must be fetched.
    pub(super) async fn claim(
        &self,
        digest: &Digest,
        media_type: &str,
    ) -> Result<Option<u64>, StoreError> {
        self.reader
            .store
            .claim_blob(self.reader.repository, digest, media_type)
            .await
    }

    pub(super) async fn add_referrer(
        &self,
        subject: &Digest,
        new: NewManifest<'_>,
        source: Source,
    ) -> Result<(), StoreError> {
        self.reader
            .store
            .add_referrer(self.reader.repository, subject, new, source)
            .await
    }

    /// Keeps a manifest that was refused, so that it can be signed.
    pub(super) async fn keep_rejected(
        &self,
        digest: &Digest,
        media_type: &str,
        bytes: Bytes,
        until: UnixMillis,
    ) -> Result<(), StoreError> {
        self.reader
            .store
            .keep_rejected(self.reader.repository, digest, media_type, bytes, until)
            .await
    }

    pub(super) async fn append_tag(
        &self,
        tag: &Tag,
        new: NewManifest<'_>,
    ) -> Result<(), StoreError> {
        self.reader
            .store
            .append_tag(self.reader.repository, tag, new)
            .await
    }

    /// Records two names of content that the registry behind has taken, both computed here.
    pub(super) async fn put_alias(
        &self,
        alias: &Digest,
        canonical: &Digest,
    ) -> Result<(), StoreError> {
        self.reader
            .store
            .put_alias(self.reader.repository, alias, canonical)
            .await
    }

    pub(super) async fn forget_alias(
        &self,
        alias: &Digest,
        canonical: &Digest,
    ) -> Result<(), StoreError> {
        self.reader
            .store
            .forget_alias(self.reader.repository, alias, canonical)
            .await
    }

    /// Notes that a tag was set by a push by this digest.
    pub(super) async fn note_tagged(&self, digest: &Digest, tag: &Tag) -> Result<(), StoreError> {
        self.reader
            .store
            .note_tagged(self.reader.repository, digest, tag)
            .await
    }

    /// Links a blob that is linked in a repository which the caller may read; `false` if it is lost there.
    pub(super) async fn adopt(
        &self,
        source: &Permit<Pull>,
        digest: &Digest,
        media_type: &str,
    ) -> Result<bool, StoreError> {
        self.reader
            .store
            .adopt_blob(
                source.repository(),
                self.reader.repository,
                digest,
                media_type,
            )
            .await
    }

    pub(super) async fn delete_manifest(&self, digest: &Digest) -> Result<(), StoreError> {
        self.reader
            .store
            .delete_manifest(self.reader.repository, digest)
            .await
    }

    /// Does to the referrers of a deleted subject what is configured.
    pub(super) async fn subject_deleted(
        &self,
        subject: &Digest,
        on: OnSubjectDelete,
    ) -> Result<(), StoreError> {
        self.reader
            .store
            .subject_deleted(self.reader.repository, subject, on)
            .await
    }

    /// Keeps the referrers of a subject that has come back.
    pub(super) async fn subject_pushed(&self, subject: &Digest) -> Result<(), StoreError> {
        self.reader
            .store
            .subject_pushed(self.reader.repository, subject)
            .await
    }

    /// Deletes the captured tag that serves a generated manifest, if one does.
    pub(super) async fn delete_generated(&self, digest: &Digest) -> Result<bool, StoreError> {
        self.reader
            .store
            .delete_generated(self.reader.repository, digest)
            .await
    }

    pub(super) async fn delete_tag(&self, tag: &Tag) -> Result<bool, StoreError> {
        self.reader
            .store
            .delete_tag(self.reader.repository, tag)
            .await
    }
}
