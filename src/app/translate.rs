//! From settings to the configurations of the modules.

use std::sync::Arc;

use http::uri::Scheme;

use super::contact::Contact;
use super::{StartError, certificates};
use crate::auth::{Caller, relay};
use crate::body::Room;
use crate::clock::Clock;
use crate::config::{self, Settings};
use crate::handlers;
use crate::server;
use crate::telemetry::{self, HttpMetrics};
use crate::transfer;
use crate::upstream;

/// The configuration of logs, traces and metrics.
pub(super) fn telemetry(settings: &Settings) -> telemetry::Config {
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

pub(super) fn relay(settings: &Settings) -> relay::Config {
    relay::Config {
        allowed: settings.auth.token_relay == config::TokenRelay::Auto,
        realms: settings.auth.realms.clone(),
        public_url: settings.listen.public_url.clone(),
        body_time: settings.timeouts.idle,
    }
}

/// What stands before HTTP, but for certificates.
pub(super) fn front(settings: &Settings) -> server::Front {
    let listen = &settings.listen;
    server::Front {
        proxy_protocol: listen.proxy_protocol.clone(),
        trusted_proxies: listen.trusted_proxies.clone(),
        scheme: listen
            .public_url
            .as_ref()
            .and_then(|url| url.scheme().cloned()),
        ..server::Front::default()
    }
}

/// Memory for what is read whole.
pub(super) fn room(settings: &Settings) -> Room {
    room_of(settings.limits.buffered)
}

fn room_of(bytes: u64) -> Room {
    Room::of(usize::try_from(bytes).unwrap_or(usize::MAX))
}

pub(super) fn handlers(
    settings: &Settings,
    registry: &config::Upstream,
    room: Room,
) -> handlers::Config {
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
        refresh: capture.refresh,
        on_subject_delete: capture.on_subject_delete,
        mend_tag_delete: settings
            .upstream
            .as_ref()
            .is_some_and(|upstream| upstream.mend_tag_delete),
        max_manifest: usize::try_from(settings.limits.manifest).unwrap_or(usize::MAX),
        room,
        // Each upload may have a copy, and a copy is a help only.
        staging_room: room_of(settings.limits.buffered / 8),
        manifest_time: settings.timeouts.idle,
        public_authority: public_authority(settings),
        redirects: match registry.redirects {
            config::Redirects::Relay => handlers::Redirects::Relay,
            config::Redirects::Follow => handlers::Redirects::Follow,
        },
        namespaces: registry.namespaces.clone(),
    }
}

pub(super) fn foreign_uploads(registry: &config::Upstream) -> handlers::ForeignUploads {
    match registry.foreign_uploads {
        config::ForeignUploads::Map => handlers::ForeignUploads::Map,
        config::ForeignUploads::Relay => handlers::ForeignUploads::Relay,
    }
}

/// Bounds of imports and exports.
pub(super) fn transfers(settings: &Settings) -> transfer::Settings {
    transfer::Settings {
        artifact_types: settings.capture.artifact_types.clone(),
        max_manifest: usize::try_from(settings.limits.manifest).unwrap_or(usize::MAX),
        max_blob: settings.capture.max_blob,
    }
}

/// Host, and perhaps port, that clients use, where it is configured.
pub(super) fn public_authority(settings: &Settings) -> Option<String> {
    let url = settings.listen.public_url.as_ref()?;
    url.authority().map(ToString::to_string)
}

/// What regseal itself is to the registry behind.
pub(super) fn account(settings: &Settings) -> Caller {
    let registry = settings.upstream.as_ref();
    let account = registry.and_then(|registry| registry.service_account.as_ref());
    Caller::own(account.map(|account| (account.username.as_str(), &account.password)))
}

pub(super) fn upstream(
    settings: &Settings,
    registry: &config::Upstream,
    room: &Room,
    metrics: &HttpMetrics,
    contact: &Contact,
    clock: &dyn Clock,
) -> Result<upstream::Config, StartError> {
    let url = &registry.url;
    let (timeouts, limits) = (&settings.timeouts, settings.limits);
    let (metrics, contact, places) = (metrics.clone(), contact.clone(), metrics.clone());
    Ok(upstream::Config {
        scheme: url.scheme().cloned().unwrap_or(Scheme::HTTP),
        authority: url.authority().cloned().ok_or(StartError::Upstream)?,
        tls: certificates::of_registry(registry.ca.as_deref(), registry.client.as_ref(), clock)?,
        connect: settings.timeouts.upstream_connect,
        first_byte: settings.timeouts.upstream_first_byte,
        read: settings.timeouts.upstream_first_byte,
        idle: settings.timeouts.idle,
        bounds: upstream::Bounds {
            places: upstream::places::Config {
                requests: limits.upstream,
                waiting: limits.upstream_queue,
                wait: timeouts.upstream_queue,
            },
            room: room.clone(),
            completion: timeouts.upload_completion,
        },
        propagate: telemetry::propagation::inject,
        observe: Arc::new(move |method, status, duration| {
            contact.note(status.is_some());
            metrics.record_upstream(method, status, duration);
        }),
        note: Arc::new(move |event| match event {
            upstream::Event::Taken(share) => places.upstream_active(share.name(), 1),
            upstream::Event::Freed(share) => places.upstream_active(share.name(), -1),
            upstream::Event::Waits(share) => places.upstream_waits(share.name(), 1),
            upstream::Event::WaitsNoMore(share) => places.upstream_waits(share.name(), -1),
            upstream::Event::Shed(share) => places.upstream_shed(share.name()),
            upstream::Event::SentAgain => places.sent_again(),
        }),
    })
}
