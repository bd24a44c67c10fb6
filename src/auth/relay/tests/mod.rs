//! The relay before a registry and a token service of the tests, which are one server.

use std::convert::Infallible;
use std::net::SocketAddr;

use base64ct::{Base64UrlUnpadded, Encoding};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::uri::Scheme;
use http::{Request, Response, request};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::auth::{AuthError, Authorizer, Caller};
use crate::body;
use crate::clock::{ManualClock, UnixMillis};
use crate::sealing::{Sealer, SealingKey};
use crate::upstream;

mod announcing;
mod refusing;
mod wrapping;

/// What a server was asked.
#[derive(Clone, Debug)]
struct Asked {
    line: String,
    headers: HeaderMap,
    body: String,
}

struct Reply(u16, Vec<(&'static str, String)>, String);

type Rule = Arc<dyn Fn(&Asked, &str) -> Reply + Send + Sync>;

struct World {
    relay: Relay,
    authorizer: Authorizer,
    clock: Arc<ManualClock>,
    authority: String,
    seen: Arc<Mutex<Vec<Asked>>>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Kept(&'static [&'static str]);

impl Gates for Kept {
    fn any(&self) -> bool {
        !self.0.is_empty()
    }

    fn covers(&self, repository: &RepositoryName) -> bool {
        self.0.contains(&repository.as_str())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl World {
    async fn with(
        kept: &'static [&'static str],
        public_url: Option<&str>,
        rule: impl Fn(&Asked, &str) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let seen: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let rule: Rule = Arc::new(rule);
        let server = tokio::spawn(serve(listener, authority.clone(), rule, Arc::clone(&seen)));
        let upstream = Arc::new(Upstream::new(upstream::Config {
            scheme: Scheme::HTTP,
            authority: authority.parse().unwrap(),
            tls: upstream::Tls {
                roots: RootCertStore::empty(),
                identity: None,
            },
            connect: Duration::from_secs(60),
            first_byte: Duration::from_secs(60),
            read: Duration::from_secs(60),
            idle: Duration::from_secs(60),
            propagate: |_| {},
            bounds: upstream::Bounds::default(),
            observe: Arc::new(|_, _, _| {}),
            note: Arc::new(|_| {}),
        }));
        let clock = Arc::new(ManualClock::new(UnixMillis::new(1000)));
        let sealer = Arc::new(Sealer::new(vec![SealingKey::generate().unwrap()]));
        let wrapping = Wrapping::new(
            sealer,
            authority.parse().unwrap(),
            Arc::<ManualClock>::clone(&clock),
        );
        let config = Config {
            allowed: true,
            realms: Vec::new(),
            public_url: public_url.map(|url| url.parse().unwrap()),
            body_time: Duration::from_secs(60),
        };
        let decisions = crate::auth::Config {
            cache_ttl: Duration::from_secs(30),
            hides_private_repositories: true,
        };
        let authorizer = Authorizer::new(
            Arc::clone(&upstream),
            &decisions,
            Arc::<ManualClock>::clone(&clock),
        )
        .unwrap();
        Self {
            relay: Relay::new(config, upstream, wrapping, Arc::new(Kept(kept))),
            authorizer,
            clock,
            authority,
            seen,
            server,
        }
    }

    fn seen(&self) -> Vec<Asked> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    fn lines(&self) -> Vec<String> {
        self.seen().into_iter().map(|asked| asked.line).collect()
    }

    /// What becomes of the challenges of a 401, for a client that asked `proxy:8080`.
    async fn announced(&self, lines: &[&str]) -> Vec<String> {
        self.announced_over(Scheme::HTTP, lines).await
    }

    /// The same, for one that uses this scheme.
    async fn announced_over(&self, scheme: Scheme, lines: &[&str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_str(line).unwrap());
        }
        let host = HeaderValue::from_static("proxy:8080");
        self.relay
            .announce(StatusCode::UNAUTHORIZED, &mut headers, &scheme, Some(&host))
            .await;
        let lines = headers.get_all(WWW_AUTHENTICATE).iter();
        lines
            .map(|line| line.to_str().unwrap().to_owned())
            .collect()
    }

    fn caller(&self, parts: &request::Parts) -> Caller {
        Caller::of(parts, self.relay.wrapping()).unwrap()
    }

    async fn exchange(
        &self,
        request: Request<String>,
    ) -> Result<(u16, HeaderMap, Value), RelayError> {
        let (mut parts, text) = request.into_parts();
        parts
            .extensions
            .insert::<SocketAddr>("192.0.2.7:1000".parse().unwrap());
        let caller = self.caller(&parts);
        let response = self
            .relay
            .exchange(&parts, body::full(text), &caller, &self.authorizer)
            .await?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Ok((parts.status.as_u16(), parts.headers, body))
    }

    /// The token of an answer without its wrapper, and where its holder may push.
    fn opened(&self, answer: &Value) -> (String, Vec<String>) {
        let token = answer["token"].as_str().unwrap();
        let header = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
        let (stripped, said) = self.relay.wrapping().open(&header);
        let repositories = said.map(|said| said.repositories).unwrap_or_default();
        (
            stripped.to_str().unwrap().to_owned(),
            repositories.iter().map(ToString::to_string).collect(),
        )
    }
}

async fn serve(listener: TcpListener, authority: String, rule: Rule, seen: Arc<Mutex<Vec<Asked>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (authority, rule, seen) = (authority.clone(), Arc::clone(&rule), Arc::clone(&seen));
        let service = service_fn(move |request: Request<hyper::body::Incoming>| {
            let (authority, rule, seen) = (authority.clone(), Arc::clone(&rule), Arc::clone(&seen));
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let asked = Asked {
                    line: format!("{} {}", parts.method, parts.uri),
                    headers: parts.headers,
                    body: String::from_utf8(body.to_vec()).unwrap(),
                };
                let Reply(status, headers, body) = rule(&asked, &authority);
                seen.lock().unwrap().push(asked);
                let mut response = Response::builder().status(status);
                for (name, value) in headers {
                    response = response.header(name, value);
                }
                Ok::<_, Infallible>(response.body(Full::new(Bytes::from(body))).unwrap())
            }
        });
        tokio::spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new();
            // A client that goes away is its own affair.
            let _ = connection
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// A registry with a token service beside it, which gives out `token`s.
fn registry(
    token: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
) -> impl Fn(&Asked, &str) -> Reply + Send + Sync + 'static {
    move |asked, authority| match asked.line.split(['?', ' ']).nth(1) {
        Some("/v2/") => challenge(&format!("http://{authority}/token")),
        Some("/token") => token(asked),
        _ => Reply(404, vec![], String::new()),
    }
}

fn challenge(realm: &str) -> Reply {
    let line = format!("Bearer realm=\"{realm}\",service=\"s\"");
    Reply(401, vec![("WWW-Authenticate", line)], String::new())
}

/// A service that knows `writer`, who may push, and everybody else, who may pull.
fn by_claims(asked: &Asked) -> Reply {
    let all = format!("{}&{}", asked.line, asked.body);
    let is_writer = asked
        .headers
        .get(AUTHORIZATION)
        .is_some_and(|value| value == "Basic writer")
        || asked.body.contains("username=writer");
    let actions = if all.contains("pull%2Cpush") && is_writer {
        "pull,push"
    } else {
        "pull"
    };
    let actions: Vec<&str> = actions.split(',').collect();
    let claims = json!({"access": [{"type": "repository", "name": "kept/a", "actions": actions}]});
    let claims = Base64UrlUnpadded::encode_string(claims.to_string().as_bytes());
    let token = format!("h.{claims}.s");
    let body = json!({"token": token, "access_token": token, "expires_in": 3600});
    let headers = vec![
        ("Content-Type", "application/json".to_owned()),
        ("Set-Cookie", "a=b".to_owned()),
    ];
    Reply(200, headers, body.to_string())
}

fn get(query: &str, credential: Option<&str>) -> Request<String> {
    let mut request = Request::get(format!("/_regseal/token?{query}"))
        .header(HOST, "proxy:8080")
        .header("cookie", "session=1");
    if let Some(credential) = credential {
        request = request.header(AUTHORIZATION, credential);
    }
    request.body(String::new()).unwrap()
}

fn post(form: &str) -> Request<String> {
    Request::post("/_regseal/token")
        .header(HOST, "proxy:8080")
        .header(
            CONTENT_TYPE,
            "application/x-www-form-urlencoded; charset=utf-8",
        )
        .body(form.to_owned())
        .unwrap()
}

const PULL: &str = "service=s&scope=repository%3Akept%2Fa%3Apull";
