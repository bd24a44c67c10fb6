//! Random operations of two replicas, with faults of the server between any two of them, against the records.
//!
//! The model is the object store: what the records are. A write that fails leaves its name in `stale`, as it would in
//! the journal, and until that is repaired nobody asks the index. Otherwise whatever the index says, other than that it
//! does not know or is not there, has to be what the records say.

mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::TryStreamExt;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use self::steps::{DIGESTS, Place, REPOSITORIES, Step, steps};
use super::{digest, open, single};
use crate::backends::redis::{Options, RedisServer};
use crate::clock::UnixMillis;
use crate::oci::{Descriptor, Digest, RepositoryName, Tag};
use crate::store::index::redis::{Config, RedisIndex};
use crate::store::index::{Epoch, Generation, Incarnation, Lookup, ReferrersIndex, Row};
use crate::store::records::{Link, LinkKind, Referrer, Source, TagChange, TagVersion};

fn cases() -> u32 {
    #[allow(
        clippy::disallowed_methods,
        reason = "asks for a longer test, not for a setting"
    )]
    let soaking = std::env::var("REGSEAL_SOAK").is_ok_and(|value| value == "1");
    if soaking { 400 } else { 12 }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        failure_persistence: None,
        max_shrink_iters: 60,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_happens_an_answer_is_right(steps in steps(), keeps_everything: bool) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut world = Box::pin(World::new(keeps_everything)).await;
            for step in steps {
                world.take(step).await;
                world.check(step).await?;
            }
            Ok::<_, TestCaseError>(())
        })?;
    }
}

#[derive(Default)]
struct Records {
    referrers: BTreeMap<(RepositoryName, Digest), BTreeMap<Digest, Referrer>>,
    links: BTreeMap<(RepositoryName, Digest), Link>,
    versions: BTreeMap<RepositoryName, BTreeMap<u64, TagVersion>>,
}

/// What the index has to be told again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stale {
    Subject(RepositoryName, Digest),
    Link(RepositoryName, Digest),
    Version(RepositoryName, u64),
}

struct World {
    redis: RedisServer,
    replicas: [RedisIndex; 2],
    records: Records,
    stale: BTreeSet<Stale>,
    dump: Option<Vec<u8>>,
    subject: Option<(Place, Generation, Vec<Referrer>)>,
    repository: Option<(Place, Incarnation)>,
    epoch: Epoch,
}

fn tag() -> Tag {
    "t".parse().unwrap()
}

impl World {
    async fn new(keeps_everything: bool) -> Self {
        let options = Options::default();
        let redis = if keeps_everything {
            options.append_only().start()
        } else {
            options.start()
        };
        let config = Config {
            timeout: Duration::from_millis(400),
            ..single(&redis)
        };
        let replicas = [open(config.clone()).await, open(config).await];
        Self {
            redis,
            replicas,
            records: Records::default(),
            stale: BTreeSet::new(),
            dump: None,
            subject: None,
            repository: None,
            epoch: Epoch(0),
        }
    }

    fn referrers(&self, repository: &RepositoryName, subject: &Digest) -> Vec<Referrer> {
        let rows = self
            .records
            .referrers
            .get(&(repository.clone(), subject.clone()));
        rows.into_iter()
            .flat_map(BTreeMap::values)
            .cloned()
            .collect()
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::PutReferrer(place, size) => self.put_referrer(place, size).await,
            Step::RemoveReferrer(place) => {
                let (name, subject) = (place.repository(), place.subject());
                let rows = self
                    .records
                    .referrers
                    .entry((name.clone(), subject.clone()));
                rows.or_default().remove(&place.digest());
                let index = &self.replicas[place.replica];
                let done = index
                    .remove_referrer(&name, &subject, &place.digest())
                    .await;
                self.note(done.is_ok(), Stale::Subject(name, subject));
            }
            Step::PutLink(place, size) => {
                let (name, digest) = (place.repository(), place.digest());
                let link = Link {
                    kind: LinkKind::Blob,
                    media_type: "m".to_owned(),
                    size,
                    subject: None,
                };
                let key = (name.clone(), digest.clone());
                self.records.links.insert(key, link);
                self.tell(place.replica, Stale::Link(name, digest)).await;
            }
            Step::RemoveLink(place) => {
                let (name, digest) = (place.repository(), place.digest());
                self.records.links.remove(&(name.clone(), digest.clone()));
                self.tell(place.replica, Stale::Link(name, digest)).await;
            }
            Step::PutTagVersion(place, number) => {
                let name = place.repository();
                let version = TagVersion {
                    change: TagChange::Pushed,
                    digest: place.digest(),
                    media_type: "m".to_owned(),
                    time: UnixMillis::new(number),
                };
                let versions = self.records.versions.entry(name.clone()).or_default();
                versions.insert(number, version);
                self.tell(place.replica, Stale::Version(name, number)).await;
            }
            Step::BeginSubject(place) => {
                let (name, subject) = (place.repository(), place.subject());
                let index = &self.replicas[place.replica];
                self.subject = match index.generation(&name, &subject).await {
                    Ok(generation) => Some((place, generation, self.referrers(&name, &subject))),
                    Err(_) => None,
                };
            }
            Step::EndSubject => {
                if let Some((place, generation, rows)) = self.subject.take() {
                    let (name, subject) = (place.repository(), place.subject());
                    let index = &self.replicas[place.replica];
                    let done = index
                        .replace_subject(&name, &subject, rows, generation)
                        .await;
                    self.note(done.is_ok(), Stale::Subject(name, subject));
                }
            }
            Step::BeginRepository(place) => {
                let name = place.repository();
                let begun = self.replicas[place.replica].begin_repository(&name).await;
                self.repository = begun.ok().map(|incarnation| (place, incarnation));
            }
            Step::EndRepository => self.end_repository().await,
            Step::Clear(second) => {
                if let Ok(epoch) = self.replicas[usize::from(second)].clear().await {
                    self.epoch = epoch;
                }
            }
            Step::SetComplete => drop(self.replicas[0].set_complete(self.epoch).await),
            Step::Flush => self.redis.flush(),
            Step::ForgetScripts => drop(self.redis.cli(&["SCRIPT", "FLUSH"])),
            Step::Dump => self.dump = Some(self.redis.dump()),
            Step::PutBack => match self.dump.clone() {
                Some(dump) => self.redis.put_back(&dump),
                None => self.redis.start_again(),
            },
            Step::Restart => self.redis.start_again(),
            Step::Hang(place) => {
                self.redis.stop();
                self.put_referrer(place, 9).await;
                self.redis.resume();
            }
        }
    }

    async fn put_referrer(&mut self, place: Place, size: u64) {
        let referrer = Referrer {
            repository: place.repository(),
            subject: place.subject(),
            descriptor: Descriptor {
                media_type: "m".to_owned(),
                digest: place.digest(),
                size,
                artifact_type: None,
                annotations: None,
            },
            source: Source::Captured,
            time: UnixMillis::new(1),
        };
        let key = (place.repository(), place.subject());
        let rows = self.records.referrers.entry(key).or_default();
        rows.insert(place.digest(), referrer.clone());
        let done = self.replicas[place.replica].put_referrer(&referrer).await;
        self.note(
            done.is_ok(),
            Stale::Subject(place.repository(), place.subject()),
        );
    }

    /// As a rebuild does it: everything of the repository, then its completeness.
    async fn end_repository(&mut self) {
        let Some((place, incarnation)) = self.repository.take() else {
            return;
        };
        let name = place.repository();
        let mut all: Vec<Stale> = Vec::new();
        let subjects = self
            .records
            .referrers
            .keys()
            .filter(|(owner, _)| *owner == name);
        all.extend(subjects.map(|(name, subject)| Stale::Subject(name.clone(), subject.clone())));
        let links = self
            .records
            .links
            .keys()
            .filter(|(owner, _)| *owner == name);
        all.extend(links.map(|(name, digest)| Stale::Link(name.clone(), digest.clone())));
        let versions = self.records.versions.get(&name);
        let numbers = versions.into_iter().flat_map(BTreeMap::keys);
        all.extend(numbers.map(|number| Stale::Version(name.clone(), *number)));
        for row in all {
            self.tell(place.replica, row).await;
        }
        // A rebuild that could not tell everything does not complete.
        if self.stale.is_empty() {
            let index = &self.replicas[place.replica];
            drop(index.complete_repository(&name, incarnation).await);
        }
    }

    fn note(&mut self, told: bool, row: Stale) {
        if !told {
            self.stale.insert(row);
        }
    }

    async fn tell(&mut self, replica: usize, row: Stale) {
        let told = self.try_tell(replica, &row).await;
        self.note(told, row);
    }

    async fn try_tell(&self, replica: usize, row: &Stale) -> bool {
        let index = &self.replicas[replica];
        match row {
            Stale::Subject(name, subject) => {
                let Ok(generation) = index.generation(name, subject).await else {
                    return false;
                };
                let rows = self.referrers(name, subject);
                // Nobody else writes meanwhile; rows may be lost, though.
                matches!(
                    index.replace_subject(name, subject, rows, generation).await,
                    Ok(true)
                )
            }
            Stale::Link(name, digest) => {
                let key = (name.clone(), digest.clone());
                match self.records.links.get(&key) {
                    Some(link) => {
                        let row = [(digest.clone(), link.clone())];
                        index.put_links(name, &row).await.is_ok()
                    }
                    None => index.remove_link(name, digest).await.is_ok(),
                }
            }
            Stale::Version(name, number) => {
                let version = &self.records.versions[name][number];
                index
                    .put_tag_version(name, &tag(), *number, version)
                    .await
                    .is_ok()
            }
        }
    }

    /// Repairs as the journal would, once; then everything the index says has to be right.
    async fn check(&mut self, step: Step) -> Result<(), TestCaseError> {
        for row in self.stale.clone() {
            if self.try_tell(0, &row).await || self.try_tell(1, &row).await {
                self.stale.remove(&row);
            }
        }
        if !self.stale.is_empty() {
            drop(self.replicas[0].redis.refreshed().await);
            return Ok(());
        }
        for (replica, index) in self.replicas.iter().enumerate() {
            for name in REPOSITORIES {
                let name: RepositoryName = name.parse().unwrap();
                for text in DIGESTS {
                    let digest = digest(text);
                    let expected = self.referrers(&name, &digest);
                    match index.referrers(&name, &digest).await {
                        Ok(Lookup::Found(rows)) => {
                            prop_assert_eq!(rows, expected, "{} {:?}", replica, step)
                        }
                        Ok(Lookup::Absent) => {
                            prop_assert!(expected.is_empty(), "{} {:?}", replica, step)
                        }
                        Ok(Lookup::Unknown) | Err(_) => {}
                    }
                    let expected = self.records.links.get(&(name.clone(), digest.clone()));
                    match index.link(&name, &digest).await {
                        Ok(Lookup::Found(row)) => {
                            prop_assert_eq!(Some(&row), expected, "{} {:?}", replica, step)
                        }
                        Ok(Lookup::Absent) => {
                            prop_assert_eq!(None, expected, "{} {:?}", replica, step)
                        }
                        Ok(Lookup::Unknown) | Err(_) => {}
                    }
                }
                let expected: Vec<_> = self
                    .records
                    .versions
                    .get(&name)
                    .into_iter()
                    .flatten()
                    .map(|(number, version)| (*number, version.clone()))
                    .collect();
                match index.tag_versions(&name, &tag()).await {
                    Ok(Lookup::Found(rows)) => {
                        prop_assert_eq!(rows, expected, "{} {:?}", replica, step)
                    }
                    Ok(Lookup::Absent) => {
                        prop_assert!(expected.is_empty(), "{} {:?}", replica, step)
                    }
                    Ok(Lookup::Unknown) | Err(_) => {}
                }
            }
            if let Ok(rows) = index.rows().try_collect::<Vec<Row>>().await {
                for row in rows {
                    prop_assert!(self.is_a_record(&row), "{} {:?} {:?}", replica, step, row);
                }
            }
        }
        Ok(())
    }

    fn is_a_record(&self, row: &Row) -> bool {
        match row {
            Row::Referrer(row) => self.referrers(&row.repository, &row.subject).contains(row),
            Row::Link {
                repository,
                digest,
                link,
            } => {
                let key = (repository.clone(), digest.clone());
                self.records.links.get(&key) == Some(link)
            }
            Row::TagVersion {
                repository,
                number,
                version,
                ..
            } => self.records.versions[repository].get(number) == Some(version),
        }
    }
}
