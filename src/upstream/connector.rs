//! The connections to the registry behind: their TLS, their pool, and how long they live.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::Request;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, ResponseFuture};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use tokio::time::Instant;

use super::hearing::Hearing;
use super::progress::Watched;
use crate::certificates::provider;

/// How long connections are kept that are in use again and again: the name of the registry may mean another address by
/// now.
const OLDEST: Duration = Duration::from_secs(240);
/// Bytes of an answer that are read ahead of whoever takes them; a response head must fit.
const BUFFER: usize = 64 * 1024;

/// What regseal shows and believes in a TLS handshake.
#[derive(Clone)]
pub struct Tls {
    /// Certificates that sign the registry's own.
    pub roots: RootCertStore,
    /// The certificate that regseal shows to the registry; none: none.
    pub identity: Option<Arc<CertifiedKey>>,
}

/// Clients, which are replaced whole: with new certificates, and when their connections are old. A connection that is
/// dropped out of its pool ends with the request that uses it.
pub(super) struct Connector {
    deadlines: Deadlines,
    current: ArcSwap<Clients>,
}

/// How long a connection may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    /// To be there.
    pub(super) connect: Duration,
    /// For the other side to confirm what was sent.
    pub(super) idle: Duration,
}

/// What kind of connection a request goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// One that is open already, if there is one.
    Pooled,
    /// A new one, which nothing else is sent on.
    New,
}

struct Clients {
    tls: Tls,
    born: Instant,
    /// For the registry behind.
    own: Pair,
    /// For others that it relies on or sends to: these have no business with regseal's certificate.
    elsewhere: Pair,
}

/// Clients with the same TLS, for each [`Line`].
#[derive(Clone)]
struct Pair {
    pooled: Pool,
    unpooled: Pool,
}

type Pool = Client<HttpsConnector<Hearing<HttpConnector>>, Watched>;

impl Connector {
    pub(super) fn new(tls: Tls, deadlines: Deadlines) -> Self {
        Self {
            deadlines,
            current: ArcSwap::from_pointee(Clients::new(tls, deadlines)),
        }
    }

    /// Uses other certificates for all connections from now on.
    pub(super) fn use_tls(&self, tls: Tls) {
        let clients = Clients::new(tls, self.deadlines);
        self.current.store(Arc::new(clients));
    }

    /// Sends a request; `is_own` says whether it goes to the registry behind.
    pub(super) fn request(
        &self,
        request: Request<Watched>,
        is_own: bool,
        line: Line,
    ) -> ResponseFuture {
        let clients = self.young(Instant::now());
        let pair = if is_own {
            &clients.own
        } else {
            &clients.elsewhere
        };
        match line {
            Line::Pooled => pair.pooled.request(request),
            Line::New => pair.unpooled.request(request),
        }
    }

    /// Clients that, `now`, are not old.
    fn young(&self, now: Instant) -> Arc<Clients> {
        let current = self.current.load_full();
        if now.saturating_duration_since(current.born) < OLDEST {
            return current;
        }
        let renewed = Arc::new(Clients::new(current.tls.clone(), self.deadlines));
        // Of several that find them old one replaces them, and none replaces newer certificates.
        self.current.compare_and_swap(&current, renewed);
        self.current.load_full()
    }
}

impl Clients {
    fn new(tls: Tls, deadlines: Deadlines) -> Self {
        let trusting = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider has what TLS 1.2 and 1.3 need")
            .with_root_certificates(tls.roots.clone());
        let anonymous = Pair::new(trusting.clone().with_no_client_auth(), deadlines);
        let own = match &tls.identity {
            None => anonymous.clone(),
            Some(identity) => {
                let shown = SingleCertAndKey::from(Arc::clone(identity));
                let tls = trusting.with_client_cert_resolver(Arc::new(shown));
                Pair::new(tls, deadlines)
            }
        };
        Self {
            tls,
            born: Instant::now(),
            own,
            elsewhere: anonymous,
        }
    }
}

impl Pair {
    fn new(tls: ClientConfig, deadlines: Deadlines) -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(deadlines.connect));
        http.set_keepalive(Some(Duration::from_secs(15)));
        http.set_keepalive_interval(Some(Duration::from_secs(5)));
        http.set_tcp_user_timeout(Some(deadlines.idle));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(Hearing::new(http));
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .pool_idle_timeout(Duration::from_secs(20))
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .http1_max_buf_size(BUFFER);
        Self {
            pooled: builder.build(connector.clone()),
            unpooled: builder.pool_max_idle_per_host(0).build(connector),
        }
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Connector").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn clients_are_replaced_when_they_are_old_and_when_certificates_change() {
        let tls = Tls {
            roots: RootCertStore::empty(),
            identity: None,
        };
        let deadlines = Deadlines {
            connect: Duration::from_secs(1),
            idle: Duration::from_secs(1),
        };
        let connector = Connector::new(tls.clone(), deadlines);
        let first = connector.young(Instant::now());
        let (almost, old) = (first.born + OLDEST / 2, first.born + OLDEST);
        assert!(Arc::ptr_eq(&first, &connector.young(almost)));
        let second = connector.young(old);
        assert!(!Arc::ptr_eq(&first, &second), "old");
        assert!(Arc::ptr_eq(&second, &connector.young(almost)));
        connector.use_tls(tls);
        assert!(
            !Arc::ptr_eq(&second, &connector.young(almost)),
            "certificates"
        );
    }
}
