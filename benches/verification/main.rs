//! Verification of signatures: what a push of a signature, and a pull that is judged afresh, pay for.

mod cosign;
mod notation;

use criterion::{criterion_group, criterion_main};

criterion_group!(
    benches,
    notation::verify,
    notation::trust_policy,
    cosign::verify
);
criterion_main!(benches);
