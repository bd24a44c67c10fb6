//! A small HTTP client that decides nothing by itself: no redirects, no challenges, no retries.

use std::convert::Infallible;
use std::sync::Arc;

use base64ct::{Base64, Encoding};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use super::token_server::Issuer;
use super::{Auth, PATIENCE, Repository, User, block_on, runtime};

/// Where a registry answers, and how it asks who is calling.
#[derive(Clone)]
pub struct Endpoint {
    /// Host and port.
    pub authority: String,
    pub access: Access,
}

#[derive(Clone)]
pub enum Access {
    Open,
    Passwords,
    Tokens(Arc<Issuer>),
}

/// A client of one endpoint with the credentials of one caller.
#[derive(Clone)]
pub struct Http {
    authority: String,
    credentials: Credentials,
    client: Client<HttpConnector, Body>,
}

/// What is said of a peer that neither answered nor closed the connection.
pub const NO_ANSWER: &str = "no answer, and no end";

pub type Body = UnsyncBoxBody<Bytes, Infallible>;

#[derive(Clone)]
enum Credentials {
    None,
    /// A header and its value.
    Header(&'static str, String),
    /// A part of every query.
    Query(&'static str),
    /// A token for each request, with all that the user may do in the repositories it names.
    Tokens(Arc<Issuer>, Option<User>),
}

impl Endpoint {
    pub fn http(&self, user: User) -> Http {
        let http = Http::new(&self.authority);
        match &self.access {
            Access::Open => http,
            Access::Passwords => http.basic(user.name, user.password),
            Access::Tokens(issuer) => {
                http.with(Credentials::Tokens(Arc::clone(issuer), Some(user)))
            }
        }
    }

    /// The caller who gives no name; with tokens that one has a token too.
    pub fn anonymous(&self) -> Http {
        let http = Http::new(&self.authority);
        match &self.access {
            Access::Open | Access::Passwords => http,
            Access::Tokens(issuer) => http.with(Credentials::Tokens(Arc::clone(issuer), None)),
        }
    }

    pub fn repository(&self, user: User, name: &str) -> Repository {
        Repository::new(self.http(user), name)
    }

    pub fn auth(&self) -> Auth {
        match self.access {
            Access::Open => Auth::None,
            Access::Passwords => Auth::Basic,
            Access::Tokens(_) => Auth::Token,
        }
    }
}

impl Http {
    /// A caller without credentials.
    pub fn new(authority: &str) -> Self {
        // A fresh connection for each request keeps a restarted peer's dead connections out of the tests.
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build_http();
        Self {
            authority: authority.to_owned(),
            credentials: Credentials::None,
            client,
        }
    }

    /// Host and port of the endpoint.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    pub fn basic(self, name: &str, password: &str) -> Self {
        let encoded = Base64::encode_string(format!("{name}:{password}").as_bytes());
        self.with(Credentials::Header(
            "Authorization",
            format!("Basic {encoded}"),
        ))
    }

    pub fn bearer(self, token: &str) -> Self {
        self.with(Credentials::Header(
            "Authorization",
            format!("Bearer {token}"),
        ))
    }

    /// A credential in a header of its own.
    pub fn header(self, name: &'static str, value: &str) -> Self {
        self.with(Credentials::Header(name, value.to_owned()))
    }

    /// A credential in the query, such as `token=t`.
    pub fn query(self, pair: &'static str) -> Self {
        self.with(Credentials::Query(pair))
    }

    fn with(self, credentials: Credentials) -> Self {
        Self {
            credentials,
            ..self
        }
    }

    /// Sends a request and reads the whole answer; a peer that does not answer fails the test.
    #[track_caller]
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Reply {
        self.try_request(method, path, headers, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// As [`Http::request`], with the failure of a peer that has gone away as text.
    pub fn try_request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Reply, String> {
        let body = Full::new(body.into()).boxed_unsync();
        let exchange = async {
            let response = self.open(method, path, headers, body).await?;
            let (parts, body) = response.into_parts();
            let body = body
                .collect()
                .await
                .map_err(|error| format!("{}: {error}", parts.status))?;
            Ok(Reply {
                request: format!("{method} {path}"),
                status: parts.status.as_u16(),
                headers: parts.headers,
                body: body.to_bytes(),
            })
        };
        block_on(async {
            let ended = tokio::time::timeout(PATIENCE, exchange).await;
            ended.unwrap_or_else(|_| Err(NO_ANSWER.to_owned()))
        })
    }

    /// Sends a request whose body may be a stream; the body of the answer is still to be read.
    pub async fn open(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Body,
    ) -> Result<Response<Incoming>, String> {
        let path = path
            .strip_prefix(&format!("http://{}", self.authority))
            .unwrap_or(path);
        let mut request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(format!(
                "http://{}{path}{}",
                self.authority,
                self.query_of(path)
            ));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some((name, value)) = self.credential(path) {
            request = request.header(name, value);
        }
        let request = request.body(body).unwrap();
        // The connection's own task belongs on the runtime all tests share.
        let _runtime = runtime().enter();
        self.client.request(request).await.map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            format!("{error}: {}", cause.unwrap_or_default())
        })
    }

    /// What the credential adds to the query of a path.
    fn query_of(&self, path: &str) -> String {
        match self.credentials {
            Credentials::Query(pair) if path.contains('?') => format!("&{pair}"),
            Credentials::Query(pair) => format!("?{pair}"),
            Credentials::None | Credentials::Header(..) | Credentials::Tokens(..) => String::new(),
        }
    }

    fn credential(&self, path: &str) -> Option<(&'static str, String)> {
        match &self.credentials {
            Credentials::None | Credentials::Query(_) => None,
            Credentials::Header(name, value) => Some((*name, value.clone())),
            Credentials::Tokens(issuer, user) => {
                let scopes: Vec<String> = repositories(path)
                    .map(|name| format!("repository:{name}:pull,push,delete"))
                    .collect();
                let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
                let token = issuer.token(user.map(|user| user.name), &scopes);
                Some(("Authorization", format!("Bearer {token}")))
            }
        }
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Reply {
        self.request("GET", path, &[], "")
    }

    #[track_caller]
    pub fn head(&self, path: &str) -> Reply {
        self.request("HEAD", path, &[], "")
    }

    #[track_caller]
    pub fn delete(&self, path: &str) -> Reply {
        self.request("DELETE", path, &[], "")
    }

    /// The answer, if there is one.
    pub fn try_get(&self, path: &str) -> Option<Reply> {
        self.try_request("GET", path, &[], "").ok()
    }
}

/// The repositories a path names: its own, and the source of a mount.
pub fn repositories(path: &str) -> impl Iterator<Item = &str> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let own = path.strip_prefix("/v2/").and_then(|rest| {
        ["/manifests/", "/blobs/", "/tags/", "/referrers/"]
            .into_iter()
            .find_map(|word| rest.split_once(word))
            .map(|(name, _)| name)
    });
    let source = query.split('&').find_map(|pair| pair.strip_prefix("from="));
    own.into_iter().chain(source)
}

/// An answer with its whole body.
#[derive(Clone)]
pub struct Reply {
    pub request: String,
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    /// Fails unless the status is this one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// Fails unless the status and the code of the OCI error are these.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Self {
        let reply = self.expect(status);
        assert_eq!(reply.json()["errors"][0]["code"], code, "{reply:?}");
        reply
    }

    /// The header's value, empty when there is none; fails when there are several.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        let mut values = self.headers.get_all(&name).iter();
        let first = values.next().map_or("", |value| value.to_str().unwrap());
        assert!(values.next().is_none(), "{name} occurs twice: {self:?}");
        first
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} answered {}", self.request, self.status)?;
        for (name, value) in &self.headers {
            writeln!(f, "{name}: {}", String::from_utf8_lossy(value.as_bytes()))?;
        }
        let shown: Vec<u8> = self.body.iter().copied().take(2000).collect();
        write!(f, "\n{}", String::from_utf8_lossy(&shown))
    }
}
