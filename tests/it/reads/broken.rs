//! Answers of the registry behind that break off, or that are framed wrongly.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::images::sha256;
use crate::support::wire::{Exchange, Wire};
use crate::support::{PATIENCE, Regseal};

/// Whether what came is a whole answer of status 200 by its own framing.
fn looks_complete(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer).into_owned();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let head = head.to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    head.starts_with("http/1.1 200")
        && match length {
            Some(length) => length.parse() == Ok(body.len()),
            None if head.contains("transfer-encoding: chunked") => body.ends_with("\r\n0\r\n\r\n"),
            None => true,
        }
}

#[test]
fn what_breaks_off_never_looks_whole() {
    const WHOLE: &str = "the whole blob";
    let registry = Wire::start(|exchange: &mut Exchange<'_>| {
        exchange.read_body();
        let kind = exchange.heard.header("x-kind").to_owned();
        let said = match kind.as_str() {
            "a length, cut" => "HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\nthe who",
            "chunks, cut" => {
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nthe who\r\n"
            }
            "a chunk, cut" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\ne\r\nthe who",
            "a last chunk, cut" => {
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\ne\r\nthe whole blob\r\n0\r\n"
            }
            "no chunk size" => {
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nthe who"
            }
            "a chunk size that overflows" => {
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nthe who"
            }
            "no length, cut" => "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nthe who",
            "HTTP/1.0, cut" => "HTTP/1.0 200 OK\r\n\r\nthe who",
            "two lengths" => {
                "HTTP/1.1 200 OK\r\nContent-Length: 14\r\nContent-Length: 7\r\n\r\nthe whole blob"
            }
            "a length that is none" => "HTTP/1.1 200 OK\r\nContent-Length: 1e\r\n\r\nthe who",
            "a folded header" => {
                "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 14\r\n\r\nthe who"
            }
            "half a head" => "HTTP/1.1 200 OK\r\nContent-Le",
            "another protocol" => {
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
            }
            "nothing" => "",
            "no HTTP" => "SSH-2.0-OpenSSH_9.2\r\n",
            "no length" => "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nthe whole blob",
            _ => "HTTP/1.1 200 OK\r\nContent-Length: 14\r\nConnection: close\r\n\r\nthe whole blob",
        };
        exchange.say(said);
        exchange.close();
    });
    let regseal = Regseal::at(&registry.endpoint).start();
    let authority = &regseal.endpoint.authority;
    let digest = sha256(WHOLE.as_bytes());
    for path in [format!("blobs/{digest}"), format!("manifests/{digest}")] {
        for (kind, is_whole) in [
            ("a length", true),
            ("no length", true),
            ("a length, cut", false),
            ("chunks, cut", false),
            ("a chunk, cut", false),
            ("a last chunk, cut", false),
            ("no chunk size", false),
            ("a chunk size that overflows", false),
            ("no length, cut", false),
            ("HTTP/1.0, cut", false),
            ("two lengths", false),
            ("a length that is none", false),
            ("a folded header", false),
            ("half a head", false),
            ("another protocol", false),
            ("nothing", false),
            ("no HTTP", false),
        ] {
            let mut stream = TcpStream::connect(authority).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let request = format!(
                "GET /v2/team/app/{path} HTTP/1.1\r\nHost: {authority}\r\nX-Kind: {kind}\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = Vec::new();
            // A reset is an end as well as any.
            let _ = stream.read_to_end(&mut answer);
            let shown = String::from_utf8_lossy(&answer);
            assert_eq!(looks_complete(&answer), is_whole, "{kind}: {shown}");
            assert!(!shown.starts_with("HTTP/1.1 101"), "{kind}: {shown}");
        }
    }
}
