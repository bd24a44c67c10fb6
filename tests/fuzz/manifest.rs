//! Manifests: the strict reader, and the look at blobs that could be one.

use regseal::oci::lookalike::is_like_a_manifest;
use regseal::oci::media_type::{
    ARTIFACT_MANIFEST, DOCKER_MANIFEST, DOCKER_MANIFEST_LIST, IMAGE_INDEX, IMAGE_MANIFEST,
};
use regseal::oci::{Digest, Manifest, ManifestKind, strict_json};
use serde_json::Value;

pub(crate) fn read(bytes: &[u8]) {
    let is_like_one = is_like_a_manifest(bytes);
    let strict = strict_json::from_slice::<Value>(bytes);
    let plain = serde_json::from_slice::<Value>(bytes);
    if let Ok(strict) = &strict {
        assert_eq!(
            Some(strict),
            plain.as_ref().ok(),
            "the strict reader reads what others read"
        );
    }
    for media_type in [
        "",
        IMAGE_MANIFEST,
        IMAGE_INDEX,
        DOCKER_MANIFEST,
        DOCKER_MANIFEST_LIST,
        ARTIFACT_MANIFEST,
        "a/b",
    ] {
        let Ok(manifest) = Manifest::parse(bytes, media_type) else {
            continue;
        };
        let document = strict.as_ref().expect("what is ambiguous is no manifest");
        let subject = document.pointer("/subject/digest").and_then(Value::as_str);
        let read = manifest
            .subject
            .as_ref()
            .map(|subject| subject.digest.as_str());
        assert_eq!(read, subject, "everybody reads the same subject");
        match manifest.kind {
            ManifestKind::Image => assert!(manifest.manifests.is_empty()),
            ManifestKind::Index => assert!(manifest.config.is_none() && manifest.layers.is_empty()),
            ManifestKind::Artifact | ManifestKind::Other => {}
        }
        let tells = !manifest.layers.is_empty() || manifest.subject.is_some();
        let tells = (manifest.config.is_some() && tells) || !manifest.manifests.is_empty();
        assert!(is_like_one || !tells, "a manifest must not pass as a blob");
        let descriptor = manifest.referrer_descriptor(Digest::sha256(bytes), 1);
        assert_eq!(descriptor.annotations, manifest.annotations);
        let encoded = serde_json::to_vec(&descriptor).unwrap();
        assert!(strict_json::from_slice::<Value>(&encoded).is_ok());
    }
}
