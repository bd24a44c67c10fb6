//! regseal: a reverse proxy that gives any OCI registry the Referrers API and a durable signature store.

pub mod body;
pub mod clock;
pub mod oci;
pub mod telemetry;
pub mod cli;
pub mod config;
pub mod server;
pub mod route;
pub mod auth;
pub mod handlers;
pub mod store;
pub mod upstream;
pub mod respond;
