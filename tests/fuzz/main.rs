//! Fuzz targets of everything that reads what strangers write. One program, since it is linked once: `REGSEAL_FUZZ` names
//! the target. Each holds its parser to what the rest of regseal relies on, besides that it comes back.

#![no_main]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a failure is what is looked for; the target comes from the environment"
)]

mod challenge;
mod location;
mod manifest;
mod path;
mod policy;
mod signature;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 8] = [
    ("path", path::read),
    ("manifest", manifest::read),
    ("challenge", challenge::read),
    ("location", location::read),
    ("bundle", signature::read_bundle),
    ("simple", signature::read_simple),
    ("jws", signature::read_jws),
    ("policy", policy::read),
];

fn chosen() -> Target {
    let name = std::env::var("REGSEAL_FUZZ").unwrap_or_default();
    let target = TARGETS.iter().find(|(known, _)| *known == name);
    let names = TARGETS.map(|(name, _)| name).join(", ");
    target
        .unwrap_or_else(|| panic!("REGSEAL_FUZZ is one of {names}"))
        .1
}

fuzz_target!(|bytes: &[u8]| {
    static TARGET: OnceLock<Target> = OnceLock::new();
    TARGET.get_or_init(chosen)(bytes);
});
