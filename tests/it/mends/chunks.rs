//! Chunks that do not follow each other, over registries that append whatever comes.

use super::{OCTETS, opened, registries, with_digest};
use crate::support::images::LAYER;
use crate::support::{ALICE, Auth, Content, Registry, Regseal, Reply, Repository};

/// A chunk of `blob`, sent to a session.
fn send(
    repository: &Repository,
    method: &str,
    location: &str,
    blob: &Content,
    range: std::ops::Range<usize>,
) -> Reply {
    let content_range = format!("{}-{}", range.start, range.end - 1);
    let headers = [OCTETS, ("Content-Range", content_range.as_str())];
    let chunk = blob.bytes.slice(range);
    repository.http.request(method, location, &headers, chunk)
}

/// The session is refused nothing else, and where it goes on.
#[track_caller]
fn refused(repository: &Repository, reply: Reply, end: usize) -> String {
    let reply = reply.refused(416, "BLOB_UPLOAD_INVALID");
    assert_eq!(reply.header("range"), format!("0-{end}"), "{reply:?}");
    let location = reply.header("location");
    let status = repository.http.get(location).expect(204);
    assert_eq!(status.header("range"), format!("0-{end}"));
    status.header("location").to_owned()
}

#[test]
fn a_chunk_out_of_order_leaves_the_session_as_it_was() {
    for (kind, registry) in registries() {
        let regseal = Regseal::before(&registry);
        let repository = regseal.endpoint.repository(ALICE, "a");
        let blob = Content::random(LAYER);
        let digest = blob.digest();
        let session = opened(&repository);
        let ahead = send(&repository, "PATCH", &session, &blob, 20..40);
        let ahead = ahead.refused(416, "BLOB_UPLOAD_INVALID");
        assert_eq!(ahead.header("range"), "0-0", "{kind}");
        let session = ahead.header("location").to_owned();
        let first = send(&repository, "PATCH", &session, &blob, 0..20).expect(202);
        let mut session = first.header("location").to_owned();
        for (method, range, why) in [
            ("PATCH", 40..64, "ahead"),
            ("PATCH", 0..20, "again"),
            ("PATCH", 10..30, "overlapping"),
            ("PUT", 40..64, "the last one ahead"),
        ] {
            let location = match method {
                "PUT" => with_digest(&session, &digest),
                _ => session.clone(),
            };
            let reply = send(&repository, method, &location, &blob, range);
            assert_eq!(reply.status, 416, "{kind}, {why}: {reply:?}");
            session = refused(&repository, reply, 19);
        }
        let second = send(&repository, "PATCH", &session, &blob, 20..40).expect(202);
        let last = with_digest(second.header("location"), &digest);
        send(&repository, "PUT", &last, &blob, 40..64).expect(201);
        assert_eq!(
            repository.get_blob(&digest).expect(200).body,
            blob.bytes,
            "{kind}"
        );
    }
}

#[test]
fn any_replica_knows_how_far_a_session_is() {
    let registry = Registry::with(Auth::None);
    let (mut one, other) = (Regseal::before(&registry), Regseal::before(&registry));
    let blob = Content::random(LAYER);
    let here = one.endpoint.repository(ALICE, "a");
    let there = other.endpoint.repository(ALICE, "a");
    let first = send(&here, "PATCH", &opened(&here), &blob, 0..20).expect(202);
    let session = first.header("location").to_owned();
    let session = refused(&there, send(&there, "PATCH", &session, &blob, 40..64), 19);
    one.terminate();
    one.start_again();
    let session = refused(&here, send(&here, "PATCH", &session, &blob, 0..20), 19);
    let second = send(&there, "PATCH", &session, &blob, 20..40).expect(202);
    let last = with_digest(second.header("location"), &blob.digest());
    send(&here, "PUT", &last, &blob, 40..64).expect(201);
}

#[test]
fn a_session_that_is_gone_is_said_to_be_gone() {
    let registry = Registry::with(Auth::None);
    let regseal = Regseal::before(&registry);
    let repository = regseal.endpoint.repository(ALICE, "a");
    let session = opened(&repository);
    repository.http.delete(&session).expect(204);
    let blob = Content::random(LAYER);
    send(&repository, "PATCH", &session, &blob, 20..40).expect(404);
    // Another repository has no such session either.
    let other = opened(&repository).replace("/v2/a/", "/v2/b/");
    let reply = send(&repository, "PATCH", &other, &blob, 20..40);
    assert!(reply.status >= 400, "{reply:?}");
}
