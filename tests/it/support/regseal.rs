//! The real regseal, as a process before a registry.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use super::http::Endpoint;
use super::process::Process;
use super::stores::{self, Stores};
use super::{Http, Registry, wait_for};

pub struct Regseal {
    /// Where clients reach it. The address stays the same when it is started again.
    pub endpoint: Endpoint,
    /// Its second listener.
    pub admin: Http,
    process: Process,
    options: Builder,
    starts: usize,
    earlier_logs: String,
    dir: TempDir,
}

#[derive(Clone)]
pub struct Builder {
    upstream: String,
    access: super::http::Access,
    environment: Vec<(String, String)>,
    config: Option<String>,
    /// Those of the environment of the tests, until others are asked for.
    stores: Option<Stores>,
}

impl Regseal {
    pub fn builder(registry: &Registry) -> Builder {
        Self::at(&registry.endpoint)
    }

    /// Before whatever answers there: a registry, or a gate.
    pub fn at(upstream: &Endpoint) -> Builder {
        Builder {
            upstream: format!("http://{}", upstream.authority),
            access: upstream.access.clone(),
            environment: Vec::new(),
            config: None,
            stores: None,
        }
    }

    /// With nothing but `--upstream` and places of its own.
    pub fn before(registry: &Registry) -> Self {
        Self::builder(registry).start()
    }

    /// The data directory, of a regseal whose stores are in one.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// All that it has logged since its first start.
    pub fn log(&self) -> String {
        format!("{}{}", self.earlier_logs, self.process.log())
    }

    /// The most memory it has had resident since its last start, in KiB.
    pub fn peak_memory(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// The memory it has resident, in KiB.
    pub fn memory(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let amount = line.unwrap().trim().trim_end_matches(" kB");
        amount.parse().unwrap()
    }

    /// The descriptors it has open.
    pub fn descriptors(&self) -> usize {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.process.id())).unwrap();
        open.count()
    }

    /// The sum of the lines of a metric that have all these labels; nothing counted is zero.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let page = self.admin.get("/metrics").expect(200);
        let text = String::from_utf8(page.body.to_vec()).unwrap();
        text.lines()
            .filter_map(|line| line.strip_prefix(name))
            .filter(|rest| rest.starts_with(['{', ' ']))
            .filter(|rest| labels.iter().all(|label| rest.contains(label)))
            .map(|rest| rest.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    }

    /// The folder of its objects, whether it keeps them in a directory itself or the server of its bucket does.
    pub fn objects(&self) -> PathBuf {
        match &self.options.stores {
            None | Some(Stores::Directory) => self.data().join("objects"),
            Some(Stores::S3Redis(shared)) => shared.s3().object_file(stores::PREFIX),
        }
    }

    /// Takes all it has away from its index; an index in a file must not be in use.
    pub fn lose_index(&self) {
        match &self.options.stores {
            None | Some(Stores::Directory) => {
                std::fs::remove_file(self.data().join("index.redb")).unwrap();
            }
            Some(Stores::S3Redis(shared)) => shared.redis().single().flush(),
        }
    }

    /// Runs another command of the program with the same settings.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Another command of the program with the same settings, still to be run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command();
        command.args(arguments);
        self.options.configure(&mut command, &self.dir);
        command
    }

    /// Sends a signal by name, such as `STOP`.
    pub fn signal(&mut self, signal: &str) {
        self.process.signal(signal);
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Asks it to end, without waiting.
    pub fn ask_to_end(&mut self) {
        self.process.signal("TERM");
    }

    /// Waits until it has ended, which must be by itself and well.
    #[track_caller]
    pub fn ends_well(&mut self) {
        let status = self.process.wait();
        assert!(
            status.success(),
            "regseal ended with {status}\n{}",
            self.process.log()
        );
    }

    #[track_caller]
    pub fn terminate(&mut self) {
        self.ask_to_end();
        self.ends_well();
    }

    /// Starts it on the same data and the same address, after it has ended.
    #[track_caller]
    pub fn start_again(&mut self) {
        assert!(
            self.process.try_wait().is_some(),
            "regseal is still running"
        );
        self.earlier_logs = self.log();
        self.starts += 1;
        let (process, addresses) =
            self.options
                .launch(&self.endpoint.authority, self.starts, &self.dir);
        self.process = process;
        self.admin = Http::new(&addresses.admin);
    }
}

impl Builder {
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A configuration file; the addresses, the upstream and the data directory are given as flags all the same.
    pub fn config(mut self, yaml: &str) -> Self {
        self.config = Some(yaml.to_owned());
        self
    }

    /// Another registry than that of the beginning: a whole URL.
    pub fn upstream(mut self, url: &str) -> Self {
        url.clone_into(&mut self.upstream);
        self
    }

    /// Other stores than those which the environment of the tests names.
    pub fn stores(mut self, stores: Stores) -> Self {
        self.stores = Some(stores);
        self
    }

    #[track_caller]
    pub fn start(mut self) -> Regseal {
        self.stores.get_or_insert_with(Stores::from_environment);
        let dir = TempDir::with_prefix("regseal-").unwrap();
        let (process, addresses) = self.launch("127.0.0.1:0", 1, &dir);
        Regseal {
            endpoint: Endpoint {
                authority: addresses.listen,
                access: self.access.clone(),
            },
            admin: Http::new(&addresses.admin),
            process,
            options: self,
            starts: 1,
            earlier_logs: String::new(),
            dir,
        }
    }

    #[track_caller]
    fn launch(&self, listen: &str, start: usize, dir: &TempDir) -> (Process, Addresses) {
        let mut command = command();
        command.args(["serve", "--listen", listen, "--admin", "127.0.0.1:0"]);
        self.configure(&mut command, dir);
        let mut process = Process::start(&format!("regseal-{start}"), &mut command, dir);
        let addresses = wait_for("the addresses of regseal in its log", || {
            let ended = process.try_wait();
            let found = process.log().lines().find_map(Addresses::parse);
            assert!(found.is_some() || ended.is_none(), "regseal did not start");
            found
        });
        let admin = Http::new(&addresses.admin);
        wait_for("regseal to be ready", || {
            assert!(
                process.try_wait().is_none(),
                "regseal ended before it was ready"
            );
            admin.try_get("/readyz").filter(|reply| reply.status == 200)
        });
        (process, addresses)
    }

    /// Adds what every command is told of the upstream, the stores and the rest of the configuration.
    fn configure(&self, command: &mut Command, dir: &TempDir) {
        command.args(["--upstream", &self.upstream]);
        match &self.stores {
            None | Some(Stores::Directory) => {
                command.arg("--data").arg(dir.path().join("data"));
            }
            Some(Stores::S3Redis(shared)) => {
                command.envs(shared.settings());
            }
        }
        if let Some(config) = &self.config {
            let file = dir.path().join("regseal.yaml");
            std::fs::write(&file, config).unwrap();
            command.arg("--config").arg(file);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
    }
}

/// The program under test, in an environment without any setting.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_regseal"));
    command.env_clear().env("PATH", "/usr/bin:/bin");
    command
}

struct Addresses {
    listen: String,
    admin: String,
}

impl Addresses {
    /// The log line that says where it listens.
    fn parse(line: &str) -> Option<Self> {
        let line: Value = serde_json::from_str(line).ok()?;
        let fields = if line["fields"].is_object() {
            &line["fields"]
        } else {
            &line
        };
        let field = |name: &str| Some(fields[name].as_str()?.to_owned());
        (field("message")? == "listening").then_some(())?;
        Some(Self {
            listen: field("listen")?,
            admin: field("admin")?,
        })
    }
}
