//! Verifies signatures: bytes and trust material in, a [`Verdict`] with its evidence out.
//!
//! Pure over the bytes it is given: no store, no registry, no network, no clock. Only what loads trust material reads
//! files, once. Each family of signatures has a folder; what they share is the [`Verdict`] and [`Evidence`].

pub mod cosign;
pub mod evidence;
pub mod notary;
mod verdict;

pub use evidence::Evidence;
pub use verdict::{Check, CheckName, Conclusion, Family, Outcome, Subject, Verdict};
