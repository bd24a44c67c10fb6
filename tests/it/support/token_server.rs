//! A token service: gives out JWTs that docker-registry verifies by itself, and refresh tokens.
//!
//! It grants less than was asked with a status of 200, as real ones do, and is named `localhost`, since ggcr refuses a realm
//! on a loopback address.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::{User, block_on, runtime};

/// How many seconds a token is good for.
const LIFETIME: i64 = 300;

pub struct TokenServer {
    realm: String,
    issuer: Arc<Issuer>,
    task: JoinHandle<()>,
}

/// Signs what the token service says.
pub struct Issuer {
    key: EcdsaKeyPair,
    certificate_der: Vec<u8>,
    certificate_pem: String,
    /// Refresh tokens, each with whom it was given to.
    refreshing: Mutex<Vec<(String, User)>>,
}

impl TokenServer {
    pub const SERVICE: &str = "registry of the tests";
    pub const ISSUER: &str = "token service of the tests";

    pub fn start() -> Self {
        let issuer = Arc::new(Issuer::new());
        let listener = block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = runtime().spawn(serve(listener, Arc::clone(&issuer)));
        Self {
            realm: format!("http://localhost:{port}/token"),
            issuer,
            task,
        }
    }

    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// The certificate by which the registry knows this service.
    pub fn certificate(&self) -> &str {
        &self.issuer.certificate_pem
    }

    pub fn issuer(&self) -> Arc<Issuer> {
        Arc::clone(&self.issuer)
    }
}

impl Drop for TokenServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Issuer {
    fn new() -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        Self {
            key: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key.serialize_der())
                .unwrap(),
            certificate_der: certificate.der().to_vec(),
            certificate_pem: certificate.pem(),
            refreshing: Mutex::default(),
        }
    }

    /// The answer to a token request: its query and its form in one, with the password that came in a header.
    pub fn answer(&self, fields: &str, basic: Option<&str>) -> (u16, Value) {
        let fields = form(fields);
        let field = |name: &str| {
            let mut named = fields.iter().filter(|(key, _)| key == name);
            named.next().map(|(_, value)| value.as_str())
        };
        let login = match (basic, field("username"), field("password")) {
            (Some(basic), _, _) => Some(parse_basic(basic)),
            (None, Some(name), Some(password)) => {
                Some(Some((name.to_owned(), password.to_owned())))
            }
            (None, _, _) => None,
        };
        let user = match (login, field("refresh_token")) {
            (None, None) => Ok(None),
            (None, Some(token)) => self.refreshes(token).map(Some).ok_or(()),
            (Some(login), _) => login
                .and_then(|(name, password)| User::with_password(&name, &password))
                .map(Some)
                .ok_or(()),
        };
        let Ok(user) = user else {
            return (401, json!({"errors": [{"code": "UNAUTHORIZED"}]}));
        };
        let scopes: Vec<&str> = fields
            .iter()
            .filter(|(key, _)| key == "scope")
            .flat_map(|(_, value)| value.split(' '))
            .collect();
        let token = self.token(user.map(|user| user.name), &scopes);
        let mut answer = json!({"token": token, "access_token": token, "expires_in": LIFETIME});
        let is_for_later =
            field("offline_token") == Some("true") || field("access_type") == Some("offline");
        if let (Some(user), true) = (user, is_for_later) {
            let token = super::images::random_hex(16);
            answer["refresh_token"] = json!(token);
            self.refreshing.lock().unwrap().push((token, user));
        }
        (200, answer)
    }

    fn refreshes(&self, token: &str) -> Option<User> {
        let refreshing = self.refreshing.lock().unwrap();
        let mut known = refreshing.iter().filter(|(known, _)| known == token);
        known.next().map(|(_, user)| *user)
    }

    /// A token that grants what of the scopes (`repository:<name>:<action>,...`) the user may do, or nobody.
    pub fn token(&self, user: Option<&str>, scopes: &[&str]) -> String {
        self.token_for(LIFETIME, user, scopes)
    }

    /// A token that ends in so many seconds, or has ended; docker-registry takes it for another minute.
    pub fn token_for(&self, lifetime: i64, user: Option<&str>, scopes: &[&str]) -> String {
        let access: Vec<Value> = scopes
            .iter()
            .filter_map(|scope| granted(user, scope))
            .collect();
        let now = jiff::Timestamp::now().as_second();
        let header = json!({"typ": "JWT", "alg": "ES256", "x5c": [Base64::encode_string(&self.certificate_der)]});
        let claims = json!({
            "iss": TokenServer::ISSUER,
            "sub": user.unwrap_or_default(),
            "aud": TokenServer::SERVICE,
            "iat": now - 3600,
            "nbf": now - 3600,
            "exp": now + lifetime,
            "jti": super::images::random_hex(16),
            "access": access,
        });
        let encode = |part: &Value| Base64UrlUnpadded::encode_string(part.to_string().as_bytes());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self
            .key
            .sign(&SystemRandom::new(), signed.as_bytes())
            .unwrap();
        format!(
            "{signed}.{}",
            Base64UrlUnpadded::encode_string(signature.as_ref())
        )
    }
}

fn granted(user: Option<&str>, scope: &str) -> Option<Value> {
    let (kind, rest) = scope.split_once(':')?;
    let (name, actions) = rest.rsplit_once(':')?;
    let actions: Vec<&str> = actions
        .split(',')
        .filter(|action| User::permits(user, name, action))
        .collect();
    (!actions.is_empty()).then(|| json!({"type": kind, "name": name, "actions": actions}))
}

async fn serve(listener: TcpListener, issuer: Arc<Issuer>) {
    while let Ok((stream, _)) = listener.accept().await {
        let issuer = Arc::clone(&issuer);
        let service = service_fn(move |request| {
            let issuer = Arc::clone(&issuer);
            async move { Ok::<_, Infallible>(answer(request, &issuer).await) }
        });
        tokio::spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            // A client that goes away in the middle is its own affair.
            let _ = connection.await;
        });
    }
}

/// `GET` with Basic or without, or `POST` with one of the grants of OAuth 2.
async fn answer(request: Request<Incoming>, issuer: &Issuer) -> Response<Full<Bytes>> {
    let basic = request.headers().get(header::AUTHORIZATION).cloned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let body = request.into_body().collect().await;
    let body = body.unwrap_or_default().to_bytes();
    let fields = format!("{query}&{}", String::from_utf8_lossy(&body));
    let basic = basic.as_ref().map(|value| value.to_str().unwrap_or(""));
    let (status, body) = issuer.answer(&fields, basic);
    reply(StatusCode::from_u16(status).unwrap(), &body)
}

fn reply(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::from(body.to_string()))
        .unwrap()
}

fn parse_basic(value: &str) -> Option<(String, String)> {
    let encoded = value.strip_prefix("Basic ")?;
    let text = String::from_utf8(Base64::decode_vec(encoded).ok()?).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

fn form(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (decode(key), decode(value)))
        .collect()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                u8::from_str_radix(&String::from_utf8_lossy(&digits), 16).unwrap_or(b'?')
            }
            other => other,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
