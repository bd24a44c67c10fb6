//! `regseal explain` and `regseal verify`: what is known of one image, asked of a running regseal through its admin API,
//! or found out here with the stores opened and the registry asked directly.

mod docker;
mod offline;
mod remote;
mod report;

use std::io::{self, Write};

use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::Value as Json;
use thiserror::Error;

use super::StartError;
use crate::cli::{Exit, Inspect, OutputForm};
use crate::config::{Environment, Settings};
use crate::oci::{ImageReference, InvalidImageReference};
use crate::upstream::UpstreamError;

use report::Report;

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
    /// The URL of the admin API is none.
    #[error("--admin {0}: a URL with http or https, a host and perhaps a port is expected")]
    Url(String),
    /// There is no token to show.
    #[error(
        "the admin API wants a token: name its file with --token-file, or set admin.token_file in the configuration"
    )]
    NoToken,
    /// The token cannot be read.
    #[error("--token-file {path}: cannot be read")]
    TokenFile {
        /// The file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// There is nothing in the file, or no text that can be a token.
    #[error("--token-file {0}: there is no token in it")]
    EmptyToken(String),
    /// Another token is the right one.
    #[error(
        "{0} refuses the token: it is not the one in the file that admin.token_file of that regseal names"
    )]
    TokenRefused(String),
    /// There is no such API.
    #[error("{0} has no admin API: that regseal has no admin.token_file")]
    NoApi(String),
    /// There was no answer.
    #[error("{url} gives no answer; is regseal running there? Without one use --offline")]
    Unreachable {
        /// Whom it was asked.
        url: String,
        /// What happened.
        source: UpstreamError,
    },
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
    #[error("the Docker configuration {path} cannot be used: {problem}")]
    Docker {
        /// The file.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
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
            | Self::Url(_)
            | Self::NoToken
            | Self::TokenFile { .. }
            | Self::EmptyToken(_)
            | Self::TokenRefused(_)
            | Self::NoApi(_)
            | Self::Docker { .. }
            | Self::Refused {
                status: StatusCode::BAD_REQUEST,
                ..
            } => Exit::Usage,
            Self::Start(error) => error.exit(),
            Self::Unreachable { .. } | Self::Refused { .. } | Self::Answer(_) | Self::Output(_) => {
                Exit::Undecided
            }
        }
    }
}

/// An answer to `explain`, from wherever.
struct Answered {
    status: StatusCode,
    body: Bytes,
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
        Box::pin(remote::ask(settings, options)).await?
    };
    if answered.status != StatusCode::OK {
        return Err(InspectError::Refused {
            status: answered.status,
            message: message(&answered.body)
                .unwrap_or_else(|| format!("the answer is {}", answered.status)),
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

/// What an error document says.
fn message(body: &[u8]) -> Option<String> {
    let document: Json = serde_json::from_slice(body).ok()?;
    let message = document.pointer("/errors/0/message")?.as_str()?;
    Some(report::plain(message))
}
