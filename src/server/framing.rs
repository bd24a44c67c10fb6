//! Requests that tell their length in two ways (RFC 9112 section 6.3): `Transfer-Encoding` beside `Content-Length`.
//!
//! hyper reads such a request as chunked and drops the length, so nobody behind it can tell. This follows the bytes of
//! a connection from head to head and remembers what hyper forgets. It only ever refuses: where a message is malformed
//! hyper ends the connection, whatever is thought here.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Longer field names are none of those that count.
const LONGEST_NAME: usize = 32;

/// In the extensions of a request: where its body ends is not certain.
#[derive(Clone, Copy, Debug)]
pub struct AmbiguousFraming;

/// Whether a connection has sent an ambiguous head; shared by its IO and its service.
#[derive(Clone, Debug, Default)]
pub(super) struct Ambiguous(Arc<AtomicBool>);

impl Ambiguous {
    pub(super) fn is_seen(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// An IO whose incoming bytes are followed.
pub(super) struct Followed<T> {
    io: T,
    place: Place,
    seen: Ambiguous,
}

/// Where in a message the next byte is.
#[derive(Debug)]
enum Place {
    /// In a head.
    Head(Head),
    /// In a body, with so many bytes before the next head.
    Body(u64),
    /// In the line of a chunk's size, with its value so far.
    ChunkSize { size: u64, extension: bool },
    /// In a chunk, with so many bytes before the next size; its line end counts.
    Chunk(u64),
    /// Behind the last chunk; whether the line has any byte yet.
    Trailer { line: bool },
}

#[derive(Debug, Default)]
struct Head {
    line: Vec<u8>,
    has_coding: bool,
    length: Option<u64>,
}

impl<T> Followed<T> {
    pub(super) fn new(io: T, seen: Ambiguous) -> Self {
        Self {
            io,
            place: Place::Head(Head::default()),
            seen,
        }
    }

    fn follow(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, rest)) = bytes.split_first() {
            bytes = match &mut self.place {
                Place::Body(left) | Place::Chunk(left) if *left > 1 => {
                    let skipped = bytes
                        .len()
                        .min(usize::try_from(*left - 1).unwrap_or(usize::MAX));
                    *left -= skipped as u64;
                    bytes.get(skipped..).unwrap_or_default()
                }
                Place::Head(_)
                | Place::Body(_)
                | Place::ChunkSize { .. }
                | Place::Chunk(_)
                | Place::Trailer { .. } => {
                    self.step(byte);
                    rest
                }
            };
        }
    }

    fn step(&mut self, byte: u8) {
        let next = match &mut self.place {
            Place::Head(head) => head.step(byte, &self.seen),
            Place::Body(_) => Some(Place::Head(Head::default())),
            Place::Chunk(_) => Some(Place::ChunkSize {
                size: 0,
                extension: false,
            }),
            Place::ChunkSize { size: 0, .. } if byte == b'\n' => {
                Some(Place::Trailer { line: false })
            }
            // The bytes of the chunk and the two of its line end.
            Place::ChunkSize { size, .. } if byte == b'\n' => {
                Some(Place::Chunk(size.saturating_add(2)))
            }
            Place::ChunkSize { size, extension } => {
                match char::from(byte).to_digit(16) {
                    Some(digit) if !*extension => {
                        *size = size.saturating_mul(16) + u64::from(digit)
                    }
                    _ => *extension = true,
                }
                None
            }
            Place::Trailer { line: false } if byte == b'\n' => Some(Place::Head(Head::default())),
            Place::Trailer { line } => {
                *line = byte != b'\n' && (*line || byte != b'\r');
                None
            }
        };
        if let Some(next) = next {
            self.place = next;
        }
    }
}

impl Head {
    fn step(&mut self, byte: u8, seen: &Ambiguous) -> Option<Place> {
        if byte != b'\n' {
            if self.line.len() < 2 * LONGEST_NAME {
                self.line.push(byte);
            }
            return None;
        }
        let line = std::mem::take(&mut self.line);
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        if let Some(colon) = line.iter().position(|&byte| byte == b':') {
            let (name, value) = line.split_at(colon);
            if name.eq_ignore_ascii_case(b"transfer-encoding") {
                self.has_coding = true;
            } else if name.eq_ignore_ascii_case(b"content-length") {
                let value = std::str::from_utf8(value).unwrap_or_default();
                self.length = Some(value.trim_start_matches(':').trim().parse().unwrap_or(0));
            }
        }
        if !line.is_empty() {
            return None;
        }
        if self.has_coding && self.length.is_some() {
            seen.0.store(true, Ordering::Relaxed);
        }
        Some(match (self.has_coding, self.length) {
            (true, _) => Place::ChunkSize {
                size: 0,
                extension: false,
            },
            (false, Some(length)) if length > 0 => Place::Body(length),
            (false, _) => Place::Head(Self::default()),
        })
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Followed<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(context, buffer))?;
        self.follow(buffer.filled().get(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Followed<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Whether an ambiguous head is seen in `bytes` that come in pieces of `size`.
    fn is_seen(bytes: &str, size: usize) -> bool {
        let mut followed = Followed::new((), Ambiguous::default());
        for piece in bytes.as_bytes().chunks(size) {
            followed.follow(piece);
        }
        followed.seen.is_seen()
    }

    const AMBIGUOUS: &str =
        "PUT / HTTP/1.1\r\ncontent-LENGTH: 5\r\nTransfer-Encoding: chunked\r\n\r\n";

    proptest! {
        #[test]
        fn an_ambiguous_head_is_found_behind_any_messages_and_nowhere_else(
            messages in proptest::collection::vec(0..4_usize, 0..4),
            size in 1..80_usize,
        ) {
            let all = [
                "GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
                format!("PUT /a HTTP/1.1\r\nContent-Length: {}\r\n\r\n{AMBIGUOUS}", AMBIGUOUS.len()),
                format!(
                    "PUT /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{:x};x=1\r\n{AMBIGUOUS}\r\n0\r\nA: b\r\n\r\n",
                    AMBIGUOUS.len()
                ),
                "PUT /a HTTP/1.1\r\nX-Transfer-Encoding: content-length: 1\r\nContent-Length: 0\r\n\r\n".to_owned(),
            ];
            let mut bytes: String = messages.into_iter().map(|message| all[message].as_str()).collect();
            prop_assert!(!is_seen(&bytes, size));
            bytes.push_str(AMBIGUOUS);
            prop_assert!(is_seen(&bytes, size));
        }
    }
}
