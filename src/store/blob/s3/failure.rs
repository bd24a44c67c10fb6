//! Why an exchange with the service failed.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{BoxError, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::RequestId;
use thiserror::Error;

use super::breaker::Refused;
use super::credentials::NoCredentials;

/// What is kept of the text of an answer.
const MAX_MESSAGE: usize = 300;

/// Why an exchange with the service failed. None of it holds a header of the request.
#[derive(Debug, Error)]
pub(super) enum Failure {
    /// Its time is over, its retries included.
    #[error("no answer within {0:?}")]
    NoAnswer(Duration),
    /// Neither an answer nor the end of one came.
    #[error("the connection failed")]
    Connection(#[source] BoxError),
    /// The service refuses.
    #[error(transparent)]
    Answer(Answer),
    /// The service knows no conditional writes.
    #[error("the store refuses `If-None-Match`; `storage.s3.conditional_writes: off` does without")]
    NoConditions(#[source] Answer),
    /// Nothing could be sent, for want of credentials.
    #[error(transparent)]
    Credentials(NoCredentials),
    /// Nothing was sent.
    #[error(transparent)]
    Refused(Refused),
    /// The request could not be made, or the answer not be understood.
    #[error("the exchange failed")]
    Other(#[source] BoxError),
}

/// An error that the service answered.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) code: Option<String>,
    message: Option<String>,
    request_id: Option<String>,
}

impl fmt::Display for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the store answered {}", self.status)?;
        if let Some(code) = &self.code {
            write!(formatter, " {code}")?;
        }
        if let Some(message) = &self.message {
            write!(formatter, ": {message}")?;
        }
        if let Some(id) = &self.request_id {
            write!(formatter, " (request id {id})")?;
        }
        Ok(())
    }
}

impl Failure {
    /// The answer lacks what every answer to this operation has.
    pub(super) fn lacks(what: &'static str) -> Self {
        Self::Other(format!("the answer has no {what}").into())
    }

    /// Whether waiting for the service would be in vain.
    pub(super) fn is_unreachable(&self) -> bool {
        matches!(self, Self::NoAnswer(_) | Self::Connection(_))
    }

    /// Whether the service was heard.
    pub(super) fn is_answer(&self) -> bool {
        self.answer().is_some()
    }

    /// The code of a 404, which an answer without a body has not.
    pub(super) fn not_found(&self) -> Option<Option<&str>> {
        let answer = self.answer().filter(|answer| answer.status == 404)?;
        Some(answer.code.as_deref())
    }

    pub(super) fn answer(&self) -> Option<&Answer> {
        match self {
            Self::Answer(answer) | Self::NoConditions(answer) => Some(answer),
            Self::NoAnswer(_)
            | Self::Connection(_)
            | Self::Credentials(_)
            | Self::Refused(_)
            | Self::Other(_) => None,
        }
    }

    /// The status of the answer.
    pub(super) fn status(&self) -> Option<u16> {
        self.answer().map(|answer| answer.status)
    }

    /// Of a conditional write: says so if the condition was what the service did not like.
    pub(super) fn of_condition(self) -> Self {
        if let Self::Answer(answer) = &self
            && answer.refuses_condition()
        {
            return Self::NoConditions(answer.clone());
        }
        self
    }

    /// As the source of an error, the breaker's recognisable by its type.
    pub(super) fn into_source(self) -> Box<dyn StdError + Send + Sync> {
        if let Self::Refused(refused) = self {
            return Box::new(refused);
        }
        Box::new(self)
    }
}

impl Answer {
    fn refuses_condition(&self) -> bool {
        let names_it = || {
            let message = self.message.as_deref().unwrap_or_default();
            message.to_ascii_lowercase().contains("if-none-match")
        };
        self.status == 501
            || self.code.as_deref() == Some("NotImplemented")
            || (self.status == 400 && names_it())
    }
}

impl<E> From<SdkError<E, HttpResponse>> for Failure
where
    E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
{
    fn from(error: SdkError<E, HttpResponse>) -> Self {
        match &error {
            SdkError::TimeoutError(_) | SdkError::ResponseError(_) => {
                Self::Connection(error.into())
            }
            SdkError::DispatchFailure(failure) if failure.is_io() || failure.is_timeout() => {
                Self::Connection(error.into())
            }
            // A success that makes no sense, unless it has an error in its body.
            SdkError::ServiceError(answer)
                if answer.raw().status().is_success() && error.code().is_none() =>
            {
                Self::Other(error.into())
            }
            SdkError::ServiceError(refused) => Self::Answer(Answer {
                status: refused.raw().status().as_u16(),
                code: error.code().map(str::to_owned),
                message: error
                    .message()
                    .map(|message| message.chars().take(MAX_MESSAGE).collect()),
                request_id: error.request_id().map(str::to_owned),
            }),
            SdkError::DispatchFailure(_) | SdkError::ConstructionFailure(_) => {
                match no_credentials(&error) {
                    Some(missing) => Self::Credentials(missing),
                    None => Self::Other(error.into()),
                }
            }
            _ => Self::Other(error.into()),
        }
    }
}

fn no_credentials(error: &(dyn StdError + 'static)) -> Option<NoCredentials> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(missing) = error.downcast_ref::<NoCredentials>() {
            return Some(missing.clone());
        }
        next = error.source();
    }
    None
}
