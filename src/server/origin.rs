//! Where a request comes from and whom it is meant for, settled once: the address of the client, the scheme it uses, and
//! the host it asks. All that comes after looks into the extensions and at `Host`, and nowhere else.

use std::net::SocketAddr;

use http::header::{COOKIE, HOST, HeaderValue};
use http::uri::Scheme;
use http::{Request, Uri};

use super::Front;
use super::forwarded::Forwarded;

/// In the extensions of a request: why it cannot be taken on. It says two things of which one is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contradiction(pub &'static str);

/// Settles one request that came from `peer`. The address of the client becomes a [`SocketAddr`] in its extensions (with
/// port 0 where only the address is known), the scheme a [`Scheme`], and the host that it asks its only `Host`.
pub(super) fn settle<B>(request: &mut Request<B>, peer: SocketAddr, is_tls: bool, front: &Front) {
    let own = if is_tls { Scheme::HTTPS } else { Scheme::HTTP };
    let (mut client, mut scheme) = (peer, own);
    let settled = settle_host(request).and_then(|()| {
        if !front.trusts(peer.ip()) {
            return Ok(());
        }
        let told = Forwarded::of(request.headers(), |address| front.trusts(address))?;
        if let Some(address) = told.client {
            client = SocketAddr::new(address, 0);
        }
        if let Some(told) = told.scheme {
            scheme = told;
        }
        let host = told
            .host
            .as_ref()
            .map(|host| HeaderValue::from_str(host.as_str()));
        if let Some(Ok(host)) = host {
            request.headers_mut().insert(HOST, host);
        }
        Ok(())
    });
    let extensions = request.extensions_mut();
    extensions.insert::<SocketAddr>(client);
    extensions.insert::<Scheme>(front.scheme.clone().unwrap_or(scheme));
    if let Err(contradiction) = settled {
        extensions.insert(contradiction);
    }
}

/// A request may name its host in `Host` and in its target (RFC 9112 section 3.2.2, RFC 9113 section 8.3.1).
fn settle_host<B>(request: &mut Request<B>) -> Result<(), Contradiction> {
    let mut lines = request.headers().get_all(HOST).iter();
    let host = lines.next();
    if lines.next().is_some() {
        return Err(Contradiction("there is more than one Host"));
    }
    if host.is_some_and(|host| !is_plain_host(host.as_bytes())) {
        return Err(Contradiction("Host is no host"));
    }
    let uri = request.uri();
    let (Some(authority), Some(path)) = (uri.authority(), uri.path_and_query()) else {
        return Ok(());
    };
    let authority = authority.as_str();
    if !is_plain_host(authority.as_bytes()) {
        return Err(Contradiction("the host of the target is none"));
    }
    if host.is_some_and(|host| !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes())) {
        return Err(Contradiction(
            "Host and the target of the request name different hosts",
        ));
    }
    let authority =
        HeaderValue::from_str(authority).or(Err(Contradiction("the host is no text")))?;
    let path = Uri::from(path.clone());
    *request.uri_mut() = path;
    request.headers_mut().insert(HOST, authority);
    Ok(())
}

/// A name or an address, and perhaps a port. The registry behind is told it, and may make a URL of it: what else RFC 3986
/// allows there (lists, users, escapes) has no use, and would be read in different ways.
pub(super) fn is_plain_host(host: &[u8]) -> bool {
    let (host, port) = match host.iter().rposition(|byte| *byte == b':') {
        Some(colon) if !host.ends_with(b"]") => host.split_at(colon),
        Some(_) | None => (host, &b":0"[..]),
    };
    let is_port = port.len() <= 6 && port.iter().skip(1).all(u8::is_ascii_digit);
    let is_address = |inner: &[u8]| {
        let part = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
        !inner.is_empty() && inner.iter().all(part)
    };
    let is_host = match host.strip_prefix(b"[") {
        Some(inner) => inner.strip_suffix(b"]").is_some_and(is_address),
        None => {
            let part =
                |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
            host.iter().all(part)
        }
    };
    is_port && is_host
}

/// In HTTP/2 a cookie may come in pieces, which are one line for whoever speaks HTTP/1.1 (RFC 9113 section 8.2.3).
pub(super) fn join_cookies<B>(request: &mut Request<B>) {
    let crumbs: Vec<&[u8]> = request
        .headers()
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if crumbs.len() > 1
        && let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        request.headers_mut().insert(COOKIE, cookie);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_one_reading() {
        for (host, expected) in [
            ("registry.example.com", true),
            ("localhost:5000", true),
            ("a_b-c:443", true),
            ("127.0.0.1:5000", true),
            ("[::1]", true),
            ("[::ffff:127.0.0.1]:5000", true),
            ("", true),
            ("evil:80,registry", false),
            ("registry:5000/v2/a/manifests/v1?x=", false),
            ("user@registry", false),
            ("registry:50a", false),
            ("registry:", true),
            ("registry#", false),
            ("registry;x", false),
            ("regis%74ry", false),
            ("::1", false),
            ("[::1", false),
            ("[]", false),
            ("registry:5000:5000", false),
        ] {
            assert_eq!(is_plain_host(host.as_bytes()), expected, "{host}");
        }
    }

    const PEER: &str = "10.0.0.1:4711";

    struct Settled {
        client: String,
        scheme: Scheme,
        host: Option<String>,
        uri: String,
        contradiction: bool,
    }

    fn settled(uri: &str, headers: &[(&str, &str)], front: &Front, is_tls: bool) -> Settled {
        let mut request = Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(()).unwrap();
        settle(&mut request, PEER.parse().unwrap(), is_tls, front);
        let host = request.headers().get(HOST);
        Settled {
            client: request
                .extensions()
                .get::<SocketAddr>()
                .unwrap()
                .to_string(),
            scheme: request.extensions().get::<Scheme>().unwrap().clone(),
            host: host.map(|host| host.to_str().unwrap().to_owned()),
            uri: request.uri().to_string(),
            contradiction: request.extensions().get::<Contradiction>().is_some(),
        }
    }

    #[test]
    fn a_request_asks_one_host() {
        for (uri, hosts, expected, why) in [
            ("/v2/", &["a"][..], Some("a"), "as most requests"),
            ("https://a/v2/", &[], Some("a"), "an authority alone"),
            ("https://a/v2/", &["A"], Some("a"), "the same in both"),
            ("https://a/v2/", &["b"], None, "two names"),
            ("https://a/v2/", &["a:443"], None, "not the same text"),
            ("/v2/", &["a", "a"], None, "two lines"),
            ("https://u@a/v2/", &[], None, "a user"),
        ] {
            let headers: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            let settled = settled(uri, &headers, &Front::default(), false);
            assert_eq!(settled.contradiction, expected.is_none(), "{why}");
            if expected.is_some() {
                assert_eq!(settled.host.as_deref(), expected, "{why}");
                assert_eq!(settled.uri, "/v2/", "{why}");
            }
        }
    }

    #[test]
    fn only_a_trusted_peer_says_who_the_client_is_and_a_public_scheme_wins() {
        let headers = [
            ("host", "own"),
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "registry.example"),
        ];
        let stranger = settled("/", &headers, &Front::default(), false);
        assert_eq!(
            (stranger.client.as_str(), stranger.scheme),
            (PEER, Scheme::HTTP)
        );
        assert_eq!(stranger.host.as_deref(), Some("own"));
        let encrypted = settled("/", &headers, &Front::default(), true);
        assert_eq!(encrypted.scheme, Scheme::HTTPS);

        let mut front = Front {
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
            ..Front::default()
        };
        let known = settled("/", &headers, &front, false);
        assert_eq!(
            (known.client.as_str(), known.scheme),
            ("192.0.2.1:0", Scheme::HTTPS)
        );
        assert_eq!(known.host.as_deref(), Some("registry.example"));
        front.scheme = Some(Scheme::HTTP);
        assert_eq!(settled("/", &headers, &front, true).scheme, Scheme::HTTP);
    }

    #[test]
    fn the_pieces_of_a_cookie_are_joined() {
        let request = Request::get("/")
            .header(COOKIE, "a=1")
            .header(COOKIE, "b=2");
        let mut request = request.body(()).unwrap();
        join_cookies(&mut request);
        let cookies: Vec<_> = request.headers().get_all(COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1; b=2"]);
    }
}
