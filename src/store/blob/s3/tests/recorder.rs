//! A server that writes down what it is sent, and answers what the test has laid out.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The header that tells one write from another.
const WRITE: &str = "x-amz-meta-regseal-write";

/// One request, as it came.
#[derive(Clone, Debug)]
pub(super) struct Recorded {
    /// Method and target.
    pub(super) line: String,
    /// In lower case, `name: value` each.
    pub(super) headers: Vec<String>,
    pub(super) body: Vec<u8>,
}

impl Recorded {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let prefix = format!("{name}: ");
        let mut found = self.headers.iter();
        found.find_map(|header| header.strip_prefix(&prefix))
    }
}

/// What is answered to one request.
pub(super) enum Reply {
    /// Status, headers (each with its line end) and body.
    With(u16, &'static str, &'static str),
    /// 200 with the number of the write that was sent first.
    FirstWrite,
    /// 200 with a body that breaks off.
    Cut,
    /// The request is read, and the connection closed.
    Hangup,
}

pub(super) struct Recorder {
    pub(super) port: u16,
    requests: Arc<Mutex<Vec<Recorded>>>,
}

impl Recorder {
    /// Answers the replies one after the other, and the last of them from then on.
    pub(super) async fn start(replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let replies = Arc::new(Mutex::new(VecDeque::from(replies)));
        let recorded = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (replies, requests) = (Arc::clone(&replies), Arc::clone(&recorded));
                tokio::spawn(async move { serve(stream, &replies, &requests).await });
            }
        });
        Self { port, requests }
    }

    pub(super) fn requests(&self) -> Vec<Recorded> {
        self.requests.lock().unwrap().clone()
    }

    /// The lines of the requests.
    pub(super) fn lines(&self) -> Vec<String> {
        let requests = self.requests();
        requests.into_iter().map(|request| request.line).collect()
    }
}

async fn serve(
    mut stream: TcpStream,
    replies: &Mutex<VecDeque<Reply>>,
    requests: &Mutex<Vec<Recorded>>,
) -> Option<()> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        (stream.read_buf(&mut bytes).await.ok()? > 0).then_some(())?;
    };
    let text = String::from_utf8(bytes[..head].to_vec()).unwrap();
    let (line, headers) = text.trim_end().split_once("\r\n").unwrap();
    let mut request = Recorded {
        line: line.trim_end_matches(" HTTP/1.1").to_owned(),
        headers: headers.lines().map(str::to_ascii_lowercase).collect(),
        body: bytes.split_off(head),
    };
    let length = request.header("content-length").unwrap_or("0");
    let length: usize = length.parse().unwrap();
    while request.body.len() < length {
        (stream.read_buf(&mut request.body).await.ok()? > 0).then_some(())?;
    }
    let first_write = {
        let mut requests = requests.lock().unwrap();
        requests.push(request);
        let write = requests.first().and_then(|first| first.header(WRITE));
        write.unwrap_or_default().to_owned()
    };
    let answer = {
        let mut replies = replies.lock().unwrap();
        let reply = if replies.len() > 1 {
            replies.pop_front()
        } else {
            None
        };
        match reply.as_ref().or(replies.front()).unwrap() {
            Reply::Hangup => return None,
            Reply::FirstWrite => format!(
                "HTTP/1.1 200 Any\r\ncontent-length: 3\r\nconnection: close\r\n{WRITE}: {first_write}\r\n\r\n"
            ),
            Reply::Cut => "HTTP/1.1 200 Any\r\ncontent-length: 3\r\nlast-modified: Mon, 23 Nov 2026 09:00:00 GMT\r\n\r\na".to_owned(),
            Reply::With(status, headers, body) => format!(
                "HTTP/1.1 {status} Any\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}",
                body.len()
            ),
        }
    };
    stream.write_all(answer.as_bytes()).await.ok()
}
