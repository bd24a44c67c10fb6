//! Asking a running regseal by its admin API, for commands.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderValue};
use http::uri::Scheme;
use http::{Method, StatusCode, Uri};
use serde_json::Value as Json;
use thiserror::Error;

use super::{StartError, trust};
use crate::cli::Exit;
use crate::config::Settings;
use crate::secret::Secret;
use crate::upstream::{self, Upstream, UpstreamError};

/// The largest answer that is read, in bytes: each signature has a handful of lines.
const LIMIT: usize = 64 << 20;

/// Why a running regseal cannot be asked.
#[derive(Debug, Error)]
pub enum AdminError {
    /// The URL of the admin API is none.
    #[error("--admin {0}: a URL with http or https, a host and perhaps a port is expected")]
    Url(String),
    /// There is no token to show.
    #[error(
        "the admin API wants a token: name its file with --token-file, or set admin.token_file in the configuration"
    )]
    NoToken,
    /// The token cannot be read.
    #[error("--token-file {path}: cannot be read")]
    TokenFile {
        /// The file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// There is nothing in the file, or no text that can be a token.
    #[error("--token-file {0}: there is no token in it")]
    EmptyToken(String),
    /// Another token is the right one.
    #[error(
        "{0} refuses the token: it is not the one in the file that admin.token_file of that regseal names"
    )]
    TokenRefused(String),
    /// There is no such API.
    #[error("{0} has no admin API: that regseal has no admin.token_file")]
    NoApi(String),
    /// There was no answer.
    #[error("{url} gives no answer; is regseal running there? Without one use --offline")]
    Unreachable {
        /// Whom it was asked.
        url: String,
        /// What happened.
        source: UpstreamError,
    },
    /// The certificates of the system cannot be used.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl AdminError {
    /// How the process ends.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Url(_)
            | Self::NoToken
            | Self::TokenFile { .. }
            | Self::EmptyToken(_)
            | Self::TokenRefused(_)
            | Self::NoApi(_) => Exit::Usage,
            Self::Start(error) => error.exit(),
            Self::Unreachable { .. } => Exit::Undecided,
        }
    }
}

/// A running regseal.
pub(super) struct AdminClient {
    url: String,
    shown: HeaderValue,
    client: Upstream,
}

/// An answer of the admin API, or one made as it makes them.
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl Answered {
    /// What an error document says.
    pub(super) fn message(&self) -> String {
        document(&self.body).unwrap_or_else(|| format!("the answer is {}", self.status))
    }
}

impl AdminClient {
    /// The one at `url`, or where a regseal with the same configuration listens on this machine.
    ///
    /// # Errors
    /// The URL or the token cannot be used.
    pub(super) fn new(
        settings: &Settings,
        url: Option<&str>,
        token_file: Option<&Path>,
    ) -> Result<Self, AdminError> {
        let url = match url {
            Some(url) => url.to_owned(),
            None => local(settings.admin.address),
        };
        let token = token(settings, token_file)?;
        let client = client(settings, &url)?;
        let mut shown = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
            .or_else(|_| empty_token(token_file))?;
        shown.set_sensitive(true);
        Ok(Self { url, shown, client })
    }

    /// Asks, with a body of JSON if there is one.
    ///
    /// # Errors
    /// No answer, or none of an admin API that knows the token.
    pub(super) async fn ask(
        &self,
        method: &Method,
        path: &str,
        body: Bytes,
    ) -> Result<Answered, AdminError> {
        let headers = [(AUTHORIZATION, self.shown.clone())];
        let answered = match *method {
            Method::GET => self.client.fetch(method, path, &headers, LIMIT).await,
            _ => self.client.submit(method, path, &headers, body).await,
        };
        let answer = answered.map_err(|source| AdminError::Unreachable {
            url: self.url.clone(),
            source,
        })?;
        match answer.parts.status {
            StatusCode::UNAUTHORIZED => Err(AdminError::TokenRefused(self.url.clone())),
            StatusCode::NOT_FOUND if document(&answer.body).is_none() => {
                Err(AdminError::NoApi(self.url.clone()))
            }
            status => Ok(Answered {
                status,
                body: answer.body,
            }),
        }
    }
}

fn document(body: &[u8]) -> Option<String> {
    let document: Json = serde_json::from_slice(body).ok()?;
    let message = document.pointer("/errors/0/message")?.as_str()?;
    Some(super::inspect::plain(message))
}

fn empty_token(path: Option<&Path>) -> Result<HeaderValue, AdminError> {
    let shown = path.map_or_else(
        || "of the configuration".to_owned(),
        |path| path.display().to_string(),
    );
    Err(AdminError::EmptyToken(shown))
}

/// Where a regseal with the same configuration listens on this machine.
fn local(address: SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

fn token(settings: &Settings, token_file: Option<&Path>) -> Result<Secret, AdminError> {
    let Some(path) = token_file else {
        return settings.admin.token.clone().ok_or(AdminError::NoToken);
    };
    let text = fs::read_to_string(path).map_err(|source| AdminError::TokenFile {
        path: path.display().to_string(),
        source,
    })?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(AdminError::EmptyToken(path.display().to_string())),
        token => Ok(Secret::new(token)),
    }
}

fn client(settings: &Settings, url: &str) -> Result<Upstream, AdminError> {
    let wrong = || AdminError::Url(url.to_owned());
    let uri: Uri = url.trim_end_matches('/').parse().or(Err(wrong()))?;
    let scheme = uri.scheme().cloned().unwrap_or(Scheme::HTTP);
    let is_web = scheme == Scheme::HTTP || scheme == Scheme::HTTPS;
    let authority = uri
        .authority()
        .filter(|_| is_web && uri.scheme().is_some())
        .filter(|authority| !authority.as_str().contains('@'))
        .filter(|_| uri.query().is_none() && matches!(uri.path(), "" | "/"))
        .cloned()
        .ok_or_else(wrong)?;
    Ok(Upstream::new(upstream::Config {
        scheme,
        authority,
        tls: upstream::Tls {
            roots: trust::of_system(),
            identity: None,
        },
        connect: settings.timeouts.upstream_connect,
        // Its registry may take as long before it answers.
        first_byte: settings.timeouts.upstream_first_byte.saturating_mul(2),
        read: settings.timeouts.upstream_first_byte,
        idle: settings.timeouts.idle,
        propagate: |_| {},
        bounds: upstream::Bounds::default(),
        observe: Arc::new(|_, _, _| {}),
        note: Arc::new(|_| {}),
    }))
}
