//! What regseal reads in a manifest (image-spec `manifest.md`, `image-index.md`): its kind, what it references, its
//! subject, and the descriptor that stands for it in a referrers list.
//!
//! The bytes themselves are never changed or re-encoded.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use thiserror::Error;

use super::{Descriptor, Digest, lookalike, media_type, strict_json};

/// What a manifest is, by its media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManifestKind {
    /// OCI image manifest or Docker schema 2.
    Image,
    /// OCI image index or Docker manifest list.
    Index,
    /// OCI artifact manifest, removed before image-spec 1.1.0.
    Artifact,
    /// Anything else, among it Docker schema 1.
    Other,
}

/// The parts of a manifest that decide what happens to it.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Media type, from the body or else from the `Content-Type`.
    pub media_type: String,
    /// Kind by media type.
    pub kind: ManifestKind,
    /// The manifest's own `artifactType`, if not empty.
    pub artifact_type: Option<String>,
    /// `config` of an image manifest.
    pub config: Option<Descriptor>,
    /// `layers` of an image manifest, or `blobs` of an artifact manifest.
    pub layers: Vec<Descriptor>,
    /// `manifests` of an index.
    pub manifests: Vec<Descriptor>,
    /// `subject`.
    pub subject: Option<Descriptor>,
    /// `annotations`.
    pub annotations: Option<BTreeMap<String, String>>,
}

/// Why bytes are not a manifest (`MANIFEST_INVALID`).
#[derive(Debug, Error)]
pub enum ManifestError {
    /// Not JSON, a repeated key, or fields of the wrong type.
    #[error("the manifest is not valid: {0}")]
    Json(#[from] serde_json::Error),
    /// A JSON value that is no object.
    #[error("the manifest is not a JSON object")]
    NoObject,
    /// Body and header name different media types.
    #[error("the manifest's mediaType {body:?} is not its Content-Type {header:?}")]
    MediaTypeMismatch {
        /// `mediaType` of the body.
        body: String,
        /// Type of the `Content-Type` header.
        header: String,
    },
    /// Fields of an image manifest and of an index in one document, or those of the other kind than its type says.
    #[error(
        "the manifest has fields of both an image manifest and an index, or those of another kind than its type"
    )]
    Ambiguous,
    /// A key that parsers which fold case read as another one.
    #[error("the manifest has the key {0:?}, which some read as another one")]
    Disguised(String),
}

/// The keys of a manifest that decide what it is; no other may be read as one of them.
const FIELDS: [&str; 11] = [
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "blobs",
    "manifests",
    "subject",
    "annotations",
    "fsLayers",
    "history",
];
/// The same of a descriptor.
const DESCRIPTOR_FIELDS: [&str; 8] = [
    "mediaType",
    "digest",
    "size",
    "urls",
    "annotations",
    "data",
    "platform",
    "artifactType",
];
/// Types of a configuration that clients take for one of an image. Docker is content with some that old registries and
/// programs got wrong, and with none.
const IMAGE_CONFIGS: [&str; 5] = [
    "application/octet-stream",
    "application/json",
    "text/html",
    "text/plain",
    "",
];
/// Beginnings of such types: docker asks for no more.
const IMAGE_CONFIG_FAMILIES: [&str; 2] = ["application/vnd.oci.image", "application/vnd.docker"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    blobs: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    annotations: Option<BTreeMap<String, String>>,
}

impl Manifest {
    /// Reads `bytes` that came or were stored as `content_type` (without parameters; empty if there was none).
    ///
    /// # Errors
    /// See [`ManifestError`].
    pub fn parse(bytes: &[u8], content_type: &str) -> Result<Self, ManifestError> {
        // The parser would take the fields of an array one by one.
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(ManifestError::NoObject);
        }
        let document: Document = strict_json::from_slice(bytes)?;
        refuse_disguised(bytes)?;
        let media_type = match document.media_type.filter(|body| !body.is_empty()) {
            Some(body) if !content_type.is_empty() && body != content_type => {
                return Err(ManifestError::MediaTypeMismatch {
                    body,
                    header: content_type.to_owned(),
                });
            }
            Some(body) => body,
            None => content_type.to_owned(),
        };
        let kind = match media_type.as_str() {
            media_type::IMAGE_MANIFEST | media_type::DOCKER_MANIFEST => ManifestKind::Image,
            media_type::IMAGE_INDEX | media_type::DOCKER_MANIFEST_LIST => ManifestKind::Index,
            media_type::ARTIFACT_MANIFEST => ManifestKind::Artifact,
            _ => ManifestKind::Other,
        };
        let of_image = document.config.is_some() || document.layers.is_some();
        let of_index = document.manifests.is_some();
        let contradicted = match kind {
            ManifestKind::Image => of_index,
            ManifestKind::Index => of_image,
            ManifestKind::Artifact => of_index || of_image,
            ManifestKind::Other => of_index && of_image,
        };
        if contradicted {
            return Err(ManifestError::Ambiguous);
        }
        Ok(Self {
            media_type,
            kind,
            artifact_type: document.artifact_type.filter(|text| !text.is_empty()),
            config: document.config,
            layers: document.layers.or(document.blobs).unwrap_or_default(),
            manifests: document.manifests.unwrap_or_default(),
            subject: document.subject,
            annotations: document.annotations,
        })
    }

    /// The artifact type of a referrers list: the manifest's own, else the type of an image's config, else none.
    #[must_use]
    pub fn effective_artifact_type(&self) -> Option<&str> {
        self.artifact_type.as_deref().or_else(|| {
            self.config
                .as_ref()
                .map(|config| config.media_type.as_str())
                .filter(|text| !text.is_empty())
        })
    }

    /// The descriptor that stands for this manifest in a referrers list.
    #[must_use]
    pub fn referrer_descriptor(&self, digest: Digest, size: u64) -> Descriptor {
        Descriptor {
            media_type: self.media_type.clone(),
            digest,
            size,
            artifact_type: self.effective_artifact_type().map(str::to_owned),
            annotations: self.annotations.clone(),
        }
    }

    /// Whether some client would take it for an image, or for a list of images.
    #[must_use]
    pub fn is_image_to_some(&self) -> bool {
        match self.kind {
            ManifestKind::Image => {
                let config = self.config.as_ref();
                self.media_type != media_type::IMAGE_MANIFEST
                    || config.is_none_or(|config| is_image_config(&config.media_type))
            }
            ManifestKind::Artifact => false,
            ManifestKind::Index | ManifestKind::Other => true,
        }
    }

    /// Config and layers: what must be readable as a blob.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        self.config.iter().chain(&self.layers)
    }
}

/// Types are compared as clients do that care least: without case and parameters, by their beginning.
fn is_image_config(media_type: &str) -> bool {
    let essence = media_type::essence(media_type).to_ascii_lowercase();
    IMAGE_CONFIGS.contains(&essence.as_str())
        || IMAGE_CONFIG_FAMILIES
            .iter()
            .any(|family| essence.starts_with(family))
}

/// Many parsers take keys in any case, and the last of several: what they would read must not be something else.
fn refuse_disguised(bytes: &[u8]) -> Result<(), ManifestError> {
    type Keys = BTreeMap<String, IgnoredAny>;
    let fields: BTreeMap<String, &RawValue> = serde_json::from_slice(bytes)?;
    refuse_any(fields.keys(), &FIELDS)?;
    for (name, value) in &fields {
        let descriptors: Vec<Option<Keys>> = match name.as_str() {
            "config" | "subject" => vec![serde_json::from_str(value.get())?],
            "layers" | "blobs" | "manifests" => {
                serde_json::from_str::<Option<_>>(value.get())?.unwrap_or_default()
            }
            _ => continue,
        };
        for descriptor in descriptors.iter().flatten() {
            refuse_any(descriptor.keys(), &DESCRIPTOR_FIELDS)?;
        }
    }
    Ok(())
}

fn refuse_any<'a>(
    keys: impl Iterator<Item = &'a String>,
    fields: &[&str],
) -> Result<(), ManifestError> {
    for key in keys {
        let is_field = |field: &&str| lookalike::folded(field) == lookalike::folded(key);
        if !fields.contains(&key.as_str()) && fields.iter().any(is_field) {
            return Err(ManifestError::Disguised(key.clone()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    fn image(fields: &str) -> String {
        format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"application/x-config","digest":"{DIGEST}","size":2}}{fields}}}"#
        )
    }

    #[test]
    fn the_artifact_type_falls_back_to_the_type_of_the_config() {
        for (fields, expected) in [
            (r#","artifactType":"a/b""#, "a/b"),
            (r#","artifactType":"""#, "application/x-config"),
            ("", "application/x-config"),
        ] {
            let manifest =
                Manifest::parse(image(fields).as_bytes(), media_type::IMAGE_MANIFEST).unwrap();
            assert_eq!(manifest.effective_artifact_type(), Some(expected));
        }
        let index = Manifest::parse(
            br#"{"schemaVersion":2,"manifests":[]}"#,
            media_type::IMAGE_INDEX,
        )
        .unwrap();
        assert_eq!(index.effective_artifact_type(), None);
    }

    #[test]
    fn confusing_manifests_are_refused() {
        for (body, content_type, why) in [
            (
                image(r#","manifests":[]"#),
                media_type::IMAGE_MANIFEST,
                "both kinds",
            ),
            (
                image(""),
                media_type::IMAGE_INDEX,
                "an image claimed as an index",
            ),
            (
                r#"{"manifests":[]}"#.to_owned(),
                media_type::IMAGE_MANIFEST,
                "an index claimed as an image",
            ),
            (
                image(r#","manifests":[]"#),
                "application/x-unknown",
                "both kinds, unknown type",
            ),
            (
                image(&format!(
                    r#","mediaType":"{}""#,
                    media_type::DOCKER_MANIFEST
                )),
                media_type::IMAGE_MANIFEST,
                "another type in the body",
            ),
            (
                image(r#","config":null"#),
                media_type::IMAGE_MANIFEST,
                "repeated key",
            ),
            (
                image(r#","Config":null"#),
                media_type::IMAGE_MANIFEST,
                "a key in another case",
            ),
            (
                image(",\"layer\u{17f}\":[]"),
                media_type::IMAGE_MANIFEST,
                "a letter that folds",
            ),
            (
                image(&format!(
                    r#","subject":{{"digest":"{DIGEST}","MediaType":"a/b"}}"#
                )),
                media_type::IMAGE_MANIFEST,
                "a key of a descriptor in another case",
            ),
            (
                image(r#","annotations":{"a":1}"#),
                media_type::IMAGE_MANIFEST,
                "annotation that is no string",
            ),
            (
                image(r#","subject":{"digest":"sha256:bad"}"#),
                media_type::IMAGE_MANIFEST,
                "bad digest",
            ),
            ("[]".to_owned(), media_type::IMAGE_MANIFEST, "no object"),
            (
                "[null,null,null,null,null,null,null,null]".to_owned(),
                media_type::IMAGE_MANIFEST,
                "an array of the fields",
            ),
            ("{".to_owned(), media_type::IMAGE_MANIFEST, "not JSON"),
        ] {
            assert!(
                Manifest::parse(body.as_bytes(), content_type).is_err(),
                "{why}"
            );
        }
    }

    #[test]
    fn what_some_client_takes_for_an_image_is_one() {
        let empty = "application/vnd.oci.empty.v1+json";
        let config = |media_type: &str| image("").replace("application/x-config", media_type);
        for (body, content_type, expected) in [
            (
                config(media_type::IMAGE_CONFIG),
                media_type::IMAGE_MANIFEST,
                true,
            ),
            (
                config(media_type::DOCKER_CONFIG),
                media_type::IMAGE_MANIFEST,
                true,
            ),
            (
                config("application/octet-stream"),
                media_type::IMAGE_MANIFEST,
                true,
            ),
            (config(""), media_type::IMAGE_MANIFEST, true),
            ("{}".to_owned(), media_type::IMAGE_MANIFEST, true),
            (config(empty), media_type::IMAGE_MANIFEST, false),
            (config(empty), media_type::DOCKER_MANIFEST, true),
            ("{}".to_owned(), media_type::ARTIFACT_MANIFEST, false),
            ("{}".to_owned(), media_type::IMAGE_INDEX, true),
            ("{}".to_owned(), "application/x-unknown", true),
        ] {
            let manifest = Manifest::parse(body.as_bytes(), content_type).unwrap();
            assert_eq!(
                manifest.is_image_to_some(),
                expected,
                "{content_type}: {body}"
            );
        }
    }

    #[test]
    fn annotations_have_what_keys_they_like() {
        let body = image(r#","annotations":{"Layers":"a","layers":"b"}"#);
        assert!(Manifest::parse(body.as_bytes(), media_type::IMAGE_MANIFEST).is_ok());
    }

    #[test]
    fn null_lists_are_empty_lists() {
        let manifest = Manifest::parse(
            image(r#","layers":null"#).as_bytes(),
            media_type::IMAGE_MANIFEST,
        )
        .unwrap();
        assert_eq!(manifest.layers, []);
        assert_eq!(manifest.blobs().count(), 1);
    }
}
