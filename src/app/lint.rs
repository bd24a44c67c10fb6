//! `regseal policy test` and `regseal trust check`: what the policy says, and what it trusts in, without a server.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use super::translate;
use crate::cli::{Exit, OutputForm};
use crate::clock::{Clock, SystemClock};
use crate::config::Settings;
use crate::policy::cases::{self, Check};
use crate::policy::{Inventory, LoadErrors, Mistake, Policy, Snapshot, Sources, Warning};

/// Judges the cases of `file` by the policy: [`Exit::No`] if some is not as expected.
///
/// # Errors
/// If the output cannot be written.
pub fn test(
    settings: &Settings,
    file: &Path,
    form: OutputForm,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Exit> {
    let now = SystemClock.now();
    let Some(policy_file) = &settings.policy.file else {
        return no_policy(err);
    };
    let read = |file: &Path| match std::fs::read_to_string(file) {
        Ok(text) => Ok(text),
        Err(error) => Err(format!("{}: cannot be read: {error}", file.display())),
    };
    let problem = |errors: LoadErrors| errors.to_string();
    let cases = read(policy_file).and_then(|text| {
        let (policy, _) = Policy::parse(policy_file, &text, now).map_err(problem)?;
        let cases = cases::parse(file, &read(file)?, &policy).map_err(problem)?;
        Ok((policy, cases))
    });
    let (policy, cases) = match cases {
        Ok(read) => read,
        Err(problem) => {
            writeln!(err, "{problem}")?;
            return Ok(Exit::Usage);
        }
    };
    let ran: Vec<(&str, Vec<Check>)> = cases
        .iter()
        .map(|case| (case.name.as_str(), case.run(&policy, now)))
        .collect();
    let failed = ran
        .iter()
        .filter(|(_, checks)| !checks.iter().all(Check::holds))
        .count();
    match form {
        OutputForm::Table => {
            for (name, checks) in &ran {
                for check in checks {
                    let Check {
                        what,
                        expected,
                        found,
                        why,
                    } = check;
                    if check.holds() {
                        writeln!(out, "ok    {name}: {what} {found}: {why}")?;
                    } else {
                        writeln!(
                            out,
                            "FAIL  {name}: {what} {found}, expected {expected}: {why}"
                        )?;
                    }
                }
            }
            writeln!(out, "{} cases, {failed} failed", ran.len())?;
        }
        OutputForm::Json => writeln!(out, "{:#}", cases::as_json(&ran))?,
    }
    Ok(if failed == 0 { Exit::Success } else { Exit::No })
}

/// Reads policy and trust material as a server does, and tells what is in it: [`Exit::No`] where something is wrong or can
/// never be satisfied.
///
/// # Errors
/// If the output cannot be written.
pub fn check_trust(
    settings: &Settings,
    form: OutputForm,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Exit> {
    let Some(policy_file) = &settings.policy.file else {
        return no_policy(err);
    };
    let report = TrustReport::of(load(settings, policy_file));
    match form {
        OutputForm::Table => {
            if let Some(inventory) = &report.inventory {
                table(inventory, out)?;
            }
            for mistake in &report.mistakes {
                writeln!(out, "{mistake}")?;
            }
            for warning in &report.warnings {
                writeln!(out, "{warning}")?;
            }
        }
        OutputForm::Json => writeln!(out, "{:#}", report.to_json())?,
    }
    let is_clean = report.is_clean();
    Ok(if is_clean { Exit::Success } else { Exit::No })
}

/// What there is to say about policy and trust material.
pub(super) struct TrustReport {
    inventory: Option<Inventory>,
    mistakes: Vec<Mistake>,
    warnings: Vec<Warning>,
}

impl TrustReport {
    /// About what was read, or could not be.
    pub(super) fn of(loaded: Result<(Snapshot, Vec<Warning>), LoadErrors>) -> Self {
        match loaded {
            Ok((snapshot, warnings)) => Self {
                inventory: Some(snapshot.inventory()),
                mistakes: Vec::new(),
                warnings,
            },
            Err(LoadErrors(mistakes)) => Self {
                inventory: None,
                mistakes,
                warnings: Vec::new(),
            },
        }
    }

    fn is_clean(&self) -> bool {
        self.inventory.is_some() && !self.warnings.iter().any(|warning| warning.is_hopeless)
    }

    /// For programs.
    pub(super) fn to_json(&self) -> Json {
        let mistakes: Vec<String> = self.mistakes.iter().map(ToString::to_string).collect();
        let warning = |warning: &Warning| {
            let Warning {
                place,
                problem,
                is_hopeless,
            } = warning;
            json!({"place": place.to_string(), "problem": problem, "hopeless": is_hopeless})
        };
        let warnings: Vec<Json> = self.warnings.iter().map(warning).collect();
        json!({
            "clean": self.is_clean(),
            "mistakes": mistakes,
            "warnings": warnings,
            "trust": self.inventory,
        })
    }
}

/// Reads the policy as a server does.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(
    settings: &Settings,
    policy_file: &Path,
) -> Result<(Snapshot, Vec<Warning>), LoadErrors> {
    Snapshot::load(&Sources {
        policy_file: PathBuf::from(policy_file),
        trust_directory: settings.policy.trust_directory.clone(),
        registry: translate::public_authority(settings),
        now: SystemClock.now(),
    })
}

fn no_policy(err: &mut dyn Write) -> io::Result<Exit> {
    writeln!(
        err,
        "there is no policy: name one with --policy, or set policy.file"
    )?;
    Ok(Exit::Usage)
}

fn table(inventory: &Inventory, out: &mut dyn Write) -> io::Result<()> {
    for authority in &inventory.authorities {
        let rules = match authority.rules.as_slice() {
            [] => "no rule".to_owned(),
            rules => rules.join(", "),
        };
        let how = match (&authority.key, &authority.statement) {
            (Some(key), _) => format!("{} {}", key.algorithm, key.fingerprint),
            (None, Some(statement)) => format!("statement {statement}"),
            (None, None) => "the statement of the repository".to_owned(),
        };
        let family = authority.family.as_str();
        writeln!(
            out,
            "authority    {}  {family}  {how}  {rules}",
            authority.name
        )?;
    }
    for statement in &inventory.statements {
        let (scopes, stores) = (statement.scopes.join(", "), statement.stores.join(", "));
        let (name, level) = (&statement.name, statement.level);
        writeln!(out, "statement    {name}  {level}  {scopes}  {stores}")?;
    }
    for certificate in &inventory.certificates {
        let (store, expires) = (&certificate.store, &certificate.expires);
        writeln!(
            out,
            "certificate  {store}  {}  until {expires}",
            certificate.subject
        )?;
    }
    Ok(())
}
