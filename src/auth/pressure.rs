//! Back-pressure: whom the registry behind has told to wait (429 with `Retry-After`, RFC 6585 section 4) is asked about
//! no more until then.
//!
//! What a client sends goes on as before, and its answer is relayed; only the questions that regseal would add are
//! held back. The wait belongs to one caller, since registries count by credential and address.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use jiff::fmt::rfc2822;
use moka::future::Cache;

use super::cache::Key;
use super::question::Refusal;
use crate::clock::{Clock, UnixMillis};

/// Callers remembered at most.
const CAPACITY: u64 = 10_000;

/// The longest wait: a limit that was lifted, or told in another unit, must not hold for longer.
const LONGEST: Duration = Duration::from_secs(60);

/// Who has to wait, and until when.
#[derive(Debug)]
pub(super) struct Pressure {
    clock: Arc<dyn Clock>,
    waits: Cache<Key, UnixMillis>,
}

impl Pressure {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let waits = Cache::builder()
            .max_capacity(CAPACITY)
            .time_to_live(LONGEST)
            .build();
        Self { clock, waits }
    }

    /// Notes an answer that the registry behind gave about `caller`, if it is one that tells to wait.
    pub(super) async fn note(&self, caller: Key, status: StatusCode, headers: &HeaderMap) {
        if status != StatusCode::TOO_MANY_REQUESTS {
            return;
        }
        let now = self.clock.now();
        if let Some(told) = headers.get(RETRY_AFTER).and_then(|value| told(value, now)) {
            let until = now.saturating_add(told.min(LONGEST));
            self.waits.insert(caller, until).await;
        }
    }

    /// What `caller` is answered while it has to wait: 429 with the seconds that are left.
    pub(super) async fn held(&self, caller: &Key) -> Option<Refusal> {
        let until = self.waits.get(caller).await?;
        let left = until.saturating_since(self.clock.now());
        if left.is_zero() {
            return None;
        }
        let (mut parts, ()) = Response::new(()).into_parts();
        parts.status = StatusCode::TOO_MANY_REQUESTS;
        let seconds = left.as_millis().div_ceil(1000);
        if let Ok(value) = HeaderValue::try_from(seconds.to_string()) {
            parts.headers.insert(RETRY_AFTER, value);
        }
        Some(Refusal {
            parts,
            body: Bytes::new(),
        })
    }
}

/// `Retry-After`: seconds, or a date (RFC 9110 section 10.2.3).
fn told(value: &HeaderValue, now: UnixMillis) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    let date = u64::try_from(date.as_millisecond()).ok()?;
    Some(UnixMillis::new(date).saturating_since(now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[tokio::test]
    async fn a_wait_lasts_as_long_as_it_was_told_and_no_longer_than_a_minute() {
        // Sun, 06 Nov 1994 08:49:37 GMT
        const DATE: u64 = 784_111_777_000;
        for (status, told, expected, why) in [
            (429, Some("7"), Some(7), "seconds"),
            (429, Some(" 7 "), Some(7), "with spaces"),
            (429, Some("0"), None, "no wait"),
            (
                429,
                Some("Sun, 06 Nov 1994 08:49:47 GMT"),
                Some(10),
                "a date",
            ),
            (
                429,
                Some("Sun, 06 Nov 1994 08:49:27 GMT"),
                None,
                "a date that has passed",
            ),
            (429, Some("86400"), Some(60), "a day"),
            (429, Some("1794000000"), Some(60), "an instant as a number"),
            (429, Some("soon"), None, "nobody knows when"),
            (429, None, None, "not told"),
            (503, Some("7"), None, "an outage"),
            (401, Some("7"), None, "a refusal"),
        ] {
            let clock = Arc::new(ManualClock::new(UnixMillis::new(DATE)));
            let pressure = Pressure::new(Arc::<ManualClock>::clone(&clock));
            let mut headers = HeaderMap::new();
            if let Some(told) = told {
                headers.insert(RETRY_AFTER, HeaderValue::from_static(told));
            }
            let status = StatusCode::from_u16(status).unwrap();
            pressure.note([1; 32], status, &headers).await;
            let left = |refusal: Refusal| {
                assert_eq!(refusal.parts.status, StatusCode::TOO_MANY_REQUESTS, "{why}");
                let left = refusal.parts.headers[RETRY_AFTER].to_str().unwrap();
                left.parse::<u64>().unwrap()
            };
            assert_eq!(pressure.held(&[1; 32]).await.map(left), expected, "{why}");
            assert!(pressure.held(&[2; 32]).await.is_none(), "{why}: another");
            if let Some(seconds) = expected {
                clock.advance(Duration::from_secs(seconds) - Duration::from_millis(1));
                assert_eq!(pressure.held(&[1; 32]).await.map(left), Some(1), "{why}");
                clock.advance(Duration::from_millis(1));
                assert!(pressure.held(&[1; 32]).await.is_none(), "{why}");
            }
        }
    }
}
