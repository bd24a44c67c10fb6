//! Deadlines of requests as a whole, and of what they wait for.

use std::time::Duration;

use http::Method;

use super::APP;
use crate::support::gate::{Asked, Gated, Verdict};
use crate::support::images::{LAYER, NOTATION, digests, random_hex};
use crate::support::raw::Connection;
use crate::support::{Content, wait_for};

/// Each question has an hour, all that a request asks has half a second.
const WHOLE: &str = "\
timeouts: {upstream_first_byte: 1h, request: 500ms}
auth: {cache_ttl: 0s}
";

fn slowly(asked: &Asked) -> Verdict {
    let _ = asked;
    Verdict::PassAfter(Duration::from_millis(400))
}

#[test]
fn a_chain_of_slow_questions_ends_with_the_deadline_of_the_request() {
    let stage = Gated::with(WHOLE);
    let repository = stage.repository(APP);
    let image = stage.behind(APP).push_image("v1");
    let path = repository.path(&format!("referrers/{}", image.digest()));
    stage.gate.rule(slowly);
    let reply = repository.http.get(&path).refused(504, "UNSUPPORTED");
    assert!(!reply.header("retry-after").is_empty(), "{reply:?}");
    let counted = stage.regseal.metric(
        "regseal_requests_too_slow_total",
        &["http_route=\"/v2/<name>/referrers/<digest>\""],
    );
    assert!(counted > 0.0, "it is counted");
    stage.gate.open();
    repository.http.get(&path).expect(200);
}

/// What may write is not cut in the middle: the client hears that it took too long, and the push is done all the same.
#[test]
fn a_push_that_takes_too_long_goes_on() {
    let stage = Gated::with(WHOLE);
    let repository = stage.repository(APP);
    let image = repository.push_image("v1");
    let signature = repository.artifact(NOTATION, Some(&image));
    stage.gate.rule(slowly);
    let pushed = repository.put_manifest(&signature.digest(), &signature);
    assert!([201, 504].contains(&pushed.status), "{pushed:?}");
    stage.gate.open();
    wait_for("the signature in the list", || {
        let listed = digests(&repository.referrers(&image));
        (listed == [signature.digest()]).then_some(())
    });
    repository.get_manifest(&signature.digest()).expect(200);
}

/// What streams is not cut by the deadline of the request, nor is the end of an upload, which may take long.
#[test]
fn streams_and_ends_of_uploads_have_deadlines_of_their_own() {
    let stage = Gated::with(
        "timeouts: {upstream_first_byte: 300ms, upload_completion: 1h, request: 300ms, idle: 1h}\n",
    );
    let repository = stage.repository(APP);
    let blob = Content::new(LAYER, random_hex(64));
    let session = repository
        .http
        .request("POST", &repository.path("blobs/uploads/"), &[], "")
        .expect(202);
    let authority = &stage.regseal.endpoint.authority;
    let finish = format!("{}&digest={}", session.header("location"), blob.digest());
    let mut upload = Connection::to(authority);
    upload.send(format!(
        "PUT {finish} HTTP/1.1\r\nHost: {authority}\r\nContent-Length: {}\r\n\r\n",
        blob.bytes.len()
    ));
    let (first, second) = blob.bytes.split_at(blob.bytes.len() / 2);
    upload.send(first);
    stage.gate.rule(|asked| {
        if asked.method == Method::PUT || asked.method == Method::GET {
            Verdict::PassAfter(Duration::from_millis(900))
        } else {
            Verdict::Pass
        }
    });
    // Another request has met its deadline meanwhile.
    repository
        .http
        .get(&repository.path("manifests/v1"))
        .refused(504, "UNSUPPORTED");
    upload.send(second);
    upload.receive().expect(201);
    repository
        .http
        .get(&repository.path(&format!("blobs/{}", blob.digest())))
        .refused(504, "UNSUPPORTED");
    stage.gate.open();
    repository.get_blob(&blob.digest()).expect(200);
}
