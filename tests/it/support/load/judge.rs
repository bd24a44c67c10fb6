//! Whether what was shown agrees with what was acknowledged; made after the run, when everything is known.

use std::time::Duration;

use super::ledger::{Act, Book, Change, Entry, List, Outcome, Part};

/// How long another replica may take to see what was acknowledged by one that had lost Redis.
pub const STALENESS: Duration = Duration::from_secs(2);

/// What is wrong with the lists of a book, one line for each entry that is.
pub fn violations(book: &Book) -> Vec<String> {
    // The entries of each place, once.
    let mut places = std::collections::HashMap::<_, Vec<usize>>::new();
    for (number, entry) in book.entries.iter().enumerate() {
        places.entry(entry.place).or_default().push(number);
    }
    let mut found = Vec::new();
    for list in &book.lists {
        for &number in places.get(&list.place).map_or(&[][..], Vec::as_slice) {
            let entry = &book.entries[number];
            let is_shown = list.entries.binary_search(&number).is_ok();
            let wrong = if is_shown {
                forbids(book, entry, list)
            } else {
                demands(book, entry, list).then_some("an acknowledged signature is missing")
            };
            if let Some(wrong) = wrong {
                found.push(describe(wrong, entry, list));
            }
        }
    }
    found
}

/// Whether the list must show the entry.
fn demands(book: &Book, entry: &Entry, list: &List) -> bool {
    let is_being_deleted = entry
        .acts
        .iter()
        .any(|act| act.change == Change::Delete && act.sent < list.ended);
    !is_being_deleted && is_known(book, entry, Change::Push, list)
}

/// Why the list must not show the entry.
fn forbids(book: &Book, entry: &Entry, list: &List) -> Option<&'static str> {
    let was_sent = entry
        .acts
        .iter()
        .any(|act| act.change == Change::Push && act.sent < list.ended);
    if !was_sent {
        Some("a signature is listed that was never pushed")
    } else if !entry.is_sound {
        Some("a signature is listed that cannot be accepted")
    } else if is_known(book, entry, Change::Delete, list) {
        Some("a deleted signature is listed")
    } else {
        None
    }
}

/// Whether a change was acknowledged so long ago that the list must know it.
fn is_known(book: &Book, entry: &Entry, change: Change, list: &List) -> bool {
    let acts = entry.acts.iter().filter(|act| act.change == change);
    acts.filter_map(|act| known_from(book, act, list))
        .any(|from| from <= list.begun)
}

/// From when on the replica of a list must know of an act.
fn known_from(book: &Book, act: &Act, list: &List) -> Option<Duration> {
    let (at, outcome) = act.end?;
    if outcome != Outcome::Acknowledged {
        return None;
    }
    let is_settled = book.settled.is_some_and(|settled| settled <= list.begun);
    let at_once = is_settled
        || act.replica == list.replica
        || !book.was_disturbed(Part::Redis, act.replica, act.sent, at);
    Some(if at_once { at } else { at + STALENESS })
}

fn describe(wrong: &str, entry: &Entry, list: &List) -> String {
    let history: Vec<String> = entry
        .acts
        .iter()
        .map(|act| {
            let end = act.end.map_or_else(String::new, |(at, outcome)| {
                format!("..{at:.3?} {outcome:?}")
            });
            format!("{:?} by {} {:.3?}{end}", act.change, act.replica, act.sent)
        })
        .collect();
    format!(
        "{wrong}: {} at {:?}, list by {} {:.3?}..{:.3?}; {}",
        entry.digest,
        entry.place,
        list.replica,
        list.begun,
        list.ended,
        history.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::super::ledger::{Disturbance, Kind, Place};
    use super::*;
    use crate::support::Content;

    const PLACE: Place = Place {
        subject: 0,
        kind: Kind::Referrers,
    };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn act(change: Change, sent: u64, outcome: Outcome) -> Act {
        Act {
            change,
            replica: 0,
            sent: at(sent),
            end: Some((at(sent + 1), outcome)),
        }
    }

    fn book(acts: &[Act]) -> Book {
        let mut book = Book::default();
        let layer = Content::new("", "");
        book.add(Entry {
            place: PLACE,
            digest: "sha256:d".to_owned(),
            descriptor: serde_json::Value::Null,
            manifest: None,
            layer,
            is_sound: true,
            acts: acts.to_vec(),
        });
        book
    }

    fn is_wrong(book: &mut Book, replica: usize, begun: u64, shown: bool) -> bool {
        book.lists = vec![List {
            place: PLACE,
            replica,
            begun: at(begun),
            ended: at(begun + 1),
            entries: if shown { vec![0] } else { Vec::new() },
        }];
        !violations(book).is_empty()
    }

    #[test]
    fn what_was_acknowledged_must_be_listed_and_what_was_deleted_not() {
        use Change::{Delete, Push};
        use Outcome::{Acknowledged, Failed, Lost};
        let pushed = act(Push, 10, Acknowledged);
        for (acts, begun, shown, wrong, why) in [
            (&[pushed][..], 11, false, true, "acknowledged before"),
            (&[pushed], 10, false, false, "acknowledged meanwhile"),
            (&[pushed], 10, true, false, "sent meanwhile"),
            (&[pushed], 8, true, true, "sent afterwards"),
            (&[act(Push, 10, Failed)], 20, false, false, "unknown"),
            (&[act(Push, 10, Failed)], 20, true, false, "unknown"),
            (
                &[pushed, act(Delete, 20, Acknowledged)],
                21,
                true,
                true,
                "deleted",
            ),
            (
                &[pushed, act(Delete, 20, Acknowledged)],
                21,
                false,
                false,
                "deleted",
            ),
            (
                &[pushed, act(Delete, 20, Acknowledged)],
                19,
                false,
                true,
                "deleted later",
            ),
            (
                &[pushed, act(Delete, 20, Lost)],
                21,
                false,
                false,
                "perhaps deleted",
            ),
            (
                &[pushed, act(Delete, 20, Lost)],
                21,
                true,
                false,
                "perhaps deleted",
            ),
        ] {
            assert_eq!(is_wrong(&mut book(acts), 0, begun, shown), wrong, "{why}");
        }
        let mut unsound = book(&[act(Push, 10, Failed)]);
        unsound.entries[0].is_sound = false;
        assert!(is_wrong(&mut unsound, 0, 20, true));
    }

    #[test]
    fn another_replica_may_be_late_only_when_the_writer_had_lost_redis() {
        let mut book = book(&[act(Change::Push, 10, Outcome::Acknowledged)]);
        assert!(is_wrong(&mut book, 1, 11, false));
        book.disturbances.push(Disturbance {
            part: Part::Redis,
            replica: 0,
            from: at(9),
            to: Some(at(30)),
        });
        assert!(is_wrong(&mut book, 0, 11, false), "the same replica");
        assert!(!is_wrong(&mut book, 1, 12, false));
        assert!(is_wrong(&mut book, 1, 13, false), "two seconds are over");
        book.settled = Some(at(12));
        assert!(is_wrong(&mut book, 1, 12, false), "all are well again");
    }
}
