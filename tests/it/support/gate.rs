//! A gate between regseal and the registry behind: a reverse proxy that decides by the rule of a test what passes, and
//! that remembers what it has seen.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Uri, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::http::{Access, Endpoint, repositories};
use super::{ALICE, Registry, Regseal, Repository, block_on, runtime};

/// A registry that is open to everybody, a gate before it, and regseal before the gate.
pub struct Gated {
    pub regseal: Regseal,
    pub gate: Gate,
    pub registry: Registry,
}

pub struct Gate {
    /// Callers of the gate send passwords, which it does not compare.
    pub endpoint: Endpoint,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// What the gate does with a request.
pub enum Verdict {
    Pass,
    PassAfter(Duration),
    /// Status, headers and body.
    Answer(u16, Vec<(&'static str, String)>, String),
}

/// The head of a request.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: Method,
    /// With the query.
    pub path: String,
    pub headers: HeaderMap,
}

struct Shared {
    registry: String,
    rule: RwLock<Rule>,
    seen: Mutex<Vec<Asked>>,
    client: Client<HttpConnector, Incoming>,
}

type Rule = Arc<dyn Fn(&Asked) -> Verdict + Send + Sync>;
type Body = UnsyncBoxBody<Bytes, hyper::Error>;

impl Gated {
    pub fn before(registry: Registry) -> Self {
        let gate = Gate::before(&registry);
        let regseal = Regseal::at(&gate.endpoint).start();
        Self {
            regseal,
            gate,
            registry,
        }
    }

    /// A repository through regseal, as [`ALICE`] sees it.
    pub fn repository(&self, name: &str) -> Repository {
        self.regseal.endpoint.repository(ALICE, name)
    }

    /// The same repository in the registry behind, past the gate.
    pub fn behind(&self, name: &str) -> Repository {
        self.registry.endpoint.repository(ALICE, name)
    }
}

impl Gate {
    /// A gate that lets everything pass.
    pub fn before(registry: &Registry) -> Self {
        let listener = block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared {
            registry: registry.endpoint.authority.clone(),
            rule: RwLock::new(Arc::new(|_| Verdict::Pass)),
            seen: Mutex::default(),
            client: Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(0)
                .build_http(),
        });
        Self {
            endpoint: Endpoint {
                authority,
                access: Access::Passwords,
            },
            task: runtime().spawn(serve(listener, Arc::clone(&shared))),
            shared,
        }
    }

    /// From now on this rule decides.
    pub fn rule(&self, rule: impl Fn(&Asked) -> Verdict + Send + Sync + 'static) {
        *self.shared.rule.write().unwrap() = Arc::new(rule);
    }

    pub fn open(&self) {
        self.rule(|_| Verdict::Pass);
    }

    /// All requests since the last call.
    pub fn seen(&self) -> Vec<Asked> {
        std::mem::take(&mut self.shared.seen.lock().unwrap())
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Verdict {
    /// An error as registries write it; the path is in it, as some repeat what they were asked for.
    pub fn refuse(status: u16, code: &str, asked: &Asked) -> Self {
        let body =
            json!({"errors": [{"code": code, "message": "by the gate", "detail": asked.path}]});
        let mut headers = vec![("Content-Type", "application/json".to_owned())];
        if status == 401 {
            headers.push(("WWW-Authenticate", "Basic realm=\"gate\"".to_owned()));
        }
        Self::Answer(status, headers, body.to_string())
    }
}

impl Asked {
    /// The header's value, empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }

    /// The name in a password credential.
    pub fn user(&self) -> Option<String> {
        let encoded = self.header("Authorization").strip_prefix("Basic ")?;
        let text = String::from_utf8(Base64::decode_vec(encoded).ok()?).ok()?;
        Some(text.split_once(':')?.0.to_owned())
    }

    /// What a token says, which the gate does not verify.
    fn claims(&self) -> Option<Value> {
        let token = self.header("Authorization").strip_prefix("Bearer ")?;
        let claims = Base64UrlUnpadded::decode_vec(token.split('.').nth(1)?).ok()?;
        serde_json::from_slice(&claims).ok()
    }

    /// The name in a token.
    pub fn holder(&self) -> Option<String> {
        let claims = self.claims()?;
        let name = claims["sub"].as_str()?;
        (!name.is_empty()).then(|| name.to_owned())
    }

    /// Whether a token grants all that is asked for.
    pub fn is_granted(&self) -> bool {
        let Some(claims) = self.claims() else {
            return false;
        };
        let access = claims["access"].as_array().cloned().unwrap_or_default();
        let grants = |(name, action): &(String, &str)| {
            let mut of_name = access.iter().filter(|access| access["name"] == **name);
            of_name.any(|access| {
                access["actions"]
                    .as_array()
                    .unwrap()
                    .contains(&json!(action))
            })
        };
        self.wants().iter().all(grants)
    }

    /// Method and path, as in a request line.
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// What the rights of the tests are asked for: each repository with an action.
    pub fn wants(&self) -> Vec<(String, &'static str)> {
        let action = match self.method {
            Method::GET | Method::HEAD => "pull",
            Method::DELETE => "delete",
            _ => "push",
        };
        let path = self.path.replace("%2F", "/");
        let names = repositories(&path).map(ToOwned::to_owned);
        let actions = std::iter::once(action).chain(std::iter::repeat("pull"));
        names.zip(actions).collect()
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request| {
            let shared = Arc::clone(&shared);
            async move { Ok::<_, Infallible>(answer(request, &shared).await) }
        });
        tokio::spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            // A client that goes away in the middle is its own affair.
            let _ = connection.await;
        });
    }
}

async fn answer(request: Request<Incoming>, shared: &Shared) -> Response<Body> {
    let asked = Asked {
        method: request.method().clone(),
        path: request.uri().to_string(),
        headers: request.headers().clone(),
    };
    let rule = Arc::clone(&shared.rule.read().unwrap());
    let verdict = rule(&asked);
    shared.seen.lock().unwrap().push(asked);
    match verdict {
        Verdict::Pass => {}
        Verdict::PassAfter(delay) => tokio::time::sleep(delay).await,
        Verdict::Answer(status, headers, body) => {
            let _ = request.into_body().collect().await;
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            return response.body(whole(body)).unwrap();
        }
    }
    pass(request, shared).await.unwrap_or_else(|error| {
        let response = Response::builder().status(502);
        response.body(whole(error.to_string())).unwrap()
    })
}

async fn pass(
    mut request: Request<Incoming>,
    shared: &Shared,
) -> Result<Response<Body>, hyper_util::client::legacy::Error> {
    let uri = format!("http://{}{}", shared.registry, request.uri());
    *request.uri_mut() = uri.parse::<Uri>().unwrap();
    end_hop(request.headers_mut());
    let mut response = shared.client.request(request).await?;
    end_hop(response.headers_mut());
    Ok(response.map(BodyExt::boxed_unsync))
}

/// Drops what was said about the connection: the length or the chunks of a body follow from the body.
fn end_hop(headers: &mut HeaderMap) {
    headers.remove(header::CONNECTION);
    headers.remove(header::TRANSFER_ENCODING);
}

fn whole(body: String) -> Body {
    Full::from(body)
        .map_err(|never| match never {})
        .boxed_unsync()
}
