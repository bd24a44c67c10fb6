//! A registry as clouds have them: uploads and downloads lead to a storage host, or to paths outside `/v2/`, by locations
//! that are a permission in themselves. The storage knows nothing of the registry's users, and refuses their credentials.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use base64ct::{Base64, Encoding};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use super::gate::Asked;
use super::http::{Access, Endpoint};
use super::{ALICE, Registry, block_on, runtime};

/// Where the paths of the storage begin.
const UPLOADS: &str = "/artifacts-uploads";
const DOWNLOADS: &str = "/artifacts-downloads";

pub struct Cloud {
    /// What regseal stands before.
    pub registry: Endpoint,
    /// The other host.
    pub storage: Endpoint,
    seen: Arc<Seen>,
}

/// Where something leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// Nowhere else.
    Registry,
    /// Another path of the same host.
    Path,
    /// Another host.
    Host,
}

#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub uploads: To,
    pub downloads: To,
}

#[derive(Default)]
struct Seen {
    registry: Mutex<Vec<Asked>>,
    storage: Mutex<Vec<Asked>>,
}

type Body = UnsyncBoxBody<Bytes, hyper::Error>;

struct Host {
    shape: Shape,
    /// The registry that has it all.
    behind: Endpoint,
    storage: String,
    is_storage: bool,
    seen: Arc<Seen>,
    client: Client<HttpConnector, Incoming>,
}

impl Cloud {
    pub fn before(registry: &Registry, shape: Shape) -> Self {
        let [front, storage] =
            [(); 2].map(|()| block_on(TcpListener::bind("127.0.0.1:0")).unwrap());
        let [front_address, storage_address] =
            [&front, &storage].map(|listener| listener.local_addr().unwrap().to_string());
        let seen = Arc::new(Seen::default());
        for (listener, is_storage) in [(front, false), (storage, true)] {
            let host = Host {
                shape,
                behind: registry.endpoint.clone(),
                storage: storage_address.clone(),
                is_storage,
                seen: Arc::clone(&seen),
                client: Client::builder(TokioExecutor::new())
                    .pool_max_idle_per_host(0)
                    .build_http(),
            };
            runtime().spawn(serve(listener, Arc::new(host)));
        }
        Self {
            registry: Endpoint {
                authority: front_address,
                access: registry.endpoint.access.clone(),
            },
            storage: Endpoint {
                authority: storage_address,
                access: Access::Open,
            },
            seen,
        }
    }

    /// What the storage was asked since the last call.
    pub fn seen_by_storage(&self) -> Vec<Asked> {
        std::mem::take(&mut self.seen.storage.lock().unwrap())
    }

    /// What the registry was asked since the last call.
    pub fn seen_by_registry(&self) -> Vec<Asked> {
        std::mem::take(&mut self.seen.registry.lock().unwrap())
    }
}

async fn serve(listener: TcpListener, host: Arc<Host>) {
    while let Ok((stream, _)) = listener.accept().await {
        let host = Arc::clone(&host);
        let service = service_fn(move |request| {
            let host = Arc::clone(&host);
            async move { Ok::<_, Infallible>(host.answer(request).await) }
        });
        tokio::spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            let _ = connection.await;
        });
    }
}

impl Host {
    async fn answer(&self, mut request: Request<Incoming>) -> Response<Body> {
        let asked = Asked {
            method: request.method().clone(),
            path: request.uri().to_string(),
            headers: request.headers().clone(),
        };
        let path = asked.path.clone();
        let seen = if self.is_storage {
            &self.seen.storage
        } else {
            &self.seen.registry
        };
        seen.lock().unwrap().push(asked);
        let stored = path.strip_prefix(UPLOADS).or(path.strip_prefix(DOWNLOADS));
        match stored {
            Some(_) if self.is_storage && has_credential(request.headers()) => {
                return refuse("only one auth mechanism allowed");
            }
            None if self.is_storage => return refuse("not of the storage"),
            Some(_) => trust(request.headers_mut()),
            None => {}
        }
        let is_read = matches!(request.method().as_str(), "GET" | "HEAD");
        let has_content = path.contains("/blobs/sha256:") || path.contains("/manifests/");
        if stored.is_none() && is_read && has_content && self.shape.downloads != To::Registry {
            return self.redirect(request, &path).await;
        }
        let target = stored.map_or(path.clone(), |stored| format!("/v2{stored}"));
        self.pass(request, &target).await
    }

    /// Sends whoever may read to the storage.
    async fn redirect(&self, request: Request<Incoming>, path: &str) -> Response<Body> {
        let answer = self.pass(request, path).await;
        if !answer.status().is_success() && answer.status() != StatusCode::NOT_MODIFIED {
            return answer;
        }
        let location = self.place(self.shape.downloads, DOWNLOADS, path);
        let mut redirect = Response::builder().status(307).header("Location", location);
        if let Some(digest) = answer.headers().get("docker-content-digest") {
            redirect = redirect.header("Docker-Content-Digest", digest);
        }
        redirect.body(whole("")).unwrap()
    }

    fn place(&self, to: To, prefix: &str, path: &str) -> String {
        match to {
            To::Registry => path.to_owned(),
            To::Path => format!("{prefix}{}", path.trim_start_matches("/v2")),
            To::Host => {
                let path = path.trim_start_matches("/v2");
                format!("http://{}{prefix}{path}", self.storage)
            }
        }
    }

    async fn pass(&self, mut request: Request<Incoming>, path: &str) -> Response<Body> {
        let behind = &self.behind.authority;
        *request.uri_mut() = format!("http://{behind}{path}").parse().unwrap();
        let headers = request.headers_mut();
        headers.insert(header::HOST, HeaderValue::from_str(behind).unwrap());
        for name in ["x-forwarded-host", "x-forwarded-proto", "transfer-encoding"] {
            headers.remove(name);
        }
        let Ok(mut response) = self.client.request(request).await else {
            return refuse("no answer");
        };
        let headers = response.headers_mut();
        headers.remove(header::CONNECTION);
        headers.remove(header::TRANSFER_ENCODING);
        let location = headers.get(header::LOCATION).map(HeaderValue::to_str);
        if let Some(Ok(location)) = location {
            let path = location.replacen(&format!("http://{behind}"), "", 1);
            let path = if path.contains("/blobs/uploads/") {
                self.place(self.shape.uploads, UPLOADS, &path)
            } else {
                path
            };
            headers.insert(header::LOCATION, HeaderValue::from_str(&path).unwrap());
        }
        response.map(BodyExt::boxed_unsync)
    }
}

fn has_credential(headers: &HeaderMap) -> bool {
    let named = [
        "authorization",
        "cookie",
        "x-api-key",
        "proxy-authorization",
    ];
    named.iter().any(|name| headers.contains_key(*name))
}

/// The location is the permission.
fn trust(headers: &mut HeaderMap) {
    let pair = Base64::encode_string(format!("{}:{}", ALICE.name, ALICE.password).as_bytes());
    let value = HeaderValue::from_str(&format!("Basic {pair}")).unwrap();
    headers.insert(header::AUTHORIZATION, value);
}

fn refuse(why: &'static str) -> Response<Body> {
    let response = Response::builder().status(400);
    let response = response.header("WWW-Authenticate", "Basic realm=\"storage\"");
    response.body(whole(why)).unwrap()
}

fn whole(body: &'static str) -> Body {
    Full::from(body)
        .map_err(|never| match never {})
        .boxed_unsync()
}
