//! `regseal import` and `regseal export`: regseal is put before a registry that is in use, and taken away from it.

mod admin;
mod export;
mod import;
mod interruptions;
mod inventory;
mod large;

use std::process::{Command, Output};

use serde_json::Value;

use crate::support::http::Endpoint;
use crate::support::images::{EMPTY, artifact_of};
use crate::support::regseal::command;
use crate::support::{Content, Repository};

/// What a command has said as JSON, if it has ended so.
#[track_caller]
fn report(output: &Output, status: i32) -> Value {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(status), "{out}\n{err}");
    assert_eq!(err, "", "nothing but the document");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

/// The command that imports with the stores opened, from whatever answers at `upstream`.
fn import_from(upstream: &Endpoint, data: &std::path::Path) -> Command {
    offline("import", upstream, data)
}

/// A command that transfers with the stores opened, and says what it has come to as JSON.
fn offline(what: &str, upstream: &Endpoint, data: &std::path::Path) -> Command {
    let mut transfer = command();
    let url = format!("http://{}", upstream.authority);
    transfer.args([what, "--offline", "-o", "json", "--upstream", &url]);
    transfer.arg("--data").arg(data);
    transfer
}

/// A data directory that a regseal has once used.
fn empty_data() -> tempfile::TempDir {
    let data = tempfile::TempDir::with_prefix("data-").unwrap();
    std::fs::create_dir(data.path().join("objects")).unwrap();
    data
}

/// The reasons of what was not transferred, each behind its reference.
fn problems(report: &Value, kind: &str) -> Vec<String> {
    let listed = report[kind].as_array().unwrap().iter();
    let text = |problem: &Value, key: &str| problem[key].as_str().unwrap().to_owned();
    let mut all: Vec<String> = listed
        .map(|problem| {
            format!(
                "{}: {}",
                text(problem, "reference"),
                text(problem, "reason")
            )
        })
        .collect();
    all.sort();
    all
}

/// Many small manifests of one repository.
struct Shelf {
    repository: Repository,
    config: Content,
    layer: Content,
}

impl Shelf {
    fn of(repository: Repository) -> Self {
        let (config, layer) = (Content::new(EMPTY, "{}"), Content::random("text/plain"));
        for blob in [&config, &layer] {
            repository.push_blob(blob);
        }
        Self {
            repository,
            config,
            layer,
        }
    }

    /// A manifest that no other is equal to, still to be pushed.
    fn manifest(&self, subject: Option<&Content>) -> Content {
        artifact_of("text/plain", subject, &self.config, &self.layer)
    }

    fn put(&self, tag: &str) -> Content {
        let manifest = self.manifest(None);
        self.repository.put_manifest(tag, &manifest).expect(201);
        manifest
    }
}
