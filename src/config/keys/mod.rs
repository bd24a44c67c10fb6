//! The table of keys: name, meaning, kind and default of each. One function reads one section.

mod capture;
mod network;
mod policy;
mod process;
mod redis;
mod s3;
mod stores;

use super::section::Section;
use super::settings::Settings;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// What a configuration is loaded for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needed {
    /// To serve: the registry behind has to be named.
    Upstream,
    /// To work on the stores.
    Stores,
}

/// Reads every key. There are no settings only if a mistake was reported.
pub(super) fn read(keys: &mut Section<'_>, needed: Needed) -> Option<Settings> {
    let listen = keys.section("listen", "Where clients connect.", network::listen);
    let admin = keys.section(
        "admin",
        "Where operators connect: health and metrics.",
        network::admin,
    );
    let knows_clients = listen
        .tls
        .as_ref()
        .is_some_and(|tls| tls.client_ca.is_some());
    let upstream = keys.section("upstream", "The registry behind.", |keys| {
        network::upstream(keys, needed, knows_clients)
    });
    let auth = keys.section("auth", "Decisions about callers.", network::auth);
    let stores = stores::read(keys);
    let cryptographic = keys.section(
        "keys",
        "Keys for sealing and signing.",
        stores::cryptographic,
    );
    let capture = keys.section(
        "capture",
        "Which manifests are captured, and how.",
        capture::capture,
    );
    let gc = keys.section("gc", "When what nothing refers to is deleted.", capture::gc);
    let policy = policy::read(keys);
    keys.later("webhooks", "Receivers of events.");
    let timeouts = keys.section("timeouts", "Deadlines.", process::timeouts);
    let limits = keys.section(
        "limits",
        "Bounds of memory and concurrency.",
        process::limits,
    );
    let telemetry = keys.section("telemetry", "Logs, traces and metrics.", process::telemetry);
    let (storage, index) = stores?.with(&timeouts);
    policy.check_sealing(keys, &storage, &cryptographic);
    Some(Settings {
        listen,
        admin,
        upstream,
        auth,
        keys: cryptographic,
        storage,
        index,
        capture,
        gc,
        policy: policy.settings,
        timeouts,
        limits,
        telemetry,
    })
}
