//! Two S3 servers of different origin, each with one empty bucket.
//!
//! versitygw keeps its objects in a directory, so they outlive the process; moto keeps them in memory. Both look for an
//! object and write it in two steps, so that several concurrent `If-None-Match: *` may succeed. That is no S3, so they
//! are started in a way in which nothing comes between the steps: versitygw does one thing at a time, and moto has a
//! lock (`moto_server.py`).

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::process::{Process, program};
use super::{free_port, try_http, wait_for};

pub struct S3Server {
    /// Its URL; stays the same when it is started again.
    pub endpoint: String,
    pub bucket: &'static str,
    pub access_key_id: &'static str,
    pub secret_access_key: &'static str,
    kind: Kind,
    port: u16,
    process: Process,
    dir: TempDir,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Versitygw,
    /// With `server.crt` and `server.key` in its directory.
    VersitygwWithTls,
    Moto,
}

const BUCKET: &str = "signatures";
const ACCESS_KEY_ID: &str = "regseal-test";
const SECRET_ACCESS_KEY: &str = "not-a-secret-of-anybody";

impl S3Server {
    /// The one whose objects survive [`kill`](Self::kill).
    pub fn start() -> Self {
        Self::versitygw()
    }

    pub fn versitygw() -> Self {
        Self::of(Kind::Versitygw, Self::dir())
    }

    /// versitygw at an `https` URL with the host `localhost`.
    pub fn versitygw_with_tls(certificate_pem: &str, key_pem: &str) -> Self {
        let dir = Self::dir();
        std::fs::write(dir.path().join("server.crt"), certificate_pem).unwrap();
        std::fs::write(dir.path().join("server.key"), key_pem).unwrap();
        Self::of(Kind::VersitygwWithTls, dir)
    }

    /// moto, which forgets everything when it is started again.
    pub fn second() -> Self {
        Self::of(Kind::Moto, Self::dir())
    }

    fn dir() -> TempDir {
        let dir = TempDir::with_prefix("s3-").unwrap();
        std::fs::create_dir_all(dir.path().join("data").join(BUCKET)).unwrap();
        dir
    }

    fn of(kind: Kind, dir: TempDir) -> Self {
        let (port, process) = (0..5)
            .find_map(|_| {
                let port = free_port();
                Some((port, launch(kind, port, &dir)?))
            })
            .expect("the S3 server starts on one of five free ports");
        Self {
            endpoint: match kind {
                Kind::VersitygwWithTls => format!("https://localhost:{port}"),
                Kind::Versitygw | Kind::Moto => format!("http://127.0.0.1:{port}"),
            },
            bucket: BUCKET,
            access_key_id: ACCESS_KEY_ID,
            secret_access_key: SECRET_ACCESS_KEY,
            kind,
            port,
            process,
            dir,
        }
    }

    /// Takes connections and answers none of them until [`resume`](Self::resume).
    pub fn stop(&mut self) {
        self.process.signal("STOP");
    }

    pub fn resume(&mut self) {
        self.process.signal("CONT");
    }

    /// Ends at once, as in a power cut: connections are refused.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// At the same address; with versitygw over the same objects.
    #[track_caller]
    pub fn start_again(&mut self) {
        self.process.kill();
        self.process = launch(self.kind, self.port, &self.dir).expect("the port is free again");
    }

    /// The file that holds an object, to damage it behind the back of the server (versitygw only).
    #[track_caller]
    pub fn object_file(&self, key: &str) -> PathBuf {
        assert_ne!(self.kind, Kind::Moto, "moto has no files");
        self.dir.path().join("data").join(BUCKET).join(key)
    }

    /// Everything the server has written since its start.
    pub fn log(&self) -> String {
        self.process.log()
    }
}

/// `None` when the process ended, as it does when the port was taken meanwhile.
fn launch(kind: Kind, port: u16, dir: &TempDir) -> Option<Process> {
    let (name, mut command) = match kind {
        Kind::Versitygw | Kind::VersitygwWithTls => {
            let mut command = Command::new(program("versitygw"));
            if kind == Kind::VersitygwWithTls {
                // It leaves its working directory before it reads them.
                command.arg("--cert").arg(dir.path().join("server.crt"));
                command.arg("--key").arg(dir.path().join("server.key"));
            }
            command
                .env("ROOT_ACCESS_KEY", ACCESS_KEY_ID)
                .env("ROOT_SECRET_KEY", SECRET_ACCESS_KEY)
                .args(["--port", &format!("127.0.0.1:{port}"), "--keep-alive"])
                .args(["--quiet", "--health", "/health"])
                .args(["posix", "--concurrency", "1"])
                .arg(dir.path().join("data"));
            ("versitygw", command)
        }
        Kind::Moto => {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/moto_server.py");
            let python = program("moto_server").with_file_name("python3");
            let mut command = Command::new(python);
            command.args([script, "-H", "127.0.0.1", "-p", &port.to_string()]);
            ("moto", command)
        }
    };
    let mut process = Process::start(name, command.current_dir(dir), dir);
    let started = wait_for(name, || {
        // Another process that took the port would answer too: ours has ended then.
        match (is_ready(kind, port), process.try_wait()) {
            (_, Some(_)) => Some(false),
            (ready, None) => ready.then_some(true),
        }
    });
    started.then_some(process)
}

fn is_ready(kind: Kind, port: u16) -> bool {
    let answered = |method, path: &str| {
        try_http(port, method, path).is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
    };
    match kind {
        Kind::Versitygw => answered("GET", "/health"),
        Kind::VersitygwWithTls => TcpStream::connect(("127.0.0.1", port)).is_ok(),
        // Makes the bucket; moto asks nobody for a signature.
        Kind::Moto => answered("PUT", &format!("/{BUCKET}")),
    }
}
