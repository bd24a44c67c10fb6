//! An OCI image layout (image-spec `image-layout.md`): `oci-layout`, `index.json` and `blobs/`. Every file appears whole.
//! What an earlier export has put there stays.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::{Value as Json, json};
use tokio::io::AsyncWriteExt;

use super::repository::Held;
use crate::oci::Digest;
use crate::store::blob::ByteStream;
use crate::transfer::TransferError;

const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// A layout that is being written.
#[derive(Debug)]
pub(super) struct Layout {
    folder: PathBuf,
    /// Descriptors for `index.json`.
    manifests: Mutex<Vec<Json>>,
}

impl Layout {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            manifests: Mutex::default(),
        }
    }

    pub(super) async fn add_blob(
        &self,
        digest: &Digest,
        mut stream: ByteStream,
    ) -> Result<(), TransferError> {
        let path = self.blob(digest);
        if tokio::fs::try_exists(&path).await.unwrap_or(false) {
            return Ok(());
        }
        let cannot = |source| cannot(&path, source);
        if let Some(folder) = path.parent() {
            tokio::fs::create_dir_all(folder).await.map_err(cannot)?;
        }
        // Two of the same at once each write their own.
        let mut random = [0; 8];
        aws_lc_rs::rand::fill(&mut random).map_err(|error| cannot(std::io::Error::other(error)))?;
        let number = u64::from_ne_bytes(random);
        let written = path.with_file_name(format!(".{}-{number:016x}", digest.encoded()));
        let mut file = tokio::fs::File::create(&written).await.map_err(cannot)?;
        while let Some(bytes) = stream.next().await {
            let bytes = bytes.map_err(cannot)?;
            file.write_all(&bytes).await.map_err(cannot)?;
        }
        file.sync_all().await.map_err(cannot)?;
        tokio::fs::rename(&written, &path).await.map_err(cannot)
    }

    /// Adds a manifest, by its tag if it has one.
    pub(super) async fn add_manifest(
        &self,
        held: &Held,
        tag: Option<&str>,
    ) -> Result<(), TransferError> {
        let bytes = held.bytes.clone();
        let stream = futures_util::stream::once(async move { Ok::<Bytes, std::io::Error>(bytes) });
        self.add_blob(&held.digest, stream.boxed()).await?;
        let mut descriptor = json!({
            "mediaType": held.media_type,
            "digest": held.digest,
            "size": held.bytes.len(),
        });
        if let (Some(tag), Some(fields)) = (tag, descriptor.as_object_mut()) {
            fields.insert("annotations".to_owned(), json!({REF_NAME: tag}));
        }
        let mut manifests = self
            .manifests
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        manifests.push(descriptor);
        Ok(())
    }

    /// Writes the index of all that was added, and of what was there; a tag names what it was given last.
    pub(super) async fn finish(&self) -> Result<(), TransferError> {
        let new = self.added();
        if new.is_empty() {
            return Ok(());
        }
        let path = self.folder.join("index.json");
        let earlier = tokio::fs::read(&path).await.unwrap_or_default();
        let earlier: Json = serde_json::from_slice(&earlier).unwrap_or_default();
        let earlier = earlier.get("manifests").and_then(Json::as_array).cloned();
        let mut all: Vec<Json> = Vec::new();
        for descriptor in earlier.into_iter().flatten().chain(new) {
            let name = ref_name(&descriptor);
            let digest = descriptor.get("digest").cloned();
            all.retain(|other| match &name {
                Some(name) => ref_name(other).as_ref() != Some(name),
                None => ref_name(other).is_some() || other.get("digest") != digest.as_ref(),
            });
            all.push(descriptor);
        }
        all.sort_by_key(|descriptor| (ref_name(descriptor), descriptor.to_string()));
        let index = json!({
            "schemaVersion": 2,
            "mediaType": crate::oci::media_type::IMAGE_INDEX,
            "manifests": all,
        });
        self.write("oci-layout", &json!({"imageLayoutVersion": "1.0.0"}))
            .await?;
        self.write("index.json", &index).await
    }

    fn added(&self) -> Vec<Json> {
        let manifests = self.manifests.lock();
        manifests.unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn write(&self, name: &str, document: &Json) -> Result<(), TransferError> {
        let path = self.folder.join(name);
        let new = self.folder.join(format!(".{name}"));
        let cannot = |source| cannot(&path, source);
        tokio::fs::write(&new, document.to_string())
            .await
            .map_err(cannot)?;
        tokio::fs::rename(&new, &path).await.map_err(cannot)
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        let blobs = self.folder.join("blobs");
        blobs.join(digest.algorithm()).join(digest.encoded())
    }
}

fn ref_name(descriptor: &Json) -> Option<String> {
    let name = descriptor.get("annotations")?.get(REF_NAME)?.as_str()?;
    Some(name.to_owned())
}

fn cannot(path: &Path, source: std::io::Error) -> TransferError {
    TransferError::File {
        path: path.display().to_string(),
        source,
    }
}
