//! The token of the admin API.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::{constant_time, digest};
use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::secret::Secret;

/// Failed attempts are logged so often at most.
const LOGGED_EVERY: Duration = Duration::from_secs(1);

/// A token that is compared without telling how much of it was right.
pub(super) struct Token {
    hash: digest::Digest,
    failures: Mutex<Failures>,
}

/// Attempts that were not logged yet, and when some were.
#[derive(Default)]
struct Failures {
    unlogged: u64,
    logged: Option<Instant>,
}

impl Token {
    pub(super) fn new(token: &Secret) -> Self {
        Self {
            hash: hash(token.expose().as_bytes()),
            failures: Mutex::default(),
        }
    }

    /// Whether a request shows it: `Authorization: Bearer <token>`, once. Of others the number is logged.
    pub(super) fn is_shown_by(&self, headers: &HeaderMap) -> bool {
        let is_shown = shown(headers).is_some_and(|token| {
            let same = constant_time::verify_slices_are_equal(
                hash(token.as_bytes()).as_ref(),
                self.hash.as_ref(),
            );
            same.is_ok()
        });
        if !is_shown {
            self.note_failure();
        }
        is_shown
    }

    fn note_failure(&self) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.unlogged += 1;
        let is_due = |logged: Instant| logged.elapsed() >= LOGGED_EVERY;
        if failures.logged.is_none_or(is_due) {
            tracing::warn!(
                attempts = failures.unlogged,
                "the admin API was asked without its token or with a wrong one"
            );
            *failures = Failures {
                unlogged: 0,
                logged: Some(Instant::now()),
            };
        }
    }
}

fn shown(headers: &HeaderMap) -> Option<&str> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let line = lines.next()?.to_str().ok()?;
    let (scheme, token) = line.split_once(' ')?;
    let is_only = lines.next().is_none();
    (is_only && scheme.eq_ignore_ascii_case("bearer")).then_some(token.trim())
}

fn hash(token: &[u8]) -> digest::Digest {
    digest::digest(&digest::SHA256, token)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_the_whole_token_in_one_bearer_line_opens() {
        let token = Token::new(&Secret::new("operator"));
        for (lines, expected, why) in [
            (&["Bearer operator"][..], true, "the token"),
            (&["bearer operator"], true, "schemes have no case"),
            (&[], false, "nothing"),
            (&["Bearer opera"], false, "a part of it"),
            (&["Bearer operator2"], false, "more than it"),
            (&["Bearer "], false, "an empty one"),
            (&["Bearer"], false, "none"),
            (&["Basic operator"], false, "another scheme"),
            (&["operator"], false, "no scheme"),
            (&["Bearer operator", "Bearer operator"], false, "two lines"),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(AUTHORIZATION, HeaderValue::from_static(line));
            }
            assert_eq!(token.is_shown_by(&headers), expected, "{why}");
        }
    }
}
