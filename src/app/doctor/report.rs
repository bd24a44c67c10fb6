//! The answer, for programs and for people. It has in it what a stranger's server has said.

use std::collections::BTreeMap;
use std::io::{self, Write};

use http::Uri;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::advice::Advice;
use super::capability::{Findings, Value};
use super::front::{Account, Front, Scheme};
use crate::app::inspect::report::{plain, write_aligned};

/// All that was found out.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) url: Uri,
    pub(super) front: Front,
    pub(super) findings: Findings,
    pub(super) advice: Advice,
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(6))?;
        map.serialize_entry("upstream", &self.upstream())?;
        map.serialize_entry("kind", &self.front.kind)?;
        map.serialize_entry("authentication", &self.front.authentication)?;
        map.serialize_entry("capabilities", &Capabilities(&self.findings))?;
        map.serialize_entry("adds", &self.advice.adds)?;
        map.serialize_entry("cannot", &self.advice.cannot)?;
        map.end()
    }
}

struct Capabilities<'a>(&'a Findings);

impl Serialize for Capabilities<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.all())
    }
}

impl Report {
    fn upstream(&self) -> String {
        self.url.to_string().trim_end_matches('/').to_owned()
    }

    /// For people.
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let authentication = &self.front.authentication;
        let scheme = match authentication.scheme {
            Scheme::None => "none".to_owned(),
            Scheme::Basic => "basic".to_owned(),
            Scheme::Unknown => "unknown".to_owned(),
            Scheme::Token => {
                let realm = authentication.realm.as_deref().unwrap_or_default();
                let service = authentication.service.as_deref();
                let service =
                    service.map_or_else(String::new, |name| format!(", service {name:?}"));
                format!("token, realm {realm}{service}")
            }
        };
        let account = match authentication.account {
            Account::None if authentication.scheme == Scheme::None => {
                "none: everything is asked as a caller without a name"
            }
            Account::None => {
                "none: everything is asked as a caller without a name; docker login gives one"
            }
            Account::Accepted => "accepted",
            Account::Refused => "refused",
            Account::Withheld => {
                "not shown: the token service is on another host and not in auth.realms"
            }
            Account::Unknown => "not asked for",
        };
        let upstream = self.upstream();
        write_aligned(
            out,
            "",
            &[
                ["upstream", &upstream],
                ["kind", &self.front.kind],
                ["authentication", &scheme],
                ["credential", account],
            ],
        )?;
        writeln!(out, "\ncapabilities")?;
        self.write_capabilities(out)?;
        for (title, sentences) in [
            ("regseal adds", &self.advice.adds),
            ("regseal cannot", &self.advice.cannot),
        ] {
            if !sentences.is_empty() {
                writeln!(out, "\n{title}")?;
            }
            for sentence in sentences {
                writeln!(out, "  - {sentence}")?;
            }
        }
        writeln!(out, "\nconfiguration")?;
        for line in &self.advice.configuration {
            writeln!(out, "  {}", plain(line))?;
        }
        Ok(())
    }

    /// A line for each; those that are unknown for one reason share a line.
    fn write_capabilities(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut unknown: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (name, finding) in self.findings.all() {
            if finding.value == Value::Unknown {
                unknown.entry(finding.how).or_default().push(name);
            }
        }
        unknown.retain(|_, names| names.len() > 1);
        let shown: Vec<_> = self
            .findings
            .all()
            .filter(|(_, finding)| {
                finding.value != Value::Unknown || !unknown.contains_key(&finding.how)
            })
            .map(|(name, finding)| (name, finding.value.shown(), finding.how))
            .collect();
        let rows: Vec<_> = shown
            .iter()
            .map(|(name, value, how)| [*name, value, how])
            .collect();
        write_aligned(out, "  ", &rows)?;
        for (how, names) in unknown {
            writeln!(out, "  {} ({})", plain(&how), names.join(", "))?;
        }
        Ok(())
    }
}
