//! Requirements as they are written.

use crate::policy::Requirement;
use crate::policy::reading::{At, Fields, Reader, suggestion};
use crate::yaml::nearest;

/// How deep requirements may be nested.
const MAX_DEPTH: usize = 8;

/// An authority, or a mapping with one of `all`, `any` and `at_least`, which may hold others; `depth` is its own.
pub(super) fn requirement(
    reader: &mut Reader,
    at: At<'_>,
    authorities: &[String],
    depth: usize,
) -> Option<Requirement> {
    if let Some(name) = at.node.text() {
        if authorities.iter().any(|authority| authority == name) {
            return Some(Requirement::Authority(name.to_owned()));
        }
        let meant = suggestion(nearest(authorities.iter().map(String::as_str), name));
        reader.wrong(at, format!("unknown authority {name:?}{meant}"));
        return None;
    }
    if depth > MAX_DEPTH {
        reader.wrong(at, format!("nested more than {MAX_DEPTH} deep"));
        return None;
    }
    let mut fields = reader.fields(at)?;
    let written = ["all", "any", "at_least"].map(|word| fields.has(word));
    if written.into_iter().filter(|is_written| *is_written).count() != 1 {
        reader.wrong(
            at,
            "expected an authority, or exactly one of all, any and at_least",
        );
    }
    let list = |fields: &mut Fields, reader: &mut Reader, name| {
        fields.read(reader, name, |reader, at| {
            let list = reader.list(at, "authorities", |reader, at| {
                requirement(reader, at, authorities, depth + 1)
            })?;
            repeated(reader, at, &list);
            Some(list)
        })
    };
    let all = list(&mut fields, reader, "all").map(Requirement::All);
    let any = list(&mut fields, reader, "any").map(Requirement::Any);
    let has_threshold = fields.has("at_least");
    if has_threshold != fields.has("of") {
        reader.wrong(at, "at_least and of are written together");
    }
    let of = list(&mut fields, reader, "of");
    let at_least = fields.read(reader, "at_least", |reader, at| {
        threshold(reader, at, of.as_deref())
    });
    fields.finish(reader);
    let at_least = at_least.zip(of).map(|(needed, of)| {
        let counted = Requirement::AtLeast(needed, of);
        counted_twice(reader, at, &counted);
        counted
    });
    all.or(any).or(at_least)
}

fn threshold(reader: &mut Reader, at: At<'_>, of: Option<&[Requirement]>) -> Option<usize> {
    // Where the list is wrong, that has been reported; then any number that is not zero may be right.
    let most = of.map_or(usize::MAX, <[_]>::len);
    let number = at
        .node
        .integer()
        .and_then(|number| usize::try_from(number).ok());
    let number = number.filter(|number| (1..=most).contains(number));
    if number.is_none() && of.is_some() {
        reader.unexpected(
            at,
            &format!("a whole number from 1 to {most}, the length of the list"),
        );
    } else if number.is_none() {
        reader.unexpected(at, "a whole number from 1 to the length of the list");
    }
    number
}

fn repeated(reader: &mut Reader, at: At<'_>, list: &[Requirement]) {
    for (index, part) in list.iter().enumerate() {
        if list.iter().take(index).any(|earlier| earlier == part) {
            reader.wrong(at, format!("{:?} is listed twice", part.to_string()));
        }
    }
}

/// One authority must not be two of the number that is needed.
fn counted_twice(reader: &mut Reader, at: At<'_>, counted: &Requirement) {
    let mut names = counted.authorities();
    names.sort_unstable();
    let mut twice: Vec<&str> = names
        .windows(2)
        .filter_map(|pair| match pair {
            [one, other] if one == other => Some(*one),
            _ => None,
        })
        .collect();
    twice.dedup();
    let listed = match counted {
        Requirement::AtLeast(_, of) => of.as_slice(),
        Requirement::Authority(_) | Requirement::All(_) | Requirement::Any(_) => &[],
    };
    for name in twice {
        // Said already where it stands twice in the list itself.
        let itself = |part: &&Requirement| matches!(part, Requirement::Authority(n) if n == name);
        if listed.iter().filter(itself).count() < 2 {
            reader.wrong(at, format!("{name:?} could count twice for at_least"));
        }
    }
}
