//! Load balancers before regseal, and what they say of clients.

use super::{Stage, curl, tls};
use crate::support::gate::Asked;
use crate::support::haproxy::Haproxy;
use crate::support::policy::metric;
use crate::support::raw::Connection;
use crate::support::tls::Authority;

/// Clients come from here, and balancers from 127.0.0.1.
const CLIENT: &str = "127.0.0.2";

/// What the registry is told of the one request that curl makes from [`CLIENT`].
fn told(stage: &Stage, url: &str, authority: Option<&Authority>, more: &[&str]) -> Asked {
    stage.gate.seen();
    let arguments = [&["--interface", CLIENT, url][..], more].concat();
    curl(authority, &arguments).success().says("\n200 ");
    let mut seen = stage.gate.seen();
    assert_eq!(seen.len(), 1, "{seen:?}");
    seen.remove(0)
}

fn of_client(asked: &Asked) -> [&str; 3] {
    ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"].map(|name| asked.header(name))
}

#[test]
fn the_proxy_protocol_names_the_client() {
    let authority = Authority::new();
    let listen = "proxy_protocol: {from: [127.0.0.1]}";
    let clear = Stage::with(listen);
    let encrypted = Stage::with(&format!(
        "{listen}, {}",
        tls(&authority.sign("server"), None)
    ));
    for server in [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2 check inter 100",
    ] {
        let haproxy = Haproxy::before(clear.authority(), "mode tcp", server);
        let asked = told(
            &clear,
            &format!("http://{}/v2/", haproxy.authority),
            None,
            &[],
        );
        assert_eq!(
            of_client(&asked),
            [CLIENT, "http", &haproxy.authority],
            "{server}"
        );
        let haproxy = Haproxy::before(encrypted.authority(), "mode tcp", server);
        let url = format!("https://{}/v2/", haproxy.authority);
        let asked = told(&encrypted, &url, Some(&authority), &["--http2"]);
        assert_eq!(
            of_client(&asked),
            [CLIENT, "https", &haproxy.authority],
            "{server}"
        );
    }
    // From anybody else none is looked for.
    let url = format!("http://{}/v2/", clear.authority());
    assert_eq!(of_client(&told(&clear, &url, None, &[]))[0], CLIENT);
}

#[test]
fn a_header_that_is_missing_wrong_or_without_end_ends_the_connection() {
    let stage = Stage::configured("proxy_protocol: {from: [127.0.0.1]}", |builder| {
        builder.environment("REGSEAL__TIMEOUTS__HEAD", "500ms")
    });
    let mut waiting: Vec<Connection> =
        ["", "PROXY TCP4 1", "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x01"]
            .into_iter()
            .map(|start| {
                let mut connection = Connection::to(stage.authority());
                connection.send(start);
                connection
            })
            .collect();
    for (start, why) in [
        ("GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), "none"),
        (format!("PROXY {}", "x".repeat(500)), "a line without end"),
        ("PROXY TCP4 a b c d\r\n".to_owned(), "no addresses"),
    ] {
        let mut connection = Connection::to(stage.authority());
        connection.send(start);
        assert!(connection.is_closed_by_peer(), "{why}");
    }
    let mut good = Connection::to(stage.authority());
    good.send("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n");
    good.receive().expect(200);
    assert_eq!(of_client(&stage.gate.seen()[0])[0], "192.0.2.1");
    for connection in &mut waiting {
        assert!(connection.is_closed_by_peer());
    }
    let refused = |reason: &str| {
        let label = format!("reason={reason:?}");
        metric(
            &stage.regseal,
            "regseal_connections_refused_total",
            &[&label],
        )
    };
    assert_eq!((refused("proxy_header"), refused("timeout")), (3.0, 3.0));
}

#[test]
fn a_trusted_proxy_says_who_the_client_is_and_nobody_else_does() {
    let stage = Stage::with("trusted_proxies: [127.0.0.1]");
    let mode = "mode http\n  option forwardfor\n  http-request set-header X-Forwarded-Proto https\n  \
                http-request set-header X-Forwarded-Host registry.example";
    let haproxy = Haproxy::before(stage.authority(), mode, "");
    let through = format!("http://{}/v2/", haproxy.authority);
    let expected = [CLIENT, "https", "registry.example"];
    assert_eq!(of_client(&told(&stage, &through, None, &[])), expected);
    let spoofed = [
        "-H",
        "X-Forwarded-For: 6.6.6.6",
        "-H",
        "X-Forwarded-Host: evil",
        "-H",
        "X-Real-IP: 6.6.6.6",
    ];
    let asked = told(&stage, &through, None, &spoofed);
    assert_eq!(
        of_client(&asked),
        expected,
        "what the client adds counts nothing"
    );
    assert_eq!(asked.header("x-real-ip"), "");
    // This proxy passes on what it does not know of.
    let mixed = curl(
        None,
        &[
            "--interface",
            CLIENT,
            "-H",
            "Forwarded: for=6.6.6.6",
            &through,
        ],
    );
    mixed.success().says("\n400 ");
    assert_eq!(stage.gate.seen().len(), 0);

    let direct = format!("http://{}/v2/", stage.authority());
    let all = [
        &spoofed[..],
        &[
            "-H",
            "Forwarded: for=6.6.6.6;proto=https;host=evil",
            "-H",
            "X-Forwarded-Proto: https",
        ],
    ]
    .concat();
    let asked = told(&stage, &direct, None, &all);
    assert_eq!(
        of_client(&asked),
        [CLIENT, "http", stage.authority()],
        "from a stranger"
    );
    assert_eq!(asked.header("forwarded"), "");

    for (head, why) in [
        ("GET /v2/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n", "two hosts"),
        (
            "GET http://a/v2/ HTTP/1.1\r\nHost: b\r\n",
            "a target that names another",
        ),
    ] {
        let mut connection = Connection::to(stage.authority());
        connection.send(format!("{head}\r\n"));
        let reply = connection.receive();
        assert_eq!(reply.status, 400, "{why}");
        assert_eq!(stage.gate.seen().len(), 0, "{why}");
    }
}

#[test]
fn locations_and_challenges_name_what_clients_use() {
    let stage = Stage::with("trusted_proxies: [127.0.0.1]");
    let mode = "mode http\n  option forwardfor\n  http-request set-header X-Forwarded-Proto https\n  \
                http-request set-header X-Forwarded-Host registry.example";
    let haproxy = Haproxy::before(stage.authority(), mode, "");
    let url = format!("http://{}/v2/team/app/blobs/uploads/", haproxy.authority);
    let opened = curl(None, &["-X", "POST", "-D", "-", &url])
        .success()
        .says("\n202 ");
    let location = opened
        .stdout
        .lines()
        .find(|line| line.to_ascii_lowercase().starts_with("location:"));
    let location = location.unwrap()[9..].trim();
    assert!(
        location.starts_with("/v2/") || location.starts_with("https://registry.example/v2/"),
        "{location}"
    );
}
