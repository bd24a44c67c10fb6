//! Captured tags (cosign's `.sig`, `.att`, `.sbom`): every push is a version, and the tag serves all of them.
//!
//! cosign reads the tag, adds a layer and writes it back. Two that do so at once would each drop the other's layer;
//! here both are versions, and what is served has the layers of both. An `.sbom` tag it replaces, and expects one layer
//! when it reads it: there the newest version alone counts.

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use moka::future::Cache;

use crate::oci::{Digest, RepositoryName, Tag, media_type};

use super::blob::Condition;
use super::collect::look::WRITTEN_AGAIN;
use super::error::StoreError;
use super::layout;
use super::records::{LinkKind, TagChange, TagVersion};
use super::signatures::{NewManifest, PARALLEL, SignatureStore};
use super::staging::expect_digest;
use super::tag_versions::{has_all, live, next_number};
use super::union::{self, Union};

/// Bytes of served manifests kept in memory.
const CACHED: u64 = 16 * 1024 * 1024;

/// What a captured tag serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedTag {
    /// The manifest.
    pub bytes: Bytes,
    /// Its media type.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
}

/// Served manifests by repository, tag and highest version: an entry is never wrong, only no longer asked for. It ends
/// all the same, so that what was made for it is written again before a collector takes it.
#[derive(Debug)]
pub(super) struct Unions(Cache<(RepositoryName, Tag, u64), ServedTag>);

impl Unions {
    pub(super) fn new() -> Self {
        let cache = Cache::builder()
            .max_capacity(CACHED)
            .time_to_live(WRITTEN_AGAIN)
            .weigher(|_, served: &ServedTag| u32::try_from(served.bytes.len()).unwrap_or(u32::MAX))
            .build();
        Self(cache)
    }
}

impl SignatureStore {
    /// Adds a version to a captured tag. Repeating the newest version adds none. Every blob the manifest names was
    /// claimed or put for this repository before.
    ///
    /// # Errors
    /// The object store is unavailable, the bytes do not have the digest, or a blob was not claimed. The tag then
    /// serves what it did.
    pub async fn append_tag(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        new: NewManifest<'_>,
    ) -> Result<(), StoreError> {
        expect_digest(&new.digest, &new.bytes)?;
        self.expect_blobs(repository, &new).await?;
        let change = self.begin_change(repository, &new.digest, None);
        let link = {
            let _held = self.digests.hold(&(repository, &new.digest)).await;
            let tagged = layout::tagged_by(repository, &new.digest, tag);
            self.put_record(&tagged, &self.stamp(), Condition::Always)
                .await?;
            let link = self
                .keep_manifest(repository, &new, LinkKind::Manifest, None, &[tagged])
                .await?;
            self.index_link(repository, &new.digest, link.clone())
                .await?;
            link
        };
        let version = TagVersion {
            digest: new.digest.clone(),
            media_type: new.manifest.media_type.clone(),
            time: self.clock.now(),
            change: TagChange::Pushed,
        };
        self.add_version(repository, tag, &version).await?;
        // Last, as a deletion writes it first.
        self.blobs
            .delete(&layout::tombstone(repository, &new.digest))
            .await?;
        let _held = self.digests.hold(&(repository, &new.digest)).await;
        self.look_at_link(repository, &new.digest, &link).await?;
        change.finished();
        Ok(())
    }

    /// Adds a version to a tag, unless it is the newest already.
    async fn add_version(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        version: &TagVersion,
    ) -> Result<(), StoreError> {
        let _held = self.tags.hold(&(repository, tag)).await;
        // By the records: the index may lag behind what another replica has acknowledged.
        let newest = self.newest_stored_version(repository, tag).await?;
        if let Some((number, newest)) = &newest
            && newest.digest == version.digest
            && newest.change == TagChange::Pushed
        {
            // The row may be missing if that push was cut off before it.
            return self.index_version(repository, tag, *number, newest).await;
        }
        let next = newest.map_or(1, |(number, _)| number + 1);
        self.append_version(repository, tag, next, version).await
    }

    /// Adds what was found upstream under a captured tag. Where the last push wins it would undo one, so there it is
    /// only taken by a tag that has none.
    ///
    /// # Errors
    /// See [`append_tag`](Self::append_tag).
    pub async fn merge_upstream_tag(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        new: NewManifest<'_>,
    ) -> Result<(), StoreError> {
        if last_write_wins(tag)
            && !live(&self.stored_tag_versions(repository, tag).await?).is_empty()
        {
            return Ok(());
        }
        self.append_tag(repository, tag, new).await
    }

    /// What a captured tag serves: the union of the layers of all its live versions. If the newest version has them
    /// all, or the tag is an `.sbom` tag, its exact bytes; else a manifest made from it, which is durable and readable
    /// by its digest before this returns, and the same on every replica. `None` if the tag has no version.
    ///
    /// # Errors
    /// The object store is unavailable, or a version is corrupt.
    pub async fn tag(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Result<Option<ServedTag>, StoreError> {
        let versions = self.tag_versions(repository, tag).await?;
        let served = self.served(repository, tag, &versions).await?;
        Ok(served.map(|(_, served)| served))
    }

    /// The manifests that a captured tag has the layers of, oldest first, each once.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn tag_manifests(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Result<Vec<Digest>, StoreError> {
        let versions = self.tag_versions(repository, tag).await?;
        let mut digests: Vec<Digest> = Vec::new();
        for version in live(&versions) {
            if !digests.contains(&version.digest) {
                digests.push(version.digest.clone());
            }
        }
        Ok(digests)
    }

    /// What a captured tag with these versions serves, and the number of the version it does so as of.
    pub(super) async fn served(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        versions: &[(u64, TagVersion)],
    ) -> Result<Option<(u64, ServedTag)>, StoreError> {
        let Some((highest, _)) = versions.last() else {
            return Ok(None);
        };
        let entry = (repository.clone(), tag.clone(), *highest);
        if let Some(served) = self.unions.0.get(&entry).await {
            return Ok(Some((*highest, served)));
        }
        let live = live(versions);
        let first = if last_write_wins(tag) {
            live.len().saturating_sub(1)
        } else {
            0
        };
        let digests: Vec<Digest> = live
            .iter()
            .skip(first)
            .map(|version| version.digest.clone())
            .collect();
        let count = digests.len();
        let manifests: Vec<ServedTag> = stream::iter(digests)
            .map(|digest| self.version(repository, digest))
            .buffered(PARALLEL)
            .try_filter_map(|found| async { Ok(found) })
            .try_collect()
            .await?;
        let Some(newest) = manifests.last() else {
            return Ok(None);
        };
        let bytes: Vec<&[u8]> = manifests
            .iter()
            .map(|manifest| manifest.bytes.as_ref())
            .collect();
        let served = match union::of(&bytes) {
            Union::Newest => newest.clone(),
            Union::Generated { manifest, config } => {
                if let Some(config) = config {
                    let digest = Digest::sha256(&config);
                    let kind = LinkKind::Blob;
                    self.put_own(repository, &digest, config, media_type::IMAGE_CONFIG, kind)
                        .await?;
                }
                self.serve_generated(repository, tag, manifest, &newest.media_type)
                    .await?
            }
        };
        // A version that was not readable may be pushed again, and one that is missing here may be found by a later
        // read: then it is the same highest version.
        if manifests.len() == count && has_all(versions) {
            self.unions.0.insert(entry, served.clone()).await;
        }
        Ok(Some((*highest, served)))
    }

    /// Deletes a captured tag; `false` if it had no version. Its versions stay readable by their digests.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn delete_tag(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Result<bool, StoreError> {
        let _held = self.tags.hold(&(repository, tag)).await;
        let versions = self.stored_tag_versions(repository, tag).await?;
        let Some(newest) = live(&versions).last().copied() else {
            return Ok(false);
        };
        let deletion = self.change(newest, TagChange::Deleted);
        let next = next_number(&versions);
        self.append_version(repository, tag, next, &deletion)
            .await?;
        Ok(true)
    }

    /// The manifest of a version; `None` if it was deleted, which takes it out of the tag as well.
    async fn version(
        &self,
        repository: &RepositoryName,
        digest: Digest,
    ) -> Result<Option<ServedTag>, StoreError> {
        let found = self.read_manifest(repository, &digest).await?;
        Ok(found.map(|(bytes, link)| ServedTag {
            bytes,
            media_type: link.media_type,
            digest,
        }))
    }

    async fn serve_generated(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        bytes: Bytes,
        media_type: &str,
    ) -> Result<ServedTag, StoreError> {
        let digest = self
            .put_generated(repository, bytes.clone(), media_type)
            .await?;
        let tagged = layout::tagged_by(repository, &digest, tag);
        self.put_record(&tagged, &self.stamp(), Condition::Always)
            .await?;
        self.expect_unswept(&[tagged]).await?;
        Ok(ServedTag {
            bytes,
            media_type: media_type.to_owned(),
            digest,
        })
    }
}

/// Whether a push replaces what the tag has (cosign `attach sbom`), where others add to it.
pub(super) fn last_write_wins(tag: &Tag) -> bool {
    tag.as_str().ends_with(".sbom")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::future::join_all;

    use super::*;
    use crate::clock::Clock;
    use crate::oci::Manifest;
    use crate::store::Source;
    use crate::store::testing::{Fixture, Mode, Signature, repository, subject, tag};

    async fn layers(store: &SignatureStore) -> usize {
        let served = store.tag(&repository(), &tag()).await.unwrap().unwrap();
        layers_of(&served)
    }

    fn layers_of(served: &ServedTag) -> usize {
        let manifest = Manifest::parse(&served.bytes, &served.media_type).unwrap();
        manifest.layers.len()
    }

    #[tokio::test]
    async fn a_hundred_at_once_by_two_replicas_are_all_served() {
        for mode in [Mode::Up, Mode::Down] {
            let fixture = Fixture::ready().await;
            let replica = fixture.replica();
            fixture.index.set(mode);
            let pushes = (0..100).map(|n| {
                let stores = [&fixture.store, &replica];
                let store = Arc::clone(stores[n % 2]);
                tokio::spawn(async move {
                    let signature = Signature::new(&n.to_string());
                    signature.append(&store).await.unwrap();
                })
            });
            for push in join_all(pushes).await {
                push.unwrap();
            }
            assert_eq!(layers(&fixture.store).await, 100);
            fixture.index.set(Mode::Up);
            fixture.store.repair_journal().await.unwrap();
            replica.repair_journal().await.unwrap();
            let served = fixture.store.tag(&repository(), &tag()).await.unwrap();
            assert_eq!(served, replica.tag(&repository(), &tag()).await.unwrap());
            assert_eq!(fixture.store.verify_index().await.unwrap(), []);
        }
    }

    #[tokio::test]
    async fn the_newest_version_is_served_as_it_is_if_it_has_every_layer() {
        let fixture = Fixture::ready().await;
        let store = &fixture.store;
        assert_eq!(store.tag(&repository(), &tag()).await.unwrap(), None);
        Signature::new("a").append(store).await.unwrap();
        let both = Signature::with_layers(&["a", "b"]);
        both.append(store).await.unwrap();
        let served = store.tag(&repository(), &tag()).await.unwrap().unwrap();
        assert_eq!((served.bytes, served.digest), (both.bytes, both.digest));
    }

    #[tokio::test]
    async fn a_generated_manifest_is_readable_with_all_it_names() {
        let fixture = Fixture::ready().await;
        let store = &fixture.store;
        for text in ["a", "b"] {
            Signature::new(text).append(store).await.unwrap();
        }
        let served = store.tag(&repository(), &tag()).await.unwrap().unwrap();
        let read = store.read_manifest(&repository(), &served.digest).await;
        let (bytes, link) = read.unwrap().unwrap();
        assert_eq!(bytes, served.bytes);
        assert_eq!(link.kind, LinkKind::Generated);
        let manifest = Manifest::parse(&served.bytes, &served.media_type).unwrap();
        for blob in manifest.blobs() {
            let content = store.read(&repository(), &blob.digest).await.unwrap();
            assert_eq!(content.unwrap().size, blob.size);
        }
    }

    #[tokio::test]
    async fn a_version_that_cannot_be_read_stops_no_deletion() {
        let fixture = Fixture::ready().await;
        let store = &fixture.store;
        let signature = Signature::new("a");
        signature.append(store).await.unwrap();
        let key = layout::tag_version(&repository(), &tag(), 2);
        let bytes = Bytes::from_static(b"{");
        fixture
            .blobs
            .put(&key, bytes, Condition::Always)
            .await
            .unwrap();
        store
            .delete_manifest(&repository(), &signature.digest)
            .await
            .unwrap();
        assert_eq!(store.tag(&repository(), &tag()).await.unwrap(), None);
    }

    #[tokio::test]
    async fn an_sbom_tag_serves_its_newest_version_alone() {
        for (suffix, expected) in [("sig", 2), ("att", 2), ("sbom", 1)] {
            let fixture = Fixture::ready().await;
            let (store, name) = (&fixture.store, &repository());
            let tag: Tag = format!("{}.{suffix}", subject().key_form())
                .parse()
                .unwrap();
            let [older, newer] = ["a", "b"].map(Signature::new);
            for version in [&older, &newer] {
                version.claim(store).await;
                store
                    .append_tag(name, &tag, version.new_manifest())
                    .await
                    .unwrap();
            }
            let served = store.tag(name, &tag).await.unwrap().unwrap();
            assert_eq!(layers_of(&served), expected, "{suffix}");
            let exact = (served.bytes, served.digest) == (newer.bytes, newer.digest.clone());
            assert_eq!(exact, expected == 1, "{suffix}");
            // What it replaced does not come back.
            store.delete_manifest(name, &newer.digest).await.unwrap();
            assert_eq!(store.tag(name, &tag).await.unwrap(), None, "{suffix}");
        }
    }

    #[tokio::test]
    async fn what_is_found_upstream_does_not_replace_a_pushed_sbom() {
        let fixture = Fixture::ready().await;
        let (store, name) = (&fixture.store, &repository());
        let tag: Tag = "a.sbom".parse().unwrap();
        let [old, pushed, found] = ["old", "pushed", "found"].map(Signature::new);
        for (version, expected) in [(&old, &old), (&found, &pushed)] {
            version.claim(store).await;
            store
                .merge_upstream_tag(name, &tag, version.new_manifest())
                .await
                .unwrap();
            let served = store.tag(name, &tag).await.unwrap().unwrap();
            assert_eq!(served.digest, expected.digest);
            store
                .append_tag(name, &tag, pushed.new_manifest())
                .await
                .unwrap();
        }
    }

    #[tokio::test]
    async fn a_replica_that_has_not_seen_the_journal_yet_goes_by_the_records() {
        let fixture = Fixture::ready().await;
        let (store, other) = (&fixture.store, fixture.replica());
        let signature = Signature::new("a");
        signature.append(store).await.unwrap();

        // Deleted by one that is cut off from the index, pushed again by another: it is a new version.
        fixture.index.set(Mode::Down);
        assert!(other.delete_tag(&repository(), &tag()).await.unwrap());
        fixture.index.set(Mode::Up);
        signature.append(store).await.unwrap();
        store.repair_journal().await.unwrap();
        assert!(store.tag(&repository(), &tag()).await.unwrap().is_some());

        // Pushed by one that is cut off, deleted by another: it is gone.
        fixture.index.set(Mode::Down);
        let newer = Signature::new("b");
        newer.append(&other).await.unwrap();
        fixture.index.set(Mode::Up);
        let digest = &newer.digest;
        store.delete_manifest(&repository(), digest).await.unwrap();
        store.repair_journal().await.unwrap();
        let read = store.read_manifest(&repository(), digest).await.unwrap();
        assert_eq!(read, None);
    }

    #[tokio::test]
    async fn repeating_a_push_adds_no_version() {
        let fixture = Fixture::ready().await;
        let store = &fixture.store;
        for _ in 0..3 {
            Signature::new("a").append(store).await.unwrap();
        }
        let versions = store.stored_tag_versions(&repository(), &tag()).await;
        assert_eq!(versions.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn deleting_the_newest_version_or_what_is_served_deletes_the_tag() {
        for (what, left) in [
            ("newest version", None),
            ("served", None),
            ("older version", Some(2)),
            ("served before", Some(3)),
        ] {
            let fixture = Fixture::ready().await;
            let store = &fixture.store;
            let versions = ["a", "b", "c"].map(Signature::new);
            versions[0].append(store).await.unwrap();
            versions[1].append(store).await.unwrap();
            let before = store.tag(&repository(), &tag()).await.unwrap().unwrap();
            versions[2].append(store).await.unwrap();
            let served = store.tag(&repository(), &tag()).await.unwrap().unwrap();
            let digest = match what {
                "newest version" => &versions[2].digest,
                "served" => &served.digest,
                "older version" => &versions[0].digest,
                _ => &before.digest,
            };
            // A replica that has it in memory sees the deletion as well.
            let replica = fixture.replica();
            replica.repair_journal().await.unwrap();
            replica.tag(&repository(), &tag()).await.unwrap();
            store.delete_manifest(&repository(), digest).await.unwrap();
            for store in [store, &replica] {
                let served = store.tag(&repository(), &tag()).await.unwrap();
                assert_eq!(served.as_ref().map(layers_of), left, "{what}");
                let read = store.read_manifest(&repository(), digest).await.unwrap();
                assert_eq!(read, None, "{what}");
            }
            assert_eq!(store.verify_index().await.unwrap(), []);
        }
    }

    #[tokio::test]
    async fn layers_of_an_older_version_stay_if_a_newer_one_has_them() {
        let fixture = Fixture::ready().await;
        let store = &fixture.store;
        let older = Signature::new("a");
        let newer = Signature::with_layers(&["a", "b"]);
        older.append(store).await.unwrap();
        newer.append(store).await.unwrap();
        store
            .delete_manifest(&repository(), &older.digest)
            .await
            .unwrap();
        let served = store.tag(&repository(), &tag()).await.unwrap().unwrap();
        assert_eq!(served.digest, newer.digest);
        let read = store.read_manifest(&repository(), &older.digest).await;
        assert_eq!(read.unwrap(), None);
        // Pushed again it is a version again, and the newest.
        older.append(store).await.unwrap();
        assert_eq!(layers(store).await, 2);
        store
            .delete_manifest(&repository(), &older.digest)
            .await
            .unwrap();
        assert_eq!(store.tag(&repository(), &tag()).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_version_of_another_replica_survives_the_deletion_of_an_older_one() {
        let fixture = Fixture::ready().await;
        let store = &fixture.store;
        let (older, newer) = (Signature::new("a"), Signature::new("b"));
        older.append(store).await.unwrap();
        newer.add(store, Source::Captured).await.unwrap();
        let pushed = TagVersion {
            change: TagChange::Pushed,
            digest: newer.digest.clone(),
            media_type: newer.manifest.media_type.clone(),
            time: fixture.clock.now(),
        };
        // The replica has not told the index yet.
        let key = layout::tag_version(&repository(), &tag(), 2);
        store
            .put_record(&key, &pushed, Condition::IfAbsent)
            .await
            .unwrap();
        store
            .delete_manifest(&repository(), &older.digest)
            .await
            .unwrap();
        store.rebuild_index(|_| ()).await.unwrap();
        let served = store.tag(&repository(), &tag()).await.unwrap().unwrap();
        assert_eq!(served.digest, newer.digest);
    }

    #[tokio::test]
    async fn a_deleted_tag_begins_anew() {
        let fixture = Fixture::ready().await;
        let store = &fixture.store;
        Signature::new("a").append(store).await.unwrap();
        Signature::new("b").append(store).await.unwrap();
        assert_eq!(layers(store).await, 2);
        assert!(store.delete_tag(&repository(), &tag()).await.unwrap());
        assert!(!store.delete_tag(&repository(), &tag()).await.unwrap());
        assert_eq!(store.tag(&repository(), &tag()).await.unwrap(), None);
        Signature::new("b").append(store).await.unwrap();
        assert_eq!(layers(store).await, 1);
    }
}
