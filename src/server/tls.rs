//! TLS of the listener: 1.2 and 1.3, HTTP/2 or HTTP/1.1 by the choice of the client (ALPN, RFC 7301), no early data.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{
    NoServerSessionStorage, ProducesTickets, VerifierBuilderError, WebPkiClientVerifier,
};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};
use thiserror::Error;

use crate::certificates::provider;

/// The name of HTTP/2 in ALPN.
pub(super) const HTTP_2: &[u8] = b"h2";

/// Why TLS cannot be spoken.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The cryptography does not do what it must.
    #[error("TLS cannot be set up")]
    Setup(#[from] rustls::Error),
    /// The authorities of clients cannot be used.
    #[error("client certificates cannot be verified")]
    Clients(#[from] VerifierBuilderError),
}

/// What seals the tickets by which clients come back without a full handshake. It outlives the certificate; but a ticket
/// of a client that had to show a certificate is worth one, so each set of authorities needs tickets of its own.
#[derive(Clone, Debug)]
pub struct Tickets(Arc<dyn ProducesTickets>);

impl Tickets {
    /// Tickets that only this process can open.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn new() -> Result<Self, TlsError> {
        Ok(Self(Ticketer::new()?))
    }
}

/// TLS with this certificate. With `clients` every client has to show a certificate that one of them has signed.
///
/// # Errors
/// See [`TlsError`].
pub fn config(
    identity: CertifiedKey,
    clients: Option<RootCertStore>,
    tickets: &Tickets,
) -> Result<ServerConfig, TlsError> {
    let builder =
        ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authorities) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider());
            builder.with_client_cert_verifier(verifier.build()?)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
    config.alpn_protocols = vec![HTTP_2.to_vec(), b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = Arc::clone(&tickets.0);
    Ok(config)
}
