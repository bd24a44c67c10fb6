//! The time of day, as a dependency.
//!
//! Whatever asks for the time takes an `Arc<dyn Clock>`, so that expiry and ordering can be tested at the exact
//! millisecond. Waiting is a matter of the runtime (`tokio::time`), not of this module.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch; prints as RFC 3339 in UTC with three fractional digits, and is a number in JSON.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct UnixMillis(u64);

impl UnixMillis {
    /// The last millisecond of the year 9999, where RFC 3339 ends.
    const LAST_PRINTABLE: u64 = 253_402_207_200_999;

    /// The instant `millis` milliseconds after the epoch.
    pub const fn new(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The instant `duration` later, or the last one there is.
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for UnixMillis {
    /// Instants after the year 9999 print as its last one: this is for readers, and never fails.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let printable = self.0.min(Self::LAST_PRINTABLE).cast_signed();
        let timestamp = Timestamp::from_millisecond(printable).unwrap_or(Timestamp::MAX);
        write!(f, "{timestamp:.3}")
    }
}

/// Tells the time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The present instant. It may stand still or step back, as the clocks of machines do.
    fn now(&self) -> UnixMillis;
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    /// A clock set before 1970 reads as the epoch.
    fn now(&self) -> UnixMillis {
        UnixMillis(u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0))
    }
}

/// A clock that only moves when told to.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// A clock that stands at `now`.
    pub fn new(now: UnixMillis) -> Self {
        Self(AtomicU64::new(now.0))
    }

    /// Moves the clock to `now`, back as well as forth.
    pub fn set(&self, now: UnixMillis) {
        self.0.store(now.0, Ordering::Relaxed);
    }

    /// Moves the clock forward.
    pub fn advance(&self, duration: Duration) {
        self.0.fetch_add(millis(duration), Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.0.load(Ordering::Relaxed))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_print_as_rfc_3339_in_utc() {
        let table = [
            (0, "1970-01-01T00:00:00.000Z", "the epoch"),
            (
                1_700_000_000_123,
                "2023-11-14T22:13:20.123Z",
                "milliseconds are kept",
            ),
            (
                1_700_000_000_120,
                "2023-11-14T22:13:20.120Z",
                "three digits, zeros too",
            ),
            (
                u64::MAX,
                "9999-12-30T22:00:00.999Z",
                "beyond the last printable instant",
            ),
        ];
        for (millis, expected, why) in table {
            assert_eq!(UnixMillis::new(millis).to_string(), expected, "{why}");
        }
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = ManualClock::new(UnixMillis::new(1_000));
        assert_eq!(clock.now(), UnixMillis::new(1_000));
        clock.advance(Duration::from_secs(2));
        assert_eq!(clock.now(), UnixMillis::new(3_000));
        clock.set(UnixMillis::new(5));
        assert_eq!(clock.now(), UnixMillis::new(5));
    }

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        let early = UnixMillis::new(10);
        let late = UnixMillis::new(25);
        assert_eq!(late.saturating_since(early), Duration::from_millis(15));
        assert_eq!(early.saturating_since(late), Duration::ZERO);
        assert_eq!(
            late.saturating_add(Duration::MAX),
            UnixMillis::new(u64::MAX)
        );
    }

    #[test]
    fn the_system_clock_is_past_this_program() {
        assert!(SystemClock.now() > UnixMillis::new(1_700_000_000_000));
    }
}
