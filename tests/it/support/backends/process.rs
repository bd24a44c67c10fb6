//! A child process that ends with the value, by its own process id, and shows its output when the test has failed.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use tempfile::TempDir;

use super::wait_for;

pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts the command with both of its outputs appended to one file in `dir`.
    pub fn start(name: &str, command: &mut Command, dir: &TempDir) -> Self {
        let log = dir.path().join(format!("{name}.log"));
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{command:?}: {error}; `make tools` installs what the tests need")
            });
        Self {
            name: name.to_owned(),
            child,
            log,
            ended: None,
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything the process has written so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The status, once the process has ended.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        self.ended = self.ended.or(self.child.try_wait().unwrap());
        self.ended
    }

    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let name = self.name.clone();
        wait_for(&format!("the end of {name}"), || self.try_wait())
    }

    /// Sends a signal by name, such as `TERM`.
    pub fn signal(&mut self, signal: &str) {
        if self.try_wait().is_none() {
            let sent = Command::new("kill")
                .args(["-s", signal, &self.id().to_string()])
                .status()
                .unwrap();
            assert!(sent.success(), "kill -s {signal}: {sent}");
        }
    }

    /// Kills at once, as a power cut would.
    pub fn kill(&mut self) {
        if self.try_wait().is_none() {
            self.child.kill().unwrap();
            self.ended = Some(self.child.wait().unwrap());
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let died_before = self.try_wait();
        self.kill();
        if std::thread::panicking() {
            let state = died_before.map_or_else(|| "was running".to_owned(), describe);
            eprintln!("--- {} ({state})\n{}", self.name, tail(&self.log(), 30));
        }
    }
}

/// The program in the folder of the test tools, or on the `PATH`.
pub fn program(name: &str) -> PathBuf {
    let folder = std::env::var_os("REGSEAL_TOOLS")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cache/regseal/tools")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    folder
        .into_iter()
        .chain(std::env::split_paths(&path))
        .chain(["/usr/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("{name} is neither in $REGSEAL_TOOLS nor on the PATH: run `make test`, which installs it"))
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (None, signal) => format!("signal {}", signal.unwrap_or_default()),
    }
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<String> = text
        .lines()
        .map(|line| line.chars().take(400).collect())
        .collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
