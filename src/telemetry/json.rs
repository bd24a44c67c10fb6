//! Logs as JSON, one object a line: `timestamp`, `level`, `target`, `message`, `trace_id` and `span_id` inside a span,
//! then the fields of the event under their own names.

use std::fmt;
use std::sync::Arc;

use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt;
use serde::Serialize;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::clock::Clock;

/// Formats events as JSON lines.
#[derive(Debug)]
pub(super) struct JsonLines {
    clock: Arc<dyn Clock>,
}

impl JsonLines {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    timestamp: String,
    level: &'static str,
    target: &'a str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    span_id: Option<String>,
    #[serde(flatten)]
    fields: Map<String, Value>,
}

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut collected = Collected::default();
        event.record(&mut collected);
        // Entering a span makes its OpenTelemetry context the current one.
        let context = Context::current();
        let span = context.span();
        let ids = Some(span.span_context()).filter(|span| span.is_valid());
        let line = Line {
            timestamp: self.clock.now().to_string(),
            level: event.metadata().level().as_str(),
            target: event.metadata().target(),
            message: collected.message,
            trace_id: ids.map(|ids| ids.trace_id().to_string()),
            span_id: ids.map(|ids| ids.span_id().to_string()),
            fields: collected.fields,
        };
        let line = serde_json::to_string(&line).or(Err(fmt::Error))?;
        writeln!(writer, "{line}")
    }
}

/// The fields of one event. A field that has the name of a part of the line is left out: a key never stands twice.
#[derive(Default)]
struct Collected {
    message: String,
    fields: Map<String, Value>,
}

const OF_THE_LINE: [&str; 5] = ["timestamp", "level", "target", "trace_id", "span_id"];

impl Collected {
    fn insert(&mut self, field: &Field, value: Value) {
        if !OF_THE_LINE.contains(&field.name()) {
            self.fields.insert(field.name().to_owned(), value);
        }
    }
}

impl Visit for Collected {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.insert(field, Value::String(format!("{value:?}")));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.insert(field, Value::from(value));
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let causes = std::iter::successors(Some(value), |error| error.source());
        let chain: Vec<String> = causes.map(ToString::to_string).collect();
        self.insert(field, Value::String(chain.join(": ")));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, Value::from(value));
    }

    /// Durations in milliseconds are of this type; one that JSON has no number for is written as text.
    fn record_u128(&mut self, field: &Field, value: u128) {
        let value =
            u64::try_from(value).map_or_else(|_| Value::from(value.to_string()), Value::from);
        self.insert(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, Value::from(value));
    }
}
