//! The registry behind: one pooled HTTP/1.1 client, its deadlines, and what may cross it.

pub mod client;
pub mod error;
pub mod headers;
mod progress;

pub use client::{Config, Upstream};
pub use error::UpstreamError;
