#![doc = include_str!("README.md")]

pub mod body;
pub mod certificates;
pub mod clock;
pub mod oci;
pub mod sealing;
pub mod secret;
pub mod telemetry;
mod yaml;

pub mod cli;
pub mod config;

pub mod admin;
pub mod admission;
pub mod app;
pub mod auth;
pub mod handlers;
pub mod policy;
pub mod respond;
pub mod route;
pub mod server;
pub mod store;
pub mod transfer;
pub mod upstream;
pub mod verification;

#[cfg(test)]
#[path = "../tests/it/support/backends/mod.rs"]
mod backends;
