//! The header by which a load balancer says who has connected to it: the PROXY protocol, versions 1 and 2.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use ppp::{HeaderResult, v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes by which both versions can be told apart, and which each header has.
const START: usize = 12;
/// The signature of version 2 with version, command, family and length.
const V2_HEAD: usize = 16;
/// The longest header of version 1.
const LONGEST_V1: usize = 107;
/// The longest header of version 2 that is read: addresses, and what load balancers add of TLS and of themselves.
const LONGEST_V2: usize = 4096;

/// Reads one header, and not a byte more. `None`: the balancer speaks for itself or does not know who has connected.
///
/// # Errors
/// What comes is no such header, or a longer one than any that is needed.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let mut header = vec![0; START];
    stream.read_exact(&mut header).await?;
    if header == v2::PROTOCOL_PREFIX {
        header.resize(V2_HEAD, 0);
        let (_, rest) = header.split_at_mut(START);
        stream.read_exact(rest).await?;
        let length = match rest {
            [_, _, high, low] => usize::from(u16::from_be_bytes([*high, *low])),
            _ => 0,
        };
        if V2_HEAD + length > LONGEST_V2 {
            return Err(wrong("a PROXY header that is too long"));
        }
        header.resize(V2_HEAD + length, 0);
        let (_, rest) = header.split_at_mut(V2_HEAD);
        stream.read_exact(rest).await?;
    } else if header.starts_with(v1::PROTOCOL_PREFIX.as_bytes()) {
        while !header.ends_with(b"\n") {
            if header.len() >= LONGEST_V1 {
                return Err(wrong("a PROXY header that is too long"));
            }
            // What follows the line is not ours, so it is read byte by byte.
            header.push(stream.read_u8().await?);
        }
    }
    source(&header)
}

fn source(header: &[u8]) -> io::Result<Option<SocketAddr>> {
    match HeaderResult::parse(header) {
        HeaderResult::V1(Ok(header)) => Ok(match header.addresses {
            v1::Addresses::Unknown => None,
            v1::Addresses::Tcp4(ip) => Some((ip.source_address, ip.source_port).into()),
            v1::Addresses::Tcp6(ip) => Some((ip.source_address, ip.source_port).into()),
        }),
        HeaderResult::V2(Ok(header)) => Ok(match (header.command, header.addresses) {
            (v2::Command::Local, _) => None,
            (v2::Command::Proxy, v2::Addresses::IPv4(ip)) => {
                Some((ip.source_address, ip.source_port).into())
            }
            (v2::Command::Proxy, v2::Addresses::IPv6(ip)) => {
                Some((ip.source_address, ip.source_port).into())
            }
            (v2::Command::Proxy, v2::Addresses::Unspecified | v2::Addresses::Unix(_)) => None,
        }),
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => {
            Err(wrong("no PROXY header where one is needed"))
        }
    }
    .map(|source: Option<SocketAddr>| {
        source.map(|source| SocketAddr::new(source.ip().to_canonical(), source.port()))
    })
}

fn wrong(why: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    /// A header of version 2 with this command and family, and these bytes behind its length.
    fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut header = v2::PROTOCOL_PREFIX.to_vec();
        header.extend([0x20 | command, family]);
        header.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
        header.extend(rest);
        header
    }

    const V4: [u8; 12] = [192, 0, 2, 1, 10, 0, 0, 1, 0x30, 0x39, 0x01, 0xbb];

    async fn read_from(bytes: &[u8]) -> (io::Result<Option<SocketAddr>>, usize) {
        let mut rest = bytes;
        let read = read(&mut rest).await;
        (read, rest.len())
    }

    #[tokio::test]
    async fn a_header_names_the_client_and_takes_nothing_behind_it() {
        let with_more = [&V4[..], &[0x04, 0x00, 0x02, 0xff, 0xff]].concat();
        let mapped = "PROXY TCP6 ::ffff:192.0.2.1 ::1 12345 443\r\n";
        for (header, expected, why) in [
            (
                b"PROXY TCP4 192.0.2.1 10.0.0.1 12345 443\r\n".to_vec(),
                Some("192.0.2.1:12345"),
                "version 1",
            ),
            (
                b"PROXY TCP6 2001:db8::1 ::1 12345 443\r\n".to_vec(),
                Some("[2001:db8::1]:12345"),
                "version 1, IPv6",
            ),
            (
                mapped.into(),
                Some("192.0.2.1:12345"),
                "an IPv4 address as IPv6",
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), None, "unknown"),
            (
                b"PROXY UNKNOWN ff::1 ff::2 1 2\r\n".to_vec(),
                None,
                "unknown, whatever it adds",
            ),
            (
                version_2(1, 0x11, &V4),
                Some("192.0.2.1:12345"),
                "version 2",
            ),
            (
                version_2(1, 0x11, &with_more),
                Some("192.0.2.1:12345"),
                "version 2 with more",
            ),
            (
                version_2(0, 0x11, &V4),
                None,
                "a check of the balancer itself",
            ),
            (version_2(0, 0, &[]), None, "without any address"),
            (version_2(1, 0, &[]), None, "unspecified"),
        ] {
            let bytes = [&header[..], b"GET"].concat();
            let (read, left) = read_from(&bytes).await;
            let read = read.unwrap().map(|address| address.to_string());
            assert_eq!(read.as_deref(), expected, "{why}");
            assert_eq!(left, 3, "{why}");
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused_and_read_no_further_than_one_can_be_long() {
        let endless = [b"PROXY ".to_vec(), vec![b'a'; 1000]].concat();
        let mut huge = version_2(1, 0x11, &V4);
        huge[14] = 0xff;
        huge.extend(vec![0; 70_000]);
        for (bytes, at_most, why) in [
            (b"GET / HTTP/1.1\r\n\r\n".to_vec(), START, "no header"),
            (
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00".to_vec(),
                START,
                "TLS at once",
            ),
            (endless, LONGEST_V1, "a line without end"),
            (huge, V2_HEAD, "a length beyond all reason"),
            (b"PROXY TCP4 192.0.2.1\r\n".to_vec(), 22, "too little in it"),
            (
                b"PROXY TCP4 evil 10.0.0.1 1 2\r\n".to_vec(),
                30,
                "no address",
            ),
            (version_2(2, 0x11, &V4), 28, "no such command"),
            (version_2(1, 0x11, &V4[..4]), 20, "an address cut off"),
            (b"PROXY".to_vec(), 5, "ended early"),
        ] {
            let (read, left) = read_from(&bytes).await;
            assert!(read.is_err(), "{why}: {read:?}");
            assert!(bytes.len() - left <= at_most, "{why}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(
            prefix in 0..3_usize,
            command in any::<u8>(),
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
            text in "[ .:0-9A-Fa-fTCPUNKOW\r\n]{0,120}",
        ) {
            let input = match prefix {
                0 => version_2(command & 0x0f, command, &bytes),
                1 => format!("PROXY {text}\r\n").into_bytes(),
                _ => bytes,
            };
            let mut rest = &input[..];
            let read = read(&mut rest).now_or_never().expect("bytes in memory never wait");
            prop_assert!(input.len() - rest.len() <= LONGEST_V2);
            if let Ok(Some(source)) = read {
                prop_assert_eq!(source.ip(), source.ip().to_canonical());
            }
        }
    }
}
