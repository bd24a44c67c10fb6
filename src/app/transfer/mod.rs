//! `regseal import` and `regseal export`: begun in a running regseal through its admin API, which goes on when the command has left, or done
//! here with the stores opened.

mod progress;
mod write;

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::json;
use thiserror::Error;

use super::admin_client::{AdminClient, Answered};
use super::assembly::Assembly;
use super::contact::Contact;
use super::{
    AdminError, DockerError, StartError, Stores, docker, open_beside, open_or_make_beside,
};
use crate::cli::{self, Exit, OutputForm};
use crate::clock::{Clock, SystemClock};
use crate::config::{Environment, Settings};
use crate::transfer::{Asked, ExportOptions, Jobs, Progress, State, Status, TransferError};

use progress::Shown;

const IMPORT: &str = "/api/v1/import";
const EXPORT: &str = "/api/v1/export";
/// How often a running regseal is asked how far it is.
const POLL: Duration = Duration::from_millis(500);

/// Why a transfer has not come to its end.
#[derive(Debug, Error)]
pub enum CommandError {
    /// A list of repositories cannot be read.
    #[error("--repositories {path}: cannot be read")]
    List {
        /// The file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// The list names something else.
    #[error("no repository: {0}")]
    Repository(String),
    /// A list is said to be complete, and there is none.
    #[error("--complete-list needs --repositories or --repository")]
    NoList,
    /// The admin API cannot be asked.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// It refuses.
    #[error("{message}")]
    Refused {
        /// Its status.
        status: StatusCode,
        /// What it says.
        message: String,
    },
    /// The answer is something else.
    #[error("the answer is not that of an admin API")]
    Answer(#[source] serde_json::Error),
    /// It ended before its end there.
    #[error("{0}; begun again, it goes on where it was")]
    Interrupted(String),
    /// It ended before its end here.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// Something that is configured cannot be used.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The Docker configuration cannot be used.
    #[error(transparent)]
    Docker(#[from] DockerError),
    /// The result cannot be written.
    #[error("cannot write the result")]
    Output(#[from] io::Error),
}

impl CommandError {
    /// How the process ends.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::List { .. }
            | Self::Repository(_)
            | Self::NoList
            | Self::Docker(_)
            | Self::Refused {
                status: StatusCode::BAD_REQUEST,
                ..
            } => Exit::Usage,
            Self::Admin(error) => error.exit(),
            Self::Start(error) => error.exit(),
            Self::Refused { .. }
            | Self::Answer(_)
            | Self::Interrupted(_)
            | Self::Transfer(_)
            | Self::Output(_) => Exit::Undecided,
        }
    }
}

/// Imports, and says what it has come to: [`Exit::No`] if something failed or is not what it claims to be.
///
/// # Errors
/// See [`CommandError`].
pub async fn import(
    settings: &Settings,
    environment: &Environment,
    options: &cli::Import,
    form: OutputForm,
    out: &mut dyn Write,
) -> Result<Exit, CommandError> {
    let asked = Asked {
        repositories: named(&options.repository, options.repositories.as_deref())?,
        complete_list: options.complete_list,
        renew_inventory: options.renew_inventory,
        dry_run: options.dry_run,
        parallel: Some(options.parallel.into()),
    };
    if asked.complete_list && asked.repositories.is_none() {
        return Err(CommandError::NoList);
    }
    let shown = Shown::new(form, "tags");
    let report = if options.place.offline {
        let options = asked.import().map_err(CommandError::Repository)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        // It may be what regseal is begun with; but a dry run makes nothing.
        let stores = match options.dry_run {
            true => open_beside(settings, &clock).await?,
            false => open_or_make_beside(settings, &clock).await?,
        };
        let jobs = over(stores, settings, environment, clock).await?;
        let import = jobs.new_import();
        watch(import.run(&options), || import.progress(), &shown).await?
    } else {
        let client = client(settings, &options.place)?;
        there(&client, IMPORT, &asked, &shown).await?
    };
    shown.clear();
    match form {
        OutputForm::Json => writeln!(out, "{:#}", json!(report))?,
        OutputForm::Table => write::import(&report, out)?,
    }
    Ok(done(report.is_clean()))
}

/// Exports, and says what it has come to: [`Exit::No`] if something failed, or has a name that means something else there.
///
/// # Errors
/// See [`CommandError`].
pub async fn export(
    settings: &Settings,
    environment: &Environment,
    options: &cli::Export,
    form: OutputForm,
    out: &mut dyn Write,
) -> Result<Exit, CommandError> {
    let asked = Asked {
        repositories: named(&options.repository, None)?,
        dry_run: options.dry_run,
        parallel: Some(options.parallel.into()),
        ..Asked::default()
    };
    let shown = Shown::new(form, "subjects and tags");
    let report = if options.place.offline {
        let options = ExportOptions {
            layout: options.layout.clone(),
            layout_only: options.layout_only,
            ..asked.export().map_err(CommandError::Repository)?
        };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let stores = open_beside(settings, &clock).await?;
        let jobs = over(stores, settings, environment, clock).await?;
        let export = jobs.new_export();
        watch(export.run(&options), || export.progress(), &shown).await?
    } else {
        let client = client(settings, &options.place)?;
        there(&client, EXPORT, &asked, &shown).await?
    };
    shown.clear();
    match form {
        OutputForm::Json => writeln!(out, "{:#}", json!(report))?,
        OutputForm::Table => write::export(&report, out)?,
    }
    Ok(done(report.is_clean()))
}

fn done(is_clean: bool) -> Exit {
    if is_clean { Exit::Success } else { Exit::No }
}

fn client(settings: &Settings, place: &cli::Place) -> Result<AdminClient, AdminError> {
    let (admin, token_file) = (place.admin.as_deref(), place.token_file.as_deref());
    AdminClient::new(settings, admin, token_file)
}

/// The repositories of the command line and of a list; `None` if there is neither.
fn named(names: &[String], list: Option<&Path>) -> Result<Option<Vec<String>>, CommandError> {
    let mut all = names.to_vec();
    if let Some(path) = list {
        let text = if path == Path::new("-") {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).map(|_| text)
        } else {
            fs::read_to_string(path)
        };
        let text = text.map_err(|source| CommandError::List {
            path: path.display().to_string(),
            source,
        })?;
        let lines = text.lines().map(str::trim);
        all.extend(lines.filter(|line| !line.is_empty()).map(str::to_owned));
    }
    Ok((list.is_some() || !all.is_empty()).then_some(all))
}

/// Works here, and shows how far it is.
async fn watch<R>(
    work: impl Future<Output = Result<R, TransferError>>,
    progress: impl Fn() -> Progress,
    shown: &Shown,
) -> Result<R, CommandError> {
    let mut work = Box::pin(work);
    loop {
        match tokio::time::timeout(POLL, &mut work).await {
            Ok(ended) => return Ok(ended?),
            Err(_elapsed) => shown.show(progress()),
        }
    }
}

/// What does transfers, over the stores and the registry themselves.
async fn over(
    stores: Stores,
    settings: &Settings,
    environment: &Environment,
    clock: Arc<dyn Clock>,
) -> Result<Arc<Jobs>, CommandError> {
    let account = docker::account_of(settings, environment)?;
    let store = stores.signatures;
    let contact = Contact::new(Arc::clone(&clock));
    let meter = opentelemetry::global::meter("regseal");
    // No policy: it is the inventory of this very import that one of its rules may wait for.
    let without_policy = Settings {
        policy: crate::config::Policy::default(),
        ..settings.clone()
    };
    let built = Assembly::of(&without_policy, &store, &clock, &contact, &meter, account);
    Ok(built.await?.parts.jobs)
}

/// Begins a transfer in a running regseal, or joins the one of its kind that is being worked on, and waits for its end.
async fn there<R: DeserializeOwned>(
    client: &AdminClient,
    path: &str,
    asked: &Asked,
    shown: &Shown,
) -> Result<R, CommandError> {
    let body = Bytes::from(json!(asked).to_string());
    let begun = client.ask(&Method::POST, path, body).await?;
    let mut is_joined = false;
    match begun.status {
        StatusCode::ACCEPTED => {}
        StatusCode::CONFLICT => is_joined = true,
        _ => return Err(refused(&begun)),
    }
    loop {
        let answered = client.ask(&Method::GET, path, Bytes::new()).await?;
        if answered.status != StatusCode::OK {
            return Err(refused(&answered));
        }
        let status: Status<R> =
            serde_json::from_slice(&answered.body).map_err(CommandError::Answer)?;
        match (status.state, status.report, status.error) {
            (State::Running, ..) => {
                if std::mem::take(&mut is_joined) {
                    shown.say("one is being worked on already: this is how far it is");
                }
                shown.show(status.progress);
            }
            // What is being worked on is of the other kind.
            _ if is_joined => return Err(refused(&begun)),
            (_, Some(report), _) => return Ok(report),
            (_, None, error) => {
                let error = error.unwrap_or_else(|| "it was interrupted".to_owned());
                return Err(CommandError::Interrupted(error));
            }
        }
        tokio::time::sleep(POLL).await;
    }
}

fn refused(answered: &Answered) -> CommandError {
    CommandError::Refused {
        status: answered.status,
        message: answered.message(),
    }
}
