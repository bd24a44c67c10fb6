//! What the keys become: plain values, which `app` hands to the modules.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use ipnet::IpNet;
use tracing::Level;

use crate::secret::Secret;
use crate::store::OnSubjectDelete;
use crate::store::blob::s3;
use crate::store::index::redis;

/// Every setting, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where clients connect.
    pub listen: Listen,
    /// Where operators connect.
    pub admin: Admin,
    /// The registry behind; none only if the settings were loaded for the stores alone.
    pub upstream: Option<Upstream>,
    /// Decisions about callers.
    pub auth: Auth,
    /// Where objects are kept.
    pub storage: Storage,
    /// Where the index is.
    pub index: Index,
    /// Keys of cryptography.
    pub keys: Keys,
    /// What is captured.
    pub capture: Capture,
    /// When what nothing refers to is deleted.
    pub gc: Gc,
    /// Which images need whose signature.
    pub policy: Policy,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// Bounds of memory and concurrency.
    pub limits: Limits,
    /// Logs and traces.
    pub telemetry: Telemetry,
}

/// Where clients connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The address of the data listener.
    pub address: SocketAddr,
    /// The URL clients use, where it cannot be told from their requests.
    pub public_url: Option<Uri>,
    /// The certificate of the listener; none: it speaks in clear.
    pub tls: Option<Tls>,
    /// Who begins connections with a header of the PROXY protocol.
    pub proxy_protocol: Vec<IpNet>,
    /// Whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
}

/// What the listener shows, and asks for, in a TLS handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificate of the server.
    pub identity: KeyPair,
    /// A PEM file with the authorities of clients; none: clients need no certificate.
    pub client_ca: Option<PathBuf>,
}

/// The files of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPair {
    /// A PEM file with the certificate, and those between it and its authority.
    pub certificate: PathBuf,
    /// A PEM file with its key.
    pub key: PathBuf,
}

/// Where operators connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// The address of the listener for health, metrics and the admin API.
    pub address: SocketAddr,
    /// What a caller of the admin API shows; none: there is no such API.
    pub token: Option<Secret>,
}

/// The registry behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Scheme, host and port.
    pub url: Uri,
    /// A PEM file with authorities to trust besides those of the system.
    pub ca: Option<PathBuf>,
    /// What regseal shows to the registry in a TLS handshake.
    pub client: Option<KeyPair>,
    /// Whether 404 may mean "not for you".
    pub hides_private_repositories: bool,
    /// Whether a tag is deleted through a placeholder where the registry deletes by digest only.
    pub mend_tag_delete: bool,
    /// What becomes of upload locations that are no session of the distribution API.
    pub foreign_uploads: ForeignUploads,
    /// Who follows redirects of blobs and manifests.
    pub redirects: Redirects,
    /// Hosts by which clients of a mirror know the registry, beside its own.
    pub namespaces: Vec<String>,
    /// The credentials of work that no caller asked for.
    pub service_account: Option<ServiceAccount>,
}

/// What becomes of upload locations on another host or path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForeignUploads {
    /// regseal goes there for the client.
    Map,
    /// The client goes there itself.
    Relay,
}

/// Who follows redirects of blobs and manifests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirects {
    /// The client.
    Relay,
    /// regseal.
    Follow,
}

/// Credentials for the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccount {
    /// The user.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// Decisions about callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// Whether challenges name regseal's own token service.
    pub token_relay: TokenRelay,
    /// The token services that a challenge may name beside that of the registry's own host.
    pub realms: Vec<Uri>,
    /// How long a positive decision is believed.
    pub cache_ttl: Duration,
}

/// Whether challenges name regseal's own token service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenRelay {
    /// Where a rule of the policy rejects.
    Auto,
    /// Never.
    Off,
}

/// Keys of cryptography.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// Files with the keys that seal what is kept outside; the first seals, all open.
    pub sealing: Vec<PathBuf>,
}

/// Which images need whose signature.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The policy file; none: everything is allowed.
    pub file: Option<PathBuf>,
    /// The directory with notation's trust policy and trust stores.
    pub trust_directory: Option<PathBuf>,
}

/// Where objects are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In a data directory.
    Directory(PathBuf),
    /// In a bucket; the index is then in Redis.
    S3(Box<S3>),
}

/// A bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3 {
    /// Its settings, but for the authorities.
    pub config: s3::Config,
    /// A PEM file with authorities to trust besides those of the system.
    pub ca: Option<PathBuf>,
}

/// Where the index is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Index {
    /// In a file in this data directory.
    Embedded(PathBuf),
    /// In Redis.
    Redis(Box<Redis>),
}

/// Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redis {
    /// Its settings, but for the authorities.
    pub config: redis::Config,
    /// A PEM file with authorities to trust besides those of the system.
    pub ca: Option<PathBuf>,
}

/// What is captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// Whether captured manifests go upstream, too.
    pub mode: CaptureMode,
    /// The artifact types of signatures.
    pub artifact_types: Vec<String>,
    /// The largest blob of a captured manifest, in bytes.
    pub max_blob: u64,
    /// The largest upload that is staged while it passes, in bytes.
    pub staging: u64,
    /// Whether `sha256-<hex>` indexes are merged into the referrers.
    pub absorb_fallback_tags: bool,
    /// Whether the tags of older cosign versions are captured.
    pub absorb_cosign_tags: bool,
    /// How long what the registry lists itself is believed.
    pub refresh: Duration,
    /// What happens to the signatures of a subject that is deleted.
    pub on_subject_delete: OnSubjectDelete,
    /// How long [`OnSubjectDelete::Grace`] waits.
    pub subject_grace: Duration,
}

/// When what nothing refers to is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gc {
    /// How far apart the two scans are that must both find it so.
    pub between_scans: Duration,
    /// How long it must not have been written.
    pub untouched: Duration,
}

/// Where a captured manifest is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureMode {
    /// Both where the upstream has the Referrers API, else only in the store.
    Auto,
    /// In the store only.
    Store,
    /// In the store and upstream.
    Both,
}

/// Deadlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For the head of a request.
    pub head: Duration,
    /// For the next bytes of a body.
    pub idle: Duration,
    /// For a connection to the upstream.
    pub upstream_connect: Duration,
    /// For the head of the upstream's response.
    pub upstream_first_byte: Duration,
    /// For the head of the upstream's response to the last request of an upload.
    pub upload_completion: Duration,
    /// For a place among the requests to the upstream.
    pub upstream_queue: Duration,
    /// For all that is done for a request before its response begins.
    pub request: Duration,
    /// For requests in flight at the end of the process.
    pub drain: Duration,
    /// For a call to Redis.
    pub redis: Duration,
    /// For an operation of S3 with all its attempts.
    pub s3_operation: Duration,
}

/// Bounds of memory and concurrency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests at a time.
    pub in_flight: usize,
    /// Requests of one client at a time; 0: no bound.
    pub per_client: usize,
    /// Requests to the upstream at a time.
    pub upstream: usize,
    /// Requests that wait for one of these.
    pub upstream_queue: usize,
    /// Memory for what is read whole, all together, in bytes.
    pub buffered: u64,
    /// The largest manifest, in bytes.
    pub manifest: u64,
}

/// Logs and traces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telemetry {
    /// The name of this service in traces and metrics.
    pub service_name: String,
    /// The collector that receives traces and metrics by OTLP over HTTP; none: they are not sent.
    pub otlp_endpoint: Option<Uri>,
    /// The form of log lines.
    pub log_format: LogFormat,
    /// The least level that is logged.
    pub log_level: Level,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}
