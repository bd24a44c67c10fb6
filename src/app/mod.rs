//! The composition root: settings in, a running regseal out. The only place that names concrete backends.

mod admin_client;
mod assembly;
mod certificates;
pub mod check;
pub mod collect;
mod contact;
mod data_plane;
mod docker;
pub mod doctor;
mod error;
pub mod inspect;
pub mod lint;
mod maintenance;
mod policing;
pub mod rebuild;
mod reloading;
mod sealing_keys;
mod stores;
pub mod transfer;
mod translate;
mod trust;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use crate::admin;
use crate::clock::{Clock, SystemClock};
use crate::config::Settings;
use crate::respond;
use crate::server::limit::{InFlightLayer, Shed};
use crate::server::{self, Admin, Drain, Drained, Front, Listener, Readiness};
use crate::store::SignatureStore;
use crate::telemetry::{self, Telemetry};
use tower::{Layer, service_fn};

use assembly::Assembly;
use certificates::Certificates;
use contact::Contact;
use data_plane::DataPlane;
use maintenance::Maintenance;
use policing::Policing;

pub use admin_client::AdminError;
pub use docker::DockerError;
pub use error::{CommandError, StartError};
pub use stores::{Stores, open_beside, open_or_make_beside, open_stores};

/// A regseal whose listeners are bound and whose stores are open.
#[derive(Debug)]
pub struct App {
    listener: Listener,
    admin: Listener,
    plane: DataPlane,
    api: Option<Arc<dyn server::Api>>,
    store: Arc<SignatureStore>,
    policing: Option<Policing>,
    certificates: Certificates,
    contact: Contact,
    clock: Arc<dyn Clock>,
    telemetry: Telemetry,
    settings: Settings,
}

impl App {
    /// Opens stores and binds listeners; nothing is served yet.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(settings: Settings, telemetry: Telemetry) -> Result<Self, StartError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        settings.upstream.as_ref().ok_or(StartError::Upstream)?;
        let stores = open_stores(&settings, &clock).await?;
        stores::report(&settings, stores.found.as_ref());
        let contact = Contact::new(Arc::clone(&clock));
        let account = translate::account(&settings);
        let (store, meter) = (&stores.signatures, telemetry.meter());
        let built = Assembly::of(&settings, store, &clock, &contact, &meter, account);
        let Assembly {
            plane,
            policing,
            upstream,
            parts,
        } = built.await?;
        let registry = settings.upstream.as_ref().ok_or(StartError::Upstream)?;
        let certificates = Certificates::start(&settings.listen, registry, upstream, &clock)?;
        let refused = telemetry::RefusedConnections::new(&meter);
        let front = Front {
            tls: certificates.of_listener(),
            refused: Some(Arc::new(move |why| refused.add(why.as_str()))),
            ..translate::front(&settings)
        };
        let api = settings.admin.token.as_ref();
        let api = api.map(|token| Arc::new(admin::Api::new(token, parts)) as Arc<dyn server::Api>);
        Ok(Self {
            listener: bind(settings.listen.address).await?.behind(front),
            admin: bind(settings.admin.address).await?,
            plane,
            api,
            store: stores.signatures,
            policing,
            certificates,
            contact,
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
        let shed = move |why| {
            metrics.shed();
            match why {
                Shed::All => respond::overloaded(),
                Shed::Client => respond::too_many_of_one_client(),
            }
        };
        let limits = self.settings.limits;
        let limit =
            InFlightLayer::new(limits.in_flight, NonZeroUsize::new(limits.per_client), shed);
        let service = limit.layer(service_fn(move |request| {
            let plane = plane.clone();
            async move { Ok(plane.answer(request).await) }
        }));
        let deadline = self.settings.timeouts.drain;
        let config = server::Config {
            head_timeout: self.settings.timeouts.head,
            write_timeout: self.settings.timeouts.idle,
            drain_deadline: deadline,
            ..server::Config::default()
        };
        let data = tokio::spawn(server::serve(self.listener, service, config, drain.clone()));
        let status = Admin::new(readiness.clone(), self.telemetry.registry(), self.api);
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
        telemetry::watch_tasks(&self.telemetry.meter(), tokio::runtime::Handle::current());
        let maintenance = Maintenance {
            store: self.store,
            clock: self.clock,
            readiness: readiness.clone(),
            contact: self.contact,
            meter: self.telemetry.meter(),
        };
        let (checks, meter) = (readiness.clone(), self.telemetry.meter());
        let certificates = tokio::spawn(self.certificates.watch(checks.clone(), meter.clone()));
        let policing = tokio::spawn(async move {
            match self.policing {
                Some(policing) => policing.watch(checks, meter).await,
                None => policing::nothing_to_reload().await,
            }
        });
        let maintenance = tokio::spawn(maintenance.run());
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
        policing.abort();
        certificates.abort();
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
    translate::telemetry(settings)
}

async fn bind(address: SocketAddr) -> Result<Listener, StartError> {
    Listener::bind(address)
        .await
        .map_err(|source| StartError::Bind { address, source })
}
