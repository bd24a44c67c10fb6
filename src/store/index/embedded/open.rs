//! Opening the index file, in whatever state it is found.
//!
//! The index is derived, so a file that is missing, damaged, of another version, or older than the last opening (a
//! copy put back) never stops the start: it is begun anew, and the result says so. Only a file that another process
//! holds, or that the machine does not let us write, is an error.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use redb::{Database, DatabaseError, ReadableDatabase};
use thiserror::Error;

use super::writer::transact;
use super::{EmbeddedIndex, rows};
use crate::clock::Clock;

const FILE: &str = "index.redb";
/// Names the last opening. It lies beside the file so that a copy of the file alone, put back, is recognised.
const EPOCH_FILE: &str = "index.epoch";
/// Pages of the file kept in memory.
const CACHE: usize = 16 * 1024 * 1024;

/// An index that is open.
#[derive(Debug)]
pub struct Opened {
    /// The index.
    pub index: EmbeddedIndex,
    /// What the file was like.
    pub found: Found,
}

/// What opening found. In all cases but [`Found::Intact`] the index is empty and has to be rebuilt.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// The file of the last orderly close.
    Intact,
    /// No file.
    Nothing,
    /// The file of a process that was killed: it may lack what was not acknowledged.
    Unclean,
    /// A file that was not the last one opened here, such as a copy put back.
    Restored,
    /// A file that cannot be used; it was moved aside.
    Unusable {
        /// Where it is now.
        moved_to: PathBuf,
    },
}

/// Why the index cannot be opened at all.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error(
        "the index {path} is in use by another process: each regseal needs a data directory of its own"
    )]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The machine refuses.
    #[error("the index {path} cannot be opened")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl EmbeddedIndex {
    /// Opens the index in the data directory `directory`, which exists. Blocks; called at start.
    ///
    /// # Errors
    /// Only if the file is locked or cannot be written; see [`OpenError`].
    pub fn open(directory: &Path, clock: &dyn Clock) -> Result<Opened, OpenError> {
        let path = directory.join(FILE);
        let failed = |source| OpenError::Io {
            path: path.clone(),
            source,
        };
        let epoch = directory.join(EPOCH_FILE);
        let last = fs::read_to_string(&epoch).ok();
        let last = last.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
        let opening = random().map_err(failed)?;

        let (database, found) = if path.try_exists().map_err(failed)? {
            match attempt(&path, last, opening) {
                Ok(opened) => opened,
                Err(Fault::Locked) => return Err(OpenError::Locked { path }),
                Err(Fault::Refused(source)) => return Err(failed(source)),
                Err(Fault::Unusable) => {
                    let name = format!("{FILE}.corrupt-{}", clock.now().as_u64());
                    let moved_to = directory.join(name);
                    fs::rename(&path, &moved_to).map_err(failed)?;
                    (create(&path, opening)?, Found::Unusable { moved_to })
                }
            }
        } else {
            (create(&path, opening)?, Found::Nothing)
        };
        // After the file itself: a crash in between makes the two differ, and the index be rebuilt.
        write_durably(directory, &epoch, &format!("{opening:016x}\n")).map_err(failed)?;
        let index = Self::new(database).map_err(failed)?;
        Ok(Opened { index, found })
    }

    /// Makes an index file that may lie in `directory` one that is not used when it is opened again: to be called by
    /// who changes the objects beside it without telling it. Blocks.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn outdate(directory: &Path) -> io::Result<()> {
        match fs::remove_file(directory.join(EPOCH_FILE)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

enum Fault {
    Locked,
    Refused(io::Error),
    Unusable,
}

impl From<redb::Error> for Fault {
    fn from(error: redb::Error) -> Self {
        if let redb::Error::Io(source) = error {
            return source.into();
        }
        Self::Unusable
    }
}

impl From<DatabaseError> for Fault {
    fn from(error: DatabaseError) -> Self {
        if matches!(error, DatabaseError::DatabaseAlreadyOpen) {
            return Self::Locked;
        }
        redb::Error::from(error).into()
    }
}

impl From<io::Error> for Fault {
    /// A short or senseless file shows as an I/O error too; what is left is the machine's refusal.
    fn from(source: io::Error) -> Self {
        let refused = matches!(
            source.kind(),
            ErrorKind::PermissionDenied
                | ErrorKind::ReadOnlyFilesystem
                | ErrorKind::StorageFull
                | ErrorKind::QuotaExceeded
        );
        if refused {
            Self::Refused(source)
        } else {
            Self::Unusable
        }
    }
}

/// Opens a file that exists; a damaged one may make the database panic.
fn attempt(path: &Path, last: Option<u64>, opening: u64) -> Result<(Database, Found), Fault> {
    catch_unwind(|| {
        let database = builder().open(path)?;
        let txn = database.begin_read().map_err(redb::Error::from)?;
        if !rows::has_schema(&txn)? {
            return Err(Fault::Unusable);
        }
        let (stored, clean) = rows::last_opening(&txn)?;
        drop(txn);
        let found = if last != Some(stored) {
            Found::Restored
        } else if clean {
            Found::Intact
        } else {
            Found::Unclean
        };
        transact(&database, |txn| {
            if found != Found::Intact {
                rows::clear(txn)?;
            }
            rows::begin(txn, opening)
        })?;
        Ok((database, found))
    })
    .unwrap_or(Err(Fault::Unusable))
}

fn create(path: &Path, opening: u64) -> Result<Database, OpenError> {
    let attempt = || -> Result<Database, redb::Error> {
        let database = builder().create(path)?;
        transact(&database, |txn| rows::begin(txn, opening))?;
        Ok(database)
    };
    attempt().map_err(|error| {
        let path = path.to_owned();
        if matches!(error, redb::Error::DatabaseAlreadyOpen) {
            return OpenError::Locked { path };
        }
        let source = io::Error::other(error);
        OpenError::Io { path, source }
    })
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE);
    builder
}

fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(u64::from_le_bytes(bytes))
}

fn write_durably(directory: &Path, path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension("epoch.new");
    let mut file = fs::File::create(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, UnixMillis};
    use crate::oci::{Digest, RepositoryName};
    use crate::store::index::{Lookup, ReferrersIndex};
    use crate::store::records::{Link, LinkKind};

    fn open(directory: &Path) -> Opened {
        let clock = ManualClock::new(UnixMillis::new(1_234));
        EmbeddedIndex::open(directory, &clock).unwrap()
    }

    /// A closed index that is complete and has one row.
    async fn filled(directory: &Path) {
        let index = open(directory).index;
        let epoch = index.clear().await.unwrap();
        assert!(index.set_complete(epoch).await.unwrap());
        let (repository, digest) = row();
        let link = Link {
            kind: LinkKind::Blob,
            media_type: "application/x".to_owned(),
            size: 1,
            subject: None,
        };
        index
            .put_links(&repository, &[(digest, link)])
            .await
            .unwrap();
    }

    fn row() -> (RepositoryName, Digest) {
        ("a".parse().unwrap(), Digest::sha256(b"x"))
    }

    async fn lookup(index: &EmbeddedIndex) -> Lookup<Link> {
        let (repository, digest) = row();
        index.link(&repository, &digest).await.unwrap()
    }

    async fn assert_empty(opened: &Opened) {
        assert_eq!(lookup(&opened.index).await, Lookup::Unknown);
        assert!(!opened.index.complete().await.unwrap());
    }

    #[tokio::test]
    async fn an_orderly_close_keeps_everything() {
        let directory = tempfile::tempdir().unwrap();
        filled(directory.path()).await;
        for _ in 0..2 {
            let opened = open(directory.path());
            assert_eq!(opened.found, Found::Intact);
            assert!(opened.index.complete().await.unwrap());
            assert!(matches!(lookup(&opened.index).await, Lookup::Found(_)));
        }
    }

    #[tokio::test]
    async fn a_missing_file_is_made() {
        let directory = tempfile::tempdir().unwrap();
        let opened = open(directory.path());
        assert_eq!(opened.found, Found::Nothing);
        assert_empty(&opened).await;
        drop(opened);
        filled(directory.path()).await;
        fs::remove_file(directory.path().join(FILE)).unwrap();
        let opened = open(directory.path());
        assert_eq!(opened.found, Found::Nothing);
        assert_empty(&opened).await;
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_used_is_moved_aside() {
        type Damage = fn(Vec<u8>) -> Vec<u8>;
        let damages: [(Damage, &str); 6] = [
            (|_| Vec::new(), "empty"),
            (|_| b"not a database".to_vec(), "something else"),
            (|bytes| bytes[..bytes.len() / 2].to_vec(), "truncated"),
            (|bytes| bytes[..100].to_vec(), "truncated in its header"),
            (|bytes| [&[0; 512], &bytes[512..]].concat(), "no header"),
            (
                |bytes| [&bytes[..64], &vec![0xff; bytes.len() - 64]].concat(),
                "no content",
            ),
        ];
        for (damage, why) in damages {
            let directory = tempfile::tempdir().unwrap();
            filled(directory.path()).await;
            let path = directory.path().join(FILE);
            let damaged = damage(fs::read(&path).unwrap());
            fs::write(&path, &damaged).unwrap();
            let opened = open(directory.path());
            let moved_to = directory.path().join("index.redb.corrupt-1234");
            assert_eq!(fs::read(&moved_to).unwrap().len(), damaged.len(), "{why}");
            assert_eq!(opened.found, Found::Unusable { moved_to }, "{why}");
            assert_empty(&opened).await;
        }
    }

    #[tokio::test]
    async fn a_file_of_another_schema_is_moved_aside() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::create(directory.path().join(FILE)).unwrap();
        let txn = database.begin_write().unwrap();
        let table = redb::TableDefinition::<&[u8], u64>::new("state");
        txn.open_table(table)
            .unwrap()
            .insert(b"schema".as_slice(), 99)
            .unwrap();
        txn.commit().unwrap();
        drop(database);
        let opened = open(directory.path());
        assert!(matches!(opened.found, Found::Unusable { .. }));
        assert_empty(&opened).await;
    }

    #[tokio::test]
    async fn an_old_copy_put_back_is_not_believed() {
        let directory = tempfile::tempdir().unwrap();
        filled(directory.path()).await;
        let path = directory.path().join(FILE);
        let copy = fs::read(&path).unwrap();
        drop(open(directory.path()));
        fs::write(&path, copy).unwrap();
        let opened = open(directory.path());
        assert_eq!(opened.found, Found::Restored);
        assert_empty(&opened).await;
        drop(opened);

        fs::remove_file(directory.path().join(EPOCH_FILE)).unwrap();
        assert_eq!(open(directory.path()).found, Found::Restored);
    }

    #[tokio::test]
    async fn what_a_killed_process_left_is_derived_again() {
        let directory = tempfile::tempdir().unwrap();
        let killed = tempfile::tempdir().unwrap();
        filled(directory.path()).await;
        let opened = open(directory.path());
        assert_eq!(opened.found, Found::Intact);
        // A copy of the open file is what a kill leaves.
        for name in [FILE, EPOCH_FILE] {
            fs::copy(directory.path().join(name), killed.path().join(name)).unwrap();
        }
        let left = open(killed.path());
        assert_eq!(left.found, Found::Unclean);
        assert_empty(&left).await;
    }

    #[test]
    fn a_file_in_use_is_said_to_be_in_use() {
        let directory = tempfile::tempdir().unwrap();
        let first = open(directory.path());
        let clock = ManualClock::default();
        let error = EmbeddedIndex::open(directory.path(), &clock).unwrap_err();
        assert!(matches!(error, OpenError::Locked { .. }));
        assert!(error.to_string().contains("in use by another process"));
        drop(first);
        assert_eq!(open(directory.path()).found, Found::Intact);
    }
}
