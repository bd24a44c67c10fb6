//! The tables of the embedded index, and every read and write of them, within a given transaction.
//!
//! Keys are texts joined by NUL, which none of them contains; a range of `k\0 .. k\1` is all that belongs to `k`.
//! Only byte strings and `u64` are stored, so that the encoding is ours and not the database's.

use bytes::Bytes;
use redb::{Error, ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};

use super::verdicts;
use crate::oci::{Digest, RepositoryName, Tag};
use crate::store::index::Lookup;

type Rows = TableDefinition<'static, &'static [u8], &'static [u8]>;
/// A key and its row.
pub(super) type KeyedRow = (Vec<u8>, Vec<u8>);
type Numbers = TableDefinition<'static, &'static [u8], u64>;

/// The form of keys and rows; another one is a file of another version.
const SCHEMA: u64 = 1;

const STATE: Numbers = TableDefinition::new("state");
/// Generation and whether the subject is known, as `2 * generation + known`.
const SUBJECTS: Numbers = TableDefinition::new("subjects");
const REFERRERS: Rows = TableDefinition::new("referrers");
const LINKS: Rows = TableDefinition::new("links");
const TAG_VERSIONS: Rows = TableDefinition::new("tag_versions");

const SCHEMA_KEY: &[u8] = b"schema";
/// A random number per opening; the epoch file has the same.
const OPENING: &[u8] = b"opening";
/// 1 after an orderly close.
const CLEAN: &[u8] = b"clean";
/// Grows with every write; generations and epochs are taken from it.
const COUNTER: &[u8] = b"counter";
/// The counter at the last clearing: the epoch, and the generation of subjects without a row.
const FLOOR: &[u8] = b"floor";
/// 1 when the absence of a row means the absence of the record.
const COMPLETE: &[u8] = b"complete";

/// The tables that hold records.
#[derive(Clone, Copy, Debug)]
pub(super) enum Section {
    Referrers,
    Links,
    TagVersions,
}

impl Section {
    pub(super) const ALL: [Self; 3] = [Self::Referrers, Self::Links, Self::TagVersions];

    fn table(self) -> Rows {
        match self {
            Self::Referrers => REFERRERS,
            Self::Links => LINKS,
            Self::TagVersions => TAG_VERSIONS,
        }
    }
}

pub(super) fn subject_key(repository: &RepositoryName, subject: &Digest) -> Vec<u8> {
    format!("{repository}\0{subject}").into_bytes()
}

pub(super) fn referrer_key(subject: &[u8], digest: &Digest) -> Vec<u8> {
    [subject, b"\0", digest.as_str().as_bytes()].concat()
}

pub(super) fn link_key(repository: &RepositoryName, digest: &Digest) -> Vec<u8> {
    format!("{repository}\0{digest}").into_bytes()
}

pub(super) fn tag_key(repository: &RepositoryName, tag: &Tag) -> Vec<u8> {
    format!("{repository}\0{tag}").into_bytes()
}

pub(super) fn tag_version_key(repository: &RepositoryName, tag: &Tag, number: u64) -> Vec<u8> {
    format!("{repository}\0{tag}\0{number:020}").into_bytes()
}

pub(super) fn split_link_key(key: &[u8]) -> Option<(RepositoryName, Digest)> {
    let (repository, digest) = str::from_utf8(key).ok()?.split_once('\0')?;
    Some((repository.parse().ok()?, digest.parse().ok()?))
}

pub(super) fn split_tag_version_key(key: &[u8]) -> Option<(RepositoryName, Tag, u64)> {
    let (repository, rest) = str::from_utf8(key).ok()?.split_once('\0')?;
    let (tag, number) = rest.split_once('\0')?;
    Some((
        repository.parse().ok()?,
        tag.parse().ok()?,
        number.parse().ok()?,
    ))
}

/// Whether the file has the schema of this version; a file without tables has none.
pub(super) fn has_schema(txn: &ReadTransaction) -> Result<bool, Error> {
    Ok(state(txn, SCHEMA_KEY)? == SCHEMA)
}

/// The number of the last opening, and whether that one was closed in order.
pub(super) fn last_opening(txn: &ReadTransaction) -> Result<(u64, bool), Error> {
    Ok((state(txn, OPENING)?, state(txn, CLEAN)? == 1))
}

/// Makes the tables of a new file; in any file, notes the opening.
pub(super) fn begin(txn: &WriteTransaction, opening: u64) -> Result<(), Error> {
    txn.open_table(SUBJECTS)?;
    for section in Section::ALL {
        txn.open_table(section.table())?;
    }
    verdicts::begin(txn)?;
    let mut state = txn.open_table(STATE)?;
    state.insert(SCHEMA_KEY, SCHEMA)?;
    state.insert(OPENING, opening)?;
    state.insert(CLEAN, 0)?;
    Ok(())
}

pub(super) fn end(txn: &WriteTransaction) -> Result<(), Error> {
    txn.open_table(STATE)?.insert(CLEAN, 1)?;
    Ok(())
}

pub(super) fn complete(txn: &ReadTransaction) -> Result<bool, Error> {
    Ok(state(txn, COMPLETE)? == 1)
}

pub(super) fn clear(txn: &WriteTransaction) -> Result<u64, Error> {
    txn.delete_table(SUBJECTS)?;
    txn.open_table(SUBJECTS)?;
    for section in Section::ALL {
        txn.delete_table(section.table())?;
        txn.open_table(section.table())?;
    }
    verdicts::clear(txn)?;
    let floor = count(txn)?;
    let mut state = txn.open_table(STATE)?;
    state.insert(FLOOR, floor)?;
    state.insert(COMPLETE, 0)?;
    Ok(floor)
}

pub(super) fn set_complete(txn: &WriteTransaction, epoch: u64) -> Result<bool, Error> {
    let mut state = txn.open_table(STATE)?;
    if number(&state, FLOOR)? != epoch {
        return Ok(false);
    }
    state.insert(COMPLETE, 1)?;
    Ok(true)
}

pub(super) fn put_referrer(
    txn: &WriteTransaction,
    subject: &[u8],
    key: &[u8],
    row: &[u8],
) -> Result<(), Error> {
    let known = subject_row(&txn.open_table(SUBJECTS)?, subject)?.is_some_and(|row| row.known);
    touch(txn, subject, known)?;
    txn.open_table(REFERRERS)?.insert(key, row)?;
    Ok(())
}

pub(super) fn remove_referrer(
    txn: &WriteTransaction,
    subject: &[u8],
    key: &[u8],
) -> Result<(), Error> {
    let known = subject_row(&txn.open_table(SUBJECTS)?, subject)?.is_some_and(|row| row.known);
    touch(txn, subject, known)?;
    txn.open_table(REFERRERS)?.remove(key)?;
    Ok(())
}

pub(super) fn replace_subject(
    txn: &WriteTransaction,
    subject: &[u8],
    rows: &[(Vec<u8>, Bytes)],
    expected: u128,
) -> Result<bool, Error> {
    let row = subject_row(&txn.open_table(SUBJECTS)?, subject)?;
    let generation = match row {
        Some(row) => row.generation,
        None => number(&txn.open_table(STATE)?, FLOOR)?,
    };
    if u128::from(generation) != expected {
        return Ok(false);
    }
    touch(txn, subject, true)?;
    let mut table = txn.open_table(REFERRERS)?;
    let (start, end) = below(subject);
    table.retain_in::<&[u8], _>(start.as_slice()..end.as_slice(), |_, _| false)?;
    for (key, row) in rows {
        table.insert(key.as_slice(), row.as_ref())?;
    }
    Ok(true)
}

pub(super) fn referrers(
    txn: &ReadTransaction,
    subject: &[u8],
) -> Result<Lookup<Vec<Vec<u8>>>, Error> {
    let row = subject_row(&txn.open_table(SUBJECTS)?, subject)?;
    let complete = complete(txn)?;
    match row {
        None if complete => return Ok(Lookup::Absent),
        None => return Ok(Lookup::Unknown),
        Some(row) if !row.known && !complete => return Ok(Lookup::Unknown),
        Some(_) => {}
    }
    let mut found = Vec::new();
    let (start, end) = below(subject);
    for entry in txn
        .open_table(REFERRERS)?
        .range::<&[u8]>(start.as_slice()..end.as_slice())?
    {
        found.push(entry?.1.value().to_vec());
    }
    Ok(Lookup::Found(found))
}

pub(super) fn epoch(txn: &ReadTransaction) -> Result<u64, Error> {
    state(txn, FLOOR)
}

pub(super) fn generation(txn: &ReadTransaction, subject: &[u8]) -> Result<u64, Error> {
    match subject_row(&txn.open_table(SUBJECTS)?, subject)? {
        Some(row) => Ok(row.generation),
        None => state(txn, FLOOR),
    }
}

pub(super) fn put(
    txn: &WriteTransaction,
    section: Section,
    rows: &[(Vec<u8>, Bytes)],
) -> Result<(), Error> {
    let mut table = txn.open_table(section.table())?;
    for (key, row) in rows {
        table.insert(key.as_slice(), row.as_ref())?;
    }
    Ok(())
}

pub(super) fn remove_link(txn: &WriteTransaction, key: &[u8]) -> Result<(), Error> {
    txn.open_table(LINKS)?.remove(key)?;
    Ok(())
}

pub(super) fn link(txn: &ReadTransaction, key: &[u8]) -> Result<Lookup<Vec<u8>>, Error> {
    if let Some(row) = txn.open_table(LINKS)?.get(key)? {
        return Ok(Lookup::Found(row.value().to_vec()));
    }
    Ok(if complete(txn)? {
        Lookup::Absent
    } else {
        Lookup::Unknown
    })
}

/// All versions of a tag; `None` while the index is not complete.
pub(super) fn tag_versions(
    txn: &ReadTransaction,
    tag: &[u8],
) -> Result<Option<Vec<KeyedRow>>, Error> {
    if !complete(txn)? {
        return Ok(None);
    }
    let mut found = Vec::new();
    let (start, end) = below(tag);
    for entry in txn
        .open_table(TAG_VERSIONS)?
        .range::<&[u8]>(start.as_slice()..end.as_slice())?
    {
        let (key, row) = entry?;
        found.push((key.value().to_vec(), row.value().to_vec()));
    }
    Ok(Some(found))
}

/// At most `limit` rows of a section, after the key `after`.
pub(super) fn page(
    txn: &ReadTransaction,
    section: Section,
    after: &[u8],
    limit: usize,
) -> Result<Vec<KeyedRow>, Error> {
    let next = [after, b"\0"].concat();
    let mut found = Vec::new();
    for entry in txn
        .open_table(section.table())?
        .range::<&[u8]>(next.as_slice()..)?
        .take(limit)
    {
        let (key, row) = entry?;
        found.push((key.value().to_vec(), row.value().to_vec()));
    }
    Ok(found)
}

struct SubjectRow {
    generation: u64,
    known: bool,
}

fn subject_row(
    table: &impl ReadableTable<&'static [u8], u64>,
    subject: &[u8],
) -> Result<Option<SubjectRow>, Error> {
    Ok(table.get(subject)?.map(|row| SubjectRow {
        generation: row.value() / 2,
        known: row.value() % 2 == 1,
    }))
}

fn touch(txn: &WriteTransaction, subject: &[u8], known: bool) -> Result<(), Error> {
    let generation = count(txn)?;
    txn.open_table(SUBJECTS)?
        .insert(subject, generation * 2 + u64::from(known))?;
    Ok(())
}

/// The next number.
fn count(txn: &WriteTransaction) -> Result<u64, Error> {
    let mut state = txn.open_table(STATE)?;
    let next = number(&state, COUNTER)? + 1;
    state.insert(COUNTER, next)?;
    Ok(next)
}

fn state(txn: &ReadTransaction, key: &[u8]) -> Result<u64, Error> {
    number(&txn.open_table(STATE)?, key)
}

fn number(table: &impl ReadableTable<&'static [u8], u64>, key: &[u8]) -> Result<u64, Error> {
    Ok(table.get(key)?.map_or(0, |row| row.value()))
}

fn below(key: &[u8]) -> (Vec<u8>, Vec<u8>) {
    ([key, b"\0"].concat(), [key, b"\x01"].concat())
}
