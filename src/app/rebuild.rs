//! `regseal rebuild-index`: on the stores themselves; with an embedded index while no regseal uses it, with Redis also
//! beside those that do.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use serde_json::json;

use super::{CommandError, StartError, open_stores};
use crate::cli::{Exit, OutputForm};
use crate::clock::{Clock, SystemClock};
use crate::config::Settings;
use crate::store::{Difference, Progress, SignatureStore, Summary};

/// Rebuilds the index, and says what it found; [`Exit::Undecided`] if another process has begun the same since, which
/// then completes it.
///
/// # Errors
/// See [`CommandError`]; the index is then incomplete, and rebuilt by the next process that serves.
pub async fn rebuild(
    settings: &Settings,
    form: OutputForm,
    out: &mut dyn Write,
) -> Result<Exit, CommandError> {
    let store = open(settings).await?;
    let shown = io::stderr().is_terminal();
    let rebuilt = store
        .rebuild_index(|progress| {
            if shown {
                show(progress);
            }
        })
        .await;
    if shown {
        // Clears the line of the progress. A terminal that is gone takes nothing from the result.
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
    let summary = rebuilt?;
    write_summary(&summary, form, out)?;
    Ok(if summary.complete {
        Exit::Success
    } else {
        Exit::Undecided
    })
}

/// Compares the index with the objects: [`Exit::No`] if they differ, [`Exit::Undecided`] while the index is
/// rebuilt or repaired.
///
/// # Errors
/// See [`CommandError`].
pub async fn verify(
    settings: &Settings,
    form: OutputForm,
    out: &mut dyn Write,
) -> Result<Exit, CommandError> {
    let store = open(settings).await?;
    // Looked at before and after: an index that was cleared meanwhile is wrong about nothing.
    let mut settled = store.index_is_settled().await?;
    let mut differences = Vec::new();
    if settled {
        differences = store.verify_index().await?;
        settled = !differences.is_empty() || store.index_is_settled().await?;
    }
    write_differences(settled, &differences, form, out)?;
    Ok(match (settled, differences.is_empty()) {
        (false, _) => Exit::Undecided,
        (true, true) => Exit::Success,
        (true, false) => Exit::No,
    })
}

async fn open(settings: &Settings) -> Result<Arc<SignatureStore>, StartError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    Ok(open_stores(settings, &clock).await?.signatures)
}

fn show(progress: Progress) {
    let _ = write!(io::stderr(), "\r{} objects", progress.objects);
}

fn write_summary(summary: &Summary, form: OutputForm, out: &mut dyn Write) -> io::Result<()> {
    let (subjects, referrers, links, versions) = (
        summary.subjects,
        summary.referrers,
        summary.links,
        summary.tag_versions,
    );
    match form {
        OutputForm::Table if summary.complete => writeln!(
            out,
            "index rebuilt: {subjects} subjects, {referrers} referrers, {links} links, {versions} tag versions"
        ),
        OutputForm::Table => writeln!(
            out,
            "another process has begun to rebuild the index, and completes it"
        ),
        OutputForm::Json => {
            let summary = json!({
                "complete": summary.complete,
                "subjects": subjects,
                "referrers": referrers,
                "links": links,
                "tag_versions": versions,
            });
            writeln!(out, "{summary:#}")
        }
    }
}

fn write_differences(
    settled: bool,
    differences: &[Difference],
    form: OutputForm,
    out: &mut dyn Write,
) -> io::Result<()> {
    match form {
        OutputForm::Table if !settled => writeln!(
            out,
            "the index is not up to date: it is being rebuilt or repaired, or `regseal rebuild-index` has to do it"
        ),
        OutputForm::Table if differences.is_empty() => {
            writeln!(out, "index and objects are equal")
        }
        OutputForm::Table => differences
            .iter()
            .try_for_each(|difference| writeln!(out, "{difference}")),
        OutputForm::Json => {
            let equal = settled.then_some(differences.is_empty());
            let differences: Vec<_> = differences.iter().map(ToString::to_string).collect();
            let answer = json!({"settled": settled, "equal": equal, "differences": differences});
            writeln!(out, "{answer:#}")
        }
    }
}
