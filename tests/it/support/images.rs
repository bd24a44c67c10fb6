//! Images, artifacts and signatures, made by plain API calls.

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{Http, Reply};

pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
pub const NOTATION: &str = "application/vnd.cncf.notary.signature";
pub const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
pub const SBOM: &str = "application/spdx+json";
pub const COSIGN_LAYER: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// The manifest types a client names in `Accept`.
pub const ACCEPT: (&str, &str) = (
    "Accept",
    "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json",
);

/// Bytes with a media type: a blob or a manifest.
#[derive(Clone, Debug)]
pub struct Content {
    pub media_type: String,
    pub bytes: Bytes,
}

impl Content {
    pub fn new(media_type: &str, bytes: impl Into<Bytes>) -> Self {
        Self {
            media_type: media_type.to_owned(),
            bytes: bytes.into(),
        }
    }

    /// A blob that no other test has.
    pub fn random(media_type: &str) -> Self {
        Self::new(media_type, random_hex(32))
    }

    /// A manifest: the media type is the one it states.
    #[track_caller]
    pub fn manifest(value: &Value) -> Self {
        Self::new(value["mediaType"].as_str().unwrap(), value.to_string())
    }

    pub fn digest(&self) -> String {
        sha256(&self.bytes)
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap()
    }

    pub fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest(), "size": self.bytes.len()})
    }

    /// The tag under which the referrers of this manifest, or its cosign signatures (`.sig`), are found without the API.
    pub fn companion_tag(&self, suffix: &str) -> String {
        format!("{}{suffix}", self.digest().replace(':', "-"))
    }

    /// The descriptor that a list of referrers must show for this manifest, by the rules of the distribution specification.
    pub fn as_referrer(&self) -> Value {
        let manifest = self.json();
        let mut descriptor = self.descriptor();
        let kind = match (&manifest["artifactType"], &manifest["config"]["mediaType"]) {
            (Value::String(kind), _) if !kind.is_empty() => Some(kind.clone()),
            (_, Value::String(kind)) => Some(kind.clone()),
            _ => None,
        };
        if let Some(kind) = kind {
            descriptor["artifactType"] = json!(kind);
        }
        if manifest["annotations"].is_object() {
            descriptor["annotations"] = manifest["annotations"].clone();
        }
        descriptor
    }
}

/// One repository as one caller sees it.
#[derive(Clone)]
pub struct Repository {
    pub http: Http,
    pub name: String,
}

impl Repository {
    pub fn new(http: Http, name: &str) -> Self {
        Self {
            http,
            name: name.to_owned(),
        }
    }

    /// `/v2/<name>/<rest>`
    pub fn path(&self, rest: &str) -> String {
        format!("/v2/{}/{rest}", self.name)
    }

    /// Uploads a blob in one piece.
    #[track_caller]
    pub fn push_blob(&self, blob: &Content) -> Reply {
        self.try_push_blob(blob).unwrap().expect(201)
    }

    /// Uploads a blob in one piece, and says how that went.
    pub fn try_push_blob(&self, blob: &Content) -> Result<Reply, String> {
        let session = self
            .http
            .try_request("POST", &self.path("blobs/uploads/"), &[], "")?;
        if session.status != 202 {
            return Ok(session);
        }
        let location = session.header("location");
        let separator = if location.contains('?') { '&' } else { '?' };
        self.http.try_request(
            "PUT",
            &format!("{location}{separator}digest={}", blob.digest()),
            &[("Content-Type", "application/octet-stream")],
            blob.bytes.clone(),
        )
    }

    /// Uploads a blob unless it is there, as clients do.
    pub fn try_ensure_blob(&self, blob: &Content) -> Result<(), String> {
        let path = self.path(&format!("blobs/{}", blob.digest()));
        if self.http.try_request("HEAD", &path, &[], "")?.status == 200 {
            return Ok(());
        }
        let reply = self.try_push_blob(blob)?;
        if reply.status == 201 {
            Ok(())
        } else {
            Err(format!("{reply:?}"))
        }
    }

    /// `PUT` of a manifest, whatever the answer.
    #[track_caller]
    pub fn put_manifest(&self, reference: &str, manifest: &Content) -> Reply {
        self.try_put_manifest(reference, manifest).unwrap()
    }

    pub fn try_put_manifest(&self, reference: &str, manifest: &Content) -> Result<Reply, String> {
        let path = self.path(&format!("manifests/{reference}"));
        let headers = [("Content-Type", manifest.media_type.as_str())];
        self.http
            .try_request("PUT", &path, &headers, manifest.bytes.clone())
    }

    #[track_caller]
    pub fn push_manifest(&self, manifest: &Content) -> Reply {
        self.put_manifest(&manifest.digest(), manifest).expect(201)
    }

    #[track_caller]
    pub fn get_manifest(&self, reference: &str) -> Reply {
        self.http.request(
            "GET",
            &self.path(&format!("manifests/{reference}")),
            &[ACCEPT],
            "",
        )
    }

    #[track_caller]
    pub fn delete_manifest(&self, digest: &str) -> Reply {
        self.http.delete(&self.path(&format!("manifests/{digest}")))
    }

    #[track_caller]
    pub fn get_blob(&self, digest: &str) -> Reply {
        self.http.get(&self.path(&format!("blobs/{digest}")))
    }

    /// `GET referrers` with a query such as `?artifactType=...`, whatever the answer.
    #[track_caller]
    pub fn get_referrers(&self, subject: &str, query: &str) -> Reply {
        self.http
            .get(&self.path(&format!("referrers/{subject}{query}")))
    }

    /// All referrers of a subject, over all pages.
    #[track_caller]
    pub fn referrers(&self, subject: &Content) -> Vec<Value> {
        self.referrer_pages(&subject.digest(), "").concat()
    }

    /// The pages of a list of referrers, each followed by the `Link` of the one before.
    #[track_caller]
    pub fn referrer_pages(&self, subject: &str, query: &str) -> Vec<Vec<Value>> {
        let mut pages = Vec::new();
        let mut next = Some(self.path(&format!("referrers/{subject}{query}")));
        while let Some(path) = next {
            let reply = self.http.get(&path).expect(200);
            assert!(pages.len() < 100, "the pages have no end: {path}");
            pages.push(reply.json()["manifests"].as_array().unwrap().clone());
            next = next_page(reply.header("link"));
        }
        pages
    }

    #[track_caller]
    pub fn tags(&self) -> Vec<String> {
        let reply = self.http.get(&self.path("tags/list"));
        match reply.status {
            404 => Vec::new(),
            _ => {
                serde_json::from_value(reply.expect(200).json()["tags"].clone()).unwrap_or_default()
            }
        }
    }

    /// An image of one random layer, pushed under the tag.
    #[track_caller]
    pub fn push_image(&self, tag: &str) -> Content {
        let image = self.image();
        self.put_manifest(tag, &image).expect(201);
        image
    }

    /// Pushes the blobs of an image of one random layer, and returns its manifest, still to be pushed.
    #[track_caller]
    pub fn image(&self) -> Content {
        let layer = Content::new(LAYER, tar("salt", random_hex(16).as_bytes()));
        let rootfs = json!({"type": "layers", "diff_ids": [layer.digest()]});
        let config =
            json!({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs});
        let config = Content::new(CONFIG, config.to_string());
        self.push_blob(&config);
        self.push_blob(&layer);
        Content::manifest(&json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.descriptor(),
            "layers": [layer.descriptor()],
        }))
    }

    /// Pushes the blobs of an artifact as notation and cosign make it (an empty config of the artifact's type, one layer),
    /// and returns its manifest, still to be pushed.
    #[track_caller]
    pub fn artifact(&self, kind: &str, subject: Option<&Content>) -> Content {
        self.try_artifact(kind, subject).unwrap()
    }

    pub fn try_artifact(&self, kind: &str, subject: Option<&Content>) -> Result<Content, String> {
        let config = Content::new(if kind == NOTATION { NOTATION } else { EMPTY }, "{}");
        let layer = Content::random(if kind == NOTATION {
            "application/jose+json"
        } else {
            kind
        });
        for blob in [&config, &layer] {
            self.try_ensure_blob(blob)?;
        }
        Ok(artifact_of(kind, subject, &config, &layer))
    }

    /// A signature, bundle or SBOM of the subject, pushed by its digest.
    #[track_caller]
    pub fn attach(&self, kind: &str, subject: &Content) -> Content {
        let artifact = self.artifact(kind, Some(subject));
        self.push_manifest(&artifact);
        artifact
    }
}

/// The manifest of an artifact with one layer; notation states its type in the config, the others in `artifactType`.
pub fn artifact_of(
    kind: &str,
    subject: Option<&Content>,
    config: &Content,
    layer: &Content,
) -> Content {
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.descriptor(),
        "layers": [layer.descriptor()],
        "annotations": {"org.opencontainers.image.created": "2026-01-02T03:04:05Z", "salt": random_hex(8)},
    });
    if kind != NOTATION {
        manifest["artifactType"] = json!(kind);
    }
    if let Some(subject) = subject {
        manifest["subject"] = subject.descriptor();
    }
    Content::manifest(&manifest)
}

/// An index of these manifests.
pub fn index_of<'a>(children: impl IntoIterator<Item = &'a Content>) -> Content {
    let manifests: Vec<Value> = children.into_iter().map(Content::descriptor).collect();
    Content::manifest(
        &json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests, "annotations": {"salt": random_hex(8)}}),
    )
}

/// The digests of a list of descriptors, sorted.
pub fn digests(descriptors: &[Value]) -> Vec<String> {
    let mut all: Vec<String> = descriptors
        .iter()
        .map(|descriptor| descriptor["digest"].as_str().unwrap().to_owned())
        .collect();
    all.sort();
    all
}

/// An archive of one small file.
pub fn tar(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = [0; 512];
    let mut field =
        |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    field(0, name);
    field(100, "0000644\0");
    field(108, "0000000\0");
    field(116, "0000000\0");
    field(124, &format!("{:011o}\0", content.len()));
    field(136, "00000000000\0");
    field(148, "        0");
    field(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());

    let mut archive = header.to_vec();
    archive.extend(content);
    // Padded to whole records, and ended by two empty ones.
    archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
    archive
}

pub fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(digest(&SHA256, bytes).as_ref()))
}

/// `length` random bytes in hexadecimal.
pub fn random_hex(length: usize) -> String {
    let mut bytes = vec![0; length];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    hex(&bytes)
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The target of `Link: <...>; rel="next"`, or without quotes, as some registries write it.
pub fn next_page(link: &str) -> Option<String> {
    let (target, parameters) = link.strip_prefix('<')?.split_once('>')?;
    assert_eq!(
        parameters.trim_start_matches([';', ' ']).replace('"', ""),
        "rel=next",
        "{link}"
    );
    Some(target.to_owned())
}
