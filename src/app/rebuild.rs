//! `regseal rebuild-index`: on the stores themselves, while no regseal uses them.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use thiserror::Error;

use super::{StartError, open_stores};
use crate::cli::{Exit, OutputForm};
use crate::clock::{Clock, SystemClock};
use crate::store::StoreError;

/// Why an index was neither rebuilt nor compared.
#[derive(Debug, Error)]
pub enum RebuildError {
    /// The stores cannot be opened.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The stores failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The result cannot be written.
    #[error("cannot write the result")]
    Output(#[from] io::Error),
}

/// Rebuilds the index of a data directory, and says what it found.
///
/// # Errors
/// See [`RebuildError`]; the index is then incomplete and rebuilt at the next start.
pub async fn rebuild(
    directory: &Path,
    form: OutputForm,
    out: &mut dyn Write,
) -> Result<Exit, RebuildError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = open_stores(directory, &clock)?.signatures;
    let shown = io::stderr().is_terminal();
    let summary = store
        .rebuild_index(|progress| {
            if shown {
                // Progress is a courtesy: a terminal that is gone takes nothing from the result.
                let _ = write!(io::stderr(), "\r{} objects", progress.objects);
            }
        })
        .await?;
    let (subjects, referrers, links, versions) = (
        summary.subjects,
        summary.referrers,
        summary.links,
        summary.tag_versions,
    );
    match form {
        OutputForm::Table => writeln!(
            out,
            "index rebuilt: {subjects} subjects, {referrers} referrers, {links} links, {versions} tag versions"
        )?,
        OutputForm::Json => {
            let summary = json!({"subjects": subjects, "referrers": referrers, "links": links, "tag_versions": versions});
            writeln!(out, "{summary:#}")?;
        }
    }
    Ok(Exit::Success)
}

/// Compares the index of a data directory with its objects; [`Exit::No`] if they differ.
///
/// # Errors
/// See [`RebuildError`].
pub async fn verify(
    directory: &Path,
    form: OutputForm,
    out: &mut dyn Write,
) -> Result<Exit, RebuildError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let differences = open_stores(directory, &clock)?
        .signatures
        .verify_index()
        .await?;
    match form {
        OutputForm::Table if differences.is_empty() => {
            writeln!(out, "index and objects are equal")?
        }
        OutputForm::Table => {
            for difference in &differences {
                writeln!(out, "{difference}")?;
            }
        }
        OutputForm::Json => {
            let differences: Vec<String> = differences.iter().map(ToString::to_string).collect();
            writeln!(
                out,
                "{:#}",
                json!({"equal": differences.is_empty(), "differences": differences})
            )?;
        }
    }
    Ok(if differences.is_empty() {
        Exit::Success
    } else {
        Exit::No
    })
}
