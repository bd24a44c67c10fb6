//! What rules say about pushes and pulls.

use super::*;

fn rule(more: &str) -> Policy {
    let digest = image();
    policy(&format!(
        "  - name: all\n    repositories: ['**']\n    require: {{all: [a, b]}}\n    {more}\n    \
         exempt: [{{digest: {digest}, reason: vendor, until: 2026-06-30}}]\n",
    ))
}

#[test]
fn a_push_passes_signed_or_exempt_and_else_as_the_rule_says() {
    let other = Digest::sha256(b"other");
    let later = NOW.saturating_add(std::time::Duration::from_hours(24 * 365));
    for (on_unsigned, expected) in [
        ("allow", PushDecision::Allow),
        ("warn", PushDecision::Warn),
        ("tag", PushDecision::Tag),
        ("reject", PushDecision::Reject),
    ] {
        let policy = rule(&format!("on_unsigned_push: {on_unsigned}"));
        for (by, digest, now, decision, ground, missing, why) in [
            (
                "a b",
                &other,
                NOW,
                PushDecision::Admit,
                Ground::Signed,
                "",
                "both",
            ),
            (
                "a b c",
                &other,
                NOW,
                PushDecision::Admit,
                Ground::Signed,
                "",
                "and one more",
            ),
            (
                "a b",
                &image(),
                NOW,
                PushDecision::Admit,
                Ground::Signed,
                "",
                "needs no exemption",
            ),
            (
                "",
                &image(),
                NOW,
                PushDecision::Admit,
                Ground::Exempt,
                "",
                "exempt",
            ),
            (
                "",
                &image(),
                later,
                expected,
                Ground::Unsigned,
                "a b",
                "exempt no more",
            ),
            (
                "a",
                &other,
                NOW,
                expected,
                Ground::Unsigned,
                "b",
                "one of two",
            ),
            (
                "c",
                &other,
                NOW,
                expected,
                Ground::Unsigned,
                "a b",
                "another one",
            ),
            ("", &other, NOW, expected, Ground::Unsigned, "a b", "nobody"),
        ] {
            let judged = policy.judge_push(&repository("x"), &tag("v1"), digest, &names(by), now);
            let why = format!("{on_unsigned}: {why}");
            assert_eq!(
                (judged.decision, judged.ground),
                (decision, ground),
                "{why}"
            );
            assert_eq!(judged.missing.join(" "), missing, "{why}");
            assert_eq!(
                judged.exemption.is_some(),
                ground == Ground::Exempt,
                "{why}"
            );
            assert_eq!(
                judged.rule.map(|rule| rule.name.as_str()),
                Some("all"),
                "{why}"
            );
        }
    }
}

#[test]
fn a_pull_passes_signed_or_exempt_or_existing_and_else_as_the_rule_says() {
    let other = Digest::sha256(b"other");
    for (on_unsigned, refused) in [
        ("allow", PullDecision::Allow),
        ("warn", PullDecision::Warn),
        ("deny", PullDecision::Deny),
    ] {
        for (existing, admits_existing) in [("deny", false), ("allow", true)] {
            let text = format!("on_unsigned_pull: {on_unsigned}\n    existing: {existing}");
            let policy = rule(&text);
            for tags in [vec![], vec![tag("v1")], vec![tag("v1"), tag("v2")]] {
                for (by, digest, was_there, ground) in [
                    ("a b", &other, false, Ground::Signed),
                    ("a b", &other, true, Ground::Signed),
                    ("", &image(), false, Ground::Exempt),
                    ("a", &other, false, Ground::Unsigned),
                    (
                        "a",
                        &other,
                        true,
                        if admits_existing {
                            Ground::Existing
                        } else {
                            Ground::Unsigned
                        },
                    ),
                ] {
                    let judged = policy.judge_pull(
                        &repository("x"),
                        &tags,
                        digest,
                        &names(by),
                        was_there,
                        NOW,
                    );
                    let why = format!("{on_unsigned} {existing} {tags:?} {by:?} {was_there}");
                    let passes = ground != Ground::Unsigned;
                    let decision = if passes { PullDecision::Allow } else { refused };
                    assert_eq!(
                        (judged.decision, judged.ground),
                        (decision, ground),
                        "{why}"
                    );
                    let missing = if passes { "" } else { "b" };
                    assert_eq!(judged.missing.join(" "), missing, "{why}");
                }
            }
        }
    }
}

#[test]
fn where_no_rule_is_or_requires_anything_all_passes() {
    let policy = policy("  - {name: open, repositories: [open]}\n");
    for (name, ground) in [("open", Ground::NothingRequired), ("x", Ground::NoRule)] {
        let (name, nobody) = (repository(name), names(""));
        let push = policy.judge_push(&name, &tag("v1"), &image(), &nobody, NOW);
        assert_eq!((push.decision, push.ground), (PushDecision::Allow, ground));
        for tags in [vec![], vec![tag("v1")]] {
            let pull = policy.judge_pull(&name, &tags, &image(), &nobody, false, NOW);
            assert_eq!((pull.decision, pull.ground), (PullDecision::Allow, ground));
        }
    }
}

#[test]
fn of_known_tags_the_weakest_decides_and_without_one_the_strictest_rule() {
    let policy = policy(
        "  - {name: dev, repositories: [app], tags: ['dev-*'], require: a, on_unsigned_pull: warn}\n  \
         - {name: release, repositories: [app], tags: ['v*'], require: {all: [a, b]}, on_unsigned_pull: deny}\n  \
         - {name: stable, repositories: [app], tags: [stable], require: c, on_unsigned_pull: deny}\n  \
         - {name: rest, repositories: ['*'], require: c, on_unsigned_pull: allow}\n  \
         - {name: never, repositories: ['**'], require: {all: [a, b, c]}, on_unsigned_pull: deny}\n",
    );
    for (tags, by, rule, decision, why) in [
        ("v1", "", "release", PullDecision::Deny, "its own rule"),
        (
            "v1 dev-1",
            "",
            "dev",
            PullDecision::Warn,
            "the weaker of two",
        ),
        ("dev-1 v1", "", "dev", PullDecision::Warn, "in either order"),
        (
            "v1 stable",
            "",
            "release",
            PullDecision::Deny,
            "the first of equals",
        ),
        (
            "v1 stable",
            "c",
            "stable",
            PullDecision::Allow,
            "one that is content",
        ),
        (
            "v1 other",
            "",
            "rest",
            PullDecision::Allow,
            "one that allows",
        ),
        (
            "unsigned-v1 v1",
            "",
            "release",
            PullDecision::Deny,
            "a marker says nothing",
        ),
        (
            "unsigned-v1",
            "",
            "release",
            PullDecision::Deny,
            "a marker is no known tag",
        ),
        (
            "",
            "",
            "release",
            PullDecision::Deny,
            "the first of the strictest",
        ),
        (
            "",
            "a b",
            "stable",
            PullDecision::Deny,
            "each has to be content",
        ),
        ("", "a b c", "dev", PullDecision::Allow, "each is"),
        ("", "a c", "release", PullDecision::Deny, "one is not"),
    ] {
        let tags: Vec<Tag> = tags.split_whitespace().map(tag).collect();
        let judged = policy.judge_pull(&repository("app"), &tags, &image(), &names(by), false, NOW);
        assert_eq!(judged.decision, decision, "{why}");
        assert_eq!(
            judged.rule.map(|rule| rule.name.as_str()),
            Some(rule),
            "{why}"
        );
    }
}
