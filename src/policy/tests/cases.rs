//! Cases that a policy is tried with.

use super::*;
use crate::policy::cases::{Case, Check, parse};

fn subject() -> Policy {
    let digest = image();
    policy(&format!(
        "  - name: release\n    repositories: ['prod/**']\n    tags: ['v*']\n    require: {{all: [a, b]}}\n    \
         on_unsigned_push: reject\n    existing: allow\n    \
         exempt: [{{digest: {digest}, reason: vendor, until: 2026-06-30}}]\n  \
         - {{name: rest, repositories: ['prod/**'], require: a, on_unsigned_push: tag}}\n",
    ))
}

fn read_cases(cases: &str) -> Result<Vec<Case>, LoadErrors> {
    let text = format!("version: 1\ncases:\n{cases}");
    parse(Path::new("cases.yaml"), &text, &subject())
}

/// What is found for a case with these keys, as `what: expected/found (why)`.
#[track_caller]
fn run(keys: &str) -> Vec<String> {
    let cases = read_cases(&format!("  - {{{keys}}}\n")).map_err(|errors| errors.to_string());
    let checks = cases.unwrap()[0].run(&subject(), NOW);
    let shown = |check: &Check| {
        assert_eq!(check.holds(), check.expected == check.found);
        let Check {
            what,
            expected,
            found,
            why,
        } = check;
        format!("{what}: {expected}/{found} ({why})")
    };
    checks.iter().map(shown).collect()
}

#[test]
fn a_case_is_judged_as_a_server_would() {
    let digest = image();
    let exempt =
        format!("repository: prod/app, tag: v1, digest: {digest}, expect: {{push: allow}}");
    let late = format!("{exempt}, at: 2026-07-01");
    let untagged = "repository: prod/app, digest: sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    for (keys, expected) in [
        (
            "repository: prod/app, tag: v1, expect: {push: reject, pull: deny, rule: release}",
            vec![
                "push: reject/reject (unsigned (rule release), missing a, b)",
                "pull: deny/deny (unsigned (rule release), missing a, b)",
                "rule: release/release (unsigned (rule release), missing a, b)",
            ],
        ),
        (
            "repository: prod/app, tag: v1, signed_by: [a, b], expect: {push: reject, pull: allow}",
            vec![
                "push: reject/allow (signed (rule release))",
                "pull: allow/allow (signed (rule release))",
            ],
        ),
        (
            "repository: prod/app, tag: v1, signed_by: [a], expect: {push: allow}",
            vec!["push: allow/reject (unsigned (rule release), missing b)"],
        ),
        (
            "repository: prod/app, tag: dev, signed_by: [], expect: {push: tag, pull: allow}",
            vec![
                "push: tag/tag (unsigned (rule rest), missing a)",
                "pull: allow/allow (unsigned (rule rest), missing a)",
            ],
        ),
        (
            "repository: prod/app, tag: v1, existing: true, expect: {pull: allow}",
            vec!["pull: allow/allow (existing (rule release))"],
        ),
        (
            "repository: dev/app, tag: v1, expect: {push: allow, rule: null}",
            vec!["push: allow/allow (no rule)", "rule: none/none (no rule)"],
        ),
        (
            "repository: dev/app, tag: v1, expect: {rule: rest}",
            vec!["rule: rest/none (no rule)"],
        ),
        (
            exempt.as_str(),
            vec!["push: allow/allow (exempt (rule release))"],
        ),
        (
            late.as_str(),
            vec!["push: allow/reject (unsigned (rule release), missing a, b)"],
        ),
        (
            &format!("{untagged}, expect: {{pull: deny, rule: release}}"),
            vec![
                "pull: deny/deny (unsigned (rule release), missing a, b)",
                "rule: release/release (unsigned (rule release), missing a, b)",
            ],
        ),
    ] {
        assert_eq!(run(keys), expected, "{keys}");
    }
}

#[test]
fn a_case_has_its_name_or_its_place() {
    let cases = read_cases(
        "  - {repository: a, tag: v1, expect: {rule: null}}\n  \
         - {name: other, repository: a, tag: v1, expect: {rule: null}}\n",
    );
    let names: Vec<String> = cases.unwrap().into_iter().map(|case| case.name).collect();
    assert_eq!(names, ["cases[0]", "other"]);
}

#[test]
fn mistakes_of_cases_are_told_with_their_places() {
    for (keys, expected) in [
        ("tag: v1, expect: {push: allow}", ".repository: required"),
        (
            "repository: UPPER, tag: v1, expect: {push: allow}",
            ".repository: expected the name of a repository, found \"UPPER\"",
        ),
        (
            "repository: a, expect: {pull: allow}",
            ": a tag or a digest is required",
        ),
        (
            "repository: a, tag: '?', expect: {push: allow}",
            ".tag: expected a tag, found \"?\"",
        ),
        ("repository: a, tag: v1", ".expect: required"),
        (
            "repository: a, tag: v1, expect: {}",
            ".expect: one of push, pull and rule is required",
        ),
        (
            "repository: a, tag: v1, expect: {push: hold}",
            ".expect.push: \"hold\" is not yet supported",
        ),
        (
            "repository: a, tag: v1, expect: {push: admit}",
            ".expect.push: expected allow or warn or tag or reject, found \"admit\"",
        ),
        (
            "repository: a, tag: v1, expect: {pull: reject}",
            ".expect.pull: expected allow or warn or deny, found \"reject\"",
        ),
        (
            "repository: a, tag: v1, expect: {rule: relase}",
            ".expect.rule: unknown rule \"relase\" (did you mean \"release\"?)",
        ),
        (
            "repository: a, tag: v1, expect: {rule: 7}",
            ".expect.rule: expected the name of a rule, found 7",
        ),
        (
            "repository: a, tag: v1, signed_by: [release], expect: {push: allow}",
            ".signed_by[0]: unknown authority \"release\"",
        ),
        (
            "repository: a, tag: v1, signed_by: a, expect: {push: allow}",
            ".signed_by: expected a list of authorities, found \"a\"",
        ),
        (
            "repository: a, tag: v1, existing: maybe, expect: {push: allow}",
            ".existing: expected true or false, found \"maybe\"",
        ),
        (
            "repository: a, tag: v1, at: now, expect: {push: allow}",
            ".at: expected a date such as 2027-01-31, or 2027-01-31T12:00:00Z, found \"now\"",
        ),
        (
            "repository: a, tag: v1, sgned_by: [], expect: {push: allow}",
            ".sgned_by: unknown key (did you mean \"signed_by\"?)",
        ),
    ] {
        let errors = read_cases(&format!("  - {{{keys}}}\n")).unwrap_err();
        let mistakes = errors.to_string().replace("cases.yaml:3: cases[0]", "");
        assert_eq!(mistakes, expected, "{keys}");
    }
    let digest = image();
    let untagged = format!("  - {{repository: a, digest: {digest}, expect: {{push: allow}}}}\n");
    assert_eq!(
        read_cases(&untagged).unwrap_err().to_string(),
        "cases.yaml:3: cases[0].expect.push: a push is judged by its tag, and the case has none"
    );
    for (text, expected) in [
        (
            "cases: []",
            "cases.yaml:1: version: required\ncases.yaml:1: cases: expected a list of cases, found an empty one",
        ),
        ("version: 1", "cases.yaml:1: cases: required"),
    ] {
        let errors = parse(Path::new("cases.yaml"), text, &subject()).unwrap_err();
        assert_eq!(errors.to_string(), expected, "{text}");
    }
}
