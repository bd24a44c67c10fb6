//! The policy of all attempts.

use serde_json::json;
use tempfile::TempDir;

use super::{Keys, PROD};
use crate::support::Content;
use crate::support::images::{self, MANIFEST};

/// The part of a configuration that names the policy, and the directory of its files.
pub(super) fn config_of_policy(keys: &Keys) -> (String, TempDir) {
    let files = TempDir::with_prefix("policy-").unwrap();
    for (name, key) in [("build.pub", &keys.build), ("audit.pub", &keys.audit)] {
        std::fs::write(files.path().join(name), key.pem()).unwrap();
    }
    let file = files.path().join("policy.yaml");
    std::fs::write(&file, policy()).unwrap();
    (format!("policy: {{file: {file:?}}}\n"), files)
}

fn policy() -> String {
    let rule = |name: &str, more: &str| {
        format!(
            "  - name: {name}\n    repositories: [\"{name}/**\"]\n    require: {{any: [build]}}\n    \
             on_unsigned_push: reject\n{more}"
        )
    };
    let exempt = exempt_image();
    let rules = [
        rule(PROD, ""),
        rule("brief", "    reject: {keep: 1s}\n"),
        rule("children", "    coverage: children\n"),
        rule("all", "    coverage: all\n"),
        rule("either", "    coverage: either\n"),
        rule(
            "exempt",
            &format!(
                "    exempt:\n      - {{digest: {:?}, reason: of the vendor}}\n      - {{digest: {:?}, reason: over, until: 2026-01-01}}\n",
                exempt[0].digest(),
                exempt[1].digest(),
            ),
        ),
        rule("some-tags", "    tags: [\"v*\"]\n"),
        "  - name: lenient\n    repositories: [\"lenient/**\"]\n    tags: [\"dev-*\"]\n    require: {any: [build]}\n    \
         on_unsigned_push: allow\n"
            .to_owned(),
        rule("lenient-rest", "").replace("lenient-rest/**", "lenient/**"),
        rule("two", "").replace("any: [build]", "all: [build, audit]"),
        rule("marked", "    on_unsigned_pull: warn\n").replace("push: reject", "push: tag"),
        rule("marked-denied", "    on_unsigned_pull: deny\n").replace("push: reject", "push: tag"),
        rule("picky", "    on_untrusted_push: reject\n"),
        rule("open-pull", "    on_unsigned_pull: allow\n"),
    ];
    format!(
        "version: 1\nauthorities:\n  build: {{cosign: {{key: build.pub, transparency_log: ignored}}}}\n  \
         audit: {{cosign: {{key: audit.pub, transparency_log: ignored}}}}\nrules:\n{}",
        rules.concat()
    )
}

/// Two images whose bytes are always the same: one is exempt, the exemption of the other is over.
pub(super) fn exempt_image() -> [Content; 2] {
    ["exempt", "over"].map(|salt| {
        let [config, layer] = exempt_blobs(salt);
        Content::manifest(&json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.descriptor(),
            "layers": [layer.descriptor()],
        }))
    })
}

pub(super) fn exempt_blobs(salt: &str) -> [Content; 2] {
    let config = json!({"architecture": "amd64", "os": "linux", "author": salt, "rootfs": {"type": "layers", "diff_ids": []}});
    [
        Content::new(images::CONFIG, config.to_string()),
        Content::new(images::LAYER, images::tar("salt", salt.as_bytes())),
    ]
}
