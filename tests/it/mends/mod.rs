//! What registries lack of the distribution specification, mended: each against the registries that need it, with a
//! policy in force, from another repository, and by another caller.

mod chunks;
mod digests;
mod mounts;
mod refused_kinds;
mod second_names;
mod second_names_judged;
mod tag_deletion;
mod tag_lists;
mod tag_params;
mod whole_uploads;

use aws_lc_rs::digest::{SHA512, digest};
use serde_json::{Value, json};

use crate::support::images::{CONFIG, LAYER, MANIFEST, hex, random_hex};
use crate::support::{Auth, Content, Registry, Reply, Repository};

/// Each kind of registry: its name, and whether it knows content by SHA-512 itself.
fn registries() -> [(&'static str, Registry); 3] {
    [
        ("docker-registry 2.8.2", Registry::with(Auth::None)),
        ("distribution 3.1.1", Registry::distribution3()),
        ("olareg", Registry::with_referrers_api()),
    ]
}

fn sha512(content: &Content) -> String {
    format!("sha512:{}", hex(digest(&SHA512, &content.bytes).as_ref()))
}

/// The descriptor of content by its SHA-512 digest.
fn described(content: &Content) -> Value {
    json!({"mediaType": content.media_type, "digest": sha512(content), "size": content.bytes.len()})
}

/// Opens an upload session, and returns its location.
#[track_caller]
fn opened(repository: &Repository) -> String {
    let path = repository.path("blobs/uploads/");
    let session = repository.http.request("POST", &path, &[], "").expect(202);
    session.header("location").to_owned()
}

fn with_digest(location: &str, digest: &str) -> String {
    let separator = if location.contains('?') { '&' } else { '?' };
    format!("{location}{separator}digest={digest}")
}

/// Uploads a blob in one `PUT`, by this digest.
#[track_caller]
fn upload(repository: &Repository, blob: &Content, digest: &str) -> Reply {
    let location = with_digest(&opened(repository), digest);
    repository
        .http
        .request("PUT", &location, &[OCTETS], blob.bytes.clone())
}

const OCTETS: (&str, &str) = ("Content-Type", "application/octet-stream");

/// An image whose manifest names its blobs by SHA-512; the blobs are pushed, so named as well.
fn image_of_second_names(repository: &Repository) -> Content {
    let config = Content::new(CONFIG, json!({"salt": random_hex(8)}).to_string());
    let layer = Content::random(LAYER);
    for blob in [&config, &layer] {
        upload(repository, blob, &sha512(blob)).expect(201);
    }
    Content::manifest(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": described(&config),
        "layers": [described(&layer)],
    }))
}
