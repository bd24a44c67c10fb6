//! Verifying what is kept: every object is hashed again, every record read, and what they name looked up. Changes
//! nothing.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::de::DeserializeOwned;

use super::unless_damaged;
use crate::oci::{Digest, RepositoryName};
use crate::store::blob::{Key, Listed};
use crate::store::content::{self, Refused};
use crate::store::error::StoreError;
use crate::store::layout::{self, Place};
use crate::store::records::{Link, MarkVersion, ReferrerRecord, Source, Stale, Stamp, TagVersion};
use crate::store::signatures::{PAGE, PARALLEL, SignatureStore};

/// Objects hashed at a time.
const HASHED: usize = 8;

/// What a scrub has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Objects verified.
    pub objects: u64,
    /// Bytes hashed.
    pub bytes: u64,
    /// What is wrong.
    pub damage: Vec<Damage>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Damage {
    /// The key of the object.
    pub key: Key,
    /// What is wrong with it.
    pub what: What,
}

/// What is wrong with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// Its bytes do not have its digest.
    Hash,
    /// A link or a record names it, and it is not there.
    Missing,
    /// It is no record of its section, or no digest that can be computed.
    Unreadable,
}

impl fmt::Display for What {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Hash => "hash",
            Self::Missing => "missing",
            Self::Unreadable => "unreadable",
        })
    }
}

/// What became of hashing an object.
#[derive(Debug)]
enum Verdict {
    Sound,
    Damaged(What),
    /// It was deleted meanwhile.
    Gone,
}

/// The digests whose bytes were there, as hashes: a digest that is missing is looked up before it is reported.
#[derive(Debug, Default)]
struct Present {
    hashes: HashSet<u64>,
    hasher: RandomState,
}

impl SignatureStore {
    /// Verifies everything.
    pub(super) async fn scrub(&self) -> Result<Scrubbed, StoreError> {
        let mut scrubbed = Scrubbed::default();
        let present = self.scrub_blobs(&mut scrubbed).await?;
        for under in [layout::repositories(), layout::journal()] {
            self.scrub_records(&under, &present, &mut scrubbed).await?;
        }
        scrubbed.damage.sort();
        scrubbed.damage.dedup();
        for Damage { key, what } in &scrubbed.damage {
            self.metrics.damaged_objects.add(1, &[]);
            tracing::error!(%key, %what, "a stored object is damaged");
        }
        Ok(scrubbed)
    }

    async fn scrub_blobs(&self, scrubbed: &mut Scrubbed) -> Result<Present, StoreError> {
        let mut present = Present::default();
        let mut after: Option<Key> = None;
        loop {
            let under = layout::blobs();
            let page = self.blobs.list(&under, after.as_ref(), PAGE).await?;
            let is_last = page.len() < PAGE;
            after = page.last().map(|listed| listed.key.clone());
            let mut verdicts = stream::iter(page)
                .map(|listed| self.scrub_blob(listed))
                .buffer_unordered(HASHED);
            while let Some((listed, verdict)) = verdicts.try_next().await? {
                let what = match verdict {
                    Verdict::Sound => None,
                    Verdict::Damaged(what) => Some(what),
                    Verdict::Gone => continue,
                };
                scrubbed.objects += 1;
                scrubbed.bytes += listed.size;
                if let Some(digest) = layout::blob_digest(&listed.key) {
                    let hash = present.hasher.hash_one(&digest);
                    present.hashes.insert(hash);
                }
                let key = listed.key;
                scrubbed
                    .damage
                    .extend(what.map(|what| Damage { key, what }));
            }
            if is_last {
                return Ok(present);
            }
        }
    }

    async fn scrub_blob(&self, listed: Listed) -> Result<(Listed, Verdict), StoreError> {
        let Some(digest) = layout::blob_digest(&listed.key) else {
            return Ok((listed, Verdict::Damaged(What::Unreadable)));
        };
        let Some(object) = self.blobs.open(&listed.key).await? else {
            return Ok((listed, Verdict::Gone));
        };
        let Some(mut body) = content::hashed(object.stream, &digest, u64::MAX) else {
            return Ok((listed, Verdict::Damaged(What::Unreadable)));
        };
        loop {
            match body.try_next().await {
                Ok(Some(_)) => {}
                Ok(None) => return Ok((listed, Verdict::Sound)),
                Err(error) if Refused::within(&error).is_some() => {
                    return Ok((listed, Verdict::Damaged(What::Hash)));
                }
                Err(error) => {
                    return Err(StoreError::Unavailable {
                        operation: "read content",
                        source: Box::new(error),
                    });
                }
            }
        }
    }

    async fn scrub_records(
        &self,
        under: &Key,
        present: &Present,
        scrubbed: &mut Scrubbed,
    ) -> Result<(), StoreError> {
        let mut after: Option<Key> = None;
        loop {
            let page = self.blobs.list(under, after.as_ref(), PAGE).await?;
            let is_last = page.len() < PAGE;
            after = page.last().map(|listed| listed.key.clone());
            scrubbed.objects += page.len() as u64;
            let mut verdicts = stream::iter(page)
                .map(|listed| self.scrub_record(listed.key, present))
                .buffer_unordered(PARALLEL);
            while let Some(damage) = verdicts.try_next().await? {
                scrubbed.damage.extend(damage);
            }
            if is_last {
                return Ok(());
            }
        }
    }

    async fn scrub_record(&self, key: Key, present: &Present) -> Result<Vec<Damage>, StoreError> {
        let Some((repository, place)) = layout::place(&key) else {
            return self.scrub_as::<Stale>(key).await;
        };
        match place {
            Place::Link(digest) => {
                let damage = self.scrub_as::<Link>(key.clone()).await?;
                if damage.is_empty() && !present.has(&digest) {
                    return self.missing(&key, vec![layout::blob(&digest)]).await;
                }
                Ok(damage)
            }
            Place::Referrer { subject, digest } => {
                self.scrub_referrer(key, &repository, &subject, &digest)
                    .await
            }
            Place::TagVersion => self.scrub_as::<TagVersion>(key).await,
            Place::Tombstone | Place::Orphaned(_) | Place::Tagged(_) | Place::Named => {
                self.scrub_as::<Stamp>(key).await
            }
            Place::Mark => self.scrub_as::<MarkVersion>(key).await,
            Place::Staged | Place::Kept | Place::Existing | Place::Alias | Place::Unknown => {
                Ok(Vec::new())
            }
        }
    }

    /// A referrer's manifest is linked, and if only regseal has it, all that it names.
    async fn scrub_referrer(
        &self,
        key: Key,
        repository: &RepositoryName,
        subject: &Digest,
        digest: &Digest,
    ) -> Result<Vec<Damage>, StoreError> {
        let record = match unless_damaged(self.record::<ReferrerRecord>(&key).await)? {
            Some(Some(record)) => record,
            Some(None) => return Ok(Vec::new()),
            None => return Ok(vec![unreadable(key)]),
        };
        let referrer = &record.referrer;
        if referrer.descriptor.digest != *digest
            || referrer.subject != *subject
            || referrer.repository != *repository
        {
            return Ok(vec![unreadable(key)]);
        }
        let blobs = match referrer.source {
            Source::Captured => record.blobs.as_slice(),
            Source::Forwarded | Source::Upstream => &[],
        };
        let named = blobs.iter().chain([digest]);
        let links = named.map(|digest| layout::link(repository, digest));
        self.missing(&key, links.collect()).await
    }

    /// Those of `named` that are not there, provided that what names them still is.
    async fn missing(&self, by: &Key, named: Vec<Key>) -> Result<Vec<Damage>, StoreError> {
        let mut missing = Vec::new();
        for key in named {
            if self.blobs.head(&key).await?.is_none() {
                let what = What::Missing;
                missing.push(Damage { key, what });
            }
        }
        if !missing.is_empty() && self.blobs.head(by).await?.is_none() {
            missing.clear();
        }
        Ok(missing)
    }

    async fn scrub_as<T: DeserializeOwned>(&self, key: Key) -> Result<Vec<Damage>, StoreError> {
        Ok(match unless_damaged(self.record::<T>(&key).await)? {
            Some(_) => Vec::new(),
            None => vec![unreadable(key)],
        })
    }
}

impl Present {
    fn has(&self, digest: &Digest) -> bool {
        self.hashes.contains(&self.hasher.hash_one(digest))
    }
}

fn unreadable(key: Key) -> Damage {
    Damage {
        key,
        what: What::Unreadable,
    }
}
