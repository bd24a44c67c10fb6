//! From settings to the configurations of the modules.

use std::sync::Arc;

use http::uri::{Scheme, Uri};

use super::contact::Contact;
use super::{StartError, trust};
use crate::auth::{Caller, relay};
use crate::config::{self, Settings};
use crate::handlers;
use crate::telemetry::{self, HttpMetrics};
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
        scheme: public_scheme(settings),
        body_time: settings.timeouts.idle,
    }
}

/// The scheme that clients use.
fn public_scheme(settings: &Settings) -> &'static str {
    let public_url = settings.listen.public_url.as_ref();
    match public_url.and_then(Uri::scheme_str) {
        Some("https") => "https",
        _ => "http",
    }
}

pub(super) fn handlers(settings: &Settings) -> handlers::Config {
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
        on_subject_delete: capture.on_subject_delete,
        max_manifest: usize::try_from(settings.limits.manifest).unwrap_or(usize::MAX),
        manifest_time: settings.timeouts.idle,
        public_scheme: public_scheme(settings),
        public_authority: public_authority(settings),
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
    metrics: &HttpMetrics,
    contact: &Contact,
) -> Result<upstream::Config, StartError> {
    let url = &registry.url;
    let (metrics, contact) = (metrics.clone(), contact.clone());
    Ok(upstream::Config {
        scheme: url.scheme().cloned().unwrap_or(Scheme::HTTP),
        authority: url.authority().cloned().ok_or(StartError::Upstream)?,
        roots: trust::roots(registry.ca.as_deref())?,
        connect: settings.timeouts.upstream_connect,
        first_byte: settings.timeouts.upstream_first_byte,
        read: settings.timeouts.upstream_first_byte,
        idle: settings.timeouts.idle,
        propagate: telemetry::propagation::inject,
        observe: Arc::new(move |method, status, duration| {
            contact.note(status.is_some());
            metrics.record_upstream(method, status, duration);
        }),
    })
}
