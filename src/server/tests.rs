//! The server over loopback sockets.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{FutureExt, StreamExt, stream};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tower::{Layer, ServiceExt, service_fn};

use super::limit::InFlightLayer;
use super::*;

type Frames = StreamBody<stream::BoxStream<'static, Result<Frame<Bytes>, BoxError>>>;

const LOOPBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

struct Running {
    address: SocketAddr,
    drain: Drain,
    serving: JoinHandle<Drained>,
}

async fn start<S, B>(service: S, config: Config) -> Running
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let listener = Listener::bind(LOOPBACK).await.unwrap();
    let address = listener.local_addr();
    let drain = Drain::new();
    let serving = tokio::spawn(serve(listener, service, config, drain.clone()));
    Running {
        address,
        drain,
        serving,
    }
}

/// Sends `request` and returns all that comes until the server closes the connection.
async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response
}

/// A response body whose frames the test sends one by one.
fn frames() -> (mpsc::Sender<&'static str>, Frames) {
    let (sender, receiver) = mpsc::channel::<&'static str>(1);
    let frames = stream::unfold(receiver, async |mut receiver| {
        let text = receiver.recv().await?;
        Some((
            Ok(Frame::data(Bytes::from_static(text.as_bytes()))),
            receiver,
        ))
    });
    (sender, StreamBody::new(frames.boxed()))
}

/// A server whose every response streams what is sent into the channel of the test.
async fn streaming(config: Config) -> (Running, mpsc::Receiver<mpsc::Sender<&'static str>>) {
    let (started, requests) = mpsc::channel(1);
    let service = service_fn(move |_: Request<Incoming>| {
        let started = started.clone();
        async move {
            let (sender, body) = frames();
            started.send(sender).await.unwrap();
            Ok::<_, Infallible>(Response::new(body))
        }
    });
    (start(service, config).await, requests)
}

#[tokio::test]
async fn requests_carry_the_address_of_their_peer() {
    let service = service_fn(async |request: Request<Incoming>| {
        let peer = request
            .extensions()
            .get::<SocketAddr>()
            .unwrap()
            .to_string();
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(peer))))
    });
    let running = start(service, Config::default()).await;
    let response = exchange(
        running.address,
        "GET / HTTP/1.1\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(response.contains("\r\n\r\n127.0.0.1:"), "{response}");
}

#[tokio::test]
async fn draining_waits_for_a_streaming_body_and_takes_no_new_connection() {
    let (running, mut requests) = streaming(Config::default()).await;
    let client = tokio::spawn(exchange(running.address, "GET / HTTP/1.1\r\n\r\n"));
    let body = requests.recv().await.unwrap();
    body.send("before ").await.unwrap();

    running.drain.start();
    let mut serving = running.serving;
    while TcpStream::connect(running.address).await.is_ok() {
        assert!(
            (&mut serving).now_or_never().is_none(),
            "the response is still open"
        );
        tokio::task::yield_now().await;
    }
    body.send("after").await.unwrap();
    assert!(
        (&mut serving).now_or_never().is_none(),
        "the response is still open"
    );
    drop(body);

    assert_eq!(serving.await.unwrap(), Drained::Complete);
    let response = client.await.unwrap();
    assert!(
        response.contains("before ") && response.ends_with("0\r\n\r\n"),
        "{response}"
    );
}

#[tokio::test]
async fn draining_ends_at_its_deadline() {
    let deadline = Duration::from_millis(50);
    let config = Config {
        drain_deadline: deadline,
        ..Config::default()
    };
    let (running, mut requests) = streaming(config).await;
    let client = tokio::spawn(exchange(running.address, "GET / HTTP/1.1\r\n\r\n"));
    let body = requests.recv().await.unwrap();
    body.send("begun").await.unwrap();

    running.drain.start();
    assert_eq!(
        running.serving.await.unwrap(),
        Drained::Cut { connections: 1 }
    );
    body.closed().await;
    let response = client.await.unwrap();
    assert!(
        response.ends_with("begun\r\n"),
        "the client sees that the end is missing: {response}"
    );
}

#[tokio::test]
async fn draining_closes_idle_connections_at_once() {
    let (running, mut requests) = streaming(Config::default()).await;
    let mut fresh = TcpStream::connect(running.address).await.unwrap();
    let mut kept_alive = TcpStream::connect(running.address).await.unwrap();
    kept_alive
        .write_all(b"GET / HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    drop(requests.recv().await.unwrap());
    let mut response = Vec::new();
    while !response.ends_with(b"\r\n\r\n0\r\n\r\n") {
        response.push(kept_alive.read_u8().await.unwrap());
    }

    running.drain.start();
    assert_eq!(running.serving.await.unwrap(), Drained::Complete);
    assert_eq!(fresh.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(kept_alive.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn connections_are_accepted_during_the_drain_delay() {
    let config = Config {
        drain_delay: Duration::from_secs(60),
        ..Config::default()
    };
    let (running, mut requests) = streaming(config).await;
    running.drain.start();
    let client = tokio::spawn(exchange(
        running.address,
        "GET / HTTP/1.1\r\nconnection: close\r\n\r\n",
    ));
    drop(requests.recv().await.unwrap());
    assert!(client.await.unwrap().starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_request_head_that_does_not_arrive_ends_the_connection() {
    let limit = Duration::from_millis(20);
    let config = Config {
        head_timeout: limit,
        ..Config::default()
    };
    let (running, _requests) = streaming(config).await;
    for (begun, why) in [("GET / HT", "half a head"), ("", "no head at all")] {
        let waiting_since = tokio::time::Instant::now();
        assert_eq!(exchange(running.address, begun).await, "", "{why}");
        assert!(waiting_since.elapsed() >= limit, "{why}");
    }
}

#[tokio::test]
async fn a_request_head_larger_than_the_buffer_is_refused() {
    let config = Config {
        buffer: 8192,
        ..Config::default()
    };
    let (running, _requests) = streaming(config).await;
    let request = format!("GET / HTTP/1.1\r\nlong: {}\r\n\r\n", "x".repeat(8192));
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut status = String::new();
    BufReader::new(stream).read_line(&mut status).await.unwrap();
    assert!(status.starts_with("HTTP/1.1 431 "), "{status}");
}

/// Limits a server to one request, and answers others with 503.
async fn limited() -> (Running, mpsc::Receiver<mpsc::Sender<&'static str>>) {
    let (started, requests) = mpsc::channel(1);
    let stack = service_fn(move |_: Request<Incoming>| {
        let started = started.clone();
        async move {
            let (sender, body) = frames();
            started.send(sender).await.unwrap();
            Ok::<_, Infallible>(Response::new(body.boxed_unsync()))
        }
    });
    let shed = |_| {
        let body = Full::new(Bytes::from_static(b"busy")).map_err(|never| match never {});
        Response::builder()
            .status(503)
            .header("retry-after", "1")
            .body(body.boxed_unsync())
            .unwrap()
    };
    (
        start(
            InFlightLayer::new(1, NonZeroUsize::new(8), shed).layer(stack),
            Config::default(),
        )
        .await,
        requests,
    )
}

#[tokio::test]
async fn a_request_is_in_flight_until_its_response_body_has_ended() {
    const REQUEST: &str = "GET / HTTP/1.1\r\nconnection: close\r\n\r\n";
    let (running, mut requests) = limited().await;
    let first = tokio::spawn(exchange(running.address, REQUEST));
    let body = requests.recv().await.unwrap();
    body.send("streaming").await.unwrap();
    let shed = exchange(running.address, REQUEST).await;
    assert!(
        shed.starts_with("HTTP/1.1 503 ") && shed.contains("retry-after: 1"),
        "{shed}"
    );

    drop(body);
    assert!(first.await.unwrap().starts_with("HTTP/1.1 200 "));
    let next = tokio::spawn(exchange(running.address, REQUEST));
    drop(requests.recv().await.expect("the place is free again"));
    assert!(next.await.unwrap().starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_client_that_goes_away_frees_its_place() {
    let (running, mut requests) = limited().await;
    let mut client = TcpStream::connect(running.address).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let body = requests.recv().await.unwrap();
    drop(client);
    body.closed().await;

    let next = tokio::spawn(exchange(
        running.address,
        "GET / HTTP/1.1\r\nconnection: close\r\n\r\n",
    ));
    drop(requests.recv().await.expect("the place is free again"));
    assert!(next.await.unwrap().starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_request_is_shed_before_its_body_is_read() {
    let (running, mut requests) = limited().await;
    let _first = tokio::spawn(exchange(running.address, "GET / HTTP/1.1\r\n\r\n"));
    let _body = requests.recv().await.unwrap();

    let upload = "PUT / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 1000000000\r\n\r\n";
    let response = exchange(running.address, upload).await;
    assert!(
        response.starts_with("HTTP/1.1 503 "),
        "nothing asked for the body: {response}"
    );
}

#[tokio::test]
async fn an_upload_that_stops_coming_fails_and_frees_the_handler() {
    let (failed, failure) = oneshot::channel();
    let failed = Arc::new(std::sync::Mutex::new(Some(failed)));
    let service = service_fn(
        move |request: Request<crate::body::IdleTimeout<Incoming>>| {
            let failed = failed.lock().unwrap().take().unwrap();
            async move {
                let error = request.into_body().collect().await.unwrap_err();
                failed
                    .send(crate::body::is_idle_timeout(error.as_ref()))
                    .unwrap();
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
            }
        },
    );
    let limit = Duration::from_millis(20);
    let service = service.map_request(move |request: Request<Incoming>| {
        request.map(|body| crate::body::IdleTimeout::new(body, limit))
    });
    let running = start(service, Config::default()).await;
    exchange(
        running.address,
        "PUT / HTTP/1.1\r\ncontent-length: 10\r\n\r\nhalf",
    )
    .await;
    assert!(failure.await.unwrap());
}

/// What hyper makes of doubtful framing. Each request is followed by a second one in the same bytes, which must only
/// be served where there is no doubt about where the first one ends.
#[tokio::test]
async fn doubtful_framing_never_lets_a_second_request_through() {
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    let service = service_fn(move |request: Request<Incoming>| {
        count.fetch_add(1, Ordering::Relaxed);
        async move {
            let whole = request.into_body().collect().await.is_ok();
            let status = if whole { 200 } else { 422 };
            Ok::<_, Infallible>(
                Response::builder()
                    .status(status)
                    .body(Full::<Bytes>::default())
                    .unwrap(),
            )
        }
    });
    let running = start(service, Config::default()).await;
    let chunked = "transfer-encoding: chunked\r\n";
    let body = "4\r\nbody\r\n0\r\n\r\n";
    let table = [
        (
            "content-length: 4\r\ncontent-length: 5\r\n",
            "body",
            400,
            0,
            "two lengths",
        ),
        (
            "content-length: 4, 4\r\n",
            "body",
            400,
            0,
            "a list of lengths",
        ),
        (
            "content-length: +4\r\n",
            "body",
            400,
            0,
            "a length with a sign",
        ),
        ("content-length: \r\n", "body", 400, 0, "an empty length"),
        (
            "content-length : 4\r\n",
            "body",
            400,
            0,
            "a space before the colon",
        ),
        (
            "x: a\r\n b\r\ncontent-length: 4\r\n",
            "body",
            400,
            0,
            "a folded line",
        ),
        (
            "x: a\r\n\tb\r\ncontent-length: 4\r\n",
            "body",
            400,
            0,
            "a line folded with a tab",
        ),
        (
            " x: a\r\ncontent-length: 4\r\n",
            "body",
            400,
            0,
            "a first line that continues nothing",
        ),
        (
            "x: a\rb\r\ncontent-length: 4\r\n",
            "body",
            400,
            0,
            "a bare CR",
        ),
        (
            "transfer-encoding: gzip\r\n",
            body,
            400,
            0,
            "not chunked in the end",
        ),
        (
            "transfer-encoding: chunked, gzip\r\n",
            body,
            400,
            0,
            "chunked, but not in the end",
        ),
        (
            "transfer-encoding: xchunked\r\n",
            body,
            400,
            0,
            "an unknown coding",
        ),
        (
            "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
            body,
            200,
            1,
            "both: served as chunked, closed",
        ),
        (
            "content-length: 4\r\ntransfer-encoding: chunked\r\n",
            body,
            200,
            1,
            "both, the length first",
        ),
        (
            chunked,
            "4;\n\r\nbody\r\n0\r\n\r\n",
            422,
            1,
            "a bare LF in a chunk extension",
        ),
        (
            chunked,
            "4\nbody\r\n0\r\n\r\n",
            422,
            1,
            "a bare LF after a chunk size",
        ),
        (
            chunked,
            "-4\r\nbody\r\n0\r\n\r\n",
            422,
            1,
            "a chunk size with a sign",
        ),
        (
            chunked,
            "3\r\nbody\r\n0\r\n\r\n",
            422,
            1,
            "a chunk longer than its size",
        ),
        (
            "content-length: 4\r\ncontent-length: 4\r\n",
            "body",
            200,
            2,
            "one length twice is one length",
        ),
        (
            "transfer-encoding: gzip, chunked\r\n",
            body,
            200,
            2,
            "chunked in the end",
        ),
        (
            "content-length: 4\n",
            "body",
            200,
            2,
            "a line may end in LF alone",
        ),
        ("content-length: 4\r\n", "body", 200, 2, "plain"),
        (chunked, body, 200, 2, "plain, chunked"),
    ];
    for (framing, body, status, requests, why) in table {
        served.store(0, Ordering::Relaxed);
        let request = format!(
            "PUT / HTTP/1.1\r\n{framing}\r\n{body}GET /next HTTP/1.1\r\nconnection: close\r\n\r\n"
        );
        let response = exchange(running.address, &request).await;
        assert!(
            response.starts_with(&format!("HTTP/1.1 {status} ")),
            "{why}: {response}"
        );
        assert_eq!(
            served.load(Ordering::Relaxed),
            requests,
            "{why}: {response}"
        );
    }
    let old = "PUT / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    assert!(
        exchange(running.address, old).await.contains(" 400 "),
        "HTTP/1.0 has no transfer codings"
    );
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_is_still_sending() {
    let service = service_fn(async |_: Request<Incoming>| {
        Ok::<_, Infallible>(
            Response::builder()
                .status(503)
                .body(Full::<Bytes>::default())
                .unwrap(),
        )
    });
    let running = start(service, Config::default()).await;
    let body = "x".repeat(32 << 20);
    let request = format!(
        "PUT / HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let response = exchange(running.address, &request).await;
    assert!(response.starts_with("HTTP/1.1 503 "), "{response}");
}

#[tokio::test]
async fn a_client_that_never_stops_sending_is_closed_all_the_same() {
    let service = service_fn(async |_: Request<Incoming>| {
        Ok::<_, Infallible>(
            Response::builder()
                .status(503)
                .body(Full::<Bytes>::default())
                .unwrap(),
        )
    });
    let running = start(service, Config::default()).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream
        .write_all(b"PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n")
        .await
        .unwrap();
    let chunk = format!("{:x}\r\n{}\r\n", 65536, "x".repeat(65536));
    while stream.write_all(chunk.as_bytes()).await.is_ok() {}
}

#[tokio::test]
async fn the_second_listener_tells_of_draining_while_the_first_still_serves() {
    let (running, mut requests) = streaming(Config::default()).await;
    let readiness = Readiness::new(&running.drain);
    readiness.started();
    let admin = start(
        Admin::new(readiness, prometheus::Registry::new(), None),
        Config::default(),
    )
    .await;
    const PROBE: &str = "GET /readyz HTTP/1.1\r\nconnection: close\r\n\r\n";
    assert!(
        exchange(admin.address, PROBE)
            .await
            .starts_with("HTTP/1.1 200 ")
    );

    let client = tokio::spawn(exchange(running.address, "GET / HTTP/1.1\r\n\r\n"));
    let body = requests.recv().await.unwrap();
    running.drain.start();
    assert!(
        exchange(admin.address, PROBE)
            .await
            .starts_with("HTTP/1.1 503 ")
    );

    drop(body);
    assert_eq!(running.serving.await.unwrap(), Drained::Complete);
    assert!(client.await.unwrap().starts_with("HTTP/1.1 200 "));
    admin.drain.start();
    assert_eq!(admin.serving.await.unwrap(), Drained::Complete);
}
