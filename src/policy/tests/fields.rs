//! No field is without effect: each, changed alone, changes what is decided.

use std::time::Duration;

use super::place::{Key, Place};
use super::*;

/// A rule with every key.
const RULE: [(&str, &str); 11] = [
    ("name", "release"),
    ("repositories", "['prod/**']"),
    ("tags", "['v*']"),
    ("require", "{all: [a, b]}"),
    ("on_unsigned_push", "reject"),
    ("on_untrusted_push", "store"),
    ("on_unsigned_pull", "deny"),
    ("existing", "deny"),
    ("reject", "{keep: 1h}"),
    ("coverage", "index"),
    ("exempt", "[]"),
];

/// That rule with another value of one key.
fn with(key: &str, value: &str) -> Policy {
    let mut text = String::new();
    for (index, (name, usual)) in RULE.into_iter().enumerate() {
        // That one has an effect only beside `on_unsigned_push: reject`.
        if name == "reject" && key == "on_unsigned_push" {
            continue;
        }
        let start = if index == 0 { "  -" } else { "   " };
        let value = if name == key { value } else { usual };
        text.push_str(&format!("{start} {name}: {value}\n"));
    }
    policy(&text)
}

fn push(policy: &Policy) -> String {
    let by = names("a");
    let judged = policy.judge_push(&repository("prod/app"), &tag("v1"), &image(), &by, NOW);
    judged.decision.as_str().to_owned()
}

fn pull(policy: &Policy, was_there: bool, now: UnixMillis) -> String {
    let (by, name) = (names("a"), repository("prod/app"));
    let judged = policy.judge_pull(&name, &[tag("v1")], &image(), &by, was_there, now);
    judged.decision.as_str().to_owned()
}

#[test]
fn each_field_of_a_rule_decides_something() {
    type Ask = fn(&Policy) -> String;
    let exempt = format!("[{{digest: {}, reason: vendor}}]", image());
    let rows: [(&str, &str, Ask, &str, &str); 11] = [
        (
            "name",
            "other",
            |p| p.rules()[0].name.clone(),
            "release",
            "other",
        ),
        ("repositories", "[dev]", push, "reject", "allow"),
        ("tags", "[latest]", push, "reject", "allow"),
        ("require", "{any: [a, b]}", push, "reject", "admit"),
        ("on_unsigned_push", "warn", push, "reject", "warn"),
        (
            "on_untrusted_push",
            "reject",
            |p| p.rules()[0].on_untrusted_push.as_str().to_owned(),
            "store",
            "reject",
        ),
        (
            "on_unsigned_pull",
            "warn",
            |p| pull(p, false, NOW),
            "deny",
            "warn",
        ),
        ("existing", "allow", |p| pull(p, true, NOW), "deny", "allow"),
        (
            "reject",
            "{keep: 2h}",
            |p| p.rules()[0].keep.as_secs().to_string(),
            "3600",
            "7200",
        ),
        (
            "coverage",
            "all",
            |p| p.rules()[0].coverage.as_str().to_owned(),
            "index",
            "all",
        ),
        ("exempt", &exempt, push, "reject", "admit"),
    ];
    let named: Vec<&str> = rows.iter().map(|row| row.0).collect();
    assert_eq!(named, RULE.map(|(name, _)| name), "every field has a row");
    for (field, value, ask, before, after) in rows {
        assert_eq!(ask(&with("", "")), before, "{field}");
        assert_eq!(ask(&with(field, value)), after, "{field}: {value}");
    }
    for (word, _) in OnPush::WORDS {
        assert_eq!(push(&with("on_unsigned_push", word)), *word);
    }
    for (word, coverage) in Coverage::WORDS {
        assert_eq!(with("coverage", word).rules()[0].coverage, *coverage);
    }
}

#[test]
fn each_field_of_an_exemption_decides_something() {
    let exempt = |fields: &str| with("exempt", &format!("[{{{fields}}}]"));
    let (own, other) = (image(), Digest::sha256(b"other"));
    let later = NOW.saturating_add(Duration::from_hours(48));
    for (fields, now, expected, why) in [
        (
            format!("digest: {own}, reason: vendor"),
            later,
            "allow",
            "without an end",
        ),
        (
            format!("digest: {other}, reason: vendor"),
            later,
            "deny",
            "another image",
        ),
        (
            format!("digest: {own}, reason: vendor, until: 2026-01-01"),
            NOW,
            "allow",
            "on the last day",
        ),
        (
            format!("digest: {own}, reason: vendor, until: 2026-01-01"),
            later,
            "deny",
            "after it",
        ),
        (
            format!("digest: {own}, reason: vendor, until: 2026-01-01T00:00:00Z"),
            NOW,
            "deny",
            "at the instant",
        ),
    ] {
        assert_eq!(pull(&exempt(&fields), false, now), expected, "{why}");
    }
    let named = exempt(&format!("digest: {own}, reason: a vendor"));
    let by = names("a");
    let judged = named.judge_push(&repository("prod/app"), &tag("v1"), &own, &by, NOW);
    assert_eq!(judged.exemption.unwrap().reason, "a vendor");
}

#[test]
fn each_field_of_an_authority_decides_something() {
    let place = Place::new();
    let [one, other] = [Key::p384(), Key::p384()];
    place.write("one.pub", one.pem());
    place.write("other.pub", other.pem());
    place.write_trust(&[
        ("strict", "strict", "*"),
        ("skip", "skip", "registry/skipped"),
    ]);
    let signature = one.signature(&image());
    let envelope = place::junk_envelope();
    for (authority, evidence, expected, why) in [
        (
            "{cosign: {key: one.pub, transparency_log: ignored}}",
            &signature,
            "valid",
            "the key",
        ),
        (
            "{cosign: {key: other.pub, transparency_log: ignored}}",
            &signature,
            "untrusted",
            "another key",
        ),
        (
            "{cosign: {key: one.pub, hash: sha384, transparency_log: ignored}}",
            &signature,
            "valid",
            "its hash",
        ),
        (
            "{cosign: {key: one.pub, hash: sha256, transparency_log: ignored}}",
            &signature,
            "untrusted",
            "another hash",
        ),
        (
            "{notation: {statement: strict}}",
            &envelope,
            "invalid",
            "a statement that verifies",
        ),
        (
            "{notation: {statement: skip}}",
            &envelope,
            "untrusted",
            "a statement that does not",
        ),
        (
            "{notation: {}}",
            &envelope,
            "invalid",
            "the statement of the repository",
        ),
    ] {
        place.write_policy(&format!(
            "version: 1\nauthorities: {{one: {authority}}}\n\
             rules: [{{name: all, repositories: ['**'], require: one, on_unsigned_push: reject}}]\n"
        ));
        let opinions = place.examine("app", evidence);
        assert_eq!(opinions, [format!("one: {expected}")], "{why}");
    }
    place.write_policy(
        "version: 1\nauthorities: {one: {notation: {}}}\n\
         rules: [{name: all, repositories: ['**'], require: one, on_unsigned_push: reject}]\n",
    );
    let opinions = place.examine("skipped", &envelope);
    assert_eq!(
        opinions,
        ["one: untrusted"],
        "a repository with a statement of its own"
    );
}
