//! Numbers with a unit: spans of time and sizes in bytes.

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{Fault, Kind, Node};

/// Units and their values, the smallest first.
type Units = [(&'static str, u64)];

const MILLISECONDS: &Units = &[("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];

const BYTES: &Units = &[
    ("B", 1),
    ("kB", 1000),
    ("KB", 1000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
    ("TB", 1_000_000_000_000),
    ("TiB", 1 << 40),
];

/// A span of time such as `30s`, within a range.
pub(in crate::config) struct Span(pub(in crate::config) RangeInclusive<Duration>);

impl Kind for Span {
    type Value = Duration;

    fn read(&self, node: &Node, _: &Path) -> Result<Duration, Vec<Fault>> {
        let span = node
            .text()
            .and_then(|text| parse(text, MILLISECONDS))
            .map(Duration::from_millis);
        let Some(span) = span else {
            return Err(node.unexpected("a duration such as 500ms, 30s, 2m or 1h"));
        };
        if self.0.contains(&span) {
            return Ok(span);
        }
        let (least, most) = (show_span(*self.0.start()), show_span(*self.0.end()));
        Err(node.unexpected(format!("a duration from {least} to {most}")))
    }

    fn show(&self, value: &Duration) -> Json {
        json!(show_span(*value))
    }

    fn schema(&self) -> Json {
        json!({"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"})
    }
}

/// A number of bytes such as `4MiB`, within a range.
pub(in crate::config) struct Size(pub(in crate::config) RangeInclusive<u64>);

impl Kind for Size {
    type Value = u64;

    fn read(&self, node: &Node, _: &Path) -> Result<u64, Vec<Fault>> {
        let plain = node.integer().and_then(|bytes| u64::try_from(bytes).ok());
        let size = plain.or_else(|| node.text().and_then(|text| parse(text, BYTES)));
        let Some(size) = size else {
            return Err(node.unexpected("a size such as 4MiB, 4MB or a number of bytes"));
        };
        if self.0.contains(&size) {
            return Ok(size);
        }
        let (least, most) = (show(*self.0.start(), BYTES), show(*self.0.end(), BYTES));
        Err(node.unexpected(format!("a size from {least} to {most}")))
    }

    fn show(&self, value: &u64) -> Json {
        json!(show(*value, BYTES))
    }

    fn schema(&self) -> Json {
        json!({"type": ["string", "integer"], "pattern": "^[0-9]+([kKMGT]?B|[KMGT]iB)$", "minimum": 0})
    }
}

fn show_span(span: Duration) -> String {
    show(
        u64::try_from(span.as_millis()).unwrap_or(u64::MAX),
        MILLISECONDS,
    )
}

/// Digits and a unit, without a space between.
fn parse(text: &str, units: &Units) -> Option<u64> {
    let (digits, unit) = text.split_at_checked(text.find(|c: char| !c.is_ascii_digit())?)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    digits.parse::<u64>().ok()?.checked_mul(*factor)
}

/// The number in the unit that needs the fewest digits and loses nothing.
fn show(number: u64, units: &Units) -> String {
    let whole = units
        .iter()
        .rev()
        .filter(|(_, factor)| number.is_multiple_of(*factor));
    match whole.min_by_key(|(_, factor)| number / factor) {
        Some((unit, factor)) if number > 0 => format!("{}{unit}", number / factor),
        Some(_) | None => format!("0{}", if units == BYTES { "B" } else { "s" }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_needs_a_unit_that_is_known() {
        for (text, units, expected, why) in [
            ("30s", MILLISECONDS, Some(30_000), "seconds"),
            ("500ms", MILLISECONDS, Some(500), "milliseconds"),
            ("2m", MILLISECONDS, Some(120_000), "minutes"),
            ("1h", MILLISECONDS, Some(3_600_000), "hours"),
            ("1MiB", BYTES, Some(1_048_576), "a power of two"),
            ("4MB", BYTES, Some(4_000_000), "a power of ten"),
            ("30", MILLISECONDS, None, "no unit"),
            ("s", MILLISECONDS, None, "no number"),
            ("-1s", MILLISECONDS, None, "a sign"),
            ("1.5h", MILLISECONDS, None, "a fraction"),
            ("1 s", MILLISECONDS, None, "a space"),
            ("1mib", BYTES, None, "units have their case"),
            ("1é", BYTES, None, "not a unit at all"),
            ("99999999999999999999B", BYTES, None, "too many digits"),
            ("99999999999TiB", BYTES, None, "too many bytes"),
        ] {
            assert_eq!(parse(text, units), expected, "{why}: {text:?}");
        }
    }

    #[test]
    fn the_shortest_unit_is_shown() {
        for (number, units, expected) in [
            (0, BYTES, "0B"),
            (0, MILLISECONDS, "0s"),
            (1 << 20, BYTES, "1MiB"),
            (4_000_000, BYTES, "4MB"),
            (256 << 20, BYTES, "256MiB"),
            (1001, BYTES, "1001B"),
            (30_000, MILLISECONDS, "30s"),
            (60_000, MILLISECONDS, "1m"),
            (1500, MILLISECONDS, "1500ms"),
        ] {
            assert_eq!(show(number, units), expected);
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_again(number: u64) {
            prop_assert_eq!(parse(&show(number, BYTES), BYTES), Some(number));
            prop_assert_eq!(parse(&show(number, MILLISECONDS), MILLISECONDS), Some(number));
        }
    }
}
