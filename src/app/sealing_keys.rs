//! The keys that seal: those of the settings, else one that is made in the data directory.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::StartError;
use crate::config::{Settings, Storage};
use crate::sealing::{Sealer, SealingKey};

const MADE: &str = "sealing-1.key";

/// A sealer with the keys of the settings. With S3 and no key in the settings it has none, and seals nothing.
pub(super) fn sealer(settings: &Settings) -> Result<Sealer, StartError> {
    let configured = &settings.keys.sealing;
    let keys = match &settings.storage {
        Storage::Directory(data) if configured.is_empty() => vec![own(&data.join("keys"))?],
        Storage::Directory(_) | Storage::S3(_) => configured
            .iter()
            .map(|path| read(path))
            .collect::<Result<_, _>>()?,
    };
    Ok(Sealer::new(keys))
}

/// The key of a data directory. Of several processes that make it at once one wins, and all read what that one wrote.
fn own(directory: &Path) -> Result<SealingKey, StartError> {
    let path = directory.join(MADE);
    let unusable = |source| StartError::File {
        path: path.clone(),
        source,
    };
    if !path.try_exists().map_err(unusable)? {
        let key = SealingKey::generate()?;
        make(directory, &path, key.to_text().as_bytes()).map_err(unusable)?;
    }
    read(&path)
}

pub(super) fn read(path: &Path) -> Result<SealingKey, StartError> {
    let text = fs::read_to_string(path).map_err(|source| StartError::File {
        path: path.to_owned(),
        source,
    })?;
    SealingKey::parse(&text).map_err(|source| StartError::SealingKey {
        path: path.to_owned(),
        source,
    })
}

/// The file gets its name when all of it is written, and only if nothing has that name.
fn make(directory: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let mut random = [0; 8];
    aws_lc_rs::rand::fill(&mut random).map_err(io::Error::other)?;
    let unnamed = directory.join(format!(".{MADE}.{:016x}", u64::from_le_bytes(random)));
    let named = write_new(&unnamed, text).and_then(|()| match fs::hard_link(&unnamed, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    let removed = fs::remove_file(&unnamed);
    named.and(removed)?;
    File::open(directory)?.sync_all()
}

fn write_new(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Barrier;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn those_who_make_the_key_at_once_have_the_same() {
        let dir = TempDir::new().unwrap();
        let keys = dir.path().join("data/keys");
        let together = Barrier::new(8);
        let sealers: Vec<Sealer> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        together.wait();
                        Sealer::new(vec![own(&keys).unwrap()])
                    })
                })
                .collect();
            let joined = threads.into_iter().map(|thread| thread.join().unwrap());
            joined.collect()
        });
        let sealed = sealers[0].seal(b"c", b"plain").unwrap();
        for sealer in &sealers {
            assert_eq!(sealer.open(b"c", &sealed).unwrap(), b"plain");
        }
        let left: Vec<_> = fs::read_dir(&keys).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&keys.join(MADE)), 0o600);
        assert_eq!(mode(&keys), 0o700);
        let again = Sealer::new(vec![own(&keys).unwrap()]);
        assert_eq!(again.open(b"c", &sealed).unwrap(), b"plain");
    }

    #[test]
    fn a_file_that_is_no_key_is_neither_used_nor_replaced() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join(MADE);
        fs::write(&path, "something else").unwrap();
        let error = own(dir.path()).unwrap_err();
        assert!(matches!(error, StartError::SealingKey { .. }), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "something else");
    }
}
