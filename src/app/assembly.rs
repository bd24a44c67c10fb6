//! What reads, judges and answers, put together over open stores: for a server, and for a command that asks the registry
//! itself.

use std::sync::Arc;

use arc_swap::ArcSwap;
use opentelemetry::metrics::Meter;
use tokio_util::task::TaskTracker;

use super::contact::Contact;
use super::data_plane::DataPlane;
use super::policing::{self, Policing};
use super::{StartError, lint, sealing_keys, translate};
use crate::admin;
use crate::admission::{Admission, AdmissionMetrics};
use crate::auth::relay::Wrapping;
use crate::auth::{self, Authorizer, Caller, Relay};
use crate::clock::Clock;
use crate::config::Settings;
use crate::handlers::{Handlers, UploadSessions};
use crate::policy::Snapshot;
use crate::store::SignatureStore;
use crate::telemetry::HttpMetrics;
use crate::transfer::Jobs;
use crate::upstream::Upstream;

/// All of it, before anything is served.
pub(super) struct Assembly {
    pub(super) plane: DataPlane,
    pub(super) policing: Option<Policing>,
    pub(super) upstream: Arc<Upstream>,
    /// For questions of operators.
    pub(super) parts: admin::Parts,
}

impl Assembly {
    /// Reads the policy, and connects to nothing. `account` is what regseal itself is to the registry behind.
    ///
    /// # Errors
    /// Something that is configured cannot be used.
    pub(super) async fn of(
        settings: &Settings,
        store: &Arc<SignatureStore>,
        clock: &Arc<dyn Clock>,
        contact: &Contact,
        meter: &Meter,
        account: Caller,
    ) -> Result<Self, StartError> {
        let registry = settings.upstream.as_ref().ok_or(StartError::Upstream)?;
        let metrics = HttpMetrics::new(meter);
        let room = translate::room(settings);
        let upstream = translate::upstream(settings, registry, &room, &metrics, contact, &**clock)?;
        let upstream = Arc::new(Upstream::new(upstream));
        let auth = auth::Config {
            cache_ttl: settings.auth.cache_ttl,
            hides_private_repositories: registry.hides_private_repositories,
        };
        let authorizer = Authorizer::new(Arc::clone(&upstream), &auth, Arc::clone(clock))?;
        let policing = Policing::start(settings, store, clock).await?;
        let snapshot = policing
            .as_ref()
            .map(|policing| Arc::clone(&policing.snapshot));
        let sealer = Arc::new(sealing_keys::sealer(settings)?);
        let without_policy = || Arc::new(ArcSwap::from_pointee(Snapshot::without_policy()));
        let judge = Admission::new(
            Arc::clone(store),
            snapshot.clone().unwrap_or_else(without_policy),
            Arc::clone(&sealer),
            Arc::clone(clock),
            AdmissionMetrics::new(meter),
        );
        let authority = upstream.authority().clone();
        let sessions = UploadSessions::new(
            translate::foreign_uploads(registry),
            Arc::clone(&sealer),
            authority.clone(),
            Arc::clone(clock),
        );
        let wrapping = Wrapping::new(sealer, authority, Arc::clone(clock));
        let relay = Arc::new(Relay::new(
            translate::relay(settings),
            Arc::clone(&upstream),
            wrapping,
            Arc::new(policing::Kept(snapshot.clone())),
        ));
        let jobs = Jobs::new(
            Arc::clone(&upstream),
            Arc::clone(&relay),
            Arc::clone(store),
            account.clone(),
            translate::transfers(settings),
        );
        let handlers = Handlers::new(
            translate::handlers(settings, registry, room),
            Arc::clone(&upstream),
            authorizer,
            Arc::clone(&relay),
            Arc::clone(store),
            sessions,
            snapshot.map(|_| judge.clone()),
        );
        let check_trust = settings.policy.file.clone().map(|policy_file| {
            let settings = settings.clone();
            let check =
                move || lint::TrustReport::of(lint::load(&settings, &policy_file)).to_json();
            Arc::new(check) as admin::CheckTrust
        });
        Ok(Self {
            parts: admin::Parts {
                handlers: handlers.clone(),
                admission: judge,
                store: Arc::clone(store),
                account,
                check_trust,
                jobs: Arc::new(jobs),
            },
            plane: DataPlane {
                handlers,
                relay,
                metrics,
                idle: settings.timeouts.idle,
                deadline: settings.timeouts.request,
                writes: TaskTracker::new(),
            },
            policing,
            upstream,
        })
    }
}
