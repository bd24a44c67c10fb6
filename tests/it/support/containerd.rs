//! A containerd of one test's own, and `ctr`, its client.

use std::process::Command;

use tempfile::TempDir;

use super::clients::{Output, Tool};
use super::http::{Access, Endpoint};
use super::process::{Process, program};
use super::{User, wait_for};

pub struct Containerd {
    pub tool: Tool,
    socket: String,
    login: Vec<String>,
    _daemon: Process,
    _dir: TempDir,
}

impl Containerd {
    /// Starts the daemon; `ctr` says with each request who asks.
    pub fn start(endpoint: &Endpoint, user: User) -> Self {
        // The path of a socket has room for about a hundred characters.
        let dir = TempDir::with_prefix_in("containerd-", "/tmp").unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.internal.v1.opt\"]\n\
             [grpc]\naddress = {:?}\n",
            path("root"),
            path("state"),
            path("c.sock"),
        );
        std::fs::write(path("config.toml"), config).unwrap();
        let mut command = Command::new(program("containerd"));
        command.args(["--config", &path("config.toml")]);
        let mut daemon = Process::start("containerd", &mut command, &dir);
        let tool = Tool::new("ctr", endpoint);
        let socket = path("c.sock");
        wait_for("containerd", || {
            assert!(daemon.try_wait().is_none(), "containerd ended");
            let version = tool.run(["--address", &socket, "version"]);
            version.succeeded().then_some(())
        });
        let login = match endpoint.access {
            Access::Open => Vec::new(),
            Access::Passwords | Access::Tokens(_) => {
                vec![
                    "--user".to_owned(),
                    format!("{}:{}", user.name, user.password),
                ]
            }
        };
        Self {
            tool,
            socket,
            login,
            _daemon: daemon,
            _dir: dir,
        }
    }

    /// Runs `ctr images` with a command that needs no registry.
    pub fn images<const N: usize>(&self, arguments: [&str; N]) -> Output {
        let address = ["--address", self.socket.as_str(), "images"];
        self.tool.run(address.into_iter().chain(arguments))
    }

    /// Fetches the content of an image, and makes none of it.
    pub fn fetch(&self, reference: &str) -> Output {
        let address = ["--address", self.socket.as_str(), "content"];
        let fetch = ["fetch", "--plain-http", "--all-platforms"];
        let login = self.login.iter().map(String::as_str);
        let command = address.into_iter().chain(fetch).chain(login);
        self.tool.run(command.chain([reference]))
    }

    pub fn push(&self, reference: &str) -> Output {
        self.remote(&["push", "--plain-http"], reference)
    }

    pub fn pull(&self, reference: &str) -> Output {
        let pull = ["pull", "--plain-http", "--snapshotter", "native"];
        self.remote(&pull, reference)
    }

    /// Runs `ctr content` with a command that needs no registry.
    pub fn content<const N: usize>(&self, arguments: [&str; N]) -> Output {
        let address = ["--address", self.socket.as_str(), "content"];
        self.tool.run(address.into_iter().chain(arguments))
    }

    /// Fetches by way of the hosts that the folder names for a registry.
    pub fn fetch_by(&self, hosts: &str, reference: &str) -> Output {
        let platforms = "--all-platforms";
        self.content([
            "fetch",
            "--plain-http",
            "--hosts-dir",
            hosts,
            platforms,
            reference,
        ])
    }

    fn remote(&self, command: &[&str], reference: &str) -> Output {
        let address = ["--address", self.socket.as_str(), "images"];
        let login = self.login.iter().map(String::as_str);
        let command = address.into_iter().chain(command.iter().copied());
        self.tool.run(command.chain(login).chain([reference]))
    }
}
