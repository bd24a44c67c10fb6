//! Rules as they are written: which images each is about, and what happens to them.

use std::time::Duration;

use super::requirements::requirement;
use crate::policy::pattern::{BadPattern, RepositoryPattern, TagPattern};
use crate::policy::reading::{At, Fields, Reader};
use crate::policy::rule::{Coverage, Exemption, Existing, OnPull, OnPush, OnUntrusted, Rule};

const DEFAULT_KEEP: Duration = Duration::from_hours(1);
const LEAST_KEEP: Duration = Duration::from_secs(1);
const MOST_KEEP: Duration = Duration::from_hours(168);

/// A rule that may require these authorities; `earlier` are the paths and names of those before it.
pub(super) fn rule(
    reader: &mut Reader,
    at: At<'_>,
    authorities: &[String],
    earlier: &mut Vec<(String, String)>,
) -> Option<Rule> {
    let mut fields = reader.fields(at)?;
    let path = at.path;
    let name = fields.required(reader, "name", |reader, at| {
        let name = reader.name(at)?;
        if let Some((first, _)) = earlier.iter().find(|(_, known)| *known == name) {
            reader.wrong(at, format!("{first} has the name {name:?} already"));
        }
        earlier.push((path.to_owned(), name.clone()));
        Some(name)
    });
    let repositories = fields.required(reader, "repositories", |reader, at| {
        patterns(reader, at, RepositoryPattern::parse)
    });
    let has_tags = fields.has("tags");
    let tags = fields.read(reader, "tags", |reader, at| {
        patterns(reader, at, TagPattern::parse)
    });
    let tags = match tags {
        None if !has_tags => TagPattern::parse("*").ok().map(|all| vec![all]),
        read => read,
    };
    let has_require = fields.has("require");
    let require = fields.read(reader, "require", |reader, at| {
        requirement(reader, at, authorities, 1)
    });
    let outcome = outcome(reader, &mut fields, has_require);
    let exempt = fields.read(reader, "exempt", |reader, at| match at.node.list() {
        Some([]) => Some(Vec::new()),
        Some(_) | None => reader.list(at, "exemptions", exemption),
    });
    fields.later(reader, &["hold"]);
    fields.finish(reader);
    // What could not be read has been reported, and stops the load; only what is not there has a default.
    Some(Rule {
        name: name?,
        repositories: repositories?,
        tags: tags?,
        require,
        on_unsigned_push: outcome.on_unsigned_push,
        on_untrusted_push: outcome.on_untrusted_push,
        on_unsigned_pull: outcome.on_unsigned_pull,
        existing: outcome.existing,
        keep: outcome.keep,
        coverage: outcome.coverage,
        exempt: exempt.unwrap_or_default(),
        line: at.node.line,
    })
}

/// What happens where signatures are missing.
struct Outcome {
    on_unsigned_push: OnPush,
    on_untrusted_push: OnUntrusted,
    on_unsigned_pull: OnPull,
    existing: Existing,
    keep: Duration,
    coverage: Coverage,
}

fn outcome(reader: &mut Reader, fields: &mut Fields, has_require: bool) -> Outcome {
    let (says_push, says_pull) = (
        fields.has("on_unsigned_push"),
        fields.has("on_unsigned_pull"),
    );
    if has_require && !says_push && !says_pull {
        let path = format!("{}.on_unsigned_push", fields.path);
        reader.report(
            Some(fields.line),
            &path,
            "required where there is `require`",
        );
    }
    if !has_require {
        needs_require(reader, fields);
    }
    let push = fields.read(reader, "on_unsigned_push", |reader, at| {
        reject_unrequired(reader, at, has_require);
        reader.word(at, OnPush::WORDS, &["hold"])
    });
    // What was written and not understood is the strict word, so that nothing follows from it that is not so.
    let push = push.unwrap_or(if says_push {
        OnPush::Reject
    } else {
        OnPush::Allow
    });
    let untrusted = fields.read(reader, "on_untrusted_push", |reader, at| {
        reader.word(at, OnUntrusted::WORDS, &[])
    });
    let pull = fields.read(reader, "on_unsigned_pull", |reader, at| {
        reject_unrequired(reader, at, has_require);
        reader.word(at, OnPull::WORDS, &[])
    });
    let existing = fields.read(reader, "existing", |reader, at| {
        reader.word(at, Existing::WORDS, &[])
    });
    let coverage = fields.read(reader, "coverage", |reader, at| {
        reader.word(at, Coverage::WORDS, &[])
    });
    let keep = fields.read(reader, "reject", |reader, at| {
        if has_require && push != OnPush::Reject {
            reader.wrong(at, "takes effect only with on_unsigned_push: reject");
        }
        let mut fields = reader.fields(at)?;
        let keep = fields.read(reader, "keep", |reader, at| {
            reader.span(at, LEAST_KEEP, MOST_KEEP)
        });
        fields.finish(reader);
        keep
    });
    Outcome {
        on_unsigned_push: push,
        on_untrusted_push: untrusted.unwrap_or(OnUntrusted::Store),
        on_unsigned_pull: pull.unwrap_or(match push {
            OnPush::Reject => OnPull::Deny,
            OnPush::Allow | OnPush::Warn | OnPush::Tag => OnPull::Allow,
        }),
        existing: existing.unwrap_or(Existing::Deny),
        keep: keep.unwrap_or(DEFAULT_KEEP),
        coverage: coverage.unwrap_or(Coverage::Index),
    }
}

/// Without a requirement nothing is unsigned, so that these would decide nothing.
fn needs_require(reader: &mut Reader, fields: &Fields) {
    for name in [
        "on_untrusted_push",
        "existing",
        "coverage",
        "reject",
        "exempt",
    ] {
        if let Some(line) = fields.line_of(name) {
            let path = format!("{}.{name}", fields.path);
            reader.report(Some(line), &path, "takes effect only with `require`");
        }
    }
}

fn reject_unrequired(reader: &mut Reader, at: At<'_>, has_require: bool) {
    if !has_require && at.node.text() != Some("allow") {
        reader.wrong(at, "takes effect only with `require`");
    }
}

fn patterns<T>(
    reader: &mut Reader,
    at: At<'_>,
    parse: impl Fn(&str) -> Result<T, BadPattern>,
) -> Option<Vec<T>> {
    reader.list(at, "patterns", |reader, at| {
        let Some(text) = at.node.text() else {
            reader.unexpected(at, "a pattern");
            return None;
        };
        match parse(text) {
            Ok(pattern) => Some(pattern),
            Err(bad) => {
                reader.wrong(at, format!("{text:?}: {bad}"));
                None
            }
        }
    })
}

fn exemption(reader: &mut Reader, at: At<'_>) -> Option<Exemption> {
    let mut fields = reader.fields(at)?;
    let digest = fields.required(reader, "digest", Reader::digest);
    let reason = fields.required(reader, "reason", Reader::line);
    let until = fields.read(reader, "until", |reader, at| reader.instant(at, true));
    fields.finish(reader);
    Some(Exemption {
        digest: digest?,
        reason: reason?,
        until,
        line: at.node.line,
    })
}
