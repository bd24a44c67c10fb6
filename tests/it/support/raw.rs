//! Exact bytes on a connection, for what no HTTP library would send.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use http::{HeaderMap, HeaderName, HeaderValue};

use tokio::net::TcpSocket;

use super::{PATIENCE, Reply, block_on};

pub struct Connection {
    stream: BufReader<TcpStream>,
    sent: String,
}

impl Connection {
    pub fn to(authority: &str) -> Self {
        let stream = TcpStream::connect(authority).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream: BufReader::new(stream),
            sent: String::new(),
        }
    }

    /// From an address of the loopback that is not the usual one.
    pub fn from(source: [u8; 4], authority: &str) -> Self {
        let target: SocketAddr = authority.parse().unwrap();
        let stream = block_on(async {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind((source, 0).into()).unwrap();
            socket.connect(target).await.unwrap()
        });
        let stream = stream.into_std().unwrap();
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream: BufReader::new(stream),
            sent: String::new(),
        }
    }

    /// Reads so many bytes, whatever they are; fewer if the peer ends before.
    pub fn read_some(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = self
            .stream
            .by_ref()
            .take(length as u64)
            .read_to_end(&mut bytes);
        bytes
    }

    /// Reads to the end and says how much came.
    pub fn drain(&mut self) -> u64 {
        let mut bytes = [0; 64 * 1024];
        let mut length = 0;
        while let Ok(read) = self.stream.read(&mut bytes) {
            if read == 0 {
                break;
            }
            length += read as u64;
        }
        length
    }

    /// Says that nothing more will be sent.
    pub fn half_close(&mut self) {
        let _ = self.stream.get_mut().shutdown(Shutdown::Write);
    }

    /// Ends with a reset: what is on its way is lost.
    pub fn reset(self) {
        let stream = self.stream.into_inner();
        let _ = stream.set_nonblocking(true);
        block_on(async {
            if let Ok(stream) = tokio::net::TcpStream::from_std(stream) {
                let _ = stream.set_zero_linger();
            }
        });
    }

    /// Sends bytes as they are. A peer that has closed already is found when the answer is read.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        if self.sent.is_empty() {
            let text = String::from_utf8_lossy(bytes.as_ref()).into_owned();
            self.sent = text.lines().next().unwrap_or_default().to_owned();
        }
        let _ = self.stream.get_mut().write_all(bytes.as_ref());
    }

    /// One answer, with as much body as its chunks or its `Content-Length` say, or all until the end.
    #[track_caller]
    pub fn receive(&mut self) -> Reply {
        self.try_receive()
            .unwrap_or_else(|| panic!("{:?}: closed without an answer", self.sent))
    }

    pub fn try_receive(&mut self) -> Option<Reply> {
        let status = self.line()?.split(' ').nth(1)?.parse().ok()?;
        let mut headers = HeaderMap::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':')?;
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).ok()?,
                HeaderValue::from_str(value.trim()).ok()?,
            );
        }
        let length = headers
            .get("content-length")
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let is_chunked = headers
            .get("transfer-encoding")
            .is_some_and(|value| value == "chunked");
        let mut body = vec![0; length.unwrap_or_default()];
        match length {
            _ if (100..200).contains(&status) => {}
            _ if is_chunked => body = self.chunks()?,
            Some(_) => self.stream.read_exact(&mut body).ok()?,
            None => {
                self.stream.read_to_end(&mut body).ok()?;
            }
        }
        Some(Reply {
            request: self.sent.clone(),
            status,
            headers,
            body: body.into(),
        })
    }

    fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let length = usize::from_str_radix(&self.line()?, 16).ok()?;
            let mut chunk = vec![0; length];
            self.stream.read_exact(&mut chunk).ok()?;
            self.line()?;
            if length == 0 {
                return Some(body);
            }
            body.extend(chunk);
        }
    }

    /// Whether the peer ends the connection, with nothing more said.
    pub fn is_closed_by_peer(&mut self) -> bool {
        matches!(self.stream.read(&mut [0; 1]), Ok(0) | Err(_))
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.stream
            .read_line(&mut line)
            .ok()
            .filter(|length| *length > 0)?;
        Some(line.trim_end().to_owned())
    }
}

/// One `GET` for a path that is sent as it stands, on a connection of its own.
#[track_caller]
pub fn get(authority: &str, path: &str, headers: &str) -> Reply {
    let mut connection = Connection::to(authority);
    connection.send(format!(
        "GET {path} HTTP/1.1\r\nHost: {authority}\r\n{headers}Connection: close\r\n\r\n"
    ));
    connection.receive()
}
