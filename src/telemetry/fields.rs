//! The names of all span and log fields, and of all metrics.
//!
//! HTTP follows the OpenTelemetry semantic conventions; what is ours begins with `oci.`. Units stand in the names of
//! fields (`duration_ms`) and in the unit of instruments, from which the Prometheus exposition makes its suffix.
//! The macros of `tracing` take the constants in braces:
//!
//! ```ignore
//! info!({ fields::OCI_REPOSITORY } = %name, { fields::DURATION_MS } = duration, "manifest pushed");
//! ```
//!
//! Metric labels are bounded: no repository, tag or digest is ever one.

/// Method of the request; as a metric label only the known ones, others as `_OTHER`.
pub const HTTP_REQUEST_METHOD: &str = "http.request.method";
/// Route of the request: a name from a closed set, never the path.
pub const HTTP_ROUTE: &str = "http.route";
/// Status of the response.
pub const HTTP_RESPONSE_STATUS_CODE: &str = "http.response.status_code";
/// Bytes of data in the request body.
pub const HTTP_REQUEST_BODY_SIZE: &str = "http.request.body.size";
/// Bytes of data in the response body.
pub const HTTP_RESPONSE_BODY_SIZE: &str = "http.response.body.size";
/// Host of the registry behind.
pub const SERVER_ADDRESS: &str = "server.address";
/// Port of the registry behind, where its URL names one.
pub const SERVER_PORT: &str = "server.port";
/// Address of the peer.
pub const CLIENT_ADDRESS: &str = "client.address";
/// Why there was no response, or not a whole one: a word from a closed set.
pub const ERROR_TYPE: &str = "error.type";

/// Repository.
pub const OCI_REPOSITORY: &str = "oci.repository";
/// Tag.
pub const OCI_TAG: &str = "oci.tag";
/// Digest of the manifest or blob.
pub const OCI_DIGEST: &str = "oci.digest";
/// Digest of the manifest that a referrer refers to.
pub const OCI_SUBJECT: &str = "oci.subject";
/// Artifact type of a manifest.
pub const OCI_ARTIFACT_TYPE: &str = "oci.artifact_type";
/// Code of the error body that was sent.
pub const OCI_ERROR_CODE: &str = "oci.error.code";

/// How long something took, in milliseconds.
pub const DURATION_MS: &str = "duration_ms";
/// Name of the span for OpenTelemetry; `tracing` itself wants a static one.
pub const OTEL_NAME: &str = "otel.name";
/// Kind of the span for OpenTelemetry.
pub const OTEL_KIND: &str = "otel.kind";
/// Status of the span for OpenTelemetry.
pub const OTEL_STATUS_CODE: &str = "otel.status_code";

/// Histogram, seconds: from the request head to the end of the response body.
pub const HTTP_SERVER_REQUEST_DURATION: &str = "http.server.request.duration";
/// Up-down counter: requests whose response body has not ended.
pub const HTTP_SERVER_ACTIVE_REQUESTS: &str = "http.server.active_requests";
/// Histogram, seconds: from sending a request upstream to its response head.
pub const HTTP_CLIENT_REQUEST_DURATION: &str = "http.client.request.duration";
/// Metric: requests refused because too many were under way.
pub const REQUESTS_SHED: &str = "regseal.requests.shed";
/// Metric: requests that were not answered in time.
pub const REQUESTS_TOO_SLOW: &str = "regseal.requests.too_slow";
/// Up-down counter: requests to the upstream whose response body has not ended.
pub const UPSTREAM_ACTIVE_REQUESTS: &str = "regseal.upstream.active_requests";
/// Up-down counter: requests that wait for a place among those.
pub const UPSTREAM_WAITING_REQUESTS: &str = "regseal.upstream.waiting_requests";
/// Metric: requests to the upstream that had no place.
pub const UPSTREAM_SHED: &str = "regseal.upstream.shed";
/// Metric: requests that were sent to the upstream again, on a new connection.
pub const UPSTREAM_SENT_AGAIN: &str = "regseal.upstream.sent_again";
/// Gauge: tasks of the runtime that have not ended.
pub const TASKS: &str = "regseal.tasks";
/// Whose requests: of clients, or regseal's own.
pub const UPSTREAM_SHARE: &str = "share";
/// Connections of clients that were given up.
pub const CONNECTIONS_REFUSED: &str = "regseal.connections.refused";
