//! An import in a running regseal, begun by its admin API.

use std::process::{Command, Stdio};

use serde_json::json;
use tempfile::TempDir;

use super::report;
use crate::support::gate::{Gate, Verdict};
use crate::support::images::{NOTATION, digests, index_of};
use crate::support::regseal::command;
use crate::support::{ALICE, Auth, PATIENCE, Registry, Regseal, wait_for};

const TOKEN: &str = "token-of-the-operators";

struct Desk {
    regseal: Regseal,
    files: TempDir,
}

impl Desk {
    fn before(gate: &Gate) -> Self {
        let files = TempDir::with_prefix("desk-").unwrap();
        let token = files.path().join("token");
        std::fs::write(&token, TOKEN).unwrap();
        let config = format!("admin: {{token_file: {token:?}}}\n");
        Self {
            regseal: Regseal::at(&gate.endpoint).config(&config).start(),
            files,
        }
    }

    fn command(&self, name: &str) -> Command {
        let mut asked = command();
        let url = format!("http://{}", self.regseal.admin.authority());
        asked.args([name, "-o", "json", "--admin", &url]);
        asked
            .arg("--token-file")
            .arg(self.files.path().join("token"));
        asked
    }
}

#[test]
fn a_running_regseal_goes_on_when_the_command_has_left() {
    let registry = Registry::with(Auth::None);
    let app = registry.endpoint.repository(ALICE, "app");
    let image = app.push_image("v1");
    let signature = app.attach(NOTATION, &image);
    let list = index_of([&signature]);
    app.put_manifest(&image.companion_tag(""), &list)
        .expect(201);
    let gate = Gate::before(&registry);
    let desk = Desk::before(&gate);
    let operator = desk.regseal.admin.clone().bearer(TOKEN);
    let path = "/api/v1/import";
    desk.regseal.admin.get(path).expect(401);
    assert_eq!(operator.get(path).expect(200).json()["state"], "none");
    let ask = |body: &str| operator.request("POST", path, &[], body.to_owned());
    for (body, why) in [
        ("{", "no JSON"),
        (r#"{"repositories": ["A"]}"#, "no repository"),
        (r#"{"other": 1}"#, "an unknown key"),
    ] {
        assert_eq!(ask(body).status, 400, "{why}");
    }

    gate.rule(|asked| match asked.path.starts_with("/v2/_catalog") {
        true => Verdict::PassAfter(PATIENCE * 10),
        false => Verdict::Pass,
    });
    let mut import = desk.command("import");
    let mut command = import
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("the import to be begun", || {
        (operator.get(path).expect(200).json()["state"] == "running").then_some(())
    });
    command.kill().unwrap();
    command.wait().unwrap();
    ask("").refused(409, "UNSUPPORTED");
    assert_eq!(operator.get(path).expect(200).json()["state"], "running");
    wait_for("the registry to be asked", || {
        let seen = gate.seen();
        let asked = seen
            .iter()
            .any(|asked| asked.path.starts_with("/v2/_catalog"));
        asked.then_some(())
    });
    // A regseal that ends in the middle begins anew when it is asked.
    let mut desk = desk;
    desk.regseal.kill();
    gate.open();
    desk.regseal.start_again();
    let operator = desk.regseal.admin.clone().bearer(TOKEN);
    assert_eq!(
        operator.get(path).expect(200).json()["state"],
        "interrupted"
    );
    let done = report(&desk.command("import").output().unwrap(), 0);
    assert_eq!(
        (&done["stored"], &done["inventory"]),
        (&json!(1), &json!("finished"))
    );
    let status = operator.get(path).expect(200).json();
    assert_eq!(
        (&status["state"], &status["report"]),
        (&json!("finished"), &done)
    );
    let through = desk.regseal.endpoint.repository(ALICE, "app");
    assert_eq!(digests(&through.referrers(&image)), [signature.digest()]);

    // And out again, by the same API.
    let captured = through.attach(NOTATION, &image);
    let path = "/api/v1/export";
    assert_eq!(operator.get(path).expect(200).json()["state"], "none");
    let refused = operator.request("POST", path, &[], r#"{"renew_inventory": true}"#);
    refused.expect(400);
    let mut export = desk.command("export");
    let exported = report(&export.output().unwrap(), 0);
    assert_eq!(
        (&exported["written"], &exported["already_there"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(operator.get(path).expect(200).json()["state"], "finished");
    let list = app
        .get_manifest(&image.companion_tag(""))
        .expect(200)
        .json();
    let mut both = [captured.digest(), signature.digest()];
    both.sort();
    assert_eq!(digests(list["manifests"].as_array().unwrap()), both);
}
