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
mod authorisation;
mod bypass;
mod capture;
mod clients;
mod collection;
mod companion_tags;
mod disguise;
mod doctor;
mod durability;
mod failures;
mod faults;
mod gate;
mod hygiene;
mod layering;
mod leaks;
mod lifecycle;
mod mends;
mod parallel_clients;
mod policy_bypass;
mod policy_clients;
mod policy_files;
mod policy_replicas;
mod policy_requirements;
mod policy_telemetry;
mod policy_vectors;
mod policy_verdicts;
mod reads;
mod referrer_paging;
mod referrers;
mod referrers_tags;
mod relay;
mod replicas;
mod requirements;
mod sha512_subjects;
mod soak;
mod telemetry;
mod tls;
mod transfer;
mod uploads;
mod upstream_referrers;
mod walk;
