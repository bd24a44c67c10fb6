//! A Docker daemon of one test's own.

use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::clients::Tool;
use super::http::{Access, Endpoint};
use super::process::{Process, program};
use super::{User, wait_for};

pub struct Docker {
    pub tool: Tool,
    daemon: Process,
    _dir: TempDir,
}

impl Docker {
    /// Starts the daemon, without networks since nothing is run in it, and logs in.
    pub fn start(endpoint: &Endpoint, user: User) -> Self {
        // The path of a socket has room for about a hundred characters.
        let dir = TempDir::with_prefix_in("docker-", "/tmp").unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let socket = format!("unix://{}", path("d.sock"));
        let mut command = Command::new(program("dockerd"));
        command
            .args([
                "-H",
                &socket,
                "--data-root",
                &path("data"),
                "--exec-root",
                &path("exec"),
                "-p",
                &path("pid"),
            ])
            .args([
                "--bridge=none",
                "--iptables=false",
                "--ip6tables=false",
                "--storage-driver=vfs",
            ]);
        let mut daemon = Process::start("dockerd", &mut command, &dir);
        let mut tool = Tool::new("docker", endpoint).environment("DOCKER_HOST", &socket);
        // It gives its own containerd 15 seconds, which a machine that is busy may not have.
        let mut starts = 1;
        wait_for("dockerd", || {
            if daemon.try_wait().is_some() {
                assert!(starts < 4, "dockerd ended");
                starts += 1;
                daemon = Process::start(&format!("dockerd-{starts}"), &mut command, &dir);
            }
            tool.run(["version"]).succeeded().then_some(())
        });
        if !matches!(endpoint.access, Access::Open) {
            tool = tool.login(
                [
                    "login",
                    "--username",
                    user.name,
                    "--password",
                    user.password,
                ],
                &endpoint.authority,
            );
        }
        Self {
            tool,
            daemon,
            _dir: dir,
        }
    }
}

impl Drop for Docker {
    /// The daemon has a containerd of its own, which it ends when it is asked to end.
    fn drop(&mut self) {
        self.daemon.signal("TERM");
        for _ in 0..100 {
            if self.daemon.try_wait().is_some() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
