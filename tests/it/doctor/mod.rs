//! `regseal doctor`: what it says of registries, and what it does to them.

mod care;
mod doubts;
mod findings;

use std::process::{Command, Output};

use base64ct::{Base64, Encoding};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::Http;
use crate::support::http::Endpoint;
use crate::support::regseal::command;

/// One call of the program: where, with what, as whom.
struct Visit {
    arguments: Vec<String>,
    dir: TempDir,
}

impl Visit {
    fn to(authority: &str) -> Self {
        Self {
            arguments: vec!["doctor".to_owned(), format!("http://{authority}")],
            dir: TempDir::with_prefix("doctor-").unwrap(),
        }
    }

    fn with(mut self, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned());
        self.arguments.extend(arguments);
        self
    }

    /// As after `docker login`.
    fn logged_in(self, host: &str, name: &str, password: &str) -> Self {
        let pair = Base64::encode_string(format!("{name}:{password}").as_bytes());
        let config = json!({"auths": {host: {"auth": pair}}});
        std::fs::write(self.dir.path().join("config.json"), config.to_string()).unwrap();
        self
    }

    fn configured(self, yaml: &str) -> Self {
        let file = self.dir.path().join("regseal.yaml");
        std::fs::write(&file, yaml).unwrap();
        self.with(&["--config", file.to_str().unwrap()])
    }

    fn command(&self) -> Command {
        let mut command = command();
        command
            .args(&self.arguments)
            .env("DOCKER_CONFIG", self.dir.path());
        command
    }

    fn run(&self) -> Output {
        self.command().output().unwrap()
    }

    #[track_caller]
    fn report(mut self, expected: i32) -> Value {
        self.arguments.extend(["-o", "json"].map(str::to_owned));
        let output = self.run();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(expected), "{said}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
    }
}

#[track_caller]
fn assert_values(report: &Value, expected: &[(&str, Value)]) {
    for (name, expected) in expected {
        let found = &report["capabilities"][name];
        assert_eq!(found["value"], *expected, "{name}: {found}");
    }
}

fn sentences(report: &Value, key: &str) -> String {
    report[key].to_string()
}

/// Somebody's own content in a repository, and what is left of it and of others.
fn leftovers(http: &Http, name: &str) -> Vec<String> {
    let reply = http.get(&format!("/v2/{name}/tags/list"));
    if reply.status == 404 {
        return Vec::new();
    }
    let tags = reply.json()["tags"].clone();
    serde_json::from_value(tags).unwrap_or_default()
}

fn port(endpoint: &Endpoint) -> &str {
    endpoint.authority.rsplit_once(':').unwrap().1
}
