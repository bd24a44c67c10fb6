//! The composition root: settings in, a running regseal out. The only place that names concrete backends.

mod data_plane;
mod maintenance;
pub mod rebuild;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::uri::{Scheme, Uri};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use thiserror::Error;
use tokio_util::task::TaskTracker;
use tower::{Layer, service_fn};

use crate::auth::{self, AuthError, Authorizer};
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Settings};
use crate::handlers::{self, Handlers};
use crate::respond;
use crate::server::limit::InFlightLayer;
use crate::server::{self, Admin, Drain, Drained, Listener, Readiness};
use crate::store::SignatureStore;
use crate::store::blob::fs::FsBlobStore;
use crate::store::index::embedded::{EmbeddedIndex, Found, OpenError};
use crate::telemetry::{self, HttpMetrics, Telemetry};
use crate::upstream::{self, Upstream};

use data_plane::DataPlane;

/// A regseal whose listeners are bound and whose stores are open.
#[derive(Debug)]
pub struct App {
    listener: Listener,
    admin: Listener,
    plane: DataPlane,
    store: Arc<SignatureStore>,
    clock: Arc<dyn Clock>,
    telemetry: Telemetry,
    settings: Settings,
}

/// Why regseal does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address cannot be bound.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// A file or directory cannot be used.
    #[error("cannot use {path}")]
    File {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file of certificates cannot be read as PEM.
    #[error("cannot read the certificates of {path}")]
    Certificates {
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        source: rustls::pki_types::pem::Error,
    },
    /// A certificate cannot be trusted.
    #[error("a certificate of {path} cannot be used")]
    Certificate {
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
    /// The URL of the registry behind has no host.
    #[error("upstream.url has no host")]
    Upstream,
    /// The index cannot be opened.
    #[error(transparent)]
    Index(#[from] OpenError),
    /// The authorizer cannot be made.
    #[error(transparent)]
    Auth(#[from] AuthError),
}

/// The stores of a data directory, and what its index was like.
#[derive(Debug)]
pub struct Stores {
    /// The signature store.
    pub signatures: Arc<SignatureStore>,
    /// State of the index file when it was opened.
    pub index: Found,
}

/// Opens the stores of `directory`, creating what is missing.
///
/// # Errors
/// The directory cannot be used, or another process uses its index.
pub fn open_stores(directory: &Path, clock: &Arc<dyn Clock>) -> Result<Stores, StartError> {
    let objects = directory.join("objects");
    let unusable = |source| StartError::File {
        path: objects.clone(),
        source,
    };
    fs::create_dir_all(&objects).map_err(unusable)?;
    let opened = EmbeddedIndex::open(directory, &**clock)?;
    let blobs = FsBlobStore::open(&objects).map_err(unusable)?;
    let signatures =
        SignatureStore::new(Arc::new(blobs), Arc::new(opened.index), Arc::clone(clock));
    Ok(Stores {
        signatures: Arc::new(signatures),
        index: opened.found,
    })
}

impl App {
    /// Opens stores and binds listeners; nothing is served yet.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(settings: Settings, telemetry: Telemetry) -> Result<Self, StartError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let stores = open_stores(&settings.storage.directory, &clock)?;
        report_index(&stores.index);
        let metrics = HttpMetrics::new(&telemetry.meter());
        let upstream = Arc::new(Upstream::new(upstream_config(&settings, &metrics)?));
        let auth = auth::Config {
            cache_ttl: settings.auth.cache_ttl,
            hides_private_repositories: settings.upstream.hides_private_repositories,
        };
        let authorizer = Authorizer::new(Arc::clone(&upstream), &auth, Arc::clone(&clock))?;
        let config = handlers_config(&settings);
        let handlers = Handlers::new(config, upstream, authorizer, Arc::clone(&stores.signatures));
        let plane = DataPlane {
            handlers,
            metrics,
            idle: settings.timeouts.idle,
            writes: TaskTracker::new(),
        };
        Ok(Self {
            listener: bind(settings.listen.address).await?,
            admin: bind(settings.admin.address).await?,
            plane,
            store: stores.signatures,
            clock,
            telemetry,
            settings,
        })
    }

    /// Serves until `stop` ends and what is under way has been answered or cut.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Drained {
        let (listen, admin) = (self.listener.local_addr(), self.admin.local_addr());
        let (drain, admin_drain) = (Drain::new(), Drain::new());
        let readiness = Readiness::new(&drain);
        let plane = self.plane;
        let (metrics, writes) = (plane.metrics.clone(), plane.writes.clone());
        let shed = move || {
            metrics.shed();
            respond::overloaded()
        };
        let service = InFlightLayer::new(self.settings.limits.in_flight, shed).layer(service_fn(
            move |request| {
                let plane = plane.clone();
                async move { Ok(plane.answer(request).await) }
            },
        ));
        let deadline = self.settings.timeouts.drain;
        let config = server::Config {
            head_timeout: self.settings.timeouts.head,
            write_timeout: self.settings.timeouts.idle,
            drain_deadline: deadline,
            ..server::Config::default()
        };
        let data = tokio::spawn(server::serve(self.listener, service, config, drain.clone()));
        let status = Admin::new(readiness.clone(), self.telemetry.registry());
        let admin_config = server::Config {
            drain_deadline: Duration::from_secs(1),
            ..server::Config::default()
        };
        let status = tokio::spawn(server::serve(
            self.admin,
            status,
            admin_config,
            admin_drain.clone(),
        ));
        let maintenance = tokio::spawn(maintenance::run(self.store, self.clock, readiness.clone()));
        readiness.started();
        tracing::info!(%listen, %admin, "listening");

        stop.await;
        tracing::info!("draining");
        drain.start();
        let drained = data.await.unwrap_or(Drained::Complete);
        writes.close();
        if tokio::time::timeout(deadline, writes.wait()).await.is_err() {
            tracing::warn!(
                left = writes.len(),
                "writes of clients that have gone are cut off"
            );
        }
        maintenance.abort();
        admin_drain.start();
        if let Err(error) = status.await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the second listener ended early"
            );
        }
        tracing::info!(drained = ?drained, "stopped");
        self.telemetry.shutdown().await;
        drained
    }
}

/// The configuration of logs, traces and metrics.
#[must_use]
pub fn telemetry_config(settings: &Settings) -> telemetry::Config {
    telemetry::Config {
        log_format: match settings.telemetry.log_format {
            config::LogFormat::Json => telemetry::LogFormat::Json,
            config::LogFormat::Text => telemetry::LogFormat::Text,
        },
        level: settings.telemetry.log_level.into(),
        otlp_endpoint: settings.telemetry.otlp_endpoint.clone(),
        service_name: settings.telemetry.service_name.clone(),
    }
}

async fn bind(address: SocketAddr) -> Result<Listener, StartError> {
    Listener::bind(address)
        .await
        .map_err(|source| StartError::Bind { address, source })
}

fn report_index(found: &Found) {
    match found {
        Found::Intact => {}
        Found::Nothing | Found::Unclean => tracing::info!(index = ?found, "the index is rebuilt"),
        Found::Restored | Found::Unusable { .. } => {
            tracing::warn!(index = ?found, "the index file is not used, the index is rebuilt");
        }
    }
}

fn handlers_config(settings: &Settings) -> handlers::Config {
    let capture = &settings.capture;
    handlers::Config {
        mode: match capture.mode {
            config::CaptureMode::Auto => handlers::CaptureMode::Auto,
            config::CaptureMode::Store => handlers::CaptureMode::Store,
            config::CaptureMode::Both => handlers::CaptureMode::Both,
        },
        artifact_types: capture.artifact_types.clone(),
        max_blob: capture.max_blob,
        staging: usize::try_from(capture.staging).unwrap_or(usize::MAX),
        absorb_fallback_tags: capture.absorb_fallback_tags,
        absorb_cosign_tags: capture.absorb_cosign_tags,
        max_manifest: usize::try_from(settings.limits.manifest).unwrap_or(usize::MAX),
        manifest_time: settings.timeouts.idle,
        public_scheme: match settings
            .listen
            .public_url
            .as_ref()
            .and_then(Uri::scheme_str)
        {
            Some("https") => "https",
            _ => "http",
        },
    }
}

fn upstream_config(
    settings: &Settings,
    metrics: &HttpMetrics,
) -> Result<upstream::Config, StartError> {
    let url = &settings.upstream.url;
    let metrics = metrics.clone();
    Ok(upstream::Config {
        scheme: url.scheme().cloned().unwrap_or(Scheme::HTTP),
        authority: url.authority().cloned().ok_or(StartError::Upstream)?,
        roots: roots(settings.upstream.ca.as_deref())?,
        connect: settings.timeouts.upstream_connect,
        first_byte: settings.timeouts.upstream_first_byte,
        read: settings.timeouts.upstream_first_byte,
        idle: settings.timeouts.idle,
        propagate: telemetry::propagation::inject,
        observe: Arc::new(move |method, status, duration| {
            metrics.record_upstream(method, status, duration)
        }),
    })
}

/// The roots of the system and those of `file`.
fn roots(file: Option<&Path>) -> Result<RootCertStore, StartError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let Some(path) = file else { return Ok(roots) };
    let path = path.to_owned();
    let bytes = fs::read(&path).map_err(|source| StartError::File {
        path: path.clone(),
        source,
    })?;
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        let certificate = certificate.map_err(|source| StartError::Certificates {
            path: path.clone(),
            source,
        })?;
        roots
            .add(certificate)
            .map_err(|source| StartError::Certificate {
                path: path.clone(),
                source,
            })?;
    }
    Ok(roots)
}
