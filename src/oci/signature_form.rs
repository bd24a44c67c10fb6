//! Whether a manifest has the form of a signature, or of what cosign keeps under a tag of its own: what says that it is
//! one and has the parts of an image is an image.

use super::{Manifest, ManifestKind, Tag, media_type};

/// Whether the artifact type is one of `types`. A signature is what its type says only if it has no parts of an image.
#[must_use]
pub fn is_signature(manifest: &Manifest, types: &[String]) -> bool {
    manifest
        .effective_artifact_type()
        .is_some_and(|is| types.iter().any(|listed| listed == is))
        && matches!(manifest.kind, ManifestKind::Image | ManifestKind::Artifact)
        && manifest
            .layers
            .iter()
            .all(|layer| !is_image_layer(&layer.media_type))
        && manifest
            .config
            .as_ref()
            .is_none_or(|config| config.media_type != media_type::IMAGE_CONFIG)
}

/// What cosign writes under `.sig`, `.att` and `.sbom`: an image manifest without layers of a file system.
#[must_use]
pub fn is_cosign_manifest(manifest: &Manifest) -> bool {
    manifest.kind == ManifestKind::Image
        && manifest.subject.is_none()
        && manifest
            .layers
            .iter()
            .all(|layer| !is_image_layer(&layer.media_type))
}

/// Whether all layers are payloads of cosign signatures, which no client unpacks.
#[must_use]
pub fn is_of_payloads(manifest: &Manifest) -> bool {
    let mut layers = manifest.layers.iter();
    !manifest.layers.is_empty()
        && layers.all(|layer| layer.media_type == media_type::SIMPLE_SIGNING)
}

/// What is exempt from the policy under a cosign tag: the layers are those of that tag, and nothing else.
#[must_use]
pub fn is_what_its_tag_says(tag: &Tag, manifest: &Manifest) -> bool {
    let all = |wanted: &str| {
        let mut layers = manifest.layers.iter();
        !manifest.layers.is_empty() && layers.all(|layer| layer.media_type == wanted)
    };
    match tag.as_str().rsplit_once('.') {
        Some((_, "sig")) => is_of_payloads(manifest),
        Some((_, "att")) => all(media_type::DSSE_ENVELOPE),
        // cosign's `attach sbom` writes one document, of many types.
        Some((_, "sbom")) => manifest.layers.len() == 1,
        _ => false,
    }
}

/// Layers of a file system, and what docker takes for one: any type of OCI's images or its own.
fn is_image_layer(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.oci.image.")
        || media_type.starts_with("application/vnd.docker.")
        || media_type.contains(".tar")
}
