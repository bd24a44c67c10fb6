//! Starts logs, traces and metrics, and flushes them at the end.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry::trace::TracerProvider;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use prometheus::Registry;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::SetGlobalDefaultError;
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::layer::SubscriberExt;

use super::json::JsonLines;
use super::otlp::Exporters;
use crate::clock::{Clock, SystemClock};

/// The scope of all spans and instruments.
const SCOPE: &str = "regseal";
/// How long [`Telemetry::shutdown`] waits for the collector.
const FLUSH: Duration = Duration::from_secs(10);

/// What is logged and where telemetry goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Format of the lines on standard error.
    pub log_format: LogFormat,
    /// The least severe level that is logged; spans do not depend on it.
    pub level: LevelFilter,
    /// Base URL of an OTLP collector (HTTP, protobuf); none: nothing is exported.
    pub otlp_endpoint: Option<Uri>,
    /// `service.name` of all telemetry.
    pub service_name: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            log_format: LogFormat::Json,
            level: LevelFilter::INFO,
            otlp_endpoint: None,
            service_name: "regseal".to_owned(),
        }
    }
}

/// Format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// For people.
    Text,
}

/// Why telemetry could not be started. A collector that does not answer is no reason.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The exporter does not take the endpoint.
    #[error("the OTLP exporter cannot be made")]
    Exporter(#[source] ExporterBuildError),
    /// The TLS client for the collector cannot be made.
    #[error("the TLS client for OTLP cannot be made")]
    Tls(#[source] rustls::Error),
    /// The Prometheus exporter cannot be registered.
    #[error("the Prometheus exporter cannot be made")]
    Prometheus(#[source] OTelSdkError),
    /// Something has started logging before.
    #[error("logging was started twice")]
    Twice(#[source] SetGlobalDefaultError),
}

/// The running telemetry of the process.
#[derive(Debug)]
pub struct Telemetry {
    tracers: SdkTracerProvider,
    meters: SdkMeterProvider,
    registry: Registry,
}

/// Starts telemetry for the whole process. Must be called inside the runtime, once.
pub fn init(config: &Config) -> Result<Telemetry, InitError> {
    let telemetry = Telemetry::start(config)?;
    opentelemetry::global::set_meter_provider(telemetry.meters.clone());
    let subscriber = subscriber(config, &telemetry, Arc::new(SystemClock), std::io::stderr);
    tracing::subscriber::set_global_default(subscriber).map_err(InitError::Twice)?;
    Ok(telemetry)
}

impl Telemetry {
    pub(super) fn start(config: &Config) -> Result<Self, InitError> {
        let exporters = config
            .otlp_endpoint
            .as_ref()
            .map(Exporters::new)
            .transpose()
            .map_err(InitError::Tls)?;
        let registry = Registry::new();
        let meters = meter_provider(&config.service_name, &registry, exporters.as_ref())?;
        let tracers = tracer_provider(&config.service_name, exporters.as_ref())?;
        Ok(Self {
            tracers,
            meters,
            registry,
        })
    }

    /// What modules make their instruments from.
    pub fn meter(&self) -> Meter {
        self.meters.meter(SCOPE)
    }

    /// What `/metrics` shows.
    pub fn registry(&self) -> Registry {
        self.registry.clone()
    }

    /// Sends what is still buffered, as far as the collector takes it in time.
    pub async fn shutdown(self) {
        // Both wait for threads of their own, which in turn need the runtime to send.
        let flushing = tokio::task::spawn_blocking(move || {
            let results = [self.tracers.shutdown(), self.meters.shutdown()];
            results
                .into_iter()
                .filter_map(Result::err)
                .for_each(|error| {
                    tracing::warn!(%error, "the last telemetry may be lost");
                });
        });
        if tokio::time::timeout(FLUSH, flushing).await.is_err() {
            tracing::warn!("the collector did not take the last telemetry in time");
        }
    }
}

/// Logs to `writer`, and spans to the tracer whatever the level of the log.
pub(super) fn subscriber<W>(
    config: &Config,
    telemetry: &Telemetry,
    clock: Arc<dyn Clock>,
    writer: W,
) -> impl Subscriber + Send + Sync + use<W>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let scope = InstrumentationScope::builder(SCOPE)
        .with_version(env!("CARGO_PKG_VERSION"))
        .build();
    let spans = tracing_opentelemetry::layer()
        .with_tracer(telemetry.tracers.tracer_with_scope(scope))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(LevelFilter::INFO);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines = match config.log_format {
        // A JSON line has the fields of its event only, so those of spans need not be formatted.
        LogFormat::Json => lines
            .fmt_fields(debug_fn(|_, _, _| Ok(())))
            .event_format(JsonLines::new(clock))
            .boxed(),
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
    };
    tracing_subscriber::registry()
        .with(spans)
        .with(lines.with_filter(config.level))
}

/// Metrics with the Prometheus reader, and with the OTLP one if there are exporters.
pub(super) fn meter_provider(
    service_name: &str,
    registry: &Registry,
    exporters: Option<&Exporters>,
) -> Result<SdkMeterProvider, InitError> {
    let prometheus = opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        .scope_info_enabled(false)
        .build()
        .map_err(InitError::Prometheus)?;
    let mut builder = SdkMeterProvider::builder()
        .with_resource(resource(service_name))
        .with_reader(prometheus);
    if let Some(exporters) = exporters {
        builder = builder.with_periodic_exporter(exporters.metrics().map_err(InitError::Exporter)?);
    }
    Ok(builder.build())
}

/// Spans always get ids. They are recorded when they can be exported, or when the client's trace is sampled.
fn tracer_provider(
    service_name: &str,
    exporters: Option<&Exporters>,
) -> Result<SdkTracerProvider, InitError> {
    let builder = SdkTracerProvider::builder().with_resource(resource(service_name));
    let Some(exporters) = exporters else {
        return Ok(builder
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOff)))
            .build());
    };
    Ok(builder
        .with_batch_exporter(exporters.spans().map_err(InitError::Exporter)?)
        .build())
}

fn resource(service_name: &str) -> Resource {
    Resource::builder()
        .with_service_name(service_name.to_owned())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build()
}
