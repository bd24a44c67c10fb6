//! Frames of HTTP/2 as they are written, for what no client would send.

use std::io::{Read, Write};

use super::tls::Stream;

pub struct Http2 {
    stream: Stream,
    next: u32,
}

/// What a server says of a stream or of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// The status, if it is one of those that have a number in the static table.
    Status(u16),
    /// The stream ends with this error.
    Reset(u32),
    /// The connection ends with this error.
    GoAway(u32),
    /// It is closed.
    Closed,
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

impl Http2 {
    pub fn over(stream: Stream) -> Self {
        let mut connection = Self { stream, next: 1 };
        connection.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        connection.frame(SETTINGS, 0, 0, &[]);
        connection
    }

    /// A request without a body; its stream.
    pub fn get(&mut self, path: &str, more: &[(&str, &str)]) -> u32 {
        let pseudo = [
            (":method", "GET"),
            (":scheme", "https"),
            (":path", path),
            (":authority", "localhost"),
        ];
        self.request(pseudo.iter().chain(more), END_STREAM | END_HEADERS)
    }

    /// A request whose headers never end.
    pub fn endless(&mut self, frames: usize) {
        let pseudo = [
            (":method", "GET"),
            (":scheme", "https"),
            (":path", "/v2/"),
            (":authority", "localhost"),
        ];
        let stream = self.request(pseudo.iter(), END_STREAM);
        let block = block([("x-filler", "a".repeat(8000).as_str())].iter());
        for _ in 0..frames {
            self.frame(CONTINUATION, 0, stream, &block);
        }
    }

    fn request<'a>(
        &mut self,
        headers: impl Iterator<Item = &'a (&'a str, &'a str)>,
        flags: u8,
    ) -> u32 {
        let stream = self.next;
        self.next += 2;
        self.frame(HEADERS, flags, stream, &block(headers));
        stream
    }

    /// Cancels a request.
    pub fn cancel(&mut self, stream: u32) {
        self.frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.write(&frame);
    }

    /// A peer that has closed is found when it is read from.
    fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
        let _ = self.stream.flush();
    }

    /// What is said next of this stream, or of all.
    pub fn said(&mut self, of: u32) -> Said {
        loop {
            let mut head = [0; 9];
            if self.stream.read_exact(&mut head).is_err() {
                return Said::Closed;
            }
            let [a, b, c, kind, flags, stream @ ..] = head;
            let length = u32::from_be_bytes([0, a, b, c]);
            let mut payload = vec![0; length as usize];
            if self.stream.read_exact(&mut payload).is_err() {
                return Said::Closed;
            }
            let number = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
            match (kind, u32::from_be_bytes(stream) == of) {
                (HEADERS, true) => return Said::Status(status(payload[0])),
                (RST_STREAM, true) => return Said::Reset(number(0)),
                (GOAWAY, _) => return Said::GoAway(number(4)),
                (SETTINGS, _) if flags & ACK == 0 => self.frame(SETTINGS, ACK, 0, &[]),
                (PING, _) if flags & ACK == 0 => self.frame(PING, ACK, 0, &payload),
                (DATA, _) | (_, _) => {}
            }
        }
    }

    /// Reads until the connection is closed; the error of its end, if the server gave one.
    pub fn end(&mut self) -> Option<u32> {
        let mut error = None;
        loop {
            match self.said(0) {
                Said::GoAway(code) => error = Some(code),
                Said::Closed => return error,
                Said::Status(_) | Said::Reset(_) => {}
            }
        }
    }
}

/// A block of header fields: literals that are not indexed (RFC 7541 section 6.2.2).
fn block<'a>(headers: impl Iterator<Item = &'a (&'a str, &'a str)>) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            let mut length = text.len();
            if length < 127 {
                block.push(u8::try_from(length).unwrap());
            } else {
                block.push(127);
                length -= 127;
                while length >= 128 {
                    block.push(u8::try_from(length % 128).unwrap() | 128);
                    length /= 128;
                }
                block.push(u8::try_from(length).unwrap());
            }
            block.extend(text.as_bytes());
        }
    }
    block
}

/// The status by its number in the static table (RFC 7541 appendix A); 0 for any other.
fn status(first: u8) -> u16 {
    match first {
        0x88 => 200,
        0x89 => 204,
        0x8a => 206,
        0x8b => 304,
        0x8c => 400,
        0x8d => 404,
        0x8e => 500,
        _ => 0,
    }
}
