//! What of a manifest is a signature, and the bytes that have to be read to verify it.
//!
//! Shapes: notation writes one layer with the envelope (signature-specification, "Storage"); cosign writes one layer
//! per signature under a `.sig` tag or in a referrer of its own type, or one layer with a bundle.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Family;
use crate::oci::{Descriptor, Manifest, ManifestKind, media_type};

/// Artifact type of a Notary Project signature.
pub const NOTATION: &str = "application/vnd.cncf.notary.signature";
/// Artifact type of a cosign signature that is a referrer, in the older layout.
pub const COSIGN_SIGNATURE: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
/// Beginning of the artifact and layer types of a Sigstore bundle.
pub const BUNDLE: &str = "application/vnd.dev.sigstore.bundle";
/// Layer of a JWS envelope.
pub const JWS: &str = "application/jose+json";
/// Layer of a COSE envelope.
pub const COSE: &str = "application/cose";
/// The config of a manifest that needs none.
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// A signature, ready to be verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// A Notary Project envelope.
    Envelope {
        /// Media type of its layer.
        media_type: String,
        /// The envelope.
        bytes: Bytes,
    },
    /// One layer of cosign's older layout.
    SimpleSigning {
        /// The payload, which names the digest of the image.
        payload: Bytes,
        /// The annotations of the layer, among them the signature.
        annotations: BTreeMap<String, String>,
    },
    /// A Sigstore bundle.
    Bundle {
        /// Media type of its layer.
        media_type: String,
        /// The bundle.
        bytes: Bytes,
    },
}

impl Evidence {
    /// The family it belongs to.
    #[must_use]
    pub fn family(&self) -> Family {
        match self {
            Self::Envelope { .. } => Family::Notation,
            Self::SimpleSigning { .. } | Self::Bundle { .. } => Family::Cosign,
        }
    }
}

/// What of a manifest is a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A Notary Project envelope in this layer.
    Envelope(Descriptor),
    /// Payloads of cosign's older layout, one signature each.
    SimpleSigning(Vec<Descriptor>),
    /// A Sigstore bundle in this layer.
    Bundle(Descriptor),
    /// Says that it is a signature, and has not its form.
    Malformed(Family, &'static str),
    /// No signature, or of no family that is verified here.
    None,
}

impl Shape {
    /// The shape of a referrer.
    #[must_use]
    pub fn of_referrer(manifest: &Manifest) -> Self {
        let Some(artifact_type) = manifest.effective_artifact_type() else {
            return Self::None;
        };
        if artifact_type == NOTATION {
            return Self::envelope(manifest);
        }
        if artifact_type == COSIGN_SIGNATURE {
            return Self::simple_signing(manifest);
        }
        if artifact_type.starts_with(BUNDLE) {
            return match manifest.layers.as_slice() {
                [layer] if layer.media_type.starts_with(BUNDLE) => Self::Bundle(layer.clone()),
                [_] => Self::Malformed(Family::Cosign, "the layer is no bundle"),
                _ => Self::Malformed(Family::Cosign, "a bundle is exactly one layer"),
            };
        }
        Self::None
    }

    /// The shape of what a `.sig` tag names.
    #[must_use]
    pub fn of_signature_tag(manifest: &Manifest) -> Self {
        Self::simple_signing(manifest)
    }

    fn envelope(manifest: &Manifest) -> Self {
        let malformed = |why| Self::Malformed(Family::Notation, why);
        let config = manifest.config.as_ref();
        let config = config.map(|config| config.media_type.as_str());
        match (manifest.kind, manifest.artifact_type.as_deref(), config) {
            (ManifestKind::Image, Some(_), Some(EMPTY))
            | (ManifestKind::Image, None, Some(NOTATION))
            | (ManifestKind::Artifact, Some(_), None) => {}
            _ => return malformed("artifact type and config do not go together"),
        }
        match manifest.layers.as_slice() {
            [layer] if layer.media_type == JWS || layer.media_type == COSE => {
                Self::Envelope(layer.clone())
            }
            [_] => malformed("the layer is no signature envelope"),
            _ => malformed("a signature is exactly one layer"),
        }
    }

    fn simple_signing(manifest: &Manifest) -> Self {
        let is_payload = |layer: &Descriptor| layer.media_type == media_type::SIMPLE_SIGNING;
        if manifest.layers.is_empty() || !manifest.layers.iter().all(is_payload) {
            return Self::Malformed(Family::Cosign, "a layer is no payload");
        }
        Self::SimpleSigning(manifest.layers.clone())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::oci::Digest;

    fn descriptor(media_type: &str) -> Value {
        let digest = Digest::sha256(b"layer");
        json!({"mediaType": media_type, "digest": digest.as_str(), "size": 5})
    }

    fn shape(artifact_type: Option<&str>, config: &str, layers: &[&str]) -> Shape {
        let layers: Vec<_> = layers.iter().map(|layer| descriptor(layer)).collect();
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor(config),
            "layers": layers,
            "subject": descriptor("application/vnd.oci.image.manifest.v1+json"),
        });
        if let Some(artifact_type) = artifact_type {
            manifest["artifactType"] = json!(artifact_type);
        }
        let manifest = Manifest::parse(manifest.to_string().as_bytes(), "").unwrap();
        Shape::of_referrer(&manifest)
    }

    #[test]
    fn a_notary_signature_has_one_of_two_forms_and_one_envelope() {
        let other = "application/vnd.oci.image.config.v1+json";
        let is_envelope = |shape: &Shape| matches!(shape, Shape::Envelope(_));
        let is_malformed = |shape: &Shape| matches!(shape, Shape::Malformed(Family::Notation, _));
        let is_none = |shape: &Shape| *shape == Shape::None;
        type Is<'a> = &'a dyn Fn(&Shape) -> bool;
        for (artifact_type, config, layers, expected, why) in [
            (
                None,
                NOTATION,
                vec![JWS],
                &is_envelope as Is<'_>,
                "older form",
            ),
            (
                Some(NOTATION),
                EMPTY,
                vec![COSE],
                &is_envelope,
                "newer form",
            ),
            (
                Some(NOTATION),
                other,
                vec![JWS],
                &is_malformed,
                "another config",
            ),
            (
                Some(NOTATION),
                NOTATION,
                vec![JWS],
                &is_malformed,
                "both forms",
            ),
            (
                None,
                other,
                vec![JWS],
                &is_none,
                "says nowhere that it is a signature",
            ),
            (None, EMPTY, vec![JWS], &is_none, "an empty config alone"),
            (None, NOTATION, vec![], &is_malformed, "no layer"),
            (None, NOTATION, vec![JWS, JWS], &is_malformed, "two layers"),
            (
                None,
                NOTATION,
                vec!["text/plain"],
                &is_malformed,
                "a layer of another type",
            ),
        ] {
            let shape = shape(artifact_type, config, &layers);
            assert!(expected(&shape), "{why}: {shape:?}");
        }
    }
}
