//! What a proxy must not let through, and what must pass exactly once: requests of doubtful shape, trailers, and headers
//! of the hop, over raw sockets before a server that hears every byte.

use crate::support::Regseal;
use crate::support::raw::Connection;
use crate::support::wire::{Heard, Wire};

const SESSION: &str = "/v2/team/app/blobs/uploads/u";

/// A registry that takes every upload.
fn taking() -> Wire {
    Wire::start(|exchange| {
        exchange.read_body();
        exchange.answer(202, "Location: /v2/team/app/blobs/uploads/u\r\n", "");
    })
}

/// What became of a request, and of one behind it in the same bytes.
struct Case {
    why: &'static str,
    request: String,
    /// Of the answer.
    status: u16,
    /// The body of what the registry got; nothing if it got nothing.
    passed: Option<&'static str>,
    /// Whether the connection goes on, so that the request behind is answered as well.
    goes_on: bool,
}

#[test]
fn doubtful_requests_are_refused_and_others_arrive_once() {
    let registry = taking();
    let regseal = Regseal::at(&registry.endpoint).start();
    let authority = regseal.endpoint.authority;
    let upload = |why, headers: &str, body: &str, status, passed, goes_on| Case {
        why,
        request: format!("PATCH {SESSION} HTTP/1.1\r\nHost: {authority}\r\n{headers}\r\n{body}"),
        status,
        passed,
        goes_on,
    };
    let chunked = "Transfer-Encoding: chunked\r\n";
    let refused = |why, headers: &str, body: &str| upload(why, headers, body, 400, None, false);
    let passed =
        |why, headers: &str, body: &str| upload(why, headers, body, 202, Some("abc"), true);
    let line = |why, line: &str, status, goes_on| Case {
        why,
        request: format!("{line}\r\nHost: {authority}\r\n\r\n"),
        status,
        passed: None,
        goes_on,
    };
    let both = "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n";
    // A registry makes its locations of it.
    let host = |why, host: &str| Case {
        why,
        request: format!("PATCH {SESSION} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n"),
        status: 400,
        passed: None,
        goes_on: true,
    };
    let cases = [
        host("a list of hosts", "evil:80,registry"),
        host("a host with a path", "registry:5000/v2/a/manifests/v1?x="),
        host("a host with a user", "user@registry"),
        host("a port that is none", "registry:5x"),
        passed("a length", "Content-Length: 3\r\n", "abc"),
        passed("chunks", chunked, "1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"),
        passed(
            "a chunk extension",
            chunked,
            "3;name=\"v\"\r\nabc\r\n0\r\n\r\n",
        ),
        passed(
            "a chunk size with zeros",
            chunked,
            "0003\r\nabc\r\n000\r\n\r\n",
        ),
        passed(
            "a chunk size in capitals",
            "Transfer-Encoding: CHUNKED\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
        ),
        passed("a trailer", chunked, "3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"),
        passed(
            "a trailer that looks like framing",
            chunked,
            "3\r\nabc\r\n0\r\nContent-Length: 50\r\nAuthorization: Basic eA==\r\n\r\n",
        ),
        passed(
            "the same length twice",
            "Content-Length: 3\r\nContent-Length: 3\r\n",
            "abc",
        ),
        passed(
            "Connection names the length",
            "Content-Length: 3\r\nConnection: keep-alive, content-length\r\n",
            "abc",
        ),
        passed(
            "Connection names the coding",
            "Transfer-Encoding: chunked\r\nConnection: keep-alive, transfer-encoding\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
        ),
        passed(
            "an upgrade that nobody makes",
            "Content-Length: 3\r\nConnection: keep-alive, upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
            "abc",
        ),
        refused(
            "both ways to tell the length",
            both,
            "3\r\nabc\r\n0\r\n\r\n",
        ),
        refused(
            "two lengths",
            "Content-Length: 3\r\nContent-Length: 4\r\n",
            "abc",
        ),
        refused("two lengths in a line", "Content-Length: 3, 3\r\n", "abc"),
        refused("a length with a sign", "Content-Length: +3\r\n", "abc"),
        refused("a length in hex", "Content-Length: 0x3\r\n", "abc"),
        refused(
            "a length that overflows",
            "Content-Length: 18446744073709551619\r\n",
            "abc",
        ),
        refused("a negative length", "Content-Length: -1\r\n", "abc"),
        refused("no length at all", "Content-Length:\r\n", "abc"),
        refused("a space before the colon", "Content-Length : 3\r\n", "abc"),
        refused(
            "a tab before the colon",
            "Transfer-Encoding\t: chunked\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
        ),
        refused("a folded line", "X: a\r\n Content-Length: 3\r\n", "abc"),
        refused(
            "a folded coding",
            "Transfer-Encoding:\r\n chunked\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
        ),
        refused("a bare CR", "X: a\rContent-Length: 3\r\n", "abc"),
        refused("a NUL", "X: a\0b\r\nContent-Length: 3\r\n", "abc"),
        refused("another coding", "Transfer-Encoding: gzip\r\n", "abc"),
        refused(
            "another coding before",
            "Transfer-Encoding: gzip, chunked\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
        ),
        refused(
            "a coding twice",
            "Transfer-Encoding: chunked, chunked\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
        ),
        refused(
            "two lines of coding",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
        ),
        refused(
            "a coding in disguise",
            "Transfer-Encoding: xchunked\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
        ),
        refused(
            "a quoted coding",
            "Transfer-Encoding: \"chunked\"\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
        ),
        upload(
            "two credentials",
            "Authorization: Basic eA==\r\nAuthorization: Basic eQ==\r\n",
            "",
            400,
            None,
            true,
        ),
        line("TRACE", &format!("TRACE {SESSION} HTTP/1.1"), 405, true),
        line(
            "CONNECT to a host",
            "CONNECT registry.example:443 HTTP/1.1",
            405,
            true,
        ),
        line(
            "CONNECT to a path",
            &format!("CONNECT {SESSION} HTTP/1.1"),
            405,
            true,
        ),
        line(
            "CONNECT outside the API",
            "CONNECT /token HTTP/1.1",
            405,
            true,
        ),
        line("TRACE outside the API", "TRACE /token HTTP/1.1", 405, true),
        line("an asterisk", "OPTIONS * HTTP/1.1", 400, true),
        line(
            "a method of its own",
            "PROPFIND /v2/team/app/tags/list HTTP/1.1",
            405,
            true,
        ),
        line(
            "no such version",
            &format!("GET {SESSION} HTTP/3.7"),
            400,
            false,
        ),
        line("the preface of HTTP/2", "PRI * HTTP/2.0", 400, false),
        line(
            "a space in the target",
            "GET /v2/team app/tags/list HTTP/1.1",
            400,
            false,
        ),
        line(
            "an absolute target with a user",
            "GET http://a@registry/v2//x HTTP/1.1",
            400,
            true,
        ),
    ];
    registry.heard();
    let mut wrong = Vec::new();
    for case in cases {
        let mut connection = Connection::to(&authority);
        connection.send(format!(
            "{}GET /v2/behind/tags/list HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n",
            case.request
        ));
        let reply = connection.try_receive();
        let behind = connection.try_receive();
        let is_closed = connection.is_closed_by_peer();
        let heard = registry.heard();
        let (about, others): (Vec<&Heard>, Vec<&Heard>) =
            heard.iter().partition(|heard| heard.target() == SESSION);
        let bodies: Vec<_> = about.iter().map(|heard| heard.body.as_slice()).collect();
        let expected: Vec<&[u8]> = case.passed.iter().map(|body| body.as_bytes()).collect();
        let status = reply.as_ref().map(|reply| reply.status);
        let others = others
            .iter()
            .filter(|heard| heard.target() == "/v2/behind/tags/list");
        let is_right = status == Some(case.status)
            && bodies == expected
            && behind.is_some() == case.goes_on
            && (others.count() > 0) == case.goes_on
            && is_closed;
        if !is_right {
            wrong.push(format!(
                "{}: {reply:?}\nthen {behind:?}\nheard {heard:?}",
                case.why
            ));
        }
        for heard in about {
            let names = ["content-length", "transfer-encoding"];
            let lengths = names.map(|name| heard.values(name).len());
            assert_eq!(lengths.iter().sum::<usize>(), 1, "{}: {heard:?}", case.why);
            assert!(heard.trailers.is_empty(), "{}: {heard:?}", case.why);
            for name in [
                "connection",
                "upgrade",
                "http2-settings",
                "keep-alive",
                "te",
            ] {
                assert_eq!(heard.header(name), "", "{}: {heard:?}", case.why);
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// A body whose framing breaks in the middle ends both connections; nothing of it is a request.
#[test]
fn a_body_that_breaks_never_arrives_whole() {
    let registry = taking();
    let regseal = Regseal::at(&registry.endpoint).start();
    let authority = &regseal.endpoint.authority;
    let smuggled = "GET /v2/smuggled/tags/list HTTP/1.1\r\nHost: x\r\n\r\n";
    for (body, why) in [
        (
            "fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
            "a size that overflows",
        ),
        (
            "10000000000000003\r\nabc\r\n0\r\n\r\n",
            "a size that overflows to three",
        ),
        ("-3\r\nabc\r\n0\r\n\r\n", "a sign"),
        ("0x3\r\nabc\r\n0\r\n\r\n", "hex with a prefix"),
        ("3 \nabc\r\n0\r\n\r\n", "a bare LF behind a size"),
        ("3;a\nabc\r\n0\r\n\r\n", "a bare LF in an extension"),
        ("3\r\nabcd\r\n0\r\n\r\n", "a chunk longer than its size"),
        ("\r\nabc\r\n0\r\n\r\n", "no size"),
    ] {
        let mut connection = Connection::to(authority);
        connection.send(format!(
            "PATCH {SESSION} HTTP/1.1\r\nHost: {authority}\r\nTransfer-Encoding: chunked\r\n\r\n{body}{smuggled}"
        ));
        if let Some(reply) = connection.try_receive() {
            assert!(reply.status >= 400, "{why}: {reply:?}");
        }
        assert!(connection.is_closed_by_peer(), "{why}");
        for heard in registry.heard() {
            assert!(!heard.target().contains("smuggled"), "{why}: {heard:?}");
            assert!(
                !heard.is_whole || heard.target() != SESSION,
                "{why}: {heard:?}"
            );
        }
    }
}

/// Trailers of an answer are dropped with what announced them, and its framing stays.
#[test]
fn trailers_of_an_answer_are_dropped() {
    let registry = Wire::start(|exchange| {
        exchange.read_body();
        exchange.say(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\n\
             3\r\nabc\r\n0\r\nX-Sum: 1\r\nContent-Length: 99\r\n\r\n",
        );
    });
    let regseal = Regseal::at(&registry.endpoint).start();
    let authority = &regseal.endpoint.authority;
    let mut connection = Connection::to(authority);
    for _ in 0..3 {
        connection.send(format!(
            "GET /v2/_catalog HTTP/1.1\r\nHost: {authority}\r\nTE: trailers\r\nConnection: TE\r\n\r\n"
        ));
        let reply = connection.receive().expect(200);
        assert_eq!(reply.body, "abc");
        for name in ["trailer", "x-hop", "x-sum", "content-length"] {
            assert_eq!(reply.header(name), "", "{reply:?}");
        }
    }
    let asked = registry.heard();
    let asked = asked
        .iter()
        .filter(|heard| heard.target() == "/v2/_catalog");
    for heard in asked {
        assert_eq!((heard.header("te"), heard.header("connection")), ("", ""));
    }
}

/// Whoever names a header in `Connection` cannot take away what the registry decides by.
#[test]
fn a_request_keeps_what_it_is_about() {
    let registry = taking();
    let regseal = Regseal::at(&registry.endpoint).start();
    let authority = &regseal.endpoint.authority;
    let mut connection = Connection::to(authority);
    connection.send(format!(
        "PATCH {SESSION} HTTP/1.1\r\nHost: {authority}\r\nAuthorization: Basic eA==\r\nContent-Range: 0-2\r\n\
         Content-Type: a/b\r\nX-Hop: 1\r\nX-Forwarded-Host: evil.example\r\nForwarded: host=evil.example\r\n\
         Connection: close, authorization, content-range, content-type, content-length, host, x-hop\r\n\
         Content-Length: 3\r\n\r\nabc"
    ));
    connection.receive().expect(202);
    let heard = registry.heard();
    let heard = heard
        .iter()
        .find(|heard| heard.target() == SESSION)
        .unwrap();
    for (name, value) in [
        ("authorization", "Basic eA=="),
        ("content-range", "0-2"),
        ("content-type", "a/b"),
        ("content-length", "3"),
        ("host", registry.endpoint.authority.as_str()),
        ("x-forwarded-host", authority.as_str()),
        ("x-hop", ""),
        ("forwarded", ""),
    ] {
        assert_eq!(heard.header(name), value, "{heard:?}");
    }
}

/// An absolute target does not choose where the request goes.
#[test]
fn an_absolute_target_goes_to_the_registry() {
    let registry = taking();
    let other = taking();
    let regseal = Regseal::at(&registry.endpoint).start();
    let authority = &regseal.endpoint.authority;
    let mut connection = Connection::to(authority);
    connection.send(format!(
        "PATCH {}{SESSION} HTTP/1.1\r\nHost: {authority}\r\nContent-Length: 3\r\n\r\nabc",
        other.url()
    ));
    connection.receive();
    assert!(other.heard().is_empty());
    let heard = registry.heard();
    let heard = heard.iter().filter(|heard| heard.target() == SESSION);
    assert!(heard.count() <= 1);
}
