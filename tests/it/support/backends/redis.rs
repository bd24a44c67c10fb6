//! Redis: one server, a cluster, or a master with a replica and sentinels.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::process::{Process, program};
use super::{free_port, wait_for};

const LOOPBACK: &str = "127.0.0.1";

/// What a server is started with.
#[derive(Clone, Default)]
pub struct Options {
    arguments: Vec<String>,
    /// Certificate chain, key, and the authority of both sides, as PEM.
    tls: Option<[String; 3]>,
    /// User and password of [`RedisServer::cli`].
    login: Option<(String, String)>,
}

impl Options {
    /// A setting, as in the configuration file.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.arguments.push(format!("--{name}"));
        self.arguments.extend(value.split(' ').map(str::to_owned));
        self
    }

    /// Speaks TLS only.
    pub fn tls(mut self, chain: &str, key: &str, ca: &str) -> Self {
        self.tls = Some([chain, key, ca].map(str::to_owned));
        self
    }

    /// Needs this password of everybody, beside the users of the access list.
    pub fn password(mut self, password: &str) -> Self {
        self.login = Some(("default".to_owned(), password.to_owned()));
        self.set("requirepass", password)
    }

    /// Another user, with a rule of the access list.
    pub fn user(self, name: &str, rule: &str) -> Self {
        self.set("user", &format!("{name} {rule}"))
    }

    /// Logs every write, so that none is lost when the process is killed.
    pub fn append_only(self) -> Self {
        self.set("appendonly", "yes").set("appendfsync", "always")
    }

    pub fn start(self) -> RedisServer {
        RedisServer::with(self)
    }
}

/// A server, with its folder and its port for as long as the value lives.
pub struct RedisServer {
    pub port: u16,
    options: Options,
    dir: TempDir,
    process: Process,
}

impl RedisServer {
    pub fn start() -> Self {
        Self::with(Options::default())
    }

    fn with(options: Options) -> Self {
        let dir = TempDir::new().unwrap();
        if let Some(files) = &options.tls {
            for (name, pem) in ["chain", "key", "ca"].iter().zip(files) {
                std::fs::write(dir.path().join(format!("{name}.pem")), pem).unwrap();
            }
        }
        let port = free_port();
        let process = spawn(&options, port, &dir);
        let mut server = Self {
            port,
            options,
            dir,
            process,
        };
        wait_for("a port that nobody else takes", || {
            if server.answers() {
                return Some(());
            }
            server.port = free_port();
            server.process = spawn(&server.options, server.port, &server.dir);
            None
        });
        server
    }

    /// Waits until it answers; `false` if it ended.
    fn answers(&mut self) -> bool {
        wait_for("redis-server to answer", || {
            if self.process.try_wait().is_some() {
                return Some(false);
            }
            self.try_cli(&["PING"])
                .is_some_and(|pong| pong == "PONG")
                .then_some(true)
        })
    }

    /// What `redis-cli` prints for a command; fails if Redis refuses it.
    #[track_caller]
    pub fn cli(&self, command: &[&str]) -> String {
        self.try_cli(command)
            .unwrap_or_else(|| panic!("redis-cli {command:?} failed"))
    }

    /// What `redis-cli` prints, if it succeeds.
    pub fn try_cli(&self, command: &[&str]) -> Option<String> {
        cli(
            self.port,
            &self.options,
            self.dir.path().join("ca.pem"),
            command,
        )
    }

    /// A field of INFO.
    #[track_caller]
    pub fn info(&self, field: &str) -> String {
        let info = self.cli(&["INFO"]);
        let found = info
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        found.unwrap().trim().to_owned()
    }

    /// Removes every key.
    pub fn flush(&self) {
        self.cli(&["FLUSHALL"]);
    }

    /// Stops the process where it is, until [`resume`](Self::resume).
    pub fn stop(&mut self) {
        self.process.signal("STOP");
        let stat = format!("/proc/{}/stat", self.process.id());
        wait_for("the process to stand still", || {
            let stat = std::fs::read_to_string(&stat).unwrap();
            let state = stat.rsplit(") ").next().unwrap().chars().next();
            (state == Some('T')).then_some(())
        });
    }

    pub fn resume(&mut self) {
        self.process.signal("CONT");
    }

    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts the process after it was killed, on the same port and with the files that it left.
    pub fn start_again(&mut self) {
        self.kill();
        self.process = spawn(&self.options, self.port, &self.dir);
        assert!(self.answers(), "redis-server ended at once");
    }

    /// Writes a dump and reads it.
    pub fn dump(&self) -> Vec<u8> {
        self.cli(&["SAVE"]);
        std::fs::read(self.dir.path().join("dump.rdb")).unwrap()
    }

    /// Starts the process anew on a dump of before.
    pub fn put_back(&mut self, dump: &[u8]) {
        self.kill();
        std::fs::write(self.dir.path().join("dump.rdb"), dump).unwrap();
        self.start_again();
    }
}

fn spawn(options: &Options, port: u16, dir: &TempDir) -> Process {
    let mut command = Command::new(program("redis-server"));
    command.current_dir(dir.path());
    command.args(["--bind", LOOPBACK, "--save", "", "--dir"]);
    command.arg(dir.path());
    let port = port.to_string();
    if options.tls.is_some() {
        command.args(["--port", "0", "--tls-port", &port]);
        command.args(["--tls-cert-file", "chain.pem", "--tls-key-file", "key.pem"]);
        command.args(["--tls-ca-cert-file", "ca.pem", "--tls-auth-clients", "no"]);
    } else {
        command.args(["--port", &port]);
    }
    command.args(&options.arguments);
    Process::start("redis-server", &mut command, dir)
}

fn cli(port: u16, options: &Options, ca: PathBuf, command: &[&str]) -> Option<String> {
    let mut cli = Command::new(program("redis-cli"));
    cli.args(["-e", "-h", LOOPBACK, "-p", &port.to_string()]);
    if options.tls.is_some() {
        cli.arg("--tls").arg("--cacert").arg(ca);
    }
    if let Some((user, password)) = &options.login {
        cli.args(["--no-auth-warning", "--user", user, "--pass", password]);
    }
    let done = cli.args(command).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout).trim().to_owned();
    done.status.success().then_some(text)
}

/// Masters that share the slots, each with one replica or none.
pub struct RedisCluster {
    pub masters: Vec<RedisServer>,
    pub replicas: Vec<RedisServer>,
}

impl RedisCluster {
    /// Three masters.
    pub fn start() -> Self {
        Self::with_replicas(0)
    }

    /// Three masters, of which the first `replicas` have one each.
    pub fn with_replicas(replicas: usize) -> Self {
        let node = || {
            let bus = free_port().to_string();
            let server = Options::default()
                .set("cluster-enabled", "yes")
                .set("cluster-node-timeout", "1000")
                .set("cluster-port", &bus)
                .start();
            (server, bus)
        };
        let mut masters: Vec<(RedisServer, String)> = (0..3).map(|_| node()).collect();
        let replicas: Vec<(RedisServer, String)> = (0..replicas).map(|_| node()).collect();
        for (at, (master, _)) in masters.iter_mut().enumerate() {
            let first = (at * 16384 / 3).to_string();
            let last = ((at + 1) * 16384 / 3 - 1).to_string();
            master.cli(&["CLUSTER", "SET-CONFIG-EPOCH", &(at + 1).to_string()]);
            master.cli(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]);
        }
        let (first, bus) = &masters[0];
        let seed = first.port.to_string();
        for (node, _) in masters.iter().skip(1).chain(&replicas) {
            node.cli(&["CLUSTER", "MEET", LOOPBACK, &seed, bus]);
        }
        let cluster = Self {
            masters: masters.into_iter().map(|(server, _)| server).collect(),
            replicas: replicas.into_iter().map(|(server, _)| server).collect(),
        };
        let all = (cluster.masters.len() + cluster.replicas.len()).to_string();
        cluster.wait_until(&["cluster_state:ok", &format!("cluster_known_nodes:{all}")]);
        for (replica, master) in cluster.replicas.iter().zip(&cluster.masters) {
            let id = master.cli(&["CLUSTER", "MYID"]);
            replica.cli(&["CLUSTER", "REPLICATE", &id]);
            wait_for("the replica to follow", || {
                (replica.info("master_link_status") == "up").then_some(())
            });
        }
        cluster
    }

    /// Waits until all nodes that answer say all of `lines` in CLUSTER INFO.
    pub fn wait_until(&self, lines: &[&str]) {
        let nodes = || self.masters.iter().chain(&self.replicas);
        wait_for("the cluster to agree", || {
            let infos = nodes().filter_map(|node| node.try_cli(&["CLUSTER", "INFO"]));
            infos
                .into_iter()
                .all(|info| lines.iter().all(|line| info.contains(line)))
                .then_some(())
        });
    }

    /// Moves one key of a slot from a master to the one at `port`, between `MIGRATING` and `NODE`.
    pub fn migrate(&self, from: usize, port: &str, slot: &str) {
        // Names of keys are no text, so they do not pass through a command line.
        let script = "local key = redis.call('CLUSTER', 'GETKEYSINSLOT', ARGV[2], 1)[1] \
             return redis.call('MIGRATE', '127.0.0.1', ARGV[1], key, 0, 5000)";
        self.masters[from].cli(&["EVAL", script, "0", port, slot]);
    }

    /// Kills the first master and waits until its replica has its place.
    pub fn fail_over(&mut self) {
        self.masters[0].kill();
        let replica = &self.replicas[0];
        wait_for("the replica to be the master", || {
            (replica.info("role") == "master").then_some(())
        });
        self.wait_until(&["cluster_state:ok"]);
    }
}

/// A master, its replica, and three sentinels that watch them as `mymaster`.
pub struct RedisSentinel {
    pub master: RedisServer,
    pub replica: RedisServer,
    pub sentinels: Vec<u16>,
    _processes: Vec<Process>,
    _dir: TempDir,
}

impl RedisSentinel {
    pub fn start() -> Self {
        let master = RedisServer::start();
        let replica = Options::default()
            .set("replicaof", &format!("{LOOPBACK} {}", master.port))
            .start();
        wait_for("the replica to follow", || {
            (replica.info("master_link_status") == "up").then_some(())
        });
        let dir = TempDir::new().unwrap();
        let mut processes = Vec::new();
        let mut sentinels = Vec::new();
        for number in 0..3 {
            let port = free_port();
            let file = dir.path().join(format!("sentinel-{number}.conf"));
            let text = format!(
                "port {port}\nbind {LOOPBACK}\ndir {}\n\
                 sentinel monitor mymaster {LOOPBACK} {} 2\n\
                 sentinel down-after-milliseconds mymaster 500\n\
                 sentinel failover-timeout mymaster 2000\n",
                dir.path().display(),
                master.port,
            );
            std::fs::write(&file, text).unwrap();
            let mut command = Command::new(program("redis-server"));
            command.arg(&file).arg("--sentinel");
            let name = format!("sentinel-{number}");
            processes.push(Process::start(&name, &mut command, &dir));
            sentinels.push(port);
        }
        let set = Self {
            master,
            replica,
            sentinels,
            _processes: processes,
            _dir: dir,
        };
        for port in &set.sentinels {
            wait_for("the sentinels to know each other", || {
                let text = sentinel(*port, &["SENTINEL", "MASTER", "mymaster"])?;
                let lines: Vec<&str> = text.lines().collect();
                let is = |name, value| lines.windows(2).any(|pair| pair == [name, value]);
                (is("num-slaves", "1") && is("num-other-sentinels", "2")).then_some(())
            });
        }
        set
    }

    /// Cuts the replica off, so that it lacks what is written from here on. [`fail_over`](Self::fail_over) next.
    pub fn cut_off_replica(&mut self) {
        self.replica.stop();
        self.master.cli(&["CLIENT", "KILL", "TYPE", "replica"]);
    }

    /// Kills the master and waits until the sentinels have put the replica in its place.
    pub fn fail_over(&mut self) {
        self.master.kill();
        self.replica.resume();
        wait_for("the replica to be the master", || {
            let role = self.replica.try_cli(&["ROLE"])?;
            role.starts_with("master").then_some(())
        });
        let port = self.replica.port.to_string();
        for sentinel_port in &self.sentinels {
            wait_for("the sentinels to agree", || {
                let command = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster"];
                let answer = sentinel(*sentinel_port, &command)?;
                answer.lines().any(|line| line == port).then_some(())
            });
        }
    }
}

fn sentinel(port: u16, command: &[&str]) -> Option<String> {
    cli(port, &Options::default(), PathBuf::new(), command)
}
