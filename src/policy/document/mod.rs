//! The policy file: who may sign, and which images need whose signature. Everything in it is checked in one run; nothing
//! is ignored, and what belongs to later versions is refused by its name.

mod requirements;
mod rules;

use super::authority::{Authority, KeySource, Source};
use super::mistake::Warning;
use super::reading::{At, Reader};
use super::rule::Rule;
use super::{Policy, lint};
use crate::clock::UnixMillis;
use crate::verification::cosign::Hash;

/// What was understood of a file: the authorities also where rules are wrong, so that their keys can be checked as well.
#[derive(Debug)]
pub(in crate::policy) struct Read {
    pub(in crate::policy) authorities: Vec<Authority>,
    pub(in crate::policy) rules: Option<Vec<Rule>>,
    pub(in crate::policy) warnings: Vec<Warning>,
}

/// Reads the text of a policy file; mistakes go to `reader`.
pub(in crate::policy) fn read(reader: &mut Reader, text: &str, now: UnixMillis) -> Read {
    let mut read = Read {
        authorities: Vec::new(),
        rules: None,
        warnings: Vec::new(),
    };
    let Some(mut fields) = reader.document(text) else {
        return read;
    };
    fields.required(reader, "version", version);
    let mut names = Vec::new();
    let declared = fields.read(reader, "authorities", |reader, at| {
        let entries = reader.fields(at)?.all();
        names = entries.iter().map(|(name, _)| name.clone()).collect();
        let authorities = entries.iter().filter_map(|(name, node)| {
            let path = format!("{}.{name}", at.path);
            authority(reader, name, At { path: &path, node })
        });
        Some(authorities.collect())
    });
    read.authorities = declared.unwrap_or_default();
    let mut earlier = Vec::new();
    let rules = fields.required(reader, "rules", |reader, at| {
        reader.list(at, "rules", |reader, at| {
            rules::rule(reader, at, &names, &mut earlier)
        })
    });
    fields.finish(reader);
    if let Some(rules) = rules {
        read.warnings = lint::rules(reader, &rules, &read.authorities, now);
        read.rules = Some(rules);
    }
    read
}

impl Read {
    /// The policy; to be asked for once it is known that nothing is wrong.
    pub(in crate::policy) fn policy(self) -> (Option<Policy>, Vec<Warning>) {
        let authorities = self.authorities;
        let policy = self.rules.map(|rules| Policy { rules, authorities });
        (policy, self.warnings)
    }
}

pub(in crate::policy) fn version(reader: &mut Reader, at: At<'_>) -> Option<()> {
    if at.node.integer() != Some(1) {
        reader.unexpected(at, "1");
        return None;
    }
    Some(())
}

fn authority(reader: &mut Reader, name: &str, at: At<'_>) -> Option<Authority> {
    if !super::reading::is_name(name) {
        reader.wrong(
            at,
            "expected a name of 1 to 64 letters, digits, dots, underscores and hyphens",
        );
    }
    let mut fields = reader.fields(at)?;
    let is_later = fields.later(reader, &["attestation"]);
    if fields.has("notation") && fields.has("cosign") {
        reader.wrong(at, "only one of notation and cosign can be set");
    } else if !fields.has("notation") && !fields.has("cosign") && !is_later {
        reader.wrong(at, "one of notation and cosign is required");
    }
    let notation = fields.read(reader, "notation", notation);
    let cosign = fields.read(reader, "cosign", cosign);
    fields.finish(reader);
    Some(Authority {
        name: name.to_owned(),
        source: notation.or(cosign)?,
        line: at.node.line,
    })
}

fn notation(reader: &mut Reader, at: At<'_>) -> Option<Source> {
    let mut fields = reader.fields(at)?;
    let is_written = fields.has("statement");
    let statement = fields.read(reader, "statement", |reader, at| reader.line(at));
    fields.finish(reader);
    (statement.is_some() || !is_written).then_some(Source::Notation { statement })
}

fn cosign(reader: &mut Reader, at: At<'_>) -> Option<Source> {
    let mut fields = reader.fields(at)?;
    if fields.later(reader, &["keyless"]) {
        fields.finish(reader);
        return None;
    }
    let key = fields.required(reader, "key", key);
    let log = &[("ignored", ())];
    fields.required(reader, "transparency_log", |reader, at| {
        reader.word(at, log, &["required"])
    });
    let hashes = &[
        ("sha256", Hash::Sha256),
        ("sha384", Hash::Sha384),
        ("sha512", Hash::Sha512),
    ];
    let hash = fields.read(reader, "hash", |reader, at| reader.word(at, hashes, &[]));
    fields.finish(reader);
    Some(Source::Cosign { key: key?, hash })
}

fn key(reader: &mut Reader, at: At<'_>) -> Option<KeySource> {
    match at.node.text() {
        Some(text) if text.trim_start().starts_with("-----BEGIN") => {
            Some(KeySource::Inline(text.to_owned()))
        }
        Some(text) if text.contains("://") => {
            let scheme = text.split("://").next().unwrap_or_default();
            reader.wrong(at, format!("{scheme:?} keys are not yet supported"));
            None
        }
        Some(text) if !text.is_empty() => Some(KeySource::File(text.into())),
        Some(_) | None => {
            reader.unexpected(at, "the path of a public key, or the key in PEM");
            None
        }
    }
}
