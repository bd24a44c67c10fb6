//! The one integration test binary: real clients, the real regseal and a real registry.
//!
//! A test that runs the programs people use belongs to `clients`; one that speaks HTTP itself to the module named after
//! what it shows.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stderr,
    missing_docs,
    unreachable_pub,
    reason = "support code of tests, which the allowances for test functions do not cover"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "the place of the test tools and the length of the repeated tests come from the environment"
)]

mod support;

mod admin_api;
mod bypass;
mod capture;
mod clients;
mod collection;
mod companion_tags;
mod disguise;
mod durability;
mod failures;
mod gate;
mod layering;
mod lifecycle;
mod policy_bypass;
mod policy_clients;
mod policy_files;
mod policy_replicas;
mod policy_requirements;
mod policy_telemetry;
mod policy_vectors;
mod policy_verdicts;
mod referrers;
mod relay;
mod replicas;
mod soak;
mod telemetry;
