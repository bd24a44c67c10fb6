//! What is wrong with a policy file, each mistake with its line and its key. What cannot be supported is refused by name.

use super::*;

#[track_caller]
fn mistakes(text: &str) -> String {
    read(text).unwrap_err().to_string()
}

/// The mistakes of a policy with this authority on line 3, without what they have in common.
#[track_caller]
fn of_authority(authority: &str) -> String {
    let text = format!(
        "version: 1\nauthorities:\n  one: {authority}\n\
         rules: [{{name: all, repositories: ['**'], require: one, on_unsigned_push: reject}}]\n"
    );
    mistakes(&text).replace("policy.yaml:3: authorities.one", "")
}

/// The mistakes of a rule with these keys, all on line 7, without what they have in common.
#[track_caller]
pub(super) fn of_rule(keys: &str) -> String {
    let text = format!("{AUTHORITIES}rules:\n  - {{{keys}}}\n");
    mistakes(&text).replace("policy.yaml:7: rules[0]", "")
}

#[test]
fn every_mistake_of_a_file_is_reported_in_one_run() {
    let text = "version: 1
authority: {}
authorities:
  a: {notation: {statement: release, level: strict}}
  b: {cosign: {key: azurekms://vault/key, transparency_log: required}}
  b: {}
rules:
  - name: production
    repositories: ['prod/**', 'prod**', Prod]
    tags: []
    require: {all: [a, bb]}
    on_unsigned_push: hold
    on_unsigned_pull: maybe
    hold: {expires_after: 24h}
    reject: {keep: 200h, kept: 1}
    exempt: [{digest: sha256:0, until: tomorrow}]
  - name: production
    repositories: ['**']
";
    assert_eq!(
        mistakes(text).lines().collect::<Vec<_>>(),
        [
            "policy.yaml:2: authority: unknown key (did you mean \"authorities\"?)",
            "policy.yaml:4: authorities.a.notation.level: unknown key",
            "policy.yaml:5: authorities.b.cosign.key: \"azurekms\" keys are not yet supported",
            "policy.yaml:5: authorities.b.cosign.transparency_log: \"required\" is not yet supported",
            "policy.yaml:6: authorities.b: written twice, first on line 5",
            "policy.yaml:9: rules[0].repositories[1]: \"prod**\": `**` stands alone between slashes",
            "policy.yaml:9: rules[0].repositories[2]: \"Prod\": only * and ** are special, and names have no upper-case letters",
            "policy.yaml:10: rules[0].tags: expected a list of patterns, found an empty one",
            "policy.yaml:11: rules[0].require.all[1]: unknown authority \"bb\" (did you mean \"b\"?)",
            "policy.yaml:12: rules[0].on_unsigned_push: \"hold\" is not yet supported",
            "policy.yaml:13: rules[0].on_unsigned_pull: expected allow or warn or deny, found \"maybe\"",
            "policy.yaml:14: rules[0].hold: not yet supported",
            "policy.yaml:15: rules[0].reject.keep: expected a duration such as 30m or 1h, from 1s to 168h, found \"200h\"",
            "policy.yaml:15: rules[0].reject.kept: unknown key",
            "policy.yaml:16: rules[0].exempt[0].digest: expected a digest such as sha256:<64 hex digits>, found \"sha256:0\"",
            "policy.yaml:16: rules[0].exempt[0].reason: required",
            "policy.yaml:16: rules[0].exempt[0].until: expected a date such as 2027-01-31, or 2027-01-31T12:00:00Z, found \"tomorrow\"",
            "policy.yaml:17: rules[1].name: rules[0] has the name \"production\" already",
        ]
    );
}

#[test]
fn a_file_that_is_no_policy_is_told_so() {
    for (text, expected) in [
        (
            "",
            "policy.yaml:1: expected a mapping of keys, found nothing",
        ),
        (
            "- a",
            "policy.yaml:1: expected a mapping of keys, found a list",
        ),
        (
            "{}",
            "policy.yaml:1: version: required\npolicy.yaml:1: rules: required",
        ),
        (
            "version: 2\nrules: []",
            "policy.yaml:1: version: expected 1, found 2\npolicy.yaml:2: rules: expected a list of rules, found an empty one",
        ),
        (
            "version: '1'\nrules: {}",
            "policy.yaml:1: version: expected 1, found \"1\"\npolicy.yaml:2: rules: expected a list of rules, found a mapping",
        ),
        (
            "version: 1\nrules: [all]",
            "policy.yaml:2: rules[0]: expected a mapping of keys, found \"all\"",
        ),
        (
            "version: 1\nversion: 1\nrules:\n  - {name: x, repositories: ['**']}\n",
            "policy.yaml:2: version: written twice, first on line 1",
        ),
        (
            "version: 1\nrules:\n  - {name: x, repositories: ['**']}\n  - name: x\n    repositories: [a]\n",
            "policy.yaml:4: rules[1].name: rules[0] has the name \"x\" already",
        ),
        (
            "version: 1\nauthorities: [a]\nrules: [{name: x, repositories: ['**']}]",
            "policy.yaml:2: authorities: expected a mapping of keys, found a list",
        ),
        (
            "version: 1\nrule: []",
            "policy.yaml:1: rules: required\npolicy.yaml:2: rule: unknown key (did you mean \"rules\"?)",
        ),
    ] {
        assert_eq!(mistakes(text), expected, "{text}");
    }
    for text in ["a: [", "a: *b", "a: 1\n---\nb: 2"] {
        let mistakes = mistakes(text);
        assert!(mistakes.contains(": not valid YAML: "), "{mistakes}");
        assert_eq!(mistakes.lines().count(), 1, "{mistakes}");
    }
}

#[test]
fn an_authority_is_of_one_family_and_whole() {
    let name =
        "version: 1\nauthorities: {a b: {notation: {}}}\nrules: [{name: x, repositories: ['**']}]";
    assert_eq!(
        mistakes(name),
        "policy.yaml:2: authorities.a b: expected a name of 1 to 64 letters, digits, dots, underscores and hyphens"
    );
    for (authority, expected) in [
        ("{}", ": one of notation and cosign is required"),
        ("release", ": expected a mapping of keys, found \"release\""),
        (
            "{notation: {}, cosign: {key: k, transparency_log: ignored}}",
            ": only one of notation and cosign can be set",
        ),
        (
            "{notary: {}}",
            ": one of notation and cosign is required\n.notary: unknown key",
        ),
        (
            "{notation: }",
            ".notation: expected a mapping of keys, found nothing",
        ),
        (
            "{notation: {statement: ''}}",
            ".notation.statement: expected text of one line, found \"\"",
        ),
        (
            "{notation: {statement: [a]}}",
            ".notation.statement: expected text of one line, found a list",
        ),
        (
            "{notation: {statements: a}}",
            ".notation.statements: unknown key (did you mean \"statement\"?)",
        ),
        (
            "{cosign: {}}",
            ".cosign.key: required\n.cosign.transparency_log: required",
        ),
        ("{cosign: {key: k}}", ".cosign.transparency_log: required"),
        (
            "{cosign: {key: '', transparency_log: ignored}}",
            ".cosign.key: expected the path of a public key, or the key in PEM, found \"\"",
        ),
        (
            "{cosign: {key: 7, transparency_log: ignored}}",
            ".cosign.key: expected the path of a public key, or the key in PEM, found 7",
        ),
        (
            "{cosign: {key: k, transparency_log: no}}",
            ".cosign.transparency_log: expected ignored, found \"no\"",
        ),
        (
            "{cosign: {key: k, transparency_log: ignored, hash: md5}}",
            ".cosign.hash: expected sha256 or sha384 or sha512, found \"md5\"",
        ),
        (
            "{cosign: {key: k, transparency_log: ignored, hsh: sha256}}",
            ".cosign.hsh: unknown key (did you mean \"hash\"?)",
        ),
    ] {
        assert_eq!(of_authority(authority), expected, "{authority}");
    }
}

#[test]
fn what_belongs_to_later_versions_is_refused_by_name() {
    for (authority, expected) in [
        (
            "{attestation: {predicate_type: x}}",
            ".attestation: not yet supported",
        ),
        (
            "{cosign: {keyless: {issuer: x}}}",
            ".cosign.keyless: not yet supported",
        ),
        (
            "{cosign: {key: k, transparency_log: required}}",
            ".cosign.transparency_log: \"required\" is not yet supported",
        ),
        (
            "{cosign: {key: 'awskms:///a', transparency_log: ignored}}",
            ".cosign.key: \"awskms\" keys are not yet supported",
        ),
        (
            "{cosign: {key: 'azurekms://a/b', transparency_log: ignored}}",
            ".cosign.key: \"azurekms\" keys are not yet supported",
        ),
        (
            "{cosign: {key: 'hashivault://a', transparency_log: ignored}}",
            ".cosign.key: \"hashivault\" keys are not yet supported",
        ),
        (
            "{cosign: {key: 'https://a/b', transparency_log: ignored}}",
            ".cosign.key: \"https\" keys are not yet supported",
        ),
    ] {
        assert_eq!(of_authority(authority), expected, "{authority}");
    }
    let usual = "name: all, repositories: ['**'], require: a";
    for (keys, expected) in [
        (
            "on_unsigned_push: hold",
            ".on_unsigned_push: \"hold\" is not yet supported",
        ),
        (
            "on_unsigned_push: reject, hold: {}",
            ".hold: not yet supported",
        ),
    ] {
        assert_eq!(of_rule(&format!("{usual}, {keys}")), expected, "{keys}");
    }
}

#[test]
fn a_rule_is_whole_and_says_nothing_without_effect() {
    let open = "name: all, repositories: ['**']";
    let usual = "name: all, repositories: ['**'], require: a, on_unsigned_push: reject";
    for (start, keys, expected) in [
        ("", "repositories: ['**']", ".name: required"),
        ("", "name: all", ".repositories: required"),
        (
            "",
            "name: a b, repositories: ['**']",
            ".name: expected a name of 1 to 64 letters, digits, dots, underscores and hyphens, found \"a b\"",
        ),
        (
            "",
            "name: all, repositories: '**'",
            ".repositories: expected a list of patterns, found \"**\"",
        ),
        (
            "",
            "name: all, repositories: []",
            ".repositories: expected a list of patterns, found an empty one",
        ),
        (
            "",
            "name: all, repositories: [7, 'a?']",
            ".repositories[0]: expected a pattern, found 7\n.repositories[1]: \"a?\": only * and ** are special, and names have no upper-case letters",
        ),
        (
            open,
            "tags: []",
            ".tags: expected a list of patterns, found an empty one",
        ),
        (
            open,
            "tags: ['unsigned-*', 'a/b']",
            ".tags[0]: \"unsigned-*\": no rule is about marker tags, which begin with unsigned-\n.tags[1]: \"a/b\": only * is special, within the characters of tags",
        ),
        (
            open,
            "require: a",
            ".on_unsigned_push: required where there is `require`",
        ),
        (
            open,
            "on_unsigned_push: reject",
            ".on_unsigned_push: takes effect only with `require`",
        ),
        (
            open,
            "on_unsigned_push: allow, on_unsigned_pull: deny",
            ".on_unsigned_pull: takes effect only with `require`",
        ),
        (
            open,
            "on_untrusted_push: reject, existing: allow, coverage: all, exempt: []",
            ".on_untrusted_push: takes effect only with `require`\n.existing: takes effect only with `require`\n.coverage: takes effect only with `require`\n.exempt: takes effect only with `require`",
        ),
        (
            open,
            "reject: {keep: 1h}",
            ".reject: takes effect only with `require`",
        ),
        (
            usual,
            "on_unsigned_pull: refuse",
            ".on_unsigned_pull: expected allow or warn or deny, found \"refuse\"",
        ),
        (
            usual,
            "on_untrusted_push: deny",
            ".on_untrusted_push: expected store or reject, found \"deny\"",
        ),
        (
            usual,
            "existing: yes",
            ".existing: expected deny or allow, found \"yes\"",
        ),
        (
            usual,
            "coverage: indx",
            ".coverage: expected index or children or either or all, found \"indx\" (did you mean \"index\"?)",
        ),
        (
            usual,
            "reject: {keep: 0s}",
            ".reject.keep: expected a duration such as 30m or 1h, from 1s to 168h, found \"0s\"",
        ),
        (
            usual,
            "reject: {keep: 169h}",
            ".reject.keep: expected a duration such as 30m or 1h, from 1s to 168h, found \"169h\"",
        ),
        (
            usual,
            "reject: {keep: 3600}",
            ".reject.keep: expected a duration such as 30m or 1h, from 1s to 168h, found 3600",
        ),
        (
            usual,
            "reject: {kep: 1h}",
            ".reject.kep: unknown key (did you mean \"keep\"?)",
        ),
        (
            usual,
            "requires: a",
            ".requires: unknown key (did you mean \"require\"?)",
        ),
        (
            usual,
            "exempt: {}",
            ".exempt: expected a list of exemptions, found a mapping",
        ),
        (
            usual,
            "exempt: [{}]",
            ".exempt[0].digest: required\n.exempt[0].reason: required",
        ),
        (
            usual,
            "exempt: [{digest: latest, reason: ''}]",
            ".exempt[0].digest: expected a digest such as sha256:<64 hex digits>, found \"latest\"\n.exempt[0].reason: expected text of one line, found \"\"",
        ),
    ] {
        let keys = if start.is_empty() {
            keys.to_owned()
        } else {
            format!("{start}, {keys}")
        };
        assert_eq!(of_rule(&keys), expected, "{keys}");
    }
    let warned =
        "name: all, repositories: ['**'], require: a, on_unsigned_push: warn, reject: {keep: 1h}";
    assert_eq!(
        of_rule(warned),
        ".reject: takes effect only with on_unsigned_push: reject"
    );
    let exempt = format!(
        "exempt: [{{digest: {}, reason: x, until: soon, unitl: y}}]",
        image()
    );
    assert_eq!(
        of_rule(&format!("{usual}, {exempt}")),
        ".exempt[0].until: expected a date such as 2027-01-31, or 2027-01-31T12:00:00Z, found \"soon\"\n\
         .exempt[0].unitl: unknown key (did you mean \"until\"?)"
    );
}
