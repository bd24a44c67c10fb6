//! The verdicts on subjects, in a table of their own: no record stands behind them, so of too many some are dropped.

use redb::{Error, ReadTransaction, ReadableTable, Table, TableDefinition, WriteTransaction};

type Rows = TableDefinition<'static, &'static [u8], &'static [u8]>;

const VERDICTS: Rows = TableDefinition::new("verdicts");
/// The bytes of all keys and rows of [`VERDICTS`].
const SIZE: TableDefinition<'static, (), u64> = TableDefinition::new("verdicts_size");

/// The most bytes that are kept.
pub(super) const MOST: u64 = 64 * 1024 * 1024;

/// Makes the tables, where there are none.
pub(super) fn begin(txn: &WriteTransaction) -> Result<(), Error> {
    txn.open_table(VERDICTS)?;
    txn.open_table(SIZE)?;
    Ok(())
}

pub(super) fn clear(txn: &WriteTransaction) -> Result<(), Error> {
    txn.delete_table(VERDICTS)?;
    txn.delete_table(SIZE)?;
    begin(txn)
}

pub(super) fn of(txn: &ReadTransaction, subject: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    let row = txn.open_table(VERDICTS)?.get(subject)?;
    Ok(row.map(|row| row.value().to_vec()))
}

/// Puts a row, and drops others until all have at most `most` bytes: those behind it in the order of keys, which in one
/// repository is an order of digests, so chance.
pub(super) fn put(
    txn: &WriteTransaction,
    subject: &[u8],
    row: &[u8],
    most: u64,
) -> Result<(), Error> {
    let mut rows = txn.open_table(VERDICTS)?;
    let mut sizes = txn.open_table(SIZE)?;
    let mut all = sizes.get(())?.map_or(0, |size| size.value());
    if let Some(replaced) = rows.insert(subject, row)? {
        all = all.saturating_sub(size(subject, replaced.value()));
    }
    all += size(subject, row);
    while all > most
        && let Some(next) = behind(&rows, subject)?
    {
        if let Some(dropped) = rows.remove(next.as_slice())? {
            all = all.saturating_sub(size(&next, dropped.value()));
        }
    }
    sizes.insert((), all)?;
    Ok(())
}

/// The key behind `subject`, from the last one round to the first; `None` if there is no other.
fn behind(
    rows: &Table<'_, &'static [u8], &'static [u8]>,
    subject: &[u8],
) -> Result<Option<Vec<u8>>, Error> {
    let next = [subject, b"\0"].concat();
    let found = match rows.range::<&[u8]>(next.as_slice()..)?.next() {
        Some(entry) => Some(entry?.0.value().to_vec()),
        None => rows.first()?.map(|(key, _)| key.value().to_vec()),
    };
    Ok(found.filter(|key| key != subject))
}

fn size(key: &[u8], row: &[u8]) -> u64 {
    (key.len() + row.len()) as u64
}

#[cfg(test)]
mod tests {
    use redb::{Database, ReadableDatabase, ReadableTableMetadata};

    use super::*;

    #[test]
    fn of_too_many_some_are_dropped_and_never_the_one_just_put() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::create(directory.path().join("index")).unwrap();
        let row = [7; 90];
        let mut order: Vec<u32> = (0..60).collect();
        order.rotate_left(23);
        for number in order.iter().chain(&order) {
            let key = format!("subject{number:03}");
            let txn = database.begin_write().unwrap();
            begin(&txn).unwrap();
            put(&txn, key.as_bytes(), &row, 1_000).unwrap();
            txn.commit().unwrap();
            let txn = database.begin_read().unwrap();
            assert_eq!(of(&txn, key.as_bytes()).unwrap(), Some(row.to_vec()));
            let count = txn.open_table(VERDICTS).unwrap().len().unwrap();
            let size = txn.open_table(SIZE).unwrap().get(()).unwrap().unwrap();
            assert_eq!(size.value(), count * 100);
            assert!(count <= 10, "{count}");
        }
        let txn = database.begin_write().unwrap();
        clear(&txn).unwrap();
        put(&txn, b"s", &row, 10).unwrap();
        txn.commit().unwrap();
        let txn = database.begin_read().unwrap();
        let only = of(&txn, b"s").unwrap();
        assert_eq!(only, Some(row.to_vec()), "one alone is kept at any size");
    }
}
