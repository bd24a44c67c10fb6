//! Asking a running regseal.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use http::header::{AUTHORIZATION, HeaderValue};
use http::uri::Scheme;
use http::{Method, StatusCode, Uri};

use super::{Answered, InspectError, message};
use crate::app::trust;
use crate::cli::Inspect;
use crate::config::Settings;
use crate::secret::Secret;
use crate::upstream::{self, Upstream};

const PATH: &str = "/api/v1/explain";

/// The largest answer that is read, in bytes: each signature has a handful of lines.
const LIMIT: usize = 64 << 20;

pub(super) async fn ask(settings: &Settings, options: &Inspect) -> Result<Answered, InspectError> {
    let url = match &options.admin {
        Some(url) => url.clone(),
        None => local(settings.admin.address),
    };
    let token = token(settings, options)?;
    let client = client(settings, &url)?;
    let mut shown = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
        .or_else(|_| empty_token(options))?;
    shown.set_sensitive(true);
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("reference", &options.reference)
        .finish();
    let answer = client
        .fetch(
            &Method::GET,
            &format!("{PATH}?{query}"),
            &[(AUTHORIZATION, shown)],
            LIMIT,
        )
        .await
        .map_err(|source| InspectError::Unreachable {
            url: url.clone(),
            source,
        })?;
    match answer.parts.status {
        StatusCode::UNAUTHORIZED => Err(InspectError::TokenRefused(url)),
        StatusCode::NOT_FOUND if message(&answer.body).is_none() => Err(InspectError::NoApi(url)),
        status => Ok(Answered {
            status,
            body: answer.body,
        }),
    }
}

fn empty_token(options: &Inspect) -> Result<HeaderValue, InspectError> {
    let path = options.token_file.as_deref();
    let shown = path.map_or_else(
        || "of the configuration".to_owned(),
        |path| path.display().to_string(),
    );
    Err(InspectError::EmptyToken(shown))
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

fn token(settings: &Settings, options: &Inspect) -> Result<Secret, InspectError> {
    let Some(path) = &options.token_file else {
        return settings.admin.token.clone().ok_or(InspectError::NoToken);
    };
    let text = fs::read_to_string(path).map_err(|source| InspectError::TokenFile {
        path: path.display().to_string(),
        source,
    })?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(InspectError::EmptyToken(path.display().to_string())),
        token => Ok(Secret::new(token)),
    }
}

fn client(settings: &Settings, url: &str) -> Result<Upstream, InspectError> {
    let wrong = || InspectError::Url(url.to_owned());
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
        roots: trust::roots(None)?,
        connect: settings.timeouts.upstream_connect,
        // Its registry may take as long before it answers.
        first_byte: settings.timeouts.upstream_first_byte.saturating_mul(2),
        read: settings.timeouts.upstream_first_byte,
        idle: settings.timeouts.idle,
        propagate: |_| {},
        observe: Arc::new(|_, _, _| {}),
    }))
}
