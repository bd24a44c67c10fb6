//! Keys of the object store and of the index, and which of them go together.

use super::{redis, s3};
use crate::config::kind::{FilePath, Files, ReadableFile};
use crate::config::mistake::Problem;
use crate::config::section::Section;
use crate::config::settings::{Index, Keys, Storage, Timeouts};

/// The stores, while their deadlines, which stand in a later section, are not known.
pub(super) struct Stores {
    storage: Storage,
    index: Index,
}

impl Stores {
    pub(super) fn with(mut self, timeouts: &Timeouts) -> (Storage, Index) {
        if let Storage::S3(s3) = &mut self.storage {
            s3.config.operation_timeout = timeouts.s3_operation;
        }
        if let Index::Redis(redis) = &mut self.index {
            redis.config.timeout = timeouts.redis;
            redis.config.objects = match &self.storage {
                Storage::Directory(_) => "directory".to_owned(),
                Storage::S3(s3) => {
                    let prefix = s3.config.prefix.as_deref().unwrap_or_default();
                    format!("s3 {}/{prefix}", s3.config.bucket)
                }
            };
        }
        (self.storage, self.index)
    }
}

/// Reads `storage` and `index`. There are no stores only if a mistake was reported.
pub(super) fn read(keys: &mut Section<'_>) -> Option<Stores> {
    let default = keys.directory().join("regseal-data");
    let (directory, s3_origin, s3) = keys.section("storage", "Where objects are kept.", |keys| {
        keys.exclusive("directory", "s3");
        let directory = keys.value(
            "directory",
            "The directory that holds everything; made if it is not there.",
            &FilePath,
            default,
        );
        let origin = keys.origin("s3");
        let s3 = keys.alternative(
            "s3",
            "An S3 bucket in place of a directory; needs index.redis.",
            s3::read,
        );
        if origin.is_some() {
            keys.out_of_force("directory");
        }
        (directory, origin, s3)
    });
    let (has_redis, redis) = keys.section(
        "index",
        "The index of what is stored; it can be rebuilt at any time.",
        |keys| {
            keys.exclusive("embedded", "redis");
            let has_redis = keys.origin("redis").is_some();
            keys.section(
                "embedded",
                "A file in the data directory, which one process uses alone. The default.",
                |_| (),
            );
            let redis = keys.alternative(
                "redis",
                "Redis in place of a file, shared by all replicas.",
                redis::read,
            );
            if has_redis {
                keys.out_of_force("embedded");
            }
            (has_redis, redis)
        },
    );
    let storage = match s3_origin {
        None => Storage::Directory(directory.clone()),
        Some(origin) => {
            if !has_redis {
                let why = "index.redis: an embedded index cannot see what other replicas write";
                keys.report(origin, "storage.s3", Problem::Needs(why));
            }
            Storage::S3(Box::new(s3?))
        }
    };
    let index = if has_redis {
        Index::Redis(Box::new(redis?))
    } else {
        Index::Embedded(directory)
    };
    Some(Stores { storage, index })
}

/// Keys of cryptography.
pub(super) fn cryptographic(keys: &mut Section<'_>) -> Keys {
    let sealing = keys.optional(
        "sealing",
        "Files with the keys that seal what is kept outside; the first seals, all open. Without it one is made in the \
         data directory; with S3 and a policy it is required, since all replicas need the same.",
        &Files,
    );
    keys.optional(
        "signing",
        "The file of the key that regseal signs with. Without effect as yet.",
        &ReadableFile,
    );
    Keys {
        sealing: sealing.unwrap_or_default(),
    }
}
