//! Manifests: which kinds are taken, how large, under which digests and tags, and what becomes of a subject.

use http::StatusCode;
use serde_json::{Value as Json, json};

use super::capability::{Capability, Findings, Value};
use super::registry::{Question, Silence, Who};
use super::scratch::Scratch;
use super::sha512;
use super::uploads::names;
use super::visibility::lists_referrers;
use crate::oci::Digest;
use crate::oci::media_type::{ARTIFACT_MANIFEST, IMAGE_CONFIG, IMAGE_INDEX, IMAGE_MANIFEST};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const UNKNOWN_CONFIG: &str = "application/vnd.regseal.doctor.config.v1+json";
const UNKNOWN_MANIFEST: &str = "application/vnd.regseal.doctor.manifest.v1+json";

/// Sizes that are tried, the largest first, in bytes; 4 MiB is what the specification asks for at least.
const SIZES: [usize; 6] = [
    (4 << 20) + (64 << 10),
    4 << 20,
    3 << 20,
    2 << 20,
    1 << 20,
    256 << 10,
];

/// The parts that all images here are made of.
#[derive(Debug)]
pub(super) struct Image {
    config: Json,
    layer: Json,
    /// The first image.
    pub(super) digest: Digest,
    size: usize,
    media_type: &'static str,
}

impl Image {
    /// Pushes an image under two tags; none if the registry does not take it.
    pub(super) async fn push(
        scratch: &mut Scratch<'_>,
        findings: &mut Findings,
    ) -> Result<Option<Self>, Silence> {
        let config = json!({
            "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []},
            "config": {"Labels": {"regseal.doctor": scratch.fresh()}},
        });
        // Longer than what is said in place of a part of it, so that a wrong length shows.
        let (config, layer) = (config.to_string(), scratch.fresh().repeat(32));
        for blob in [&config, &layer] {
            scratch
                .upload(&Digest::sha256(blob.as_bytes()), blob.clone())
                .await?;
        }
        let mut image = Self {
            config: descriptor(IMAGE_CONFIG, config.as_bytes()),
            layer: descriptor(LAYER, layer.as_bytes()),
            digest: Digest::sha256(b""),
            size: 0,
            media_type: IMAGE_MANIFEST,
        };
        let manifest = image.manifest(scratch).to_string();
        for _ in 0..2 {
            let tag = scratch.fresh();
            let pushed = scratch
                .push(&tag, IMAGE_MANIFEST, manifest.as_bytes())
                .await?;
            if !pushed.status.is_success() {
                findings.without_scratch(&format!(
                    "not asked, since an ordinary image is refused: {pushed}"
                ));
                return Ok(None);
            }
        }
        image.digest = Digest::sha256(manifest.as_bytes());
        image.size = manifest.len();
        Ok(Some(image))
    }

    /// The image once more, with an annotation of its own.
    pub(super) fn manifest(&self, scratch: &mut Scratch<'_>) -> Json {
        json!({
            "schemaVersion": 2,
            "mediaType": IMAGE_MANIFEST,
            "config": self.config,
            "layers": [self.layer],
            "annotations": {"regseal.doctor": scratch.fresh()},
        })
    }

    /// Tries all kinds.
    pub(super) async fn kinds(
        &self,
        scratch: &mut Scratch<'_>,
        findings: &mut Findings,
    ) -> Result<(), Silence> {
        let absent = descriptor(IMAGE_MANIFEST, scratch.fresh().as_bytes());
        let mut config = self.config.clone();
        set(&mut config, "mediaType", json!(UNKNOWN_CONFIG));
        let artifact = json!({
            "mediaType": ARTIFACT_MANIFEST, "artifactType": UNKNOWN_CONFIG, "blobs": [self.layer],
            "annotations": {"regseal.doctor": scratch.fresh()},
        });
        let index = json!({
            "schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": [absent],
            "annotations": {"regseal.doctor": scratch.fresh()},
        });
        let mut changed = |key: &str, value: Json| {
            let mut manifest = self.manifest(scratch);
            set(&mut manifest, key, value);
            manifest
        };
        let kinds = [
            (
                Capability::UnknownConfigTypes,
                IMAGE_MANIFEST,
                changed("config", config),
            ),
            (
                Capability::UnknownMediaTypes,
                UNKNOWN_MANIFEST,
                changed("mediaType", json!(UNKNOWN_MANIFEST)),
            ),
            (
                Capability::EmptyLayers,
                IMAGE_MANIFEST,
                changed("layers", json!([])),
            ),
            (
                Capability::AbsentSubject,
                IMAGE_MANIFEST,
                changed("subject", absent),
            ),
            (Capability::ArtifactManifest, ARTIFACT_MANIFEST, artifact),
            (Capability::IndexWithMissingChild, IMAGE_INDEX, index),
        ];
        for (capability, media_type, manifest) in kinds {
            let manifest = manifest.to_string();
            let digest = Digest::sha256(manifest.as_bytes());
            let pushed = scratch
                .push(digest.as_str(), media_type, manifest.as_bytes())
                .await?;
            findings.note(capability, pushed.status.is_success(), pushed);
        }
        Ok(())
    }

    /// Other hash, and tags in the query.
    pub(super) async fn names(
        &self,
        scratch: &mut Scratch<'_>,
        findings: &mut Findings,
    ) -> Result<(), Silence> {
        let manifest = self.manifest(scratch).to_string();
        let digest = sha512(manifest.as_bytes());
        let pushed = scratch
            .push(digest.as_str(), IMAGE_MANIFEST, manifest.as_bytes())
            .await?;
        let read = scratch.manifest(digest.as_str()).await?;
        let is_kept = pushed.status == StatusCode::CREATED && names(&read, &digest);
        findings.note(
            Capability::ManifestSha512,
            is_kept,
            format!("{pushed}; {read}"),
        );

        let manifest = self.manifest(scratch).to_string();
        let (digest, tag) = (Digest::sha256(manifest.as_bytes()), scratch.fresh());
        let reference = format!("{digest}?tag={tag}");
        let pushed = scratch
            .push(&reference, IMAGE_MANIFEST, manifest.as_bytes())
            .await?;
        let read = scratch.manifest(&tag).await?;
        let is_named = pushed.header("oci-tag") == tag;
        let is_set = read.status == StatusCode::OK;
        let how = format!(
            "{pushed} {} OCI-Tag; {read}",
            if is_named { "with" } else { "without" }
        );
        findings.note(Capability::TagParameter, is_named && is_set, how);
        Ok(())
    }

    /// A manifest with a subject: whether the registry says that it has understood, and whether that is true.
    pub(super) async fn subject(
        &self,
        scratch: &mut Scratch<'_>,
        findings: &mut Findings,
    ) -> Result<(), Silence> {
        let mut referrer = self.manifest(scratch);
        let subject = json!({"mediaType": self.media_type, "digest": self.digest.as_str(), "size": self.size});
        set(&mut referrer, "subject", subject);
        let referrer = referrer.to_string();
        let digest = Digest::sha256(referrer.as_bytes());
        let pushed = scratch
            .push(digest.as_str(), IMAGE_MANIFEST, referrer.as_bytes())
            .await?;
        let name = scratch.name().clone();
        let path = format!("/v2/{name}/referrers/{}", self.digest);
        let listed = scratch
            .registry
            .read(Who::Account, Question::get(path).pulls(&name))
            .await?;
        let is_listed =
            lists_referrers(&listed) && listed.json().to_string().contains(digest.as_str());
        let is_said = pushed.header("oci-subject") == self.digest.as_str();
        let value = match (is_said, is_listed) {
            (true, true) => Value::Yes,
            (true, false) => Value::from("said, but not listed"),
            (false, true) => Value::from("listed, but not said"),
            (false, false) => Value::No,
        };
        let header = if is_said { "with" } else { "without" };
        findings.note(
            Capability::Subject,
            value,
            format!("{pushed} {header} OCI-Subject; {listed}"),
        );
        // What lists a referrer that was just pushed has the API, whatever it says of subjects that do not exist.
        if is_listed {
            findings.note(Capability::ReferrersApi, true, listed);
        }
        let tag = self.digest.key_form();
        let made = scratch.manifest(&tag).await?;
        // Some registries take such a name for the digest itself.
        let is_made = made.status == StatusCode::OK && Digest::sha256(&made.body) != self.digest;
        if is_made {
            scratch.found_tag(&tag);
        }
        findings.note(Capability::MakesFallbackTags, is_made, made);
        Ok(())
    }

    /// The largest manifest of those that are tried.
    pub(super) async fn limit(
        &self,
        scratch: &mut Scratch<'_>,
        findings: &mut Findings,
    ) -> Result<(), Silence> {
        let mut refused = None;
        for size in SIZES {
            let mut manifest = self.manifest(scratch);
            let length = manifest.to_string().len();
            let padding = "x".repeat(size.saturating_sub(length + r#","padding":"""#.len()));
            if let Some(annotations) = manifest.get_mut("annotations") {
                set(annotations, "padding", Json::from(padding));
            }
            let manifest = manifest.to_string();
            let digest = Digest::sha256(manifest.as_bytes());
            let pushed = match scratch
                .push(digest.as_str(), IMAGE_MANIFEST, manifest.as_bytes())
                .await
            {
                Ok(pushed) => pushed.status,
                // Some end the connection while the body is being sent.
                Err(Silence::NoAnswer { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
                Err(given_up @ Silence::GivenUp(_)) => return Err(given_up),
            };
            if pushed.is_success() {
                let size = u64::try_from(manifest.len()).unwrap_or_default();
                let how = match refused {
                    Some((larger, status)) => {
                        format!("{size} bytes are taken; {larger} bytes: {status}")
                    }
                    None => format!("{size} bytes are taken; more was not tried"),
                };
                findings.note(Capability::ManifestLimit, Value::Number(size), how);
                return Ok(());
            }
            refused = Some((manifest.len(), pushed.as_u16()));
        }
        findings.note(
            Capability::ManifestLimit,
            Value::Unknown,
            "none of the sizes that were tried is taken",
        );
        Ok(())
    }
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Json {
    json!({"mediaType": media_type, "digest": Digest::sha256(bytes).as_str(), "size": bytes.len()})
}

fn set(object: &mut Json, key: &str, value: Json) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}
