//! Objects as files below one directory, on one machine.
//!
//! A file is written beside the tree (`.tmp`, on the same filesystem), synced, and then renamed or hard-linked to its
//! name, so that a reader sees all of it or nothing, and a crash leaves only temporary files, which the next
//! [`FsBlobStore::open`] sweeps. With an embedded index beside it one process at a time opens a directory: the index
//! holds the lock, and is opened first. With an index elsewhere several do, by [`FsBlobStore::open_shared`].

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;
use tokio::task::spawn_blocking;
use tokio_util::io::ReaderStream;

use super::{
    BlobError, BlobStore, ByteStream, Condition, Head, Key, Listed, MAX_GET, Object, Written, key,
};
use crate::clock::UnixMillis;

/// Pieces in which files are read and written.
const PIECE: usize = 64 * 1024;
/// Folders remembered as durable; beyond it they are synced again, which costs time and nothing else.
const MAX_REMEMBERED: usize = 65_536;
/// A temporary file that nobody has written to for so long has no writer: the stream it takes would have ended as idle.
const ABANDONED: Duration = Duration::from_hours(25);

/// A directory as an object store.
#[derive(Clone, Debug)]
pub struct FsBlobStore {
    tree: Arc<Tree>,
}

impl FsBlobStore {
    /// Opens `root`, which no other process has open, creating it if need be, and sweeps what a crash left half written.
    /// Blocks; called at start.
    ///
    /// # Errors
    /// The directory cannot be made or written.
    pub fn open(root: &Path) -> io::Result<Self> {
        Self::open_sweeping(root, Duration::ZERO)
    }

    /// As [`open`](Self::open), where other processes may have `root` open too: sweeps only what nobody writes any more.
    ///
    /// # Errors
    /// The directory cannot be made or written.
    pub fn open_shared(root: &Path) -> io::Result<Self> {
        Self::open_sweeping(root, ABANDONED)
    }

    fn open_sweeping(root: &Path, untouched: Duration) -> io::Result<Self> {
        let temporary = root.join(".tmp");
        fs::create_dir_all(&temporary)?;
        sweep(&temporary, untouched)?;
        let mut process = [0; 8];
        aws_lc_rs::rand::fill(&mut process).map_err(io::Error::other)?;
        sync_directory(root)?;
        if let Some(parent) = root.canonicalize()?.parent() {
            sync_directory(parent)?;
        }
        Ok(Self {
            tree: Arc::new(Tree {
                durable: Mutex::new(HashSet::from([root.to_owned()])),
                root: root.to_owned(),
                temporary,
                process: u64::from_le_bytes(process),
                count: AtomicU64::new(0),
            }),
        })
    }

    /// Runs `work` where it may block.
    async fn blocking<T: Send + 'static>(
        &self,
        operation: &'static str,
        key: &Key,
        work: impl FnOnce(&Tree) -> io::Result<T> + Send + 'static,
    ) -> Result<T, BlobError> {
        let tree = Arc::clone(&self.tree);
        match spawn_blocking(move || work(&tree)).await {
            Ok(outcome) => outcome.map_err(|error| unavailable(operation, key, error)),
            Err(panicked) => Err(unavailable(operation, key, io::Error::other(panicked))),
        }
    }
}

/// Removes the temporary files that were last written at least `untouched` ago, by the clock of the file system.
fn sweep(temporary: &Path, untouched: Duration) -> io::Result<()> {
    let mut random = [0; 8];
    aws_lc_rs::rand::fill(&mut random).map_err(io::Error::other)?;
    let probe = temporary.join(format!("{:016x}", u64::from_le_bytes(random)));
    let now = File::create_new(&probe)?.metadata()?.modified()?;
    fs::remove_file(&probe)?;
    for entry in fs::read_dir(temporary)? {
        let path = entry?.path();
        // Another process may finish the file, or sweep it, at any moment.
        let Some(metadata) = absent_as_none(fs::metadata(&path))? else {
            continue;
        };
        let age = now.duration_since(metadata.modified()?).unwrap_or_default();
        if age >= untouched {
            absent_as_none(fs::remove_file(&path))?;
        }
    }
    Ok(())
}

fn unavailable(operation: &'static str, key: &Key, source: io::Error) -> BlobError {
    BlobError::Unavailable {
        operation,
        key: key.clone(),
        source: Box::new(source),
    }
}

#[async_trait]
impl BlobStore for FsBlobStore {
    async fn get(&self, key: &Key) -> Result<Option<Bytes>, BlobError> {
        let path = self.tree.path(key);
        let read = move |_: &Tree| {
            let Some((file, head)) = open_file(&path)? else {
                return Ok(None);
            };
            if head.size > MAX_GET {
                return Ok(Some((head.size, Bytes::new())));
            }
            let mut bytes = Vec::with_capacity(usize::try_from(head.size).unwrap_or(0));
            io::Read::read_to_end(&mut io::Read::take(file, MAX_GET), &mut bytes)?;
            Ok(Some((head.size, Bytes::from(bytes))))
        };
        match self.blocking("read", key, read).await? {
            Some((size, _)) if size > MAX_GET => Err(BlobError::TooLarge {
                key: key.clone(),
                size,
            }),
            found => Ok(found.map(|(_, bytes)| bytes)),
        }
    }

    async fn open(&self, key: &Key) -> Result<Option<Object>, BlobError> {
        let path = self.tree.path(key);
        let opened = self
            .blocking("open", key, move |_| open_file(&path))
            .await?;
        Ok(opened.map(|(file, head)| {
            let file = tokio::fs::File::from_std(file);
            Object {
                size: head.size,
                modified: head.modified,
                stream: ReaderStream::with_capacity(file, PIECE).boxed(),
            }
        }))
    }

    async fn head(&self, key: &Key) -> Result<Option<Head>, BlobError> {
        let path = self.tree.path(key);
        self.blocking("read", key, move |_| {
            absent_as_none(fs::metadata(&path).and_then(|metadata| head(&metadata)))
                .map(Option::flatten)
        })
        .await
    }

    async fn put(
        &self,
        key: &Key,
        bytes: Bytes,
        condition: Condition,
    ) -> Result<Written, BlobError> {
        let path = self.tree.path(key);
        self.blocking("write", key, move |tree| {
            if condition == Condition::IfAbsent && path.try_exists()? {
                return tree.settle(&path);
            }
            let (mut file, temporary) = tree.create_temporary()?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            tree.publish(&temporary, &path, condition)
        })
        .await
    }

    async fn put_stream(&self, key: &Key, mut stream: ByteStream) -> Result<u64, BlobError> {
        let failed = |error| unavailable("write", key, error);
        let (file, temporary) = self.blocking("write", key, Tree::create_temporary).await?;
        let mut file = tokio::fs::File::from_std(file);
        let mut length = 0;
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(BlobError::Body)?;
            file.write_all(&piece).await.map_err(failed)?;
            length += piece.len() as u64;
        }
        file.flush().await.map_err(failed)?;
        file.sync_all().await.map_err(failed)?;
        let path = self.tree.path(key);
        self.blocking("write", key, move |tree| {
            tree.publish(&temporary, &path, Condition::Always)
        })
        .await?;
        Ok(length)
    }

    async fn list(
        &self,
        under: &Key,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Listed>, BlobError> {
        let folder = format!("{under}/");
        let after = after.cloned();
        self.blocking("list", under, move |tree| {
            let mut found = Vec::new();
            let after = after.as_ref().map(Key::as_str);
            tree.walk(&folder, after, limit, &mut found)?;
            Ok(found)
        })
        .await
    }

    async fn delete(&self, key: &Key) -> Result<(), BlobError> {
        let path = self.tree.path(key);
        self.blocking("delete", key, move |_| {
            if absent_as_none(fs::remove_file(&path))?.is_some()
                && let Some(folder) = path.parent()
            {
                sync_directory(folder)?;
            }
            Ok(())
        })
        .await
    }
}

/// The directory; every method blocks.
#[derive(Debug)]
struct Tree {
    root: PathBuf,
    temporary: PathBuf,
    /// Makes the names of this process's temporary files its own.
    process: u64,
    count: AtomicU64,
    /// Folders whose own entry is known to be on disk.
    durable: Mutex<HashSet<PathBuf>>,
}

impl Tree {
    fn path(&self, key: &Key) -> PathBuf {
        self.root.join(key.as_str())
    }

    fn durable(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn create_temporary(&self) -> io::Result<(File, Temporary)> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let path = self
            .temporary
            .join(format!("{:016x}-{number}", self.process));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)?;
        Ok((file, Temporary(path)))
    }

    /// Gives the synced file its name.
    fn publish(
        &self,
        temporary: &Temporary,
        path: &Path,
        condition: Condition,
    ) -> io::Result<Written> {
        let folder = path.parent().unwrap_or(&self.root);
        self.make_durable(folder)?;
        let mut outcome = place(temporary, path, condition);
        if matches!(&outcome, Err(error) if error.kind() == ErrorKind::NotFound) {
            // Somebody has removed the folder behind our back.
            self.durable().clear();
            self.make_durable(folder)?;
            outcome = place(temporary, path, condition);
        }
        let written = outcome?;
        sync_directory(folder)?;
        Ok(written)
    }

    /// Another writer was first. It may not have synced the folder yet, and our caller is about to rely on the file.
    fn settle(&self, path: &Path) -> io::Result<Written> {
        let folder = path.parent().unwrap_or(&self.root);
        self.make_durable(folder)?;
        sync_directory(folder)?;
        Ok(Written::AlreadyThere)
    }

    /// Creates `folder` with its parents, each synced into its own parent.
    fn make_durable(&self, folder: &Path) -> io::Result<()> {
        if folder == self.root || self.durable().contains(folder) {
            return Ok(());
        }
        let parent = folder.parent().unwrap_or(&self.root);
        self.make_durable(parent)?;
        match fs::create_dir(folder) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => sync_directory(parent)?,
        }
        let mut durable = self.durable();
        if durable.len() >= MAX_REMEMBERED {
            durable.clear();
        }
        durable.insert(folder.to_owned());
        Ok(())
    }

    /// Adds the files below `folder` (which ends in `/`) that come after `after`, until there are `limit`.
    ///
    /// A subfolder sorts as its name with the slash behind it: `a-b` comes before everything in `a`, since `-` is
    /// below `/`. So depth first in that order is the order of whole keys, and a subfolder whose keys all lie before
    /// `after` is never opened.
    fn walk(
        &self,
        folder: &str,
        after: Option<&str>,
        limit: usize,
        found: &mut Vec<Listed>,
    ) -> io::Result<()> {
        let Some(entries) = absent_as_none(fs::read_dir(self.root.join(folder)))? else {
            return Ok(());
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| key::is_component(name)) else {
                continue;
            };
            let Some(kind) = absent_as_none(entry.file_type())? else {
                continue;
            };
            let slash = if kind.is_dir() { "/" } else { "" };
            let full = format!("{folder}{name}{slash}");
            let to_come = after.is_none_or(|after| {
                full.as_str() > after || (kind.is_dir() && after.starts_with(&full))
            });
            if to_come {
                names.push(full);
            }
        }
        names.sort_unstable();
        for name in names {
            if found.len() >= limit {
                break;
            }
            if name.ends_with('/') {
                self.walk(&name, after, limit, found)?;
            } else if let Ok(key) = name.parse::<Key>()
                && let Some(metadata) = absent_as_none(fs::metadata(self.path(&key)))?
                && let Some(head) = head(&metadata)?
            {
                found.push(Listed {
                    key,
                    size: head.size,
                    modified: head.modified,
                });
            }
        }
        Ok(())
    }
}

/// A file that is not yet an object; removed when dropped, which after a rename removes nothing.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // What cannot be removed now is swept at the next start.
        let _ = fs::remove_file(&self.0);
    }
}

fn place(temporary: &Temporary, path: &Path, condition: Condition) -> io::Result<Written> {
    match condition {
        Condition::Always => fs::rename(&temporary.0, path).map(|()| Written::Created),
        Condition::IfAbsent => match fs::hard_link(&temporary.0, path) {
            Ok(()) => Ok(Written::Created),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Written::AlreadyThere),
            Err(error) => Err(error),
        },
    }
}

fn open_file(path: &Path) -> io::Result<Option<(File, Head)>> {
    let Some(file) = absent_as_none(File::open(path))? else {
        return Ok(None);
    };
    let head = head(&file.metadata()?)?;
    Ok(head.map(|head| (file, head)))
}

/// `None` for a folder.
fn head(metadata: &fs::Metadata) -> io::Result<Option<Head>> {
    if !metadata.is_file() {
        return Ok(None);
    }
    let since_epoch = metadata.modified()?.duration_since(UNIX_EPOCH);
    let millis = since_epoch.map_or(0, |duration| duration.as_millis());
    Ok(Some(Head {
        size: metadata.len(),
        modified: UnixMillis::new(u64::try_from(millis).unwrap_or(u64::MAX)),
    }))
}

fn absent_as_none<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::blob::contract;

    #[tokio::test]
    async fn a_directory_keeps_the_contract() {
        let directory = tempfile::tempdir().unwrap();
        let store = FsBlobStore::open(&directory.path().join("objects")).unwrap();
        contract::holds_for(Arc::new(store)).await;
    }

    #[tokio::test]
    async fn leftovers_of_a_crash_are_swept_at_open_and_objects_stay() {
        let directory = tempfile::tempdir().unwrap();
        let store = FsBlobStore::open(directory.path()).unwrap();
        let key: Key = "v1/a".parse().unwrap();
        store
            .put(&key, Bytes::from_static(b"kept"), Condition::IfAbsent)
            .await
            .unwrap();
        fs::write(directory.path().join(".tmp/0"), "half").unwrap();

        let store = FsBlobStore::open(directory.path()).unwrap();
        let left = fs::read_dir(directory.path().join(".tmp")).unwrap().count();
        assert_eq!(left, 0);
        assert_eq!(store.get(&key).await.unwrap().unwrap(), "kept");
        store
            .put(&key, Bytes::from_static(b"new"), Condition::Always)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_shared_directory_keeps_the_contract_while_another_process_writes() {
        let directory = tempfile::tempdir().unwrap();
        let other = FsBlobStore::open_shared(directory.path()).unwrap();
        let (pieces, written) = tokio::sync::mpsc::channel::<io::Result<Bytes>>(1);
        let stream = futures_util::stream::unfold(written, async |mut written| {
            written.recv().await.map(|piece| (piece, written))
        });
        let key: Key = "other/a".parse().unwrap();
        let writing = {
            let key = key.clone();
            tokio::spawn(async move {
                let length = other.put_stream(&key, stream.boxed()).await;
                (other, length)
            })
        };
        pieces.send(Ok(Bytes::from_static(b"a"))).await.unwrap();

        let store = FsBlobStore::open_shared(directory.path()).unwrap();
        contract::holds_for(Arc::new(store.clone())).await;
        drop(pieces);
        let (other, length) = writing.await.unwrap();
        assert_eq!(length.unwrap(), 1);
        assert_eq!(store.get(&key).await.unwrap().unwrap(), "a");
        assert_eq!(other.get(&key).await.unwrap().unwrap(), "a");
    }

    #[test]
    fn of_a_shared_directory_only_what_is_abandoned_is_swept() {
        let directory = tempfile::tempdir().unwrap();
        let temporary = directory.path().join(".tmp");
        fs::create_dir(&temporary).unwrap();
        let (young, old) = (temporary.join("young"), temporary.join("old"));
        let now = File::create(&young).unwrap().metadata().unwrap().modified();
        let then = now.unwrap() - ABANDONED - Duration::from_secs(60);
        File::create(&old).unwrap().set_modified(then).unwrap();
        FsBlobStore::open_shared(directory.path()).unwrap();
        let left: Vec<_> = fs::read_dir(&temporary).unwrap().collect();
        assert_eq!(left.len(), 1);
        assert!(young.exists());
    }

    #[tokio::test]
    async fn a_folder_removed_from_outside_is_made_again() {
        let directory = tempfile::tempdir().unwrap();
        let store = FsBlobStore::open(directory.path()).unwrap();
        let key: Key = "v1/a/b/c".parse().unwrap();
        for _ in 0..2 {
            store
                .put(&key, Bytes::from_static(b"x"), Condition::Always)
                .await
                .unwrap();
            fs::remove_dir_all(directory.path().join("v1")).unwrap();
        }
    }

    #[tokio::test]
    async fn foreign_files_are_not_listed() {
        let directory = tempfile::tempdir().unwrap();
        let store = FsBlobStore::open(directory.path()).unwrap();
        fs::create_dir_all(directory.path().join("v1/lost found")).unwrap();
        fs::write(directory.path().join("v1/.nfs01"), "").unwrap();
        let listed = store.list(&"v1".parse().unwrap(), None, 10).await.unwrap();
        assert_eq!(listed, []);
    }
}
