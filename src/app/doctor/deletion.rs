//! Deletion: of a tag alone, of a manifest, of a blob.

use http::StatusCode;

use super::capability::{Capability, Findings, Value};
use super::manifests::Image;
use super::registry::Silence;
use super::scratch::Scratch;
use crate::oci::Digest;
use crate::oci::media_type::IMAGE_MANIFEST;

pub(super) async fn examine(
    scratch: &mut Scratch<'_>,
    image: &Image,
    findings: &mut Findings,
) -> Result<(), Silence> {
    let (manifest, tag) = (image.manifest(scratch).to_string(), scratch.fresh());
    let digest = Digest::sha256(manifest.as_bytes());
    scratch
        .push(&tag, IMAGE_MANIFEST, manifest.as_bytes())
        .await?;
    let deleted = scratch.delete(&format!("manifests/{tag}")).await?;
    let (by_tag, by_digest) = (
        scratch.manifest(&tag).await?,
        scratch.manifest(digest.as_str()).await?,
    );
    let value = match (by_tag.status, by_digest.status) {
        _ if !deleted.status.is_success() => Value::No,
        (StatusCode::NOT_FOUND, StatusCode::OK) => Value::Yes,
        (StatusCode::NOT_FOUND, StatusCode::NOT_FOUND) => Value::from("with its manifest"),
        _ => Value::No,
    };
    let went_along = by_digest.status == StatusCode::NOT_FOUND;
    findings.note(Capability::DeleteTag, value, &deleted);

    let deleted = scratch.delete(&format!("manifests/{digest}")).await?;
    let after = scratch.manifest(digest.as_str()).await?;
    let is_deleted =
        after.status == StatusCode::NOT_FOUND && (deleted.status.is_success() || went_along);
    findings.note(
        Capability::DeleteManifest,
        is_deleted,
        format!("{deleted}; then {after}"),
    );

    let content = scratch.fresh();
    let digest = Digest::sha256(content.as_bytes());
    scratch.upload(&digest, content).await?;
    let deleted = scratch.delete(&format!("blobs/{digest}")).await?;
    let after = scratch.blob(&digest).await?;
    let is_deleted = deleted.status.is_success() && after.status == StatusCode::NOT_FOUND;
    findings.note(
        Capability::DeleteBlob,
        is_deleted,
        format!("{deleted}; then {after}"),
    );
    Ok(())
}
