//! The transfers of a running regseal: one at a time, begun by an operator and gone on with when he has left.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::registry::Settings;
use super::report::{ExportReport, ImportReport, Progress};
use super::{Export, ExportOptions, Import, ImportOptions, TransferError};
use crate::auth::{Caller, Relay};
use crate::oci::RepositoryName;
use crate::store::{SignatureStore, StoreError};
use crate::upstream::Upstream;

/// How many are worked on at once, where nothing is said.
const PARALLEL: usize = 8;

/// What is asked for, as an operator's program writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Asked {
    /// The repositories; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repositories: Option<Vec<String>>,
    /// Of an import: whether these are all that the registry has.
    #[serde(skip_serializing_if = "is_false")]
    pub complete_list: bool,
    /// Of an import: takes the inventory anew.
    #[serde(skip_serializing_if = "is_false")]
    pub renew_inventory: bool,
    /// Changes nothing.
    #[serde(skip_serializing_if = "is_false")]
    pub dry_run: bool,
    /// Things that are worked on at once; absent: 8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel: Option<usize>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives references")]
fn is_false(value: &bool) -> bool {
    !value
}

impl Asked {
    /// What an import is to do.
    ///
    /// # Errors
    /// The name that is none of a repository.
    pub fn import(&self) -> Result<ImportOptions, String> {
        Ok(ImportOptions {
            repositories: self.names()?,
            is_complete_list: self.complete_list,
            renew_inventory: self.renew_inventory,
            dry_run: self.dry_run,
            parallel: self.parallel(),
        })
    }

    /// What an export is to do, to the registry alone.
    ///
    /// # Errors
    /// The name that is none of a repository, or what only imports have.
    pub fn export(&self) -> Result<ExportOptions, String> {
        if self.complete_list || self.renew_inventory {
            return Err("an export has no inventory".to_owned());
        }
        Ok(ExportOptions {
            repositories: self.names()?,
            layout: None,
            layout_only: false,
            dry_run: self.dry_run,
            parallel: self.parallel(),
        })
    }

    fn names(&self) -> Result<Option<Vec<RepositoryName>>, String> {
        let Some(names) = &self.repositories else {
            return Ok(None);
        };
        let parsed = names.iter().map(|name| {
            let parsed = name.parse::<RepositoryName>();
            parsed.map_err(|error| format!("{name:?}: {error}"))
        });
        let mut names = parsed.collect::<Result<Vec<_>, _>>()?;
        names.sort();
        names.dedup();
        Ok(Some(names))
    }

    fn parallel(&self) -> usize {
        self.parallel.unwrap_or(PARALLEL).clamp(1, 64)
    }
}

/// How a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// There was none.
    None,
    /// It is being worked on.
    Running,
    /// It has come to its end.
    Finished,
    /// It has ended before its end, and goes on when it is begun again.
    Interrupted,
}

/// A job, and how far it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status<R> {
    /// How it is.
    pub state: State,
    /// How far it is, of what this process knows.
    pub progress: Progress,
    /// What it has come to.
    pub report: Option<R>,
    /// Why it was interrupted.
    pub error: Option<String>,
}

/// There is a job already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

/// The transfers of one process.
#[derive(Debug)]
pub struct Jobs {
    upstream: Arc<Upstream>,
    relay: Arc<Relay>,
    store: Arc<SignatureStore>,
    account: Caller,
    settings: Settings,
    latest: Mutex<Latest>,
}

/// The latest job of each kind.
#[derive(Debug, Default)]
struct Latest {
    import: Option<Arc<Job<ImportReport>>>,
    export: Option<Arc<Job<ExportReport>>>,
}

impl Latest {
    fn is_busy(&self) -> bool {
        self.import.as_ref().is_some_and(|job| job.is_running())
            || self.export.as_ref().is_some_and(|job| job.is_running())
    }
}

/// A job of this process.
struct Job<R> {
    progress: Box<dyn Fn() -> Progress + Send + Sync>,
    ended: Mutex<Option<Result<R, String>>>,
}

impl<R> fmt::Debug for Job<R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Job").finish_non_exhaustive()
    }
}

impl<R: Clone + Send + 'static> Job<R> {
    /// A job that goes on by itself.
    fn begin(
        progress: impl Fn() -> Progress + Send + Sync + 'static,
        work: impl Future<Output = Result<R, TransferError>> + Send + 'static,
    ) -> Arc<Self> {
        let job = Arc::new(Self {
            progress: Box::new(progress),
            ended: Mutex::default(),
        });
        let begun = Arc::clone(&job);
        tokio::spawn(async move {
            let cut_off = CutOff(&begun);
            let ended = work.await.map_err(|error| {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a transfer was interrupted"
                );
                described(&error)
            });
            *cut_off.0.ended() = Some(ended);
        });
        job
    }

    fn status(&self) -> Status<R> {
        let (state, report, error) = match self.ended().clone() {
            None => (State::Running, None, None),
            Some(Ok(report)) => (State::Finished, Some(report), None),
            Some(Err(error)) => (State::Interrupted, None, Some(error)),
        };
        Status {
            state,
            progress: (self.progress)(),
            report,
            error,
        }
    }
}

impl<R> Job<R> {
    fn ended(&self) -> MutexGuard<'_, Option<Result<R, String>>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_running(&self) -> bool {
        self.ended().is_none()
    }
}

/// Ends a job whose task is cut off.
struct CutOff<'a, R>(&'a Job<R>);

impl<R> Drop for CutOff<'_, R> {
    fn drop(&mut self) {
        let mut ended = self.0.ended();
        ended.get_or_insert_with(|| Err("it was cut off".to_owned()));
    }
}

impl Jobs {
    /// None yet. `account` is what regseal itself is to the registry.
    #[must_use]
    pub fn new(
        upstream: Arc<Upstream>,
        relay: Arc<Relay>,
        store: Arc<SignatureStore>,
        account: Caller,
        settings: Settings,
    ) -> Self {
        Self {
            upstream,
            relay,
            store,
            account,
            settings,
            latest: Mutex::default(),
        }
    }

    /// An import of its own, to be run by whoever asks for it.
    #[must_use]
    pub fn new_import(&self) -> Import {
        Import::new(
            Arc::clone(&self.upstream),
            Arc::clone(&self.relay),
            Arc::clone(&self.store),
            self.account.clone(),
            self.settings.clone(),
        )
    }

    /// An export of its own, to be run by whoever asks for it.
    #[must_use]
    pub fn new_export(&self) -> Export {
        Export::new(
            Arc::clone(&self.upstream),
            Arc::clone(&self.relay),
            Arc::clone(&self.store),
            self.account.clone(),
            self.settings.clone(),
        )
    }

    /// Begins an import.
    ///
    /// # Errors
    /// A transfer is being worked on.
    pub fn begin_import(&self, options: ImportOptions) -> Result<(), Busy> {
        let mut latest = self.latest();
        if latest.is_busy() {
            return Err(Busy);
        }
        let import = Arc::new(self.new_import());
        let watched = Arc::clone(&import);
        let work = async move { Box::pin(import.run(&options)).await };
        latest.import = Some(Job::begin(move || watched.progress(), work));
        Ok(())
    }

    /// Begins an export.
    ///
    /// # Errors
    /// A transfer is being worked on.
    pub fn begin_export(&self, options: ExportOptions) -> Result<(), Busy> {
        let mut latest = self.latest();
        if latest.is_busy() {
            return Err(Busy);
        }
        let export = Arc::new(self.new_export());
        let watched = Arc::clone(&export);
        let work = async move { Box::pin(export.run(&options)).await };
        latest.export = Some(Job::begin(move || watched.progress(), work));
        Ok(())
    }

    /// The import of this process; if there was none, what the latest has come to.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn import_status(&self) -> Result<Status<ImportReport>, StoreError> {
        let job = self.latest().import.clone();
        if let Some(job) = job {
            return Ok(job.status());
        }
        let latest = self.store.latest_import().await?;
        let report = latest
            .as_ref()
            .and_then(|run| ImportReport::deserialize(run.finished.as_ref()?).ok());
        Ok(Status {
            state: match (&latest, &report) {
                (None, _) => State::None,
                (Some(_), Some(_)) => State::Finished,
                (Some(_), None) => State::Interrupted,
            },
            progress: Progress::default(),
            report,
            error: None,
        })
    }

    /// The export of this process.
    pub fn export_status(&self) -> Status<ExportReport> {
        let job = self.latest().export.clone();
        job.map_or_else(
            || Status {
                state: State::None,
                progress: Progress::default(),
                report: None,
                error: None,
            },
            |job| job.status(),
        )
    }

    fn latest(&self) -> MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An error with its causes.
fn described(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
