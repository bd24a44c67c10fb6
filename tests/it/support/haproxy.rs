//! haproxy, as a load balancer before regseal.

use std::process::Command;

use tempfile::TempDir;

use super::process::{Process, program};
use super::registry::free_address;
use super::wait_for;

pub struct Haproxy {
    /// Host and port.
    pub authority: String,
    _process: Process,
    _dir: TempDir,
}

impl Haproxy {
    /// Passes on to `target`; `mode` and `server` are lines of its configuration.
    pub fn before(target: &str, mode: &str, server: &str) -> Self {
        let dir = TempDir::with_prefix("haproxy-").unwrap();
        let config = dir.path().join("haproxy.cfg");
        // It has to be told a port, which may be taken meanwhile.
        let (authority, process) = (0..5)
            .find_map(|attempt| {
                let authority = free_address();
                let text = format!(
                    "defaults\n  timeout connect 10s\n  timeout client 60s\n  timeout server 60s\n\
                     listen front\n  bind {authority}\n  {mode}\n  server regseal {target} {server}\n"
                );
                std::fs::write(&config, text).unwrap();
                let mut command = Command::new(program("haproxy"));
                command.args(["-db", "-f"]).arg(&config);
                let mut process = Process::start(&format!("haproxy-{attempt}"), &mut command, &dir);
                let started = wait_for("haproxy", || {
                    if process.try_wait().is_some() {
                        return Some(false);
                    }
                    std::net::TcpStream::connect(&authority).ok().map(|_| true)
                });
                started.then_some((authority, process))
            })
            .expect("haproxy starts on one of five free ports");
        Self {
            authority,
            _process: process,
            _dir: dir,
        }
    }
}
