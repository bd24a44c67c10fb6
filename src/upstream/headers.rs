//! Headers that end at a proxy (RFC 9110 section 7.6.1) and headers that only a proxy may set.

use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_RANGES, AUTHORIZATION, CONNECTION, CONTENT_ENCODING,
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG, EXPECT, FORWARDED, HOST, IF_MATCH,
    IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, LOCATION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION,
    RANGE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, USER_AGENT, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName};

const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

const END_TO_END: [HeaderName; 7] = [
    ACCEPT,
    AUTHORIZATION,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    LOCATION,
    WWW_AUTHENTICATE,
];

/// Set by proxies about clients: a client that sends them could choose what the registry behind believes of it.
const OF_PROXIES: [HeaderName; 7] = [
    FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-real-ip"),
];

/// By which some servers read a request as one of another method than was authorised and forwarded.
const OF_METHODS: [HeaderName; 3] = [
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-method-override"),
];

/// Of a request: what it is about, and nothing of who asks.
const OF_CONTENT: [HeaderName; 12] = [
    ACCEPT,
    ACCEPT_ENCODING,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    EXPECT,
    IF_MATCH,
    IF_NONE_MATCH,
    IF_RANGE,
    RANGE,
    USER_AGENT,
];

/// What a storage service says of content. Anything else, a challenge or a cookie above all, is between it and regseal.
const SAID_OF_CONTENT: [HeaderName; 8] = [
    ACCEPT_RANGES,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    DATE,
    ETAG,
    LAST_MODIFIED,
];

/// Leaves of the headers of another host's answer what is about the content.
pub fn keep_said(headers: &mut HeaderMap) {
    let mut said = std::mem::take(headers);
    for name in SAID_OF_CONTENT {
        if let Some(value) = said.remove(&name) {
            headers.insert(name, value);
        }
    }
}

/// Whether only a proxy may set the header.
#[must_use]
pub fn is_of_proxies(name: &HeaderName) -> bool {
    OF_PROXIES.contains(name)
}

/// Drops what ends at this hop: the fixed list and whatever `Connection` names, but for what the other end cannot do
/// without: a client must not choose that regseal reads one request and the registry behind another.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name| !END_TO_END.contains(name))
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Prepares a client's headers for the registry behind. `Expect` ends here, unless it is passed on by `expect`.
pub fn prepare_request(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
    for name in OF_PROXIES.iter().chain(&OF_METHODS).chain(&[HOST, EXPECT]) {
        headers.remove(name);
    }
}

/// Leaves a request for another host only what it is about.
pub fn keep_content(headers: &mut HeaderMap) {
    let others: Vec<HeaderName> = headers
        .keys()
        .filter(|name| !OF_CONTENT.contains(name))
        .cloned()
        .collect();
    for name in others {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::LINK;

    use super::*;

    #[test]
    fn hop_by_hop_headers_end_here_and_repeated_lines_stay() {
        let mut headers = HeaderMap::new();
        headers.append(
            CONNECTION,
            HeaderValue::from_static("close, X-Secret-Hop, accept, Authorization"),
        );
        headers.append("x-secret-hop", HeaderValue::from_static("1"));
        headers.append(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        headers.append(ACCEPT, HeaderValue::from_static("a/b"));
        headers.append(ACCEPT, HeaderValue::from_static("c/d"));
        headers.append(LINK, HeaderValue::from_static("<x>"));
        headers.append("x-forwarded-host", HeaderValue::from_static("evil"));
        headers.append("x-http-method-override", HeaderValue::from_static("GET"));
        headers.append(AUTHORIZATION, HeaderValue::from_static("Basic x"));
        prepare_request(&mut headers);
        assert_eq!(headers.get_all(ACCEPT).iter().count(), 2);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "authorization", "link"]);
    }
}
