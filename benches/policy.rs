//! Decisions of the policy: every push by tag and every pull pays for one.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use regseal::clock::UnixMillis;
use regseal::oci::{Digest, RepositoryName, Tag};
use regseal::policy::Policy;

const NOW: UnixMillis = UnixMillis::new(1_767_225_600_000);
const RULES: usize = 1000;

/// A policy of many teams, each with a rule of its own; the patterns begin alike, as those of one organisation do.
fn policy() -> Policy {
    let mut text = "version: 1\nauthorities:\n".to_owned();
    for name in ["release", "build", "ci"] {
        writeln!(
            text,
            "  {name}: {{cosign: {{key: {name}.pub, transparency_log: ignored}}}}"
        )
        .expect("a line");
    }
    text.push_str("rules:\n");
    for number in 0..RULES {
        writeln!(
            text,
            "  - {{name: team-{number}, repositories: ['acme/team-{number}/**'], tags: ['v*'], \
             require: {{all: [release, {{any: [build, ci]}}]}}, on_unsigned_push: reject}}"
        )
        .expect("a line");
    }
    let read = Policy::parse(Path::new("policy.yaml"), &text, NOW);
    read.expect("a policy").0
}

fn decide(criterion: &mut Criterion) {
    let policy = policy();
    let digest = Digest::sha256(b"image");
    let tag: Tag = "v1.2.3".parse().expect("a tag");
    let repository = |name: String| -> RepositoryName { name.parse().expect("a name") };
    let last = repository(format!("acme/team-{}/app/server", RULES - 1));
    let none = repository("acme/other/app/server".to_owned());
    let (nobody, two) = (BTreeSet::new(), BTreeSet::from(["release", "ci"]));

    let mut group = criterion.benchmark_group("policy/1000-rules");
    for (name, repository) in [("last-matches", &last), ("none-matches", &none)] {
        group.bench_function(format!("rule-for/{name}"), |bencher| {
            bencher.iter(|| policy.rule_for(black_box(repository), black_box(&tag)));
        });
    }
    for (name, by) in [("unsigned", &nobody), ("signed", &two)] {
        group.bench_function(format!("judge-push/{name}"), |bencher| {
            bencher.iter(|| policy.judge_push(black_box(&last), &tag, &digest, black_box(by), NOW));
        });
        group.bench_function(format!("judge-pull-by-digest/{name}"), |bencher| {
            bencher.iter(|| {
                policy.judge_pull(black_box(&last), &[], &digest, black_box(by), false, NOW)
            });
        });
    }
    group.finish();

    let rule = policy.rule_for(&last, &tag).expect("a rule");
    let requirement = rule.require.as_ref().expect("a requirement");
    let mut group = criterion.benchmark_group("policy/requirement");
    group.bench_function("satisfied", |bencher| {
        bencher.iter(|| requirement.is_satisfied(black_box(&two)));
    });
    group.bench_function("missing", |bencher| {
        bencher.iter(|| requirement.missing(black_box(&nobody)));
    });
    group.finish();
}

criterion_group!(benches, decide);
criterion_main!(benches);
