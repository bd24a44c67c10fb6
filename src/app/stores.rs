//! Opening the stores that the settings name. Only here are backends of the store named.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{StartError, trust};
use crate::clock::Clock;
use crate::config::{Index, Settings, Storage};
use crate::store::SignatureStore;
use crate::store::blob::BlobStore;
use crate::store::blob::fs::FsBlobStore;
use crate::store::blob::s3::{self, ConditionalWrites, S3BlobStore};
use crate::store::index::ReferrersIndex;
use crate::store::index::elsewhere::Elsewhere;
use crate::store::index::embedded::{EmbeddedIndex, Found, OpenError};
use crate::store::index::redis::{self, RedisIndex};

/// The stores, and what the index was like.
#[derive(Debug)]
pub struct Stores {
    /// The signature store.
    pub signatures: Arc<SignatureStore>,
    /// State of the index file when it was opened, if the index is a file.
    pub found: Option<Found>,
}

/// Opens the stores, creating what is missing of a data directory. S3 and Redis do not have to be up, and with both of
/// them nothing is written to this machine.
///
/// # Errors
/// The directory cannot be used, another process uses its index, or a reachable service is not what it has to be.
pub async fn open_stores(
    settings: &Settings,
    clock: &Arc<dyn Clock>,
) -> Result<Stores, StartError> {
    // The embedded index first: its lock keeps other processes away from the directory.
    let (index, found): (Arc<dyn ReferrersIndex>, _) = match &settings.index {
        Index::Embedded(directory) => {
            fs::create_dir_all(directory).map_err(|source| unusable(directory, source))?;
            let opened = EmbeddedIndex::open(directory, &**clock)?;
            (Arc::new(opened.index), Some(opened.found))
        }
        Index::Redis(redis) => {
            let config = redis::Config {
                ca: trust::authorities(redis.ca.as_deref())?,
                ..redis.config.clone()
            };
            (Arc::new(RedisIndex::open(config).await?), None)
        }
    };
    let blobs: Arc<dyn BlobStore> = match &settings.storage {
        Storage::Directory(directory) => Arc::new(open_directory(directory, found.is_some())?),
        Storage::S3(s3) => {
            let config = s3::Config {
                ca: trust::authorities(s3.ca.as_deref())?,
                ..s3.config.clone()
            };
            Arc::new(S3BlobStore::open(config).await?)
        }
    };
    Ok(Stores {
        signatures: Arc::new(SignatureStore::new(blobs, index, Arc::clone(clock))),
        found,
    })
}

/// As [`open_stores`], for a command that runs beside a regseal which has the index file for itself: that regseal then
/// learns from the journal what the command has changed.
///
/// # Errors
/// See [`open_stores`].
pub async fn open_beside(
    settings: &Settings,
    clock: &Arc<dyn Clock>,
) -> Result<Stores, StartError> {
    if let Storage::Directory(directory) = &settings.storage {
        // A directory that is not there is a mistake, and no empty store.
        let path = directory.join("objects");
        if !fs::exists(&path).map_err(|source| unusable(&path, source))? {
            return Err(StartError::NoStore { path });
        }
    }
    open_or_make_beside(settings, clock).await
}

/// As [`open_beside`], for a command that may be the first to use the stores: creates what is missing of a data directory.
///
/// # Errors
/// See [`open_stores`].
pub async fn open_or_make_beside(
    settings: &Settings,
    clock: &Arc<dyn Clock>,
) -> Result<Stores, StartError> {
    match (open_stores(settings, clock).await, &settings.storage) {
        (Err(StartError::Embedded(OpenError::Locked { .. })), Storage::Directory(directory)) => {
            let objects = directory.join("objects");
            let blobs = FsBlobStore::open_shared(&objects);
            let blobs = Arc::new(blobs.map_err(|source| unusable(&objects, source))?);
            let signatures = SignatureStore::new(blobs, Arc::new(Elsewhere), Arc::clone(clock));
            Ok(Stores {
                signatures: Arc::new(signatures),
                found: None,
            })
        }
        (opened, _) => opened,
    }
}

fn open_directory(directory: &Path, alone: bool) -> Result<FsBlobStore, StartError> {
    let objects = directory.join("objects");
    fs::create_dir_all(&objects).map_err(|source| unusable(&objects, source))?;
    if !alone {
        // What is written from here on is not in the file that an embedded index may have left.
        EmbeddedIndex::outdate(directory).map_err(|source| unusable(directory, source))?;
    }
    let opened = if alone {
        FsBlobStore::open(&objects)
    } else {
        FsBlobStore::open_shared(&objects)
    };
    opened.map_err(|source| unusable(&objects, source))
}

fn unusable(path: &Path, source: io::Error) -> StartError {
    let path = PathBuf::from(path);
    StartError::File { path, source }
}

/// Logs which backends are used, and what is odd about them.
pub(super) fn report(settings: &Settings, found: Option<&Found>) {
    match &settings.storage {
        Storage::Directory(directory) => {
            tracing::info!(directory = %directory.display(), "objects are in a directory");
        }
        Storage::S3(s3) => {
            let config = &s3.config;
            tracing::info!(
                bucket = config.bucket,
                prefix = config.prefix,
                region = config.region,
                endpoint = config.endpoint.as_ref().map(tracing::field::display),
                "objects are in S3"
            );
        }
    }
    match &settings.index {
        Index::Embedded(_) => tracing::info!("the index is a file in the data directory"),
        Index::Redis(redis) => {
            let config = &redis.config;
            let servers: Vec<_> = config.servers.iter().map(ToString::to_string).collect();
            tracing::info!(
                servers = servers.join(","),
                tls = config.tls,
                database = config.database,
                key_prefix = config.key_prefix,
                "the index is in Redis"
            );
        }
    }
    match found {
        None | Some(Found::Intact) => {}
        Some(found @ (Found::Nothing | Found::Unclean)) => {
            tracing::info!(index = ?found, "the index is rebuilt");
        }
        Some(found @ (Found::Restored | Found::Unusable { .. })) => {
            tracing::warn!(index = ?found, "the index file is not used, the index is rebuilt");
        }
    }
    for odd in oddities(settings) {
        tracing::warn!("{odd}");
    }
}

/// What is allowed, and seldom meant.
fn oddities(settings: &Settings) -> Vec<&'static str> {
    let mut odd = Vec::new();
    if let Storage::S3(s3) = &settings.storage {
        let endpoint = s3.config.endpoint.as_ref();
        if endpoint.is_some_and(|url| {
            url.scheme_str() == Some("http") && !url.host().is_some_and(is_loopback)
        }) {
            odd.push("storage.s3.endpoint has no TLS: objects can be read and changed on the way");
        }
        if s3.config.conditional_writes == ConditionalWrites::Off {
            odd.push(
                "storage.s3.conditional_writes is off: of two versions of a tag that are written at once, one may be lost",
            );
        }
    }
    if let Index::Redis(redis) = &settings.index {
        let config = &redis.config;
        let is_local = config
            .servers
            .iter()
            .all(|server| is_loopback(&server.host));
        if config.password.is_some() && !config.tls && !is_local {
            odd.push("index.redis.url has no TLS: the password can be read on the way");
        }
        if config.timeout > Duration::from_secs(10) {
            odd.push(
                "timeouts.redis is long: while Redis does not answer, every request waits for it",
            );
        }
    }
    if settings.gc.between_scans < Duration::from_hours(1)
        || settings.gc.untouched < Duration::from_hours(24)
    {
        odd.push(
            "gc.between_scans or gc.untouched is short: a push that takes longer may lose its blobs",
        );
    }
    odd
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let address = address.parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::clock::SystemClock;
    use crate::config::{Environment, Flags, load_for_stores};

    const REDIS: (&str, &str) = ("REGSEAL__INDEX__REDIS__URL", "redis://127.0.0.1:1");
    const S3: [(&str, &str); 3] = [
        (
            "REGSEAL__STORAGE__S3",
            "{bucket: signatures, endpoint: http://127.0.0.1:1}",
        ),
        ("REGSEAL__STORAGE__S3__ACCESS_KEY_ID", "id"),
        ("REGSEAL__STORAGE__S3__SECRET_ACCESS_KEY", "secret"),
    ];

    fn settings(directory: &Path, variables: &[(&str, &str)]) -> Settings {
        let environment = Environment::new(directory, variables.iter().copied());
        load_for_stores(&Flags::default(), &environment).unwrap()
    }

    async fn open(settings: &Settings) -> Result<Stores, StartError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        open_stores(settings, &clock).await
    }

    fn names(directory: &Path) -> Vec<OsString> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn a_directory_with_its_own_index_is_opened_once() {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(directory.path(), &[]);
        let stores = open(&settings).await.unwrap();
        assert_eq!(stores.found, Some(Found::Nothing));
        let error = open(&settings).await.unwrap_err();
        assert!(matches!(error, StartError::Embedded(_)), "{error}");
    }

    #[tokio::test]
    async fn a_directory_with_redis_is_opened_by_several_and_outdates_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let embedded = settings(directory.path(), &[]);
        drop(open(&embedded).await.unwrap());
        assert_eq!(open(&embedded).await.unwrap().found, Some(Found::Intact));

        let shared = settings(directory.path(), &[REDIS]);
        let first = open(&shared).await.unwrap();
        let second = open(&shared).await.unwrap();
        assert_eq!((first.found, second.found), (None, None));

        // What the two may have written is not in the file.
        assert_eq!(open(&embedded).await.unwrap().found, Some(Found::Restored));
    }

    #[tokio::test]
    async fn with_s3_and_redis_nothing_has_to_be_up_and_nothing_is_written_here() {
        let directory = tempfile::tempdir().unwrap();
        let [bucket, id, secret] = S3;
        let settings = settings(directory.path(), &[bucket, id, secret, REDIS]);
        open(&settings).await.unwrap();
        assert!(names(directory.path()).is_empty());
    }

    #[test]
    fn what_is_seldom_meant_is_warned_about() {
        let directory = Path::new("/srv");
        let password = ("REGSEAL__INDEX__REDIS__PASSWORD", "secret");
        let remote = ("REGSEAL__INDEX__REDIS__URL", "redis://redis");
        let bucket = |keys| [("REGSEAL__STORAGE__S3", keys), REDIS];
        for (variables, expected, why) in [
            (&[][..], None, "the defaults"),
            (&[REDIS, password], None, "a password to this machine"),
            (&[remote], None, "no password"),
            (&[remote, password], Some("index.redis.url"), "a password"),
            (
                &[REDIS, ("REGSEAL__TIMEOUTS__REDIS", "30s")],
                Some("timeouts.redis"),
                "longer than clients wait",
            ),
            (
                &[("REGSEAL__GC__UNTOUCHED", "1h")],
                Some("gc.between_scans"),
                "short",
            ),
            (&bucket("{bucket: b-1}"), None, "AWS"),
            (
                &bucket("{bucket: b-1, endpoint: 'http://[::1]:9000'}"),
                None,
                "a service on this machine",
            ),
            (
                &bucket("{bucket: b-1, endpoint: 'http://s3:9000'}"),
                Some("storage.s3.endpoint"),
                "plain text",
            ),
            (
                &bucket("{bucket: b-1, conditional_writes: off}"),
                Some("storage.s3.conditional_writes"),
                "not atomic",
            ),
        ] {
            let odd = oddities(&settings(directory, variables));
            assert_eq!(odd.len(), usize::from(expected.is_some()), "{why}: {odd:?}");
            let told = expected.is_none_or(|key| odd[0].starts_with(key));
            assert!(told, "{why}: {odd:?}");
        }
    }
}
