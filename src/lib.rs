#![doc = include_str!("README.md")]

pub mod body;
pub mod clock;
pub mod oci;
pub mod secret;
pub mod telemetry;

pub mod cli;
pub mod config;

pub mod app;
pub mod auth;
pub mod handlers;
pub mod respond;
pub mod route;
pub mod server;
pub mod store;
pub mod upstream;

#[cfg(test)]
#[path = "../tests/it/support/backends/mod.rs"]
mod backends;
