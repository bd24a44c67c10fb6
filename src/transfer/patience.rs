//! How often a question to the registry is asked again, and after which time.

use std::sync::Arc;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{Response, StatusCode};

use super::registry::Failure;
use crate::body::{Body, BodyError};
use crate::upstream::UpstreamError;

/// How often a question is asked that has no answer, or one of a server in trouble.
const ATTEMPTS: u32 = 5;
/// How often a question is asked that the registry puts off.
const PATIENCE: u32 = 60;
/// The first wait; it doubles.
const WAIT: Duration = Duration::from_millis(200);
/// The longest wait.
pub(super) const LONGEST: Duration = Duration::from_secs(60);

/// What one question has met.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    failed: u32,
    put_off: u32,
}

impl Attempts {
    /// Waits after a question without an answer, or gives it up.
    pub(super) async fn failed(&mut self, error: UpstreamError) -> Result<(), Failure> {
        self.failed += 1;
        if self.failed >= ATTEMPTS || matches!(error, UpstreamError::Request(_)) {
            return Err(error.into());
        }
        tokio::time::sleep(backoff(self.failed)).await;
        Ok(())
    }

    /// As [`Self::failed`], of an error that others have met as well.
    pub(super) async fn failed_alike(&mut self, error: &Arc<UpstreamError>) -> Result<(), Failure> {
        let message = std::io::Error::other(error.to_string());
        let error = UpstreamError::Connection(BodyError::new(message));
        self.failed(error).await
    }

    /// How long to wait after an answer of a server in trouble, unless it says so itself.
    pub(super) fn refused(&mut self, status: StatusCode) -> Result<Duration, Failure> {
        let (count, most) = match status {
            StatusCode::TOO_MANY_REQUESTS => (&mut self.put_off, PATIENCE),
            _ => (&mut self.failed, ATTEMPTS),
        };
        *count += 1;
        if *count >= most {
            return Err(Failure::Status(status));
        }
        Ok(backoff(*count))
    }
}

fn backoff(attempt: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(attempt.saturating_sub(1).min(16));
    WAIT.saturating_mul(doubled).min(LONGEST)
}

/// `Retry-After` (RFC 9110, 10.2.3) in seconds; a date is left to the usual waits.
pub(super) fn retry_after(response: &Response<Body>) -> Option<Duration> {
    let value = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}
