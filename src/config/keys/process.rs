//! Keys of the process as a whole: deadlines, bounds, logs and traces.

use std::ops::RangeInclusive;
use std::time::Duration;

use tracing::Level;

use super::{KIB, MIB};
use crate::config::kind::{Choice, Count, Name, Size, Span, Url};
use crate::config::section::Section;
use crate::config::settings::{Limits, LogFormat, Telemetry, Timeouts};

/// A deadline that is longer than this is none; one of zero would refuse everything.
const DEADLINE: Span = Span(RangeInclusive::new(
    Duration::from_millis(1),
    Duration::from_hours(24),
));

pub(super) fn timeouts(keys: &mut Section<'_>) -> Timeouts {
    let mut deadline =
        |name, about, seconds| keys.value(name, about, &DEADLINE, Duration::from_secs(seconds));
    Timeouts {
        head: deadline("head", "For a client to send the head of a request.", 30),
        idle: deadline(
            "idle",
            "For the next bytes of a body, in either direction.",
            60,
        ),
        upstream_connect: deadline("upstream_connect", "For a connection to the registry.", 5),
        upstream_first_byte: deadline(
            "upstream_first_byte",
            "For the registry's response to begin after the request has been sent.",
            60,
        ),
        upload_completion: deadline(
            "upload_completion",
            "For the registry's response to the last request of an upload, before which some copy the whole blob.",
            600,
        ),
        upstream_queue: deadline(
            "upstream_queue",
            "For a place among the requests to the registry.",
            2,
        ),
        request: deadline(
            "request",
            "For all that is done for a request before its response begins; uploads, which stream, have the others.",
            120,
        ),
        drain: deadline(
            "drain",
            "For requests in flight when the process is told to end.",
            30,
        ),
        redis: deadline(
            "redis",
            "For a call to Redis, and for a connection to it.",
            1,
        ),
        s3_operation: keys.value(
            "s3_operation",
            "For an operation of S3, all its attempts together; at most 20s, which the collector relies on.",
            &Span(Duration::from_millis(1)..=Duration::from_secs(20)),
            Duration::from_secs(15),
        ),
    }
}

pub(super) fn limits(keys: &mut Section<'_>) -> Limits {
    Limits {
        in_flight: keys.value(
            "in_flight",
            "Requests at a time, each counted until its response has ended.",
            &Count(1..=1_000_000),
            1024,
        ),
        per_client: keys.value(
            "per_client",
            "Requests of one client at a time, by its address, or its network (/64) of IPv6. 0: no bound.",
            &Count(0..=1_000_000),
            0,
        ),
        upstream: keys.value(
            "upstream",
            "Requests to the registry at a time, each counted until its response has ended. A quarter is for regseal's own questions.",
            &Count(2..=1_000_000),
            512,
        ),
        upstream_queue: keys.value(
            "upstream_queue",
            "Requests that wait for one of these; more are refused at once.",
            &Count(0..=1_000_000),
            512,
        ),
        buffered: keys.value(
            "buffered",
            "Memory for manifests, and for responses of the registry that are read whole, all together.",
            &Size(MIB..=64 * KIB * MIB),
            64 * MIB,
        ),
        manifest: keys.value(
            "manifest",
            "The largest manifest.",
            &Size(KIB..=64 * MIB),
            4 * MIB,
        ),
    }
}

pub(super) fn telemetry(keys: &mut Section<'_>) -> Telemetry {
    let service_name = keys.value(
        "service_name",
        "The name of this service in traces and metrics; also OTEL_SERVICE_NAME.",
        &Name,
        "regseal".to_owned(),
    );
    let otlp_endpoint = keys.section("otlp", "Traces and metrics by OTLP.", |keys| {
        keys.optional(
            "endpoint",
            "The collector, by OTLP over HTTP; also OTEL_EXPORTER_OTLP_ENDPOINT. Without it nothing is sent.",
            &Url::BASE,
        )
    });
    let (log_format, log_level) = keys.section("log", "Log lines, on standard error.", |keys| {
        let format = keys.value(
            "format",
            "The form of log lines.",
            &Choice(&[
                ("json", Some(LogFormat::Json)),
                ("text", Some(LogFormat::Text)),
            ]),
            LogFormat::Json,
        );
        let level = keys.value(
            "level",
            "The least level that is logged.",
            &Choice(&[
                ("error", Some(Level::ERROR)),
                ("warn", Some(Level::WARN)),
                ("info", Some(Level::INFO)),
                ("debug", Some(Level::DEBUG)),
                ("trace", Some(Level::TRACE)),
            ]),
            Level::INFO,
        );
        (format, level)
    });
    Telemetry {
        service_name,
        otlp_endpoint,
        log_format,
        log_level,
    }
}
