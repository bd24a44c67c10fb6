//! A registry that closes connections just as a request is written to them.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::APP;
use crate::support::http::{Access, Endpoint};
use crate::support::images::{MANIFEST, random_hex, sha256};
use crate::support::{Content, Http, Regseal};

/// Answers the first request of each connection, and ends the connection when the head of a second one has come: what a
/// client meets whose idle connection is closed at that moment.
struct Closing {
    authority: String,
    seen: Arc<Mutex<HashMap<String, Count>>>,
}

/// How often a request came.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    answered: usize,
    cut: usize,
}

impl Closing {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let seen: Arc<Mutex<HashMap<String, Count>>> = Arc::default();
        let counted = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let seen = Arc::clone(&counted);
                std::thread::spawn(move || serve(stream.unwrap(), &seen));
            }
        });
        Self { authority, seen }
    }

    fn count(&self, request: &str) -> Count {
        let seen = self.seen.lock().unwrap();
        seen.get(request).copied().unwrap_or_default()
    }
}

fn serve(stream: TcpStream, seen: &Mutex<HashMap<String, Count>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let (first, length) = head(&mut stream)?;
    std::io::copy(&mut stream.by_ref().take(length), &mut std::io::sink()).ok()?;
    seen.lock()
        .unwrap()
        .entry(first.clone())
        .or_default()
        .answered += 1;
    let (method, path) = first.split_once(' ')?;
    let answer = match method {
        "POST" => format!(
            "202 Accepted\r\nLocation: /v2/{APP}/blobs/uploads/{}?_state=a\r\nContent-Length: 0\r\n\r\n",
            random_hex(16)
        ),
        "PATCH" => {
            format!("202 Accepted\r\nLocation: {path}\r\nRange: 0-9\r\nContent-Length: 0\r\n\r\n")
        }
        "PUT" => format!("201 Created\r\nLocation: {path}\r\nContent-Length: 0\r\n\r\n"),
        "DELETE" => "202 Accepted\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "HEAD" => "200 OK\r\nContent-Length: 2\r\n\r\n".to_owned(),
        _ => "200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}".to_owned(),
    };
    let answer = format!("HTTP/1.1 {answer}");
    stream.get_mut().write_all(answer.as_bytes()).ok()?;
    let (second, _) = head(&mut stream)?;
    seen.lock().unwrap().entry(second).or_default().cut += 1;
    Some(())
}

/// Method and path, and the length of the body.
fn head(stream: &mut BufReader<TcpStream>) -> Option<(String, u64)> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let request = line.rsplit_once(' ')?.0.to_owned();
    let mut length = 0;
    loop {
        line.clear();
        stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            return Some((request, length));
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
}

/// What is asked, what may be sent again, and what comes of it.
struct Row {
    method: &'static str,
    path: String,
    body: Content,
    is_sent_again: bool,
    why: &'static str,
}

fn rows(number: usize) -> Vec<Row> {
    let manifest = Content::new(
        MANIFEST,
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":2}},"layers":[],"annotations":{{"salt":"{number}"}}}}"#,
            sha256(b"{}")
        ),
    );
    let blob = Content::new("application/octet-stream", random_hex(5));
    let nothing = Content::new("application/octet-stream", "");
    let path = |rest: String| format!("/v2/{APP}/{rest}");
    let row = |method, rest, body: &Content, is_sent_again, why| Row {
        method,
        path: path(rest),
        body: body.clone(),
        is_sent_again,
        why,
    };
    let digest = manifest.digest();
    vec![
        row(
            "GET",
            format!("tags/list?n={number}&x=1"),
            &nothing,
            true,
            "a read",
        ),
        row(
            "GET",
            format!("blobs/{}", blob.digest()),
            &nothing,
            true,
            "a read",
        ),
        row(
            "HEAD",
            format!("manifests/tag-{number}"),
            &nothing,
            true,
            "a read",
        ),
        row(
            "PUT",
            format!("manifests/{digest}"),
            &manifest,
            true,
            "the same bytes under their digest",
        ),
        row(
            "PUT",
            format!("manifests/tag-{number}"),
            &manifest,
            false,
            "it would undo another push",
        ),
        row(
            "PUT",
            format!("manifests/{digest}?tag=also-{number}"),
            &manifest,
            false,
            "it sets a tag",
        ),
        row(
            "POST",
            format!("blobs/uploads/?n={number}"),
            &nothing,
            false,
            "it opens a session",
        ),
        row(
            "PATCH",
            format!("blobs/uploads/p{number}?_state=a"),
            &blob,
            false,
            "a body that was streamed",
        ),
        row(
            "PUT",
            format!("blobs/uploads/u{number}?_state=a&digest={}", blob.digest()),
            &blob,
            false,
            "a body that was streamed",
        ),
        row(
            "DELETE",
            format!("manifests/sha256:{number:064}"),
            &nothing,
            false,
            "it may delete what was pushed again",
        ),
    ]
}

#[test]
fn only_what_changes_nothing_is_sent_again_and_no_upload_twice() {
    let registry = Closing::start();
    let upstream = Endpoint {
        authority: registry.authority.clone(),
        access: Access::Open,
    };
    let regseal = Regseal::at(&upstream).start();
    let ask = |row: &Row| {
        let headers = [("Content-Type", row.body.media_type.as_str())];
        let http = Http::new(&regseal.endpoint.authority);
        http.request(row.method, &row.path, &headers, row.body.bytes.clone())
    };
    let mut cut = HashMap::<&str, usize>::new();
    for round in 0..25 {
        let rows: Vec<Row> = (0..4).flat_map(|thread| rows(round * 4 + thread)).collect();
        std::thread::scope(|scope| {
            let asked = rows.iter().map(|row| scope.spawn(move || (row, ask(row))));
            let asked: Vec<_> = asked.collect();
            for reply in asked {
                let (row, reply) = reply.join().unwrap();
                let Row {
                    method, path, why, ..
                } = row;
                let count = registry.count(&format!("{method} {path}"));
                *cut.entry(why).or_default() += count.cut;
                if row.is_sent_again {
                    assert!(reply.status < 300, "{why}: {reply:?}, {count:?}");
                    assert!(
                        count.answered == 1 && count.cut <= 1,
                        "{why}: {reply:?}, {count:?}"
                    );
                } else {
                    assert_eq!(count.answered + count.cut, 1, "{why}: {reply:?}, {count:?}");
                    let expected = if count.cut == 0 { 201..=202 } else { 502..=502 };
                    assert!(
                        expected.contains(&reply.status),
                        "{why}: {reply:?}, {count:?}"
                    );
                }
            }
        });
    }
    for row in rows(0) {
        assert!(
            cut[row.why] > 0,
            "{}: no connection was stale: {cut:?}",
            row.why
        );
    }
    let again = regseal.metric("regseal_upstream_sent_again_total", &[]);
    assert!(again > 0.0, "{cut:?}");
}
