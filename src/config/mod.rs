//! Configuration: defaults, then the file, the environment and the flags, each stronger than the one before.
//!
//! What is written (`written`, `sources`) is read against one table (`keys`), which yields the [`Settings`] and,
//! by the same walk, every mistake of all sources, the effective configuration (`dump`) and a JSON schema (`schema`).
//! Nothing is ignored: a key that is unknown, or that only later versions know, is a mistake. This is the only module that
//! reads the process environment, and no module imports it but `app` and `cli`.

mod dump;
mod keys;
mod kind;
mod mistake;
mod schema;
mod section;
mod settings;
mod sources;
#[cfg(test)]
mod tests;
mod written;

pub use self::mistake::{ConfigErrors, Mistake, Problem};
pub use self::settings::{
    Admin, Auth, Capture, CaptureMode, ForeignUploads, Gc, Index, KeyPair, Keys, Limits, Listen,
    LogFormat, Policy, Redirects, Redis, S3, ServiceAccount, Settings, Storage, Telemetry,
    Timeouts, Tls, TokenRelay, Upstream,
};
pub use self::sources::{Environment, Flags};
pub use self::written::Origin;

use self::keys::Needed;
use self::section::{Declared, Section};

/// Loads the settings of a process that serves, which has a registry behind.
///
/// # Errors
/// If the file cannot be read, or with everything that is wrong in file, environment and flags.
pub fn load(flags: &Flags, environment: &Environment) -> Result<Settings, ConfigErrors> {
    resolve(flags, environment, Needed::Upstream).map(|(settings, _)| settings)
}

/// Loads the settings of a command that works on the stores, for which no registry needs to be named.
///
/// # Errors
/// As [`load`].
pub fn load_for_stores(flags: &Flags, environment: &Environment) -> Result<Settings, ConfigErrors> {
    resolve(flags, environment, Needed::Stores).map(|(settings, _)| settings)
}

/// The effective configuration as YAML that loads again, the origin of each value beside it, secrets left out.
///
/// # Errors
/// As [`load`].
pub fn dump_yaml(flags: &Flags, environment: &Environment) -> Result<String, ConfigErrors> {
    resolve(flags, environment, Needed::Upstream).map(|(_, keys)| dump::yaml(&keys))
}

/// The effective configuration as JSON that loads again, secrets left out.
///
/// # Errors
/// As [`load`].
pub fn dump_json(
    flags: &Flags,
    environment: &Environment,
) -> Result<serde_json::Value, ConfigErrors> {
    resolve(flags, environment, Needed::Upstream).map(|(_, keys)| dump::json(&keys))
}

/// The JSON schema of the file.
#[must_use]
pub fn schema() -> serde_json::Value {
    let mut mistakes = Vec::new();
    let mut section = Section::root(std::path::Path::new(""), &mut mistakes, Vec::new());
    keys::read(&mut section, Needed::Upstream);
    schema::of(&section.finish())
}

fn resolve(
    flags: &Flags,
    environment: &Environment,
    needed: Needed,
) -> Result<(Settings, Vec<Declared>), ConfigErrors> {
    let mut mistakes = Vec::new();
    let written = sources::read(flags, environment, &mut mistakes)?;
    let mut section = Section::root(&environment.directory, &mut mistakes, written);
    let settings = keys::read(&mut section, needed);
    let declared = section.finish();
    match settings {
        Some(settings) if mistakes.is_empty() => Ok((settings, declared)),
        Some(_) | None => {
            // A mistake of the file as a whole has no key: nobody knows what the file would have set.
            if mistakes.iter().any(|mistake| mistake.key.is_empty()) {
                mistakes.retain(|mistake| !matches!(mistake.problem, Problem::Required { .. }));
            }
            mistakes.sort_by_key(|mistake| mistake.origin.rank());
            Err(ConfigErrors::Mistakes(mistakes))
        }
    }
}
