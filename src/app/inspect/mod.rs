//! `regseal explain` and `regseal verify`: what is known of one image, asked of a running regseal through its admin API,
//! or found out here with the stores opened and the registry asked directly.

mod offline;
pub(super) mod report;

use std::io::{self, Write};

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value as Json;
use thiserror::Error;

use super::StartError;
use super::admin_client::{AdminClient, AdminError, Answered};
use super::docker::DockerError;
use crate::cli::{Exit, Inspect, OutputForm};
use crate::config::{Environment, Settings};
use crate::oci::{ImageReference, InvalidImageReference};

use report::Report;
pub(in crate::app) use report::plain;

const PATH: &str = "/api/v1/explain";

/// What is wanted to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Whether it is signed as its rule asks.
    Verdict,
    /// Everything.
    Everything,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum InspectError {
    /// The reference is none.
    #[error(transparent)]
    Reference(#[from] InvalidImageReference),
    /// The admin API cannot be asked.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The answer is an error.
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

impl InspectError {
    /// How the process ends.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Reference(_)
            | Self::Docker(_)
            | Self::Refused {
                status: StatusCode::BAD_REQUEST,
                ..
            } => Exit::Usage,
            Self::Start(error) => error.exit(),
            Self::Admin(error) => error.exit(),
            Self::Refused { .. } | Self::Answer(_) | Self::Output(_) => Exit::Undecided,
        }
    }
}

/// Answers about `options.reference`: [`Exit::No`] if a verdict is wanted and it is not signed as its rule asks.
///
/// # Errors
/// See [`InspectError`].
pub async fn inspect(
    wanted: Wanted,
    settings: &Settings,
    environment: &Environment,
    options: &Inspect,
    form: OutputForm,
    out: &mut dyn Write,
) -> Result<Exit, InspectError> {
    let _: ImageReference = options.reference.parse()?;
    let answered = if options.offline {
        Box::pin(offline::ask(settings, environment, &options.reference)).await?
    } else {
        let (admin, token_file) = (options.admin.as_deref(), options.token_file.as_deref());
        let client = AdminClient::new(settings, admin, token_file)?;
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("reference", &options.reference)
            .finish();
        let path = format!("{PATH}?{query}");
        client.ask(&Method::GET, &path, Bytes::new()).await?
    };
    if answered.status != StatusCode::OK {
        return Err(InspectError::Refused {
            status: answered.status,
            message: answered.message(),
        });
    }
    let answer: Json = serde_json::from_slice(&answered.body).map_err(InspectError::Answer)?;
    let report = Report::deserialize(&answer).map_err(InspectError::Answer)?;
    match (form, wanted) {
        (OutputForm::Json, _) => writeln!(out, "{answer:#}")?,
        (OutputForm::Table, Wanted::Verdict) => report.write_verdict(out)?,
        (OutputForm::Table, Wanted::Everything) => report.write(out)?,
    }
    Ok(match wanted {
        Wanted::Verdict => report.exit(),
        Wanted::Everything => Exit::Success,
    })
}
