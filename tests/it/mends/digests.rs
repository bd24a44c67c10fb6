//! What is no digest is refused at every endpoint, before the registry sees it.

use super::{OCTETS, opened, with_digest};
use crate::support::Content;
use crate::support::gate::Gated;
use crate::support::images::{ACCEPT, MANIFEST};
use crate::support::{Auth, Registry};

#[test]
fn what_is_no_digest_is_refused_at_every_endpoint() {
    let stage = Gated::before(Registry::with(Auth::None));
    let repository = stage.repository("a");
    let session = opened(&repository);
    stage.gate.seen();
    let image = Content::new(MANIFEST, "{}");
    let hex = "a".repeat(64);
    for bad in [
        "sha256:baddigeststring".to_owned(),
        format!("sha256:{}", hex.to_uppercase()),
        format!("sha512:{hex}"),
        "sha256:".to_owned(),
    ] {
        for (method, path) in [
            ("GET", format!("manifests/{bad}")),
            ("HEAD", format!("manifests/{bad}")),
            ("PUT", format!("manifests/{bad}")),
            ("DELETE", format!("manifests/{bad}")),
            ("GET", format!("blobs/{bad}")),
            ("HEAD", format!("blobs/{bad}")),
            ("DELETE", format!("blobs/{bad}")),
            ("GET", format!("referrers/{bad}")),
            ("POST", format!("blobs/uploads/?digest={bad}")),
            ("POST", format!("blobs/uploads/?mount={bad}&from=b")),
        ] {
            let headers = [ACCEPT, ("Content-Type", MANIFEST)];
            let path = repository.path(&path);
            let body = match method {
                "PUT" => image.bytes.clone(),
                _ => bytes::Bytes::new(),
            };
            let reply = repository.http.request(method, &path, &headers, body);
            assert_eq!(reply.status, 400, "{reply:?}");
            if method != "HEAD" {
                assert_eq!(
                    reply.json()["errors"][0]["code"],
                    "DIGEST_INVALID",
                    "{reply:?}"
                );
            }
        }
        let last = with_digest(&session, &bad);
        repository
            .http
            .request("PUT", &last, &[OCTETS], "x")
            .refused(400, "DIGEST_INVALID");
    }
    assert!(stage.gate.seen().is_empty());
    // The session has not suffered.
    let blob = Content::random("x/y");
    let last = with_digest(&session, &blob.digest());
    repository
        .http
        .request("PUT", &last, &[OCTETS], blob.bytes)
        .expect(201);
}
