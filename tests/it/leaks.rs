//! What is left when requests have ended, however they ended: no descriptor, no task, no place, no memory.

use bytes::Bytes;

use crate::support::chance::Chance;
use crate::support::images::{INDEX, LAYER, MANIFEST, NOTATION, SBOM, index_of, random_hex};
use crate::support::raw::Connection;
use crate::support::{Auth, Content, Regseal, Repository, Stage, rounds, wait_for};

const APP: &str = "team/app";

/// Clients at a time.
const CLIENTS: usize = 16;

/// What may be resident more than after the warm-up, in KiB: caches that fill, and what the allocator keeps.
const MARGIN: u64 = 24 * 1024;

const MIB: usize = 1024 * 1024;

/// A mixed load, of which every request may be given up at any point.
struct Load {
    authority: String,
    requests: Vec<Request>,
    uploads: String,
    blob: Content,
}

struct Request {
    method: &'static str,
    path: String,
    media_type: String,
    body: Bytes,
}

/// Where a client gives up.
#[derive(Clone, Copy, Debug)]
enum End {
    /// Not at all.
    Whole,
    InHead,
    InBody,
    /// When everything is sent, and nothing has been read.
    AtOnce,
    InAnswer,
}

const ENDS: [End; 7] = [
    End::Whole,
    End::Whole,
    End::Whole,
    End::InHead,
    End::InBody,
    End::AtOnce,
    End::InAnswer,
];

impl Load {
    fn on(stage: &Stage) -> Self {
        let repository = &stage.repository(APP);
        let image = repository.push_image("v1");
        let large = Content::new(LAYER, random_hex(MIB / 4));
        let blob = Content::new(LAYER, random_hex(8 * 1024));
        repository.push_blob(&large);
        let attached = repository.attach(NOTATION, &image);
        let manifest = |reference: &str| repository.path(&format!("manifests/{reference}"));
        let read = |method, path| Request {
            method,
            path,
            media_type: String::new(),
            body: Bytes::new(),
        };
        let write = |path, content: &Content| Request {
            method: "PUT",
            path,
            media_type: content.media_type.clone(),
            body: content.bytes.clone(),
        };
        let mut requests = vec![
            read("GET", "/v2/".to_owned()),
            read("GET", manifest("v1")),
            read("HEAD", manifest(&image.digest())),
            read("GET", manifest(&attached.digest())),
            read("GET", manifest(&image.companion_tag(""))),
            read("GET", manifest("absent")),
            read("GET", repository.path(&format!("blobs/{}", large.digest()))),
            read("GET", repository.path(&format!("blobs/{}", large.digest()))),
            read(
                "HEAD",
                repository.path(&format!("blobs/{}", large.digest())),
            ),
            read("GET", repository.path("tags/list")),
            read("GET", repository.path("tags/list?n=1")),
            read(
                "GET",
                repository.path(&format!("referrers/{}", image.digest())),
            ),
            read("DELETE", manifest(&format!("sha256:{:064}", 1))),
            read("GET", "/v2/%2e%2e/a".to_owned()),
            write(manifest("v2"), &image),
            write(manifest(&image.digest()), &image),
            write(manifest(&image.companion_tag("")), &index_of([&attached])),
            write(manifest("broken"), &Content::new(MANIFEST, "{")),
        ];
        for kind in [NOTATION, NOTATION, SBOM] {
            let artifact = repository.artifact(kind, Some(&image));
            requests.push(write(manifest(&artifact.digest()), &artifact));
        }
        Self {
            authority: stage.regseal.endpoint.authority.clone(),
            requests,
            uploads: repository.path("blobs/uploads/"),
            blob,
        }
    }

    /// So many requests, by several clients at a time.
    fn run(&self, chance: &Chance, requests: usize) {
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let mut chance = chance.branch(client as u64);
                scope.spawn(move || {
                    for _ in 0..requests / CLIENTS {
                        self.one(&mut chance);
                    }
                });
            }
        });
    }

    fn one(&self, chance: &mut Chance) {
        if chance.percent(20) {
            return self.upload(chance);
        }
        let request = chance.one_of(&self.requests);
        self.send(chance, request, false);
    }

    /// A session that is begun, and one more request on it.
    fn upload(&self, chance: &mut Chance) {
        let mut begin = Connection::to(&self.authority);
        begin.send(format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            self.uploads, self.authority
        ));
        let Some(begun) = begin.try_receive() else {
            return;
        };
        let location = begun.header("location").to_owned();
        let (method, path) = match chance.below(4) {
            0 => ("PATCH", location),
            1 => ("GET", location),
            2 => ("DELETE", location),
            _ => ("PUT", format!("{location}&digest={}", self.blob.digest())),
        };
        let has_body = ["PATCH", "PUT"].contains(&method);
        let request = Request {
            method,
            path,
            media_type: "application/octet-stream".to_owned(),
            body: if has_body {
                self.blob.bytes.clone()
            } else {
                Bytes::new()
            },
        };
        let is_chunked = chance.percent(50) && has_body;
        self.send(chance, &request, is_chunked);
    }

    fn send(&self, chance: &mut Chance, request: &Request, is_chunked: bool) {
        let framing = if is_chunked {
            "Transfer-Encoding: chunked".to_owned()
        } else {
            format!("Content-Length: {}", request.body.len())
        };
        let head = format!(
            "{} {} HTTP/1.1\r\nHost: {}\r\nContent-Type: {}\r\nAccept: {MANIFEST}, {INDEX}\r\n{framing}\r\nConnection: close\r\n\r\n",
            request.method, request.path, self.authority, request.media_type
        );
        let mut body = Vec::new();
        if is_chunked {
            for chunk in request.body.chunks(1500) {
                body.extend(format!("{:x}\r\n", chunk.len()).bytes());
                body.extend(chunk);
                body.extend(b"\r\n");
            }
            body.extend(b"0\r\n\r\n");
        } else {
            body.extend(&request.body);
        }
        let end = *chance.one_of(&ENDS);
        let mut connection = Connection::to(&self.authority);
        match end {
            End::InHead => connection.send(&head[..chance.below(head.len())]),
            End::InBody => {
                connection.send(&head);
                connection.send(&body[..chance.below(body.len() + 1)]);
            }
            End::Whole | End::AtOnce | End::InAnswer => {
                connection.send(&head);
                connection.send(&body);
            }
        }
        match end {
            End::Whole => {
                connection.read_head_and_body(request.method);
            }
            End::InAnswer => {
                connection.read_some(chance.below(64 * 1024).min(100 + chance.below(1000)));
            }
            End::InHead | End::InBody | End::AtOnce => {}
        }
        match chance.below(3) {
            0 => connection.reset(),
            1 => {
                connection.half_close();
                if chance.percent(20) {
                    connection.is_closed_by_peer();
                }
            }
            _ => drop(connection),
        }
    }
}

impl Connection {
    /// An answer, to a `HEAD` without a body.
    fn read_head_and_body(&mut self, method: &str) {
        if method == "HEAD" {
            self.read_some(1);
        } else {
            self.try_receive();
        }
    }
}

/// Waits until nothing is under way.
fn settle(regseal: &Regseal) {
    for gauge in [
        "http_server_active_requests",
        "regseal_upstream_active_requests",
        "regseal_upstream_waiting_requests",
    ] {
        wait_for("the end of what is under way", || {
            let under_way = regseal.metric(gauge, &[]);
            assert!(under_way > -0.5, "{gauge}: {under_way}");
            (under_way < 0.5).then_some(())
        });
    }
}

#[test]
fn requests_that_are_given_up_at_any_point_leave_nothing() {
    let chance = Chance::from_environment();
    let requests = rounds(5_000, 100_000);
    let stage = Stage::with(Auth::None);
    let regseal = &stage.regseal;
    let at_first = regseal.descriptors();
    let load = Load::on(&stage);
    load.run(&chance.branch(1_000), 1_500);
    settle(regseal);
    let tasks = || regseal.metric("regseal_tasks", &[]);
    let (warm_tasks, warm_memory) = (tasks(), regseal.memory());
    load.run(&chance, requests);
    settle(regseal);

    // Connections to the registry that nobody uses stay for 20 seconds.
    wait_for("descriptors that are closed", || {
        (regseal.descriptors() <= at_first + 2).then_some(())
    });
    assert!(tasks() <= warm_tasks + 2.0, "{warm_tasks} {}", tasks());
    let memory = regseal.memory();
    eprintln!(
        "{requests} requests: {at_first} descriptors before and {} after, {warm_tasks} tasks and {}, {warm_memory} KiB and \
         {memory}, {} at most",
        regseal.descriptors(),
        tasks(),
        regseal.peak_memory()
    );
    assert!(memory <= warm_memory + MARGIN, "{warm_memory} {memory}");
    let repository = stage.repository(APP);
    repository.get_manifest("v1").expect(200);
}

/// Streams at a time.
const STREAMS: usize = 200;
/// The most that may be resident, in KiB.
const RESIDENT: u64 = 128 * 1024;

/// Memory is that of the streams that are open, and not that of the blobs.
#[test]
fn many_streams_to_slow_readers_take_little_memory() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository(APP);
    let size = rounds(4, 100) * MIB;
    let blob = Content::new(LAYER, random_hex(size / 2));
    stage.behind(APP).push_blob(&blob);
    let authority = &stage.regseal.endpoint.authority;
    let path = repository.path(&format!("blobs/{}", blob.digest()));
    let readers: Vec<Connection> = (0..STREAMS)
        .map(|_| {
            let mut reader = Connection::to(authority);
            reader.send(format!(
                "GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n"
            ));
            assert!(reader.read_some(15).starts_with(b"HTTP/1.1 200 OK"));
            reader
        })
        .collect();
    let held = stage.regseal.memory();
    std::thread::scope(|scope| {
        for mut reader in readers {
            scope.spawn(move || assert!(reader.drain() >= size as u64));
        }
    });
    eprintln!(
        "{STREAMS} pulls of {size} bytes: {held} KiB while all were held, {} at most",
        stage.regseal.peak_memory()
    );
    assert!(stage.regseal.peak_memory() < RESIDENT);
}

#[test]
fn many_uploads_from_slow_writers_take_little_memory() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository(APP);
    let authority = &stage.regseal.endpoint.authority;
    let size = rounds(2, 100) * MIB;
    let piece = random_hex(MIB / 4).into_bytes();
    let writers = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..STREAMS)
            .map(|_| scope.spawn(|| slow_upload(&repository, authority, &piece)))
            .collect();
        let writers = writers.into_iter().map(|writer| writer.join().unwrap());
        writers.collect::<Vec<Connection>>()
    });
    let held = stage.regseal.memory();
    std::thread::scope(|scope| {
        for mut writer in writers {
            let piece = &piece;
            scope.spawn(move || {
                for _ in 1..size / piece.len() {
                    send_chunk(&mut writer, piece);
                }
                writer.send("0\r\n\r\n");
                writer.receive().expect(202);
            });
        }
    });
    eprintln!(
        "{STREAMS} uploads of {size} bytes: {held} KiB while all were held, {} at most",
        stage.regseal.peak_memory()
    );
    assert!(stage.regseal.peak_memory() < RESIDENT);
}

/// An upload of which the first piece is sent.
fn slow_upload(repository: &Repository, authority: &str, piece: &[u8]) -> Connection {
    let session = repository
        .http
        .request("POST", &repository.path("blobs/uploads/"), &[], "")
        .expect(202);
    let mut writer = Connection::to(authority);
    writer.send(format!(
        "PATCH {} HTTP/1.1\r\nHost: {authority}\r\nTransfer-Encoding: chunked\r\n\r\n",
        session.header("location")
    ));
    send_chunk(&mut writer, piece);
    writer
}

fn send_chunk(writer: &mut Connection, piece: &[u8]) {
    writer.send(format!("{:x}\r\n", piece.len()));
    writer.send(piece);
    writer.send("\r\n");
}
