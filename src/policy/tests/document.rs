//! What a file that is right means.

use std::time::Duration;

use super::*;

#[test]
fn a_rule_that_says_little_has_the_strict_defaults() {
    let policy = policy(
        "  - {name: open, repositories: ['open/**']}\n  \
         - {name: kept, repositories: ['**'], require: a, on_unsigned_push: reject}\n  \
         - {name: seen, repositories: ['**'], tags: [x], require: a, on_unsigned_push: warn}\n",
    );
    let [open, kept, seen] = policy.rules() else {
        panic!("three rules")
    };
    assert_eq!(open.require, None);
    assert_eq!(open.on_unsigned_push, OnPush::Allow);
    assert_eq!(open.on_unsigned_pull, OnPull::Allow);
    assert_eq!(kept.tags, [TagPattern::parse("*").unwrap()]);
    assert_eq!(kept.on_unsigned_pull, OnPull::Deny, "follows from reject");
    assert_eq!(kept.on_untrusted_push, OnUntrusted::Store);
    assert_eq!(kept.existing, Existing::Deny);
    assert_eq!(kept.keep, Duration::from_secs(3600));
    assert_eq!(kept.coverage, Coverage::Index);
    assert_eq!(kept.exempt, []);
    assert!(kept.rejects() && !seen.rejects());
    assert_eq!(seen.on_unsigned_pull, OnPull::Allow, "follows from warn");
}

#[test]
fn a_rule_about_pulls_alone_is_whole() {
    let policy =
        policy("  - {name: all, repositories: ['**'], require: a, on_unsigned_pull: deny}\n");
    let rule = &policy.rules()[0];
    assert_eq!(rule.on_unsigned_push, OnPush::Allow);
    assert_eq!(rule.on_unsigned_pull, OnPull::Deny);
}

#[test]
fn requirements_are_read_as_they_are_nested() {
    for (written, expected) in [
        ("a", "a"),
        ("{all: [a, b]}", "a and b"),
        ("{any: [a, b, c]}", "a or b or c"),
        ("{at_least: 2, of: [a, b, c]}", "at least 2 of (a, b, c)"),
        ("{all: [a, {any: [b, c]}]}", "a and (b or c)"),
        ("{any: [{all: [a, b]}, c]}", "(a and b) or c"),
        (
            "{at_least: 1, of: [{all: [a, b]}, {any: [c]}]}",
            "at least 1 of ((a and b), c)",
        ),
        (
            "{all: [{all: [{all: [{all: [{all: [{all: [{all: [{all: [a]}]}]}]}]}]}]}]}",
            "a",
        ),
    ] {
        let rule = format!(
            "  - {{name: all, repositories: ['**'], require: {written}, on_unsigned_push: reject}}\n"
        );
        let policy = policy(&rule);
        let require = policy.rules()[0].require.as_ref().unwrap();
        assert_eq!(require.to_string(), expected, "{written}");
    }
}

#[test]
fn the_first_rule_about_repository_and_tag_decides() {
    let policy = policy(
        "  - {name: first, repositories: [prod/app, 'prod/web*'], tags: ['v*', latest]}\n  \
         - {name: second, repositories: ['prod/*'], tags: ['*']}\n  \
         - {name: third, repositories: ['prod/**']}\n  \
         - {name: fourth, repositories: ['**'], tags: [v1]}\n",
    );
    for (name, by_tag, expected) in [
        ("prod/app", "v1", "first"),
        ("prod/app", "latest", "first"),
        ("prod/app", "latest2", "second"),
        ("prod/website", "v1", "first"),
        ("prod/other", "v1", "second"),
        ("prod/app/x", "v1", "third"),
        ("prod/web/x", "v1", "third"),
        ("prod", "v1", "fourth"),
        ("prod", "v2", ""),
        ("production/app", "v2", ""),
        ("prod/app", "unsigned-v1", ""),
        ("prod/app/x", "unsigned-", ""),
        ("prod/app/x", "unsigned", "third"),
    ] {
        let rule = policy.rule_for(&repository(name), &tag(by_tag));
        let found = rule.map_or("", |rule| rule.name.as_str());
        assert_eq!(found, expected, "{name}:{by_tag}");
    }
    for (name, expected) in [
        ("prod/app", vec!["first", "second"]),
        ("prod/other", vec!["second"]),
        ("prod/app/x", vec!["third"]),
        ("dev/app", vec!["fourth"]),
    ] {
        let rules = policy.rules_of(&repository(name));
        let found: Vec<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
        assert_eq!(found, expected, "{name}: none behind one about all tags");
    }
}

#[test]
fn what_is_allowed_and_perhaps_not_meant_is_told() {
    let rules = "rules:
  - name: wide
    repositories: ['prod/**']
    require: a
    on_unsigned_push: reject
    on_unsigned_pull: warn
  - {name: narrow, repositories: [prod/app, 'prod/x/*'], tags: ['v*']}
  - name: old
    repositories: ['old/**']
    tags: [v1]
    require: {any: [a, b]}
    on_unsigned_push: tag
    exempt:
      - {digest: DIGEST, reason: gone, until: 2025-12-31}
      - {digest: DIGEST, reason: until tomorrow, until: 2026-01-01}
";
    let digest = image().to_string();
    let text = format!("{AUTHORITIES}{}", rules.replace("DIGEST", &digest));
    let (_, warnings) = read(&text).unwrap();
    assert_eq!(
        lines(&warnings),
        [
            "policy.yaml:5: authorities.c: warning: no rule requires this authority",
            "policy.yaml:7: rules[0].on_unsigned_pull: warning: the way by digest is open: what cannot be pushed by tag \
             can be pushed by digest, and pulled (warn)",
            "policy.yaml:12: rules[1]: warning: never decides: \"wide\" is about all of it before",
            "policy.yaml:19: rules[2].exempt[0]: warning: ended 2026-01-01T00:00:00.000Z",
        ]
    );
    let hopeless: Vec<bool> = warnings.iter().map(|one| one.is_hopeless).collect();
    assert_eq!(hopeless, [false, false, true, false]);
}
