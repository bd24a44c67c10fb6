//! An explanation for people. It has in it what strangers have written: names of signers, reasons.

use std::fmt;
use std::io::{self, Write};

use serde::Deserialize;

use crate::cli::Exit;

/// What the answer says.
#[derive(Debug, Deserialize)]
pub(super) struct Report {
    reference: String,
    digest: String,
    rule: Option<String>,
    requires: Option<String>,
    signed: bool,
    decision: String,
    on_push: Option<String>,
    exemption: Option<String>,
    missing: Vec<String>,
    signatures: Vec<Signature>,
    next: Option<String>,
    policy_revision: String,
    trust_revision: String,
}

#[derive(Debug, Deserialize)]
struct Signature {
    digest: String,
    family: String,
    verdict: String,
    authority: Option<String>,
    identity: Option<String>,
    checks: Vec<Check>,
}

#[derive(Debug, Deserialize)]
struct Check {
    name: String,
    outcome: String,
    detail: String,
}

/// What a verdict comes to.
enum Conclusion<'a> {
    NoRule,
    Satisfied(&'a str),
    Exempt(&'a str, &'a str),
    Unsigned(&'a str),
    Undetermined(&'a str),
    /// No rule is named, and it does not pass.
    Odd,
}

impl Report {
    fn conclusion(&self) -> Conclusion<'_> {
        match (&self.rule, &self.exemption) {
            (None, _) if self.decision == "allow" => Conclusion::NoRule,
            (None, _) => Conclusion::Odd,
            (Some(rule), _) if self.signed => Conclusion::Satisfied(rule),
            (Some(rule), Some(why)) => Conclusion::Exempt(rule, why),
            (Some(rule), None) if self.is_undetermined() => Conclusion::Undetermined(rule),
            (Some(rule), None) => Conclusion::Unsigned(rule),
        }
    }

    /// Whether a signature is there that may be good, and nobody can say.
    fn is_undetermined(&self) -> bool {
        let mut signatures = self.signatures.iter();
        signatures.any(|signature| signature.verdict == "undetermined")
    }

    /// How `verify` ends.
    pub(super) fn exit(&self) -> Exit {
        match self.conclusion() {
            Conclusion::NoRule | Conclusion::Satisfied(_) | Conclusion::Exempt(..) => Exit::Success,
            Conclusion::Unsigned(_) => Exit::No,
            Conclusion::Undetermined(_) | Conclusion::Odd => Exit::Undecided,
        }
    }

    /// One line for each signature, and the conclusion.
    pub(super) fn write_verdict(&self, out: &mut dyn Write) -> io::Result<()> {
        let rows: Vec<_> = self
            .signatures
            .iter()
            .map(|signature| {
                [
                    signature.family.as_str(),
                    &signature.verdict,
                    signature.authority.as_deref().unwrap_or("-"),
                    signature.identity.as_deref().unwrap_or("-"),
                    &signature.digest,
                ]
            })
            .collect();
        write_aligned(out, "", &rows)?;
        writeln!(out, "{}", plain(&self.to_string()))
    }

    /// All of it.
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let dash = || "-".to_owned();
        let missing = match self.missing.as_slice() {
            [] => dash(),
            missing => missing.join(", "),
        };
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(dash);
        let mut rows = vec![["reference", &self.reference], ["digest", &self.digest]];
        let (rule, push, exemption) = (
            or_dash(&self.rule),
            or_dash(&self.on_push),
            or_dash(&self.exemption),
        );
        rows.push(["rule", &rule]);
        rows.push(["signed", if self.signed { "yes" } else { "no" }]);
        if self.exemption.is_some() {
            rows.push(["exempt", &exemption]);
        }
        rows.extend([
            ["pull", &self.decision],
            ["push", &push],
            ["missing", &missing],
            ["policy", &self.policy_revision],
            ["trust", &self.trust_revision],
        ]);
        write_aligned(out, "", &rows)?;
        for signature in &self.signatures {
            writeln!(out)?;
            let (authority, identity) =
                (or_dash(&signature.authority), or_dash(&signature.identity));
            let rows = [
                ["signature", &signature.digest],
                ["family", &signature.family],
                ["verdict", &signature.verdict],
                ["authority", &authority],
                ["identity", &identity],
            ];
            write_aligned(out, "", &rows)?;
            let checks: Vec<_> = signature
                .checks
                .iter()
                .map(|check| [check.name.as_str(), &check.outcome, &check.detail])
                .collect();
            write_aligned(out, "  ", &checks)?;
        }
        writeln!(out, "\n{}", plain(&self.to_string()))?;
        if let Some(next) = &self.next {
            writeln!(out, "to sign it: {}", plain(next))?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    /// The conclusion.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing = self.missing.join(" and ");
        let wanted = self.requires.as_ref().unwrap_or(&missing);
        match self.conclusion() {
            Conclusion::NoRule => f.write_str("passes: no rule is about it"),
            Conclusion::Satisfied(rule) => {
                write!(f, "signed: what rule {rule} requires is there")
            }
            Conclusion::Exempt(rule, why) => {
                write!(f, "passes: exempt from rule {rule}: {why}")
            }
            Conclusion::Unsigned(rule) => {
                write!(f, "not signed: rule {rule} requires {wanted}")
            }
            Conclusion::Undetermined(rule) => write!(
                f,
                "undetermined: rule {rule} requires {wanted}, and a signature that is there could not be decided"
            ),
            Conclusion::Odd => write!(
                f,
                "undetermined: no rule decides, and a pull is not simply allowed"
            ),
        }
    }
}

/// Rows in columns; the last one is as long as it is.
pub(in crate::app) fn write_aligned<const N: usize>(
    out: &mut dyn Write,
    indent: &str,
    rows: &[[&str; N]],
) -> io::Result<()> {
    let rows: Vec<[String; N]> = rows.iter().map(|row| row.map(plain)).collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, text) in widths.iter_mut().zip(row) {
            *width = text.chars().count().max(*width);
        }
    }
    for row in &rows {
        let mut line = String::from(indent);
        for (text, &width) in row.iter().zip(&widths) {
            line.push_str(&format!("{text:<width$}  "));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Without what a terminal would obey.
pub(in crate::app) fn plain(text: &str) -> String {
    let shown = |letter: char| {
        if letter.is_control() || is_invisible(letter) {
            '?'
        } else {
            letter
        }
    };
    text.chars().map(shown).collect()
}

/// What changes the direction of text, or has no width.
fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A report of an image below a rule, with one signature of this verdict.
    fn report(signed: bool, exemption: Option<&str>, verdict: &str) -> Report {
        serde_json::from_value(json!({
            "reference": "team/app:v1",
            "digest": "sha256:00",
            "rule": "production",
            "signed": signed,
            "decision": if signed { "allow" } else { "deny" },
            "on_push": "tag",
            "exemption": exemption,
            "missing": if signed { vec![] } else { vec!["release-team", "build-key"] },
            "signatures": [{
                "digest": "sha256:11",
                "family": "notation",
                "verdict": verdict,
                "authority": "release-team",
                "identity": "CN=\u{1b}[2Jsigner\u{202e}",
                "checks": [
                    {"name": "binding", "outcome": "passed", "detail": ""},
                    {"name": "authenticity", "outcome": "failed", "detail": "not\r\ntrusted"},
                ],
            }],
            "next": (!signed).then_some("notation sign registry.example/team/app@sha256:00"),
            "policy_revision": "p",
            "trust_revision": "t",
        }))
        .unwrap()
    }

    fn written(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn only_what_is_certainly_there_passes() {
        let no_rule = |decision: &str| Report {
            rule: None,
            decision: decision.to_owned(),
            ..report(true, None, "valid")
        };
        for (report, status, why) in [
            (report(true, None, "valid"), 0, "signed"),
            (report(true, None, "undetermined"), 0, "signed by others"),
            (report(false, Some("vendor"), "invalid"), 0, "exempt"),
            (report(false, None, "untrusted"), 1, "signed by strangers"),
            (report(false, None, "undetermined"), 3, "perhaps signed"),
            (no_rule("allow"), 0, "no rule"),
            (no_rule("deny"), 3, "no rule that would say why"),
        ] {
            assert_eq!(report.exit().status(), status, "{why}");
        }
    }

    #[test]
    fn a_verdict_is_a_line_for_each_signature_and_the_conclusion() {
        let text = written(|out| report(false, None, "untrusted").write_verdict(out));
        insta::assert_snapshot!(text, @r"
        notation  untrusted  release-team  CN=?[2Jsigner?  sha256:11
        not signed: rule production requires release-team and build-key
        ");
    }

    #[test]
    fn all_of_it_is_aligned_and_obeyed_by_no_terminal() {
        let text = written(|out| report(false, None, "untrusted").write(out));
        insta::assert_snapshot!(text, @r"
        reference  team/app:v1
        digest     sha256:00
        rule       production
        signed     no
        pull       deny
        push       tag
        missing    release-team, build-key
        policy     p
        trust      t

        signature  sha256:11
        family     notation
        verdict    untrusted
        authority  release-team
        identity   CN=?[2Jsigner?
          binding       passed
          authenticity  failed  not??trusted

        not signed: rule production requires release-team and build-key
        to sign it: notation sign registry.example/team/app@sha256:00
        ");
    }
}
