//! The path of a request: what is authorised is what is forwarded, and nobody reads it in another way.

use http::{Method, Uri};
use regseal::route::Route;

const METHODS: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::PUT,
    Method::POST,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
];

pub(crate) fn read(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(uri) = text.parse::<Uri>() else { return };
    for method in METHODS {
        let Ok(route) = Route::parse(&method, &uri) else {
            continue;
        };
        let lenient = as_lenient_servers_read(uri.path());
        let Some(path) = route.canonical_path() else {
            assert!(
                !matches!(route, Route::Passthrough) || !is_of_the_specification(&lenient),
                "{text:?} passes unread, and some read {lenient:?}"
            );
            continue;
        };
        let printed: Uri = path.parse().unwrap();
        assert_eq!(
            Route::parse(&method, &printed),
            Ok(route),
            "{text:?} is forwarded as {path:?}"
        );
        let read = lenient.trim_end_matches('/');
        assert_eq!(path.trim_end_matches('/'), read, "{text:?}");
    }
}

/// Decoded, without empty and dot segments, and without what follows a semicolon.
fn as_lenient_servers_read(path: &str) -> String {
    let mut segments = Vec::new();
    for segment in decoded(path).replace('\\', "/").split('/') {
        match segment.split(';').next().unwrap_or_default() {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            name => segments.push(name.to_owned()),
        }
    }
    format!("/{}", segments.join("/"))
}

fn decoded(path: &str) -> String {
    let mut bytes = path.bytes();
    let mut plain = Vec::new();
    while let Some(byte) = bytes.next() {
        let mut digits = bytes.clone();
        let mut nibble = || {
            digits
                .next()
                .and_then(|digit| char::from(digit).to_digit(16))
        };
        match (byte, nibble(), nibble()) {
            (b'%', Some(high), Some(low)) => {
                plain.push(u8::try_from(high * 16 + low).unwrap());
                bytes = digits;
            }
            _ => plain.push(byte),
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// Whether a path names content of a repository.
fn is_of_the_specification(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let Some(rest) = lower.strip_prefix("/v2/") else {
        return false;
    };
    let segments: Vec<&str> = rest.split('/').collect();
    // An extension is told by its underscore, at the beginning or behind a name.
    let is_extension = segments.iter().any(|segment| segment.starts_with('_'));
    let words = ["manifests", "blobs", "tags", "referrers"];
    !is_extension
        && segments
            .iter()
            .skip(1)
            .any(|segment| words.contains(segment))
}
