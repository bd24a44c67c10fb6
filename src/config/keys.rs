//! The table of keys: name, meaning, kind and default of each. One function reads one section.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use tracing::Level;

use super::kind::{Address, Choice, Count, FilePath, Flag, MediaTypes, Name, Size, Span, Url};
use super::section::Section;
use super::settings::{
    Admin, Auth, Capture, CaptureMode, Limits, Listen, LogFormat, Settings, Storage, Telemetry,
    Timeouts, Upstream,
};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

/// A deadline that is longer than this is none; one of zero would refuse everything.
const DEADLINE: Span = Span(RangeInclusive::new(
    Duration::from_millis(1),
    Duration::from_hours(24),
));

/// Reads every key. There are no settings only if a mistake was reported.
pub(super) fn read(keys: &mut Section<'_>) -> Option<Settings> {
    let listen = keys.section("listen", "Where clients connect.", listen);
    let admin = keys.section(
        "admin",
        "Where operators connect: health and metrics.",
        admin,
    );
    let upstream = keys.section("upstream", "The registry behind.", upstream);
    let auth = keys.section("auth", "Decisions about callers.", auth);
    let storage = keys.section("storage", "Where objects are kept.", storage);
    keys.section(
        "index",
        "The index of what is stored; it can be rebuilt at any time.",
        |keys| {
            keys.section(
                "embedded",
                "A file in the data directory. The default.",
                |_| (),
            );
            keys.later("redis", "Redis, shared by several replicas.");
        },
    );
    keys.later("keys", "Keys for sealing and signing.");
    let capture = keys.section("capture", "Which manifests are captured, and how.", capture);
    keys.later(
        "policy",
        "The policy file: which images need whose signature.",
    );
    keys.later("trust", "The trust directory for verification.");
    keys.later("webhooks", "Receivers of events.");
    let timeouts = keys.section("timeouts", "Deadlines.", timeouts);
    let limits = keys.section("limits", "Bounds of memory and concurrency.", limits);
    let telemetry = keys.section("telemetry", "Logs, traces and metrics.", telemetry);
    Some(Settings {
        listen,
        admin,
        upstream: upstream?,
        auth,
        storage,
        capture,
        timeouts,
        limits,
        telemetry,
    })
}

fn listen(keys: &mut Section<'_>) -> Listen {
    let listen = Listen {
        address: keys.value(
            "address",
            "The address and port of the registry that clients see.",
            &Address,
            SocketAddr::from(([0, 0, 0, 0], 8080)),
        ),
        public_url: keys.optional(
            "public_url",
            "The URL by which clients reach that address, for instance through a load balancer that ends TLS.",
            &Url::ORIGIN,
        ),
    };
    keys.later("signing", "A second data listener for those who sign.");
    keys.later("tls", "The certificate of the listener.");
    keys.later("proxy_protocol", "The PROXY protocol of a load balancer.");
    keys.later(
        "trusted_proxies",
        "Proxies whose forwarding headers are believed.",
    );
    listen
}

fn admin(keys: &mut Section<'_>) -> Admin {
    let admin = Admin {
        address: keys.value(
            "address",
            "The address and port of health and metrics.",
            &Address,
            SocketAddr::from(([127, 0, 0, 1], 8081)),
        ),
    };
    keys.later("token_file", "The bearer token of the admin API.");
    admin
}

fn upstream(keys: &mut Section<'_>) -> Option<Upstream> {
    let url = keys.required(
        "url",
        "The registry behind: http or https, host and perhaps port, no path. Required.",
        &Url::ORIGIN,
        "--upstream",
    );
    let ca = keys.optional(
        "ca",
        "A PEM file with certificate authorities to trust besides those of the system.",
        &FilePath,
    );
    let hides_private_repositories = keys.value(
        "hides_private_repositories",
        "Whether the registry answers 404 for what a caller may not see. If unsure: true.",
        &Flag,
        true,
    );
    keys.later(
        "client_certificate",
        "The certificate regseal shows to the registry.",
    );
    keys.later("client_key", "The key of that certificate.");
    keys.later(
        "service_account",
        "The credentials of work that no caller asked for.",
    );
    Some(Upstream {
        url: url?,
        ca,
        hides_private_repositories,
    })
}

fn auth(keys: &mut Section<'_>) -> Auth {
    // Before there are policies no challenge is rewritten, so both words mean the same.
    keys.value(
        "token_relay",
        "Whether challenges name regseal's own token service when a policy needs it. Without effect as yet.",
        &Choice(&[("auto", Some("auto")), ("off", Some("off"))]),
        "auto",
    );
    keys.later("realms", "The token services a challenge may name.");
    Auth {
        cache_ttl: keys.value(
            "cache_ttl",
            "How long a positive decision of the registry is believed; at most 60s, 0s asks each time.",
            &Span(Duration::ZERO..=Duration::from_secs(60)),
            Duration::from_secs(30),
        ),
    }
}

fn storage(keys: &mut Section<'_>) -> Storage {
    let default = keys.directory().join("regseal-data");
    let storage = Storage {
        directory: keys.value(
            "directory",
            "The directory that holds everything; made if it is not there.",
            &FilePath,
            default,
        ),
    };
    keys.later("s3", "An S3 bucket in place of a directory.");
    storage
}

fn capture(keys: &mut Section<'_>) -> Capture {
    let capture = Capture {
        mode: keys.value(
            "mode",
            "Where captured manifests go: into the store, into both store and registry, or (auto) into both where the \
             registry has the Referrers API, else into the store.",
            &Choice(&[
                ("auto", Some(CaptureMode::Auto)),
                ("store", Some(CaptureMode::Store)),
                ("both", Some(CaptureMode::Both)),
            ]),
            CaptureMode::Auto,
        ),
        artifact_types: keys.value(
            "artifact_types",
            "The artifact types that are signatures. A list replaces the default.",
            &MediaTypes,
            [
                "application/vnd.cncf.notary.signature",
                "application/vnd.dev.sigstore.bundle.v0.3+json",
                "application/vnd.dev.cosign.artifact.sig.v1+json",
                "application/vnd.dev.cosign.artifact.att.v1+json",
            ]
            .map(str::to_owned)
            .to_vec(),
        ),
        max_blob: keys.value(
            "max_blob",
            "The largest blob of a captured manifest.",
            &Size(1..=TIB),
            256 * MIB,
        ),
        staging: keys.value(
            "staging",
            "The largest upload that is kept while it passes, for the manifest that may name it; 0 keeps none.",
            &Size(0..=1024 * MIB),
            MIB,
        ),
        absorb_fallback_tags: keys.value(
            "absorb_fallback_tags",
            "Whether referrers tags (sha256-<hex>) are merged into the referrers and not sent to the registry.",
            &Flag,
            true,
        ),
        absorb_cosign_tags: keys.value(
            "absorb_cosign_tags",
            "Whether the tags of cosign 2 and older (sha256-<hex>.sig, .att, .sbom) are captured.",
            &Flag,
            true,
        ),
    };
    keys.value(
        "on_subject_delete",
        "What happens to signatures when their subject is deleted.",
        &Choice(&[("keep", Some("keep")), ("grace", None), ("delete", None)]),
        "keep",
    );
    capture
}

fn timeouts(keys: &mut Section<'_>) -> Timeouts {
    let mut deadline =
        |name, about, seconds| keys.value(name, about, &DEADLINE, Duration::from_secs(seconds));
    let timeouts = Timeouts {
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
        drain: deadline(
            "drain",
            "For requests in flight when the process is told to end.",
            30,
        ),
    };
    keys.later("redis", "For a call to Redis.");
    keys.later("s3_operation", "For an operation of S3.");
    timeouts
}

fn limits(keys: &mut Section<'_>) -> Limits {
    Limits {
        in_flight: keys.value(
            "in_flight",
            "Requests at a time, each counted until its response has ended.",
            &Count(1..=1_000_000),
            1024,
        ),
        manifest: keys.value(
            "manifest",
            "The largest manifest.",
            &Size(KIB..=64 * MIB),
            4 * MIB,
        ),
    }
}

fn telemetry(keys: &mut Section<'_>) -> Telemetry {
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
