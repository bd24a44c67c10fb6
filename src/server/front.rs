//! What is settled about a connection before HTTP is spoken on it: whose it is, and how it is encrypted.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::uri::Scheme;
use ipnet::IpNet;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::proxy_protocol;
use super::tls::HTTP_2;

/// What stands between the sockets of a listener and HTTP. By default nothing: requests in clear, from whoever connects.
#[derive(Clone, Default)]
pub struct Front {
    /// TLS as it is to be spoken with the next client; none: none.
    pub tls: Option<Arc<ArcSwap<ServerConfig>>>,
    /// Whose connections begin with a header of the PROXY protocol.
    pub proxy_protocol: Vec<IpNet>,
    /// Whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The scheme that clients use, whatever their connections and proxies say.
    pub scheme: Option<Scheme>,
    /// Is told of every connection that was given up.
    pub refused: Option<Refuse>,
}

/// Is told of every connection that was given up.
pub type Refuse = Arc<dyn Fn(Refused) + Send + Sync>;

/// Why a connection was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It did not begin with the header of the PROXY protocol that its peer has to send.
    ProxyHeader,
    /// The client has no certificate, or none that its authorities have signed.
    ClientCertificate,
    /// TLS could not be agreed upon.
    Handshake,
    /// The header or the handshake took too long.
    Timeout,
    /// The client has cancelled far more requests than it let be answered.
    Resets,
    /// The client takes none of the answers that it has asked for.
    Stalled,
}

impl Refused {
    /// The reason as one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ProxyHeader => "proxy_header",
            Self::ClientCertificate => "client_certificate",
            Self::Handshake => "handshake",
            Self::Timeout => "timeout",
            Self::Resets => "resets",
            Self::Stalled => "stalled",
        }
    }
}

/// A connection on which HTTP is spoken next.
pub(super) struct Arrived {
    pub(super) wire: Wire,
    /// Where the connection comes from, as the load balancer before this server says, if there is one.
    pub(super) peer: SocketAddr,
}

/// How bytes go over a connection.
pub(super) enum Wire {
    Clear(TcpStream),
    Encrypted(Box<TlsStream<TcpStream>>),
}

/// Why there is no HTTP on a connection.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) why: Refused,
    pub(super) error: io::Error,
}

impl Front {
    /// Reads what comes before HTTP. This takes as long as the client likes.
    pub(super) async fn receive(
        &self,
        mut stream: TcpStream,
        peer: SocketAddr,
    ) -> Result<Arrived, Failed> {
        let mut peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        if contains(&self.proxy_protocol, peer.ip()) {
            let named = proxy_protocol::read(&mut stream).await;
            let named = named.map_err(|error| Failed {
                why: Refused::ProxyHeader,
                error,
            })?;
            peer = named.unwrap_or(peer);
        }
        let wire = match &self.tls {
            None => Wire::Clear(stream),
            Some(tls) => Wire::Encrypted(Box::new(encrypt(tls.load_full(), stream).await?)),
        };
        Ok(Arrived { wire, peer })
    }

    /// Whether forwarding headers of a peer are believed.
    pub(super) fn trusts(&self, peer: IpAddr) -> bool {
        contains(&self.trusted_proxies, peer)
    }

    /// Tells that a connection was given up.
    pub(super) fn refuse(&self, why: Refused) {
        if let Some(refused) = &self.refused {
            refused(why);
        }
    }
}

fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

async fn encrypt<T: AsyncRead + AsyncWrite + Unpin>(
    config: Arc<ServerConfig>,
    stream: T,
) -> Result<TlsStream<T>, Failed> {
    let accepted = TlsAcceptor::from(config).accept(stream).await;
    accepted.map_err(|error| {
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
        let why = match cause {
            Some(rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertificate(_)) => {
                Refused::ClientCertificate
            }
            Some(_) | None => Refused::Handshake,
        };
        Failed { why, error }
    })
}

impl Wire {
    /// Whether the client has chosen HTTP/2 in the handshake; in clear there is no such choice.
    pub(super) fn is_http2(&self) -> bool {
        match self {
            Self::Clear(_) => false,
            Self::Encrypted(stream) => stream.get_ref().1.alpn_protocol() == Some(HTTP_2),
        }
    }
}

impl fmt::Debug for Front {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Front")
            .field("tls", &self.tls.is_some())
            .field("proxy_protocol", &self.proxy_protocol)
            .field("trusted_proxies", &self.trusted_proxies)
            .finish_non_exhaustive()
    }
}
