//! Who asks: the credential of a request, as it came.

use std::net::SocketAddr;

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue};
use http::request;
use http::uri::Scheme;
use serde::Deserialize;
use thiserror::Error;

use super::relay::Wrapping;
use crate::clock::UnixMillis;
use crate::oci::RepositoryName;
use crate::route::query;
use crate::secret::Secret;
use crate::upstream::headers::is_of_proxies;

/// Headers that say nothing about who asks. A registry may decide by any other, a cookie or a key of its own, and
/// what it decides so is no decision about the credential that regseal asks with.
const OF_NOBODY: [&str; 26] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "authorization",
    "baggage",
    "cache-control",
    "connection",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "docker-distribution-api-version",
    "expect",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "keep-alive",
    "pragma",
    "range",
    "te",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "user-agent",
];

/// Query parameters of the specification.
const OF_THE_SPECIFICATION: [&str; 8] = [
    "digest",
    "digest-algorithm",
    "from",
    "last",
    "mount",
    "n",
    "ns",
    "tag",
];

/// Who asks: the credential of a request and where it comes from. Without a credential the caller is anonymous,
/// which is a caller like any other.
#[derive(Clone)]
pub struct Caller {
    authorization: Option<HeaderValue>,
    host: Option<HeaderValue>,
    forwarded: Vec<(HeaderName, HeaderValue)>,
    is_plain: bool,
    may_push: Vec<RepositoryName>,
    /// When the token ends, as its token service has told the relay.
    ends: Option<UnixMillis>,
}

/// Why a request has no caller.
#[derive(Debug, Error)]
pub enum CredentialError {
    /// More than one `Authorization` line: regseal and the registry behind could believe different ones.
    #[error("more than one Authorization header")]
    Several,
    /// NTLM and Negotiate authenticate a connection (RFC 4559 section 6), and those to the registry behind are shared
    /// by all callers.
    #[error("credentials that belong to a connection cannot be passed on")]
    OfConnection,
}

impl Caller {
    /// Takes the caller of a request; the server has noted in its extensions where it comes from. A wrapped token is the
    /// caller's as it was before it was wrapped.
    ///
    /// # Errors
    /// See [`CredentialError`].
    pub fn of(request: &request::Parts, wrapping: &Wrapping) -> Result<Self, CredentialError> {
        let mut lines = request.headers.get_all(AUTHORIZATION).iter();
        let line = lines.next();
        if lines.next().is_some() {
            return Err(CredentialError::Several);
        }
        if line.is_some_and(is_of_connection) {
            return Err(CredentialError::OfConnection);
        }
        let opened = line.map(|line| wrapping.open(line));
        let by_header =
            |name: &HeaderName| OF_NOBODY.contains(&name.as_str()) || is_of_proxies(name);
        let is_plain = request.headers.keys().all(by_header)
            && query::names(&request.uri).all(|name| OF_THE_SPECIFICATION.contains(&name.as_ref()));
        let (authorization, said) = opened.unzip();
        let said = said.flatten();
        let ends = said.as_ref().map(|said| said.expiry);
        let may_push = said.map(|said| said.repositories);
        Ok(Self {
            authorization,
            host: request.headers.get(HOST).cloned(),
            forwarded: forwarded(request),
            is_plain,
            may_push: may_push.unwrap_or_default(),
            ends,
        })
    }

    /// regseal itself, for work that no caller asked for: with the name and the password of its account, else anonymous.
    #[must_use]
    pub fn own(account: Option<(&str, &Secret)>) -> Self {
        let authorization = account.and_then(|(username, password)| {
            let pair = format!("{username}:{}", password.expose());
            let text = format!("Basic {}", Base64::encode_string(pair.as_bytes()));
            let mut value = HeaderValue::from_str(&text).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        Self {
            authorization,
            host: None,
            forwarded: Vec::new(),
            is_plain: true,
            may_push: Vec::new(),
            ends: None,
        }
    }

    /// The same caller with a token that was given to it.
    pub(super) fn with_token(&self, token: &str) -> Option<Self> {
        let mut value = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
        value.set_sensitive(true);
        Some(Self {
            authorization: Some(value),
            may_push: Vec::new(),
            ends: None,
            ..self.clone()
        })
    }

    /// The same caller without its credential.
    #[must_use]
    pub fn without_credential(&self) -> Self {
        Self {
            authorization: None,
            may_push: Vec::new(),
            ends: None,
            ..self.clone()
        }
    }

    /// Whether the caller gives no name at all.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.authorization.is_none()
    }

    /// Whether the relay has learnt, not long ago, that the caller may push there.
    pub(super) fn is_known_to_push(&self, repository: &RepositoryName) -> bool {
        self.may_push.contains(repository)
    }

    /// Makes the credential of a request the one that goes to the registry behind.
    pub fn set_authorization(&self, headers: &mut HeaderMap) {
        match &self.authorization {
            Some(value) => headers.insert(AUTHORIZATION, value.clone()),
            None => headers.remove(AUTHORIZATION),
        };
    }

    /// The header to ask the registry behind with.
    #[must_use]
    pub fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }

    /// What the registry behind is told of where the request comes from.
    #[must_use]
    pub fn forwarded(&self) -> &[(HeaderName, HeaderValue)] {
        &self.forwarded
    }

    /// The host that the caller knows this server by; the registry behind may believe that it is its own.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.host.as_ref().and_then(|host| host.to_str().ok())
    }

    /// The headers of a request that is made for this caller: everything the registry behind may decide by.
    #[must_use]
    pub fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let authorization = self
            .authorization
            .iter()
            .map(|value| (AUTHORIZATION, value.clone()));
        authorization
            .chain(self.forwarded.iter().cloned())
            .collect()
    }

    /// Whether the registry can have decided about the request by nothing but [`Self::headers`].
    pub(super) fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// When a bearer token ends: by its own unverified word, which can only shorten what is cached, and by what the
    /// relay was told of it.
    pub(super) fn expires(&self) -> Option<UnixMillis> {
        let both = [self.claimed_end(), self.ends];
        both.into_iter().flatten().min()
    }

    fn claimed_end(&self) -> Option<UnixMillis> {
        #[derive(Deserialize)]
        struct Claims {
            exp: f64,
        }
        let header = self.authorization.as_ref()?.to_str().ok()?;
        let (scheme, token) = header.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let claims = token.split('.').nth(1)?.trim_end_matches('=');
        let claims = Base64UrlUnpadded::decode_vec(claims).ok()?;
        let Claims { exp } = serde_json::from_slice(&claims).ok()?;
        let milliseconds = (exp.max(0.0) * 1000.0).min(9.0e15);
        format!("{milliseconds:.0}")
            .parse()
            .ok()
            .map(UnixMillis::new)
    }
}

fn is_of_connection(line: &HeaderValue) -> bool {
    let scheme = line.as_bytes().trim_ascii_start();
    let scheme = scheme
        .split(|byte| byte.is_ascii_whitespace() || *byte == b',')
        .next();
    let scheme = scheme.unwrap_or_default();
    scheme.eq_ignore_ascii_case(b"negotiate") || scheme.eq_ignore_ascii_case(b"ntlm")
}

fn forwarded(request: &request::Parts) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::with_capacity(3);
    if let Some(host) = request.headers.get(HOST) {
        headers.push((HeaderName::from_static("x-forwarded-host"), host.clone()));
        let is_encrypted = request.extensions.get::<Scheme>() == Some(&Scheme::HTTPS);
        let scheme = HeaderValue::from_static(if is_encrypted { "https" } else { "http" });
        headers.push((HeaderName::from_static("x-forwarded-proto"), scheme));
    }
    let peer = request.extensions.get::<SocketAddr>();
    if let Some(peer) = peer.and_then(|peer| HeaderValue::from_str(&peer.ip().to_string()).ok()) {
        headers.push((HeaderName::from_static("x-forwarded-for"), peer));
    }
    headers
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(if self.authorization.is_some() {
            "Caller(credential)"
        } else {
            "Caller(anonymous)"
        })
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn caller(uri: &str, headers: &[(&str, &str)]) -> Result<Caller, CredentialError> {
        let mut request = Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        Caller::of(&parts, &Wrapping::without_keys())
    }

    #[test]
    fn the_end_of_a_token_is_read_and_nothing_else() {
        let claims = Base64UrlUnpadded::encode_string(br#"{"exp":1700000000,"sub":"a"}"#);
        let expires = |value: &str| caller("/", &[("authorization", value)]).unwrap().expires();
        let end = UnixMillis::new(1_700_000_000_000);
        assert_eq!(expires(&format!("Bearer x.{claims}.y")), Some(end));
        assert_eq!(expires(&format!("bearer x.{claims}=.y")), Some(end));
        for (value, why) in [
            ("Basic YTpi", "not a token"),
            ("Bearer opaque", "not a JWT"),
            ("Bearer a.!!.c", "not base64"),
        ] {
            assert_eq!(expires(value), None, "{why}");
        }
    }

    #[test]
    fn two_credentials_are_refused_and_none_is_shown() {
        let twice = [
            ("authorization", "Basic YTpi"),
            ("authorization", "Basic Yzpk"),
        ];
        assert!(caller("/", &twice).is_err());
        let shown = format!("{:?}", caller("/", &twice[..1]).unwrap());
        assert_eq!(shown, "Caller(credential)");
    }

    #[test]
    fn credentials_of_a_connection_are_not_shared() {
        for (value, refused) in [
            ("Negotiate YII=", true),
            ("NTLM TlRM", true),
            (" negotiate", true),
            ("ntlm,x", true),
            ("Basic YTpi", false),
            ("Bearer negotiate", false),
            ("Negotiated x", false),
        ] {
            let caller = caller("/", &[("authorization", value)]);
            let is_refused = matches!(caller, Err(CredentialError::OfConnection));
            assert_eq!(is_refused, refused, "{value}");
        }
    }

    #[test]
    fn only_a_plain_request_teaches_something_about_its_credential() {
        for (uri, header, plain, why) in [
            (
                "/v2/a/tags/list?n=1",
                ("user-agent", "x"),
                true,
                "nothing to decide by",
            ),
            (
                "/",
                ("authorization", "Basic YTpi"),
                true,
                "the credential itself",
            ),
            ("/", ("x-forwarded-for", "10.0.0.1"), true, "not forwarded"),
            ("/", ("cookie", "session=alice"), false, "a session"),
            ("/", ("x-api-key", "k"), false, "a key"),
            (
                "/?token=t",
                ("accept", "*/*"),
                false,
                "a token in the query",
            ),
        ] {
            assert_eq!(caller(uri, &[header]).unwrap().is_plain(), plain, "{why}");
        }
    }
}
