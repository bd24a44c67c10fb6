//! What a TLS connection to the registry comes to: its version, and the HTTP versions that both sides know.

use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ProtocolVersion, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::capability::{Capability, Findings, Value};

const OFFERED: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Notes what a handshake agrees on; the registry has answered before.
pub(super) async fn examine(
    url: &Uri,
    roots: RootCertStore,
    patience: Duration,
    findings: &mut Findings,
) {
    if url.scheme_str() != Some("https") {
        findings.note(Capability::Tls, false, "the URL is http: all goes in clear");
        return;
    }
    let shaken = tokio::time::timeout(patience, shake_hands(url, roots)).await;
    match shaken {
        Ok(Some((version, protocol))) => {
            let how = format!("a handshake that offered h2 and http/1.1 agreed on {protocol}");
            findings.note(Capability::Tls, version.as_str(), how);
        }
        Ok(None) | Err(_) => findings.note(
            Capability::Tls,
            Value::Unknown,
            "requests are answered, but a handshake that offered h2 and http/1.1 failed",
        ),
    }
}

async fn shake_hands(url: &Uri, roots: RootCertStore) -> Option<(String, String)> {
    let authority = url.authority()?;
    let host = authority
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']');
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = OFFERED.map(<[u8]>::to_vec).to_vec();
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(443)))
        .await
        .ok()?;
    let name = ServerName::try_from(host.to_owned()).ok()?;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .ok()?;
    let (_, session) = stream.get_ref();
    // No older ones are offered.
    let is_latest = session.protocol_version()? == ProtocolVersion::TLSv1_3;
    let version = if is_latest { "TLS 1.3" } else { "TLS 1.2" };
    let protocol = session.alpn_protocol().map(String::from_utf8_lossy);
    let protocol = protocol.map_or_else(|| "none of them".to_owned(), |name| name.into_owned());
    Some((version.to_owned(), protocol))
}
