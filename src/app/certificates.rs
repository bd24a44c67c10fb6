//! The certificates of listener and registry client: read at the start, and again whenever their files change. What is
//! read is used whole or not at all, and what does not fit together changes nothing.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{Context, Digest, SHA256};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use rustls::ServerConfig;
use rustls::sign::CertifiedKey;
use tokio::task::JoinSet;

use super::reloading::{Looks, Outcomes};
use super::{StartError, trust};
use crate::certificates::{self, CertificateError};
use crate::clock::Clock;
use crate::config::{self, KeyPair};
use crate::server::Readiness;
use crate::server::tls::{self, Tickets};
use crate::upstream::{self, Upstream};

const RELOADS: &str = "regseal.certificates.reloads";

/// The files of certificates that were read, and by whom they are used.
pub(super) struct Certificates {
    listener: Option<Listener>,
    registry: Option<Registry>,
    clock: Arc<dyn Clock>,
}

struct Listener {
    files: config::Tls,
    current: Arc<ArcSwap<ServerConfig>>,
    tickets: Tickets,
    /// What the authorities of clients were when the tickets were made.
    clients: Option<Vec<u8>>,
    seen: Option<Digest>,
}

struct Registry {
    ca: Option<PathBuf>,
    client: Option<KeyPair>,
    upstream: Arc<Upstream>,
    seen: Option<Digest>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Certificates")
            .finish_non_exhaustive()
    }
}

impl Certificates {
    /// Reads those of the listener; those of the registry were read when `upstream` was made.
    ///
    /// # Errors
    /// A file cannot be read, or they do not fit together.
    pub(super) fn start(
        listen: &config::Listen,
        registry: &config::Upstream,
        upstream: Arc<Upstream>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let clock = Arc::clone(clock);
        let listener = listen.tls.clone();
        let listener = listener.map(|files| Listener::start(files, &*clock));
        let has_files = registry.ca.is_some() || registry.client.is_some();
        let registry = has_files.then(|| Registry {
            ca: registry.ca.clone(),
            client: registry.client.clone(),
            upstream,
            seen: None,
        });
        Ok(Self {
            listener: listener.transpose()?,
            registry,
            clock,
        })
    }

    /// What the listener speaks TLS by; none: it speaks none.
    pub(super) fn of_listener(&self) -> Option<Arc<ArcSwap<ServerConfig>>> {
        let listener = self.listener.as_ref()?;
        Some(Arc::clone(&listener.current))
    }

    /// Looks at the files until it is dropped.
    pub(super) async fn watch(self, readiness: Readiness, meter: Meter) {
        let reloads = meter
            .u64_counter(RELOADS)
            .with_description("Reloads of certificates and keys, by whom they are for and result.")
            .build();
        let outcomes = |name, of| {
            let labels = vec![KeyValue::new("for", of)];
            Outcomes::new(name, readiness.clone(), reloads.clone(), labels)
        };
        let mut watched = JoinSet::new();
        if let Some(listener) = self.listener {
            let outcomes = outcomes("certificates.listener", "listener");
            watched.spawn(watch(listener, outcomes, Arc::clone(&self.clock)));
        }
        if let Some(registry) = self.registry {
            let outcomes = outcomes("certificates.upstream", "upstream");
            watched.spawn(watch(registry, outcomes, Arc::clone(&self.clock)));
        }
        while watched.join_next().await.is_some() {}
    }
}

/// What is made of files.
trait Material: Send + 'static {
    /// The files.
    fn paths(&self) -> Vec<&Path>;

    /// Uses what is in them now, if that is something else than before; whether it is.
    fn reload(&mut self, asked_for: bool, clock: &dyn Clock) -> Result<bool, StartError>;
}

async fn watch(mut material: impl Material, mut outcomes: Outcomes, clock: Arc<dyn Clock>) {
    let mut looks = Looks::start();
    loop {
        let asked_for = looks.next().await;
        let clock = Arc::clone(&clock);
        let reloaded = tokio::task::spawn_blocking(move || {
            let result = material.reload(asked_for, &*clock);
            (material, result)
        });
        // It ends only with the process, unless reading has panicked.
        let Ok((back, result)) = reloaded.await else {
            tracing::error!("certificates are not looked at any more");
            return;
        };
        material = back;
        if matches!(result, Ok(true)) {
            let paths: Vec<String> = material
                .paths()
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            tracing::info!(files = paths.join(" "), "certificates reloaded");
        }
        let result = result.map_err(|error| full(&error));
        outcomes.tell(result, asked_for, "what was read before");
    }
}

fn full(error: &StartError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

impl Listener {
    fn start(files: config::Tls, clock: &dyn Clock) -> Result<Self, StartError> {
        let tickets = Tickets::new()?;
        let read = ListenerFiles::read(&files)?;
        let seen = read.digest();
        let config = tls::config(
            read.identity(&files.identity, clock)?,
            read.authorities(&files)?,
            &tickets,
        )?;
        Ok(Self {
            current: Arc::new(ArcSwap::from_pointee(config)),
            tickets,
            clients: read.clients,
            seen: Some(seen),
            files,
        })
    }
}

/// What is in the files of the listener, read once.
struct ListenerFiles {
    pair: [Vec<u8>; 2],
    clients: Option<Vec<u8>>,
}

impl ListenerFiles {
    fn read(files: &config::Tls) -> Result<Self, StartError> {
        Ok(Self {
            pair: read_pair(&files.identity)?,
            clients: files.client_ca.as_deref().map(read).transpose()?,
        })
    }

    fn digest(&self) -> Digest {
        digest(self.pair.iter().chain(&self.clients))
    }

    fn identity(&self, paths: &KeyPair, clock: &dyn Clock) -> Result<CertifiedKey, StartError> {
        identity(paths, &self.pair, clock)
    }

    fn authorities(
        &self,
        files: &config::Tls,
    ) -> Result<Option<rustls::RootCertStore>, StartError> {
        let (Some(pem), Some(path)) = (&self.clients, &files.client_ca) else {
            return Ok(None);
        };
        let read = certificates::authorities(pem);
        read.map(Some).map_err(|source| wrong(path, source))
    }
}

impl Material for Listener {
    fn paths(&self) -> Vec<&Path> {
        let config::Tls {
            identity,
            client_ca,
        } = &self.files;
        let pair = [identity.certificate.as_path(), identity.key.as_path()];
        pair.into_iter().chain(client_ca.as_deref()).collect()
    }

    fn reload(&mut self, asked_for: bool, clock: &dyn Clock) -> Result<bool, StartError> {
        let read = ListenerFiles::read(&self.files)?;
        let seen = read.digest();
        if !asked_for && is_same(self.seen.as_ref(), &seen) {
            return Ok(false);
        }
        let identity = read.identity(&self.files.identity, clock)?;
        let authorities = read.authorities(&self.files)?;
        // A ticket lets a client in that has shown a certificate once: of an authority that may not count any more.
        let tickets = if self.clients == read.clients {
            self.tickets.clone()
        } else {
            Tickets::new()?
        };
        let config = tls::config(identity, authorities, &tickets)?;
        self.current.store(Arc::new(config));
        self.tickets = tickets;
        self.clients = read.clients;
        self.seen = Some(seen);
        Ok(true)
    }
}

impl Material for Registry {
    fn paths(&self) -> Vec<&Path> {
        let pair = self.client.iter();
        let pair = pair.flat_map(|pair| [pair.certificate.as_path(), pair.key.as_path()]);
        self.ca.as_deref().into_iter().chain(pair).collect()
    }

    fn reload(&mut self, asked_for: bool, clock: &dyn Clock) -> Result<bool, StartError> {
        let read: Result<Vec<Vec<u8>>, StartError> = self.paths().into_iter().map(read).collect();
        let seen = digest(read?.iter());
        let is_first = self.seen.is_none();
        if !asked_for && is_same(self.seen.as_ref(), &seen) {
            return Ok(false);
        }
        let tls = of_registry(self.ca.as_deref(), self.client.as_ref(), clock)?;
        self.upstream.use_tls(tls);
        self.seen = Some(seen);
        Ok(!is_first)
    }
}

/// What TLS is spoken with to the registry.
///
/// # Errors
/// A file cannot be read, or they do not fit together.
pub(super) fn of_registry(
    ca: Option<&Path>,
    client: Option<&KeyPair>,
    clock: &dyn Clock,
) -> Result<upstream::Tls, StartError> {
    let identity = client.map(|paths| identity(paths, &read_pair(paths)?, clock));
    Ok(upstream::Tls {
        roots: trust::roots(ca)?,
        identity: identity.transpose()?.map(Arc::new),
    })
}

fn identity(
    paths: &KeyPair,
    [chain, key]: &[Vec<u8>; 2],
    clock: &dyn Clock,
) -> Result<CertifiedKey, StartError> {
    let chain = certificates::chain(chain).map_err(|source| wrong(&paths.certificate, source))?;
    let key = certificates::key(key).map_err(|source| wrong(&paths.key, source))?;
    let identity =
        certificates::identity(chain, key).map_err(|source| wrong(&paths.key, source))?;
    let now = clock.now().as_u64() / 1000;
    let own = identity.cert.first();
    if let Some(problem) = own.and_then(|own| certificates::out_of_time(own, now)) {
        let path = paths.certificate.display();
        tracing::warn!("{path}: the certificate {problem}");
    }
    Ok(identity)
}

fn read_pair(paths: &KeyPair) -> Result<[Vec<u8>; 2], StartError> {
    Ok([read(&paths.certificate)?, read(&paths.key)?])
}

fn read(path: &Path) -> Result<Vec<u8>, StartError> {
    fs::read(path).map_err(|source| StartError::File {
        path: path.to_owned(),
        source,
    })
}

fn wrong(path: &Path, source: CertificateError) -> StartError {
    StartError::Certificates {
        path: path.to_owned(),
        source,
    }
}

fn is_same(one: Option<&Digest>, other: &Digest) -> bool {
    one.is_some_and(|one| one.as_ref() == other.as_ref())
}

/// Of several contents, each with its length, so that no two lists are alike. Keys are not kept for the sake of this.
fn digest<'a>(contents: impl Iterator<Item = &'a Vec<u8>>) -> Digest {
    let mut context = Context::new(&SHA256);
    for content in contents {
        context.update(&content.len().to_be_bytes());
        context.update(content);
    }
    context.finish()
}
