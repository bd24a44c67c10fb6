//! The union of the versions of a captured tag. Pure: the same versions give the same bytes everywhere.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::oci::{Digest, media_type, strict_json};

/// The time of a generated config: none, as cosign writes it.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// What a tag serves.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Union {
    /// The bytes of the newest version, which has every layer.
    Newest,
    /// Bytes made for it.
    Generated {
        /// The manifest: the newest one with the layers of all, in order of first appearance.
        manifest: Bytes,
        /// The config it names, if that had to be made too.
        config: Option<Bytes>,
    },
}

/// The union of `versions`, oldest first. Layers are the same if their whole descriptors are, annotations included:
/// cosign has the signature in an annotation. A version without a list of layers adds none; a newest version without
/// one is served as it is.
pub(super) fn of(versions: &[&[u8]]) -> Union {
    let mut union: Vec<Value> = Vec::new();
    let mut newest = Value::Null;
    for version in versions {
        newest = strict_json::from_slice(version).unwrap_or_default();
        for layer in layers(&newest) {
            if !union.contains(layer) {
                union.push(layer.clone());
            }
        }
    }
    let has_all = union.iter().all(|layer| layers(&newest).contains(layer));
    if has_all || newest.get("layers").is_none() {
        return Union::Newest;
    }
    let config = generated_config(&newest, &union);
    if let Some(config) = &config
        && let Some(descriptor) = newest.get_mut("config")
    {
        *descriptor = json!({
            "mediaType": media_type::IMAGE_CONFIG,
            "digest": Digest::sha256(config),
            "size": config.len(),
        });
    }
    if let Some(layers) = newest.get_mut("layers") {
        *layers = Value::Array(union);
    }
    Union::Generated {
        manifest: newest.to_string().into(),
        config,
    }
}

fn layers(manifest: &Value) -> &[Value] {
    manifest
        .get("layers")
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// An image config counts the layers of its manifest, and clients check it; other configs say nothing of them.
fn generated_config(manifest: &Value, layers: &[Value]) -> Option<Bytes> {
    if manifest.pointer("/config/mediaType")? != media_type::IMAGE_CONFIG {
        return None;
    }
    let diff_ids: Vec<_> = layers.iter().map(|layer| layer.get("digest")).collect();
    let history: Vec<_> = layers.iter().map(|_| json!({"created": NO_TIME})).collect();
    let config = json!({
        "architecture": "",
        "config": {},
        "created": NO_TIME,
        "history": history,
        "os": "",
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    Some(config.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(config: &str, layers: &[&str]) -> String {
        let layers: Vec<_> = layers
            .iter()
            .map(|signature| {
                json!({
                    "mediaType": media_type::SIMPLE_SIGNING,
                    "digest": Digest::sha256(b"payload"),
                    "size": 7,
                    "annotations": {"dev.cosignproject.cosign/signature": signature},
                })
            })
            .collect();
        json!({
            "schemaVersion": 2,
            "mediaType": media_type::IMAGE_MANIFEST,
            "config": {"mediaType": config, "digest": Digest::sha256(b"{}"), "size": 2},
            "layers": layers,
        })
        .to_string()
    }

    fn union_of(versions: &[String]) -> Union {
        of(&versions.iter().map(String::as_bytes).collect::<Vec<_>>())
    }

    #[test]
    fn the_newest_version_is_served_as_it_is_when_it_has_every_layer() {
        let one = manifest(media_type::IMAGE_CONFIG, &["a"]);
        let both = manifest(media_type::IMAGE_CONFIG, &["b", "a"]);
        assert_eq!(union_of(&[one, both]), Union::Newest);
        let index = r#"{"manifests":[]}"#.to_owned();
        let image = manifest(media_type::IMAGE_CONFIG, &["a"]);
        assert_eq!(union_of(&[image, index]), Union::Newest);
    }

    #[test]
    fn layers_of_the_same_payload_with_other_signatures_are_all_kept() {
        let versions = ["a", "b", "a"].map(|text| manifest(media_type::IMAGE_CONFIG, &[text]));
        let Union::Generated { manifest, config } = union_of(&versions) else {
            panic!("no version has both layers");
        };
        let config = config.unwrap();
        let parsed: Value = serde_json::from_slice(&manifest).unwrap();
        assert_eq!(
            parsed["config"]["digest"],
            Digest::sha256(&config).to_string()
        );
        insta::assert_snapshot!(str::from_utf8(&manifest).unwrap(), @r#"{"config":{"digest":"sha256:8f45316f485eb5cb34014480c413ee96e2c70dff9a6e53dbea451cdd2f4b4d9c","mediaType":"application/vnd.oci.image.config.v1+json","size":342},"layers":[{"annotations":{"dev.cosignproject.cosign/signature":"a"},"digest":"sha256:239f59ed55e737c77147cf55ad0c1b030b6d7ee748a7426952f9b852d5a935e5","mediaType":"application/vnd.dev.cosign.simplesigning.v1+json","size":7},{"annotations":{"dev.cosignproject.cosign/signature":"b"},"digest":"sha256:239f59ed55e737c77147cf55ad0c1b030b6d7ee748a7426952f9b852d5a935e5","mediaType":"application/vnd.dev.cosign.simplesigning.v1+json","size":7}],"mediaType":"application/vnd.oci.image.manifest.v1+json","schemaVersion":2}"#);
        insta::assert_snapshot!(str::from_utf8(&config).unwrap(), @r#"{"architecture":"","config":{},"created":"0001-01-01T00:00:00Z","history":[{"created":"0001-01-01T00:00:00Z"},{"created":"0001-01-01T00:00:00Z"}],"os":"","rootfs":{"diff_ids":["sha256:239f59ed55e737c77147cf55ad0c1b030b6d7ee748a7426952f9b852d5a935e5","sha256:239f59ed55e737c77147cf55ad0c1b030b6d7ee748a7426952f9b852d5a935e5"],"type":"layers"}}"#);
    }

    #[test]
    fn another_config_is_kept() {
        let versions = ["a", "b"].map(|text| manifest("application/x", &[text]));
        let Union::Generated { manifest, config } = union_of(&versions) else {
            panic!("no version has both layers");
        };
        assert_eq!(config, None);
        let parsed: Value = serde_json::from_slice(&manifest).unwrap();
        assert_eq!(parsed["config"]["mediaType"], "application/x");
    }
}
