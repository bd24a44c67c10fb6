//! Spans of time and instants, as they are written.

use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use crate::clock::UnixMillis;

/// A whole number of seconds, minutes or hours.
pub(super) fn span(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.find(|c: char| !c.is_ascii_digit())?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    let number: u64 = digits.parse().ok()?;
    number.checked_mul(seconds).map(Duration::from_secs)
}

/// An instant in RFC 3339, or a date: in UTC, its end or its beginning.
pub(super) fn instant(text: &str, is_end: bool) -> Option<UnixMillis> {
    // A date parses as the beginning of a longer form would, so its length tells them apart.
    let timestamp = if text.len() == "2027-01-31".len() {
        let date: Date = text.parse().ok()?;
        let day = if is_end {
            date.checked_add(1.day()).ok()?
        } else {
            date
        };
        day.to_zoned(TimeZone::UTC).ok()?.timestamp()
    } else {
        text.parse::<Timestamp>().ok()?
    };
    u64::try_from(timestamp.as_millisecond())
        .ok()
        .map(UnixMillis::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_a_whole_day_in_utc() {
        for (text, is_end, expected) in [
            ("2027-01-31", true, Some("2027-02-01T00:00:00.000Z")),
            ("2027-01-31", false, Some("2027-01-31T00:00:00.000Z")),
            (
                "2027-01-31T12:30:00Z",
                true,
                Some("2027-01-31T12:30:00.000Z"),
            ),
            (
                "2027-01-31T12:30:00+02:00",
                false,
                Some("2027-01-31T10:30:00.000Z"),
            ),
            ("2027-02-29", true, None),
            ("2027-1-31", true, None),
            ("31.01.2027", true, None),
            ("1969-01-01", true, None),
            ("2027-01-31T12:30:00", true, None),
            ("soon", true, None),
        ] {
            let instant = instant(text, is_end).map(|instant| instant.to_string());
            assert_eq!(instant.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn spans_are_whole_numbers_with_a_unit() {
        for (text, expected) in [
            ("90s", Some(90)),
            ("30m", Some(1800)),
            ("24h", Some(86_400)),
            ("1d", None),
            ("h", None),
            ("1", None),
            ("-1h", None),
            ("99999999999999999h", None),
        ] {
            assert_eq!(span(text), expected.map(Duration::from_secs), "{text}");
        }
    }
}
