//! HTTP/2: the same answers, the same refusals, and bounds of its own.

use super::{Stage, curl, tls};
use crate::support::Content;
use crate::support::http2::{Http2, Said};
use crate::support::images::{LAYER, random_hex};
use crate::support::policy::metric;
use crate::support::raw;
use crate::support::tls::{Authority, connect};

const PROTOCOL_ERROR: u32 = 1;

fn started(listen: &str) -> (Stage, Authority) {
    let authority = Authority::new();
    let listen = format!("{}{listen}", tls(&authority.sign("server"), None));
    (Stage::with(&listen), authority)
}

fn open(stage: &Stage, authority: &Authority) -> Http2 {
    let stream = connect(stage.authority(), authority.client(None, &[b"h2"])).unwrap();
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"h2"[..]));
    Http2::over(stream)
}

#[test]
fn what_is_refused_over_one_version_is_refused_over_the_other() {
    let (stage, authority) = started("");
    let host = stage.authority().to_owned();
    for (path, why) in [
        ("/v2/app/../other/manifests/v1", "dots"),
        ("/v2/app//manifests/v1", "an empty segment"),
        ("/v2/a%2Fb/manifests/v1", "an encoded slash"),
        ("/v2/app/%6danifests/v1", "a needless escape"),
        ("/v2/APP/manifests/v1", "no name"),
        ("/v2/app/manifests/sha256:00", "no digest"),
        ("/x/v2/app/manifests/v1", "another registry below"),
    ] {
        let answers = ["--http1.1", "--http2"].map(|flag| {
            let url = format!("https://{host}{path}");
            let said = curl(Some(&authority), &[flag, "--path-as-is", &url]).success();
            let (body, status) = said.stdout.rsplit_once('\n').unwrap();
            (body.to_owned(), status[..3].to_owned())
        });
        assert_eq!(answers[0], answers[1], "{why}");
        assert!(answers[0].1.starts_with('4'), "{why}: {answers:?}");
    }
    assert_eq!(stage.gate.seen().len(), 0, "nothing was forwarded");
}

#[test]
fn a_request_that_contradicts_itself_is_refused() {
    let (stage, authority) = started("");
    let mut connection = open(&stage, &authority);
    let fine = connection.get("/v2/", &[("host", "localhost")]);
    assert_eq!(connection.said(fine), Said::Status(200));
    for (name, value, expected, why) in [
        ("host", "elsewhere", Said::Status(400), "another host"),
        (
            "connection",
            "close",
            Said::Reset(PROTOCOL_ERROR),
            "a header of connections",
        ),
        (
            "transfer-encoding",
            "chunked",
            Said::Reset(PROTOCOL_ERROR),
            "a transfer coding",
        ),
        ("te", "gzip", Said::Reset(PROTOCOL_ERROR), "TE but trailers"),
        (
            "Upper",
            "x",
            Said::Reset(PROTOCOL_ERROR),
            "a name that is no name",
        ),
        (
            "content-length",
            "7",
            Said::Reset(PROTOCOL_ERROR),
            "a length of nothing",
        ),
    ] {
        let mut connection = open(&stage, &authority);
        stage.gate.seen();
        let stream = connection.get("/v2/", &[(name, value)]);
        let said = connection.said(stream);
        let is_refused = match said {
            // A frame that cannot be read at all ends the connection.
            Said::GoAway(code) => expected == Said::Reset(code),
            Said::Status(_) | Said::Reset(_) | Said::Closed => said == expected,
        };
        assert!(is_refused, "{why}: {said:?}");
        assert_eq!(stage.gate.seen().len(), 0, "{why}");
    }
    let again = connection.get("/v2/", &[]);
    assert_eq!(
        connection.said(again),
        Said::Status(200),
        "others do not suffer"
    );
}

#[test]
fn a_client_that_cancels_all_it_asks_for_loses_its_connection() {
    let (stage, authority) = started("");
    let mut good = open(&stage, &authority);
    let mut bad = open(&stage, &authority);
    for _ in 0..5000 {
        let stream = bad.get("/v2/_catalog", &[]);
        bad.cancel(stream);
    }
    bad.end();
    let stream = good.get("/v2/", &[]);
    assert_eq!(good.said(stream), Said::Status(200));
}

#[test]
fn headers_without_end_cost_the_connection_and_nobody_else() {
    let (stage, authority) = started("");
    let mut bad = open(&stage, &authority);
    bad.endless(500);
    bad.end();
    let mut large = open(&stage, &authority);
    let filler = "a".repeat(100_000);
    let stream = large.get("/v2/", &[("x-filler", &filler[..16_000]), ("x-more", "b")]);
    assert_eq!(
        large.said(stream),
        Said::Status(200),
        "a large head is none that is too large"
    );
    let mut good = open(&stage, &authority);
    let stream = good.get("/v2/", &[]);
    assert_eq!(good.said(stream), Said::Status(200));
}

#[test]
fn a_connection_without_requests_is_closed_in_time_and_silence_is_no_handshake() {
    let authority = Authority::new();
    let listen = tls(&authority.sign("server"), None);
    let stage = Stage::configured(&listen, |builder| {
        builder.environment("REGSEAL__TIMEOUTS__HEAD", "300ms")
    });
    let mut silent: Vec<raw::Connection> = (0..50)
        .map(|_| raw::Connection::to(stage.authority()))
        .collect();
    silent[0].send(b"\x16\x03\x01\x02\x00");
    silent[1].send("GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut connection = open(&stage, &authority);
    let stream = connection.get("/v2/", &[]);
    assert_eq!(
        connection.said(stream),
        Said::Status(200),
        "others are served meanwhile"
    );
    assert_eq!(connection.end(), Some(0), "closed as it should be");
    for silent in silent.iter_mut().skip(2) {
        assert!(silent.is_closed_by_peer());
    }
    let timeouts = metric(
        &stage.regseal,
        "regseal_connections_refused_total",
        &["reason=\"timeout\""],
    );
    assert!(timeouts >= 49.0, "{timeouts}");
}

#[test]
fn a_download_ends_whole_while_regseal_drains() {
    let (mut stage, authority) = started("");
    let blob = Content::new(LAYER, random_hex(2 << 20));
    stage.behind("app").push_blob(&blob);
    let mut idle = open(&stage, &authority);
    let stream = idle.get("/v2/", &[]);
    assert_eq!(idle.said(stream), Said::Status(200));
    let host = stage.authority().to_owned();
    let url = format!("https://{host}/v2/app/blobs/{}", blob.digest());
    let slow = std::thread::spawn({
        let ca = authority.file();
        move || {
            let ca = ca.display().to_string();
            curl(
                None,
                &["--cacert", &ca, "--http2", "--limit-rate", "2M", &url],
            )
        }
    });
    crate::support::wait_for("the download at the registry", || {
        let seen = stage.gate.seen();
        seen.iter()
            .any(|asked| asked.path.contains("/blobs/"))
            .then_some(())
    });
    stage.regseal.ask_to_end();
    assert_eq!(idle.end(), Some(0), "told to go away");
    let read = slow.join().unwrap().success();
    assert!(
        read.stdout.ends_with("\n200 2"),
        "{}",
        &read.stdout[read.stdout.len() - 100..]
    );
    assert_eq!(read.stdout.len(), blob.bytes.len() + "\n200 2".len());
    stage.regseal.ends_well();
}

#[test]
fn two_hundred_downloads_that_nobody_takes_cost_little_and_are_given_up() {
    let authority = Authority::new();
    let stage = Stage::configured(&tls(&authority.sign("server"), None), |builder| {
        builder.environment("REGSEAL__TIMEOUTS__IDLE", "3s")
    });
    let blob = Content::new(LAYER, random_hex(4 << 20));
    stage.behind("app").push_blob(&blob);
    let path = format!("/v2/app/blobs/{}", blob.digest());
    let mut connections: Vec<Http2> = (0..2).map(|_| open(&stage, &authority)).collect();
    for connection in &mut connections {
        for _ in 0..100 {
            connection.get(&path, &[]);
        }
    }
    for connection in &mut connections {
        connection.end();
    }
    let asked = stage.gate.seen();
    assert_eq!(asked.iter().filter(|asked| asked.path == path).count(), 200);
    let peak = stage.regseal.peak_memory();
    assert!(peak < 128 * 1024, "{peak} KiB");
    let stalled = metric(
        &stage.regseal,
        "regseal_connections_refused_total",
        &["reason=\"stalled\""],
    );
    assert_eq!(stalled, 2.0);
    let mut good = open(&stage, &authority);
    let stream = good.get("/v2/", &[]);
    assert_eq!(good.said(stream), Said::Status(200));
}
