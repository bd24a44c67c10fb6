//! `regseal gc`: collects what nothing refers to, and verifies what is kept.

use std::io::{self, Write};
use std::sync::Arc;

use serde_json::{Value, json};

use super::{CommandError, open_beside};
use crate::cli::{self, Exit, OutputForm};
use crate::clock::{Clock, SystemClock};
use crate::config::Settings;
use crate::store::collect::{Collected, Config, Options, Scrubbed};

/// Collects, and says what was found and done; [`Exit::No`] if a scrub has found damage.
///
/// # Errors
/// See [`CommandError`]; the next run goes on.
pub async fn collect(
    settings: &Settings,
    options: &cli::Gc,
    form: OutputForm,
    out: &mut dyn Write,
) -> Result<Exit, CommandError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = open_beside(settings, &clock).await?.signatures;
    let config = Config {
        between_scans: settings.gc.between_scans,
        untouched: settings.gc.untouched,
        subject_grace: settings.capture.subject_grace,
    };
    let options = Options {
        dry_run: options.dry_run,
        scrub: options.scrub,
    };
    let collected = Box::pin(store.collect(&config, options)).await?;
    match form {
        OutputForm::Table => write_table(&collected, options, out)?,
        OutputForm::Json => writeln!(out, "{:#}", as_json(&collected, options))?,
    }
    let is_damaged = |scrubbed: &Scrubbed| !scrubbed.damage.is_empty();
    Ok(if collected.scrub.as_ref().is_some_and(is_damaged) {
        Exit::No
    } else {
        Exit::Success
    })
}

fn write_table(collected: &Collected, options: Options, out: &mut dyn Write) -> io::Result<()> {
    let Collected {
        scanned,
        candidates,
        deleted,
        bytes,
        waiting,
        subjects,
        ..
    } = collected;
    let done = if options.dry_run {
        "would be deleted"
    } else {
        "deleted"
    };
    writeln!(out, "{scanned} objects scanned")?;
    writeln!(out, "{candidates} objects that nothing refers to")?;
    writeln!(out, "{deleted} {done} ({bytes} bytes)")?;
    writeln!(out, "{waiting} wait for a later run")?;
    if *subjects > 0 {
        writeln!(out, "referrers of {subjects} deleted subjects {done}")?;
    }
    let Some(scrubbed) = &collected.scrub else {
        return Ok(());
    };
    writeln!(
        out,
        "{} objects verified ({} bytes), {} damaged",
        scrubbed.objects,
        scrubbed.bytes,
        scrubbed.damage.len()
    )?;
    for damage in &scrubbed.damage {
        writeln!(out, "{}\t{}", damage.what, damage.key)?;
    }
    Ok(())
}

fn as_json(collected: &Collected, options: Options) -> Value {
    let mut document = json!({
        "dry_run": options.dry_run,
        "scanned": collected.scanned,
        "candidates": collected.candidates,
        "deleted": collected.deleted,
        "bytes": collected.bytes,
        "waiting": collected.waiting,
        "subjects": collected.subjects,
        "scrub": collected.scrub.as_ref().map(scrub_as_json),
    });
    if options.dry_run
        && let Some(document) = document.as_object_mut()
    {
        let keys: Vec<&str> = collected.keys.iter().map(|key| key.as_str()).collect();
        document.insert("keys".to_owned(), json!(keys));
    }
    document
}

fn scrub_as_json(scrubbed: &Scrubbed) -> Value {
    let damage: Vec<Value> = scrubbed
        .damage
        .iter()
        .map(|damage| json!({"key": damage.key.as_str(), "what": damage.what.to_string()}))
        .collect();
    json!({"objects": scrubbed.objects, "bytes": scrubbed.bytes, "damage": damage})
}
