//! What others than the registry behind get to see, over TLS.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use http::uri::Scheme;
use http::{Method, StatusCode};
use rcgen::{CertificateParams, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::{Bounds, Config, Tls, Upstream};
use crate::certificates;

/// A certificate that signs itself, so that who trusts it needs no other.
fn made() -> (CertifiedKey, RootCertStore) {
    let key = KeyPair::generate().unwrap();
    let parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let pem = parameters.self_signed(&key).unwrap().pem();
    let chain = certificates::chain(pem.as_bytes()).unwrap();
    let key = certificates::key(key.serialize_pem().as_bytes()).unwrap();
    (
        certificates::identity(chain, key).unwrap(),
        certificates::authorities(pem.as_bytes()).unwrap(),
    )
}

/// A server that knows certificates of clients and asks for none.
struct Server {
    authority: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    path: String,
    authorization: bool,
    accept: bool,
    certificate: bool,
}

impl Server {
    /// Sends everybody who asks for anything but `/here` to `location`.
    async fn start(shown: CertifiedKey, clients: &RootCertStore, location: Option<String>) -> Self {
        let provider = certificates::provider();
        let verifier = WebPkiClientVerifier::builder_with_provider(
            Arc::new(clients.clone()),
            Arc::clone(&provider),
        );
        let verifier = verifier.allow_unauthenticated().build().unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(shown)));
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = format!("localhost:{}", listener.local_addr().unwrap().port());
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let noted = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    head.push(char::from(stream.read_u8().await.unwrap()));
                }
                let path = head.split(' ').nth(1).unwrap().to_owned();
                let answer = match &location {
                    Some(location) if path != "/here" => {
                        format!("307 Temporary Redirect\r\nLocation: {location}")
                    }
                    _ => "200 OK".to_owned(),
                };
                let head = head.to_ascii_lowercase();
                noted.lock().unwrap().push(Seen {
                    path,
                    authorization: head.contains("\r\nauthorization:"),
                    accept: head.contains("\r\naccept:"),
                    certificate: stream.get_ref().1.peer_certificates().is_some(),
                });
                let answer =
                    format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
                let _ = stream.shutdown().await;
            }
        });
        Self { authority, seen }
    }

    fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

fn upstream(authority: &str, tls: Tls) -> Upstream {
    Upstream::new(Config {
        scheme: Scheme::HTTPS,
        authority: authority.parse().unwrap(),
        tls,
        connect: Duration::from_secs(60),
        first_byte: Duration::from_secs(60),
        read: Duration::from_secs(60),
        idle: Duration::from_secs(60),
        propagate: |_| {},
        bounds: Bounds::default(),
        observe: Arc::new(|_, _, _| {}),
        note: Arc::new(|_| {}),
    })
}

#[tokio::test]
async fn credential_and_certificate_are_for_the_registry_alone() {
    let (identity, clients) = made();
    let (shown, mut roots) = made();
    let (shown_elsewhere, roots_elsewhere) = made();
    roots.roots.extend(roots_elsewhere.roots);
    let other = Server::start(shown_elsewhere, &clients, None).await;
    let elsewhere = format!("https://{}/there", other.authority);
    let registry = Server::start(shown, &clients, Some(elsewhere.clone())).await;
    let identity = Some(Arc::new(identity));
    let upstream = upstream(&registry.authority, Tls { roots, identity });
    let headers = [
        (AUTHORIZATION, HeaderValue::from_static("Basic YTpi")),
        (ACCEPT, HeaderValue::from_static("a/b")),
    ];
    let by = |path: &str, authorization, certificate| Seen {
        path: path.to_owned(),
        authorization,
        accept: true,
        certificate,
    };

    let answered = upstream.open(&Method::GET, "/moved", &headers).await;
    assert_eq!(answered.unwrap().status(), StatusCode::OK);
    assert_eq!(registry.seen(), [by("/moved", true, true)]);
    assert_eq!(other.seen(), [by("/there", false, false)]);

    // A token service gets the credential it is asked with, and nothing of the connection to the registry.
    let asked = upstream.submit_elsewhere(
        &Method::GET,
        elsewhere.parse().unwrap(),
        &headers,
        Bytes::new(),
        1000,
    );
    assert_eq!(asked.await.unwrap().parts.status, StatusCode::OK);
    assert_eq!(other.seen(), [by("/there", true, false)]);
}
