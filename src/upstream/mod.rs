//! The registry behind: one pooled HTTP/1.1 client, its deadlines, its bounds, and what may cross it.

pub mod answer;
pub mod client;
mod connector;
pub mod elsewhere;
pub mod error;
mod exchange;
pub mod expect;
mod fetch;
pub mod headers;
mod hearing;
pub mod location;
pub mod place;
pub mod places;
mod progress;
mod span;

#[cfg(test)]
mod tests;

pub use client::{Bounds, Config, Upstream};
pub use connector::Tls;
pub use error::UpstreamError;
pub use fetch::Answer;
pub use places::{Event, Note, Share};
