//! Where everything lies in the object store: the one place that writes or reads object keys.
//!
//! `<d>` is `<algorithm>-<encoded>`. Numbers have twenty digits, so that key order is their order. Components that
//! begin with an underscore cannot be part of a repository name, so no repository runs into another one's records.

mod place;

use crate::clock::UnixMillis;
use crate::oci::{Digest, RepositoryName, Tag};

use super::blob::Key;

pub(super) use place::{Place, is_captured, place};

/// Behind the name of a referrer's record.
const UPSTREAM: &str = ".upstream";

/// `v1/blobs/<algorithm>/<2>/<encoded>`: bytes, shared by all repositories.
pub(super) fn blob(digest: &Digest) -> Key {
    let encoded = digest.encoded();
    let fan = encoded.get(..2).unwrap_or(encoded);
    key(&format!("v1/blobs/{}/{fan}/{encoded}", digest.algorithm()))
}

/// `v1/repos`: the records of every repository.
pub(super) fn repositories() -> Key {
    key("v1/repos")
}

/// `v1/repos/<repository>`: its records, and those of the repositories nested in it.
pub(super) fn repository(repository: &RepositoryName) -> Key {
    key(&format!("v1/repos/{repository}"))
}

/// Before the first record of a repository, and after the last: between them is nothing else.
pub(super) fn records_between(repository: &RepositoryName) -> (Key, Key) {
    (of(repository, "_"), of(repository, "_z"))
}

/// `_subjects`: the referrers of all subjects of a repository.
pub(super) fn subjects(repository: &RepositoryName) -> Key {
    of(repository, "_subjects")
}

/// `_subjects/<subject>`: the referrers of one subject.
pub(super) fn referrers(repository: &RepositoryName, subject: &Digest) -> Key {
    of(repository, &format!("_subjects/{}", subject.key_form()))
}

/// `_subjects/<subject>/<referrer>`: one referrer.
pub(super) fn referrer(repository: &RepositoryName, subject: &Digest, digest: &Digest) -> Key {
    let (subject, digest) = (subject.key_form(), digest.key_form());
    of(repository, &format!("_subjects/{subject}/{digest}"))
}

/// `_subjects/<subject>/<referrer>.upstream`: one referrer that was only found upstream. Apart from what was pushed, so
/// that forgetting the one can never undo the other.
pub(super) fn upstream_referrer(
    repository: &RepositoryName,
    subject: &Digest,
    digest: &Digest,
) -> Key {
    let (subject, digest) = (subject.key_form(), digest.key_form());
    of(
        repository,
        &format!("_subjects/{subject}/{digest}{UPSTREAM}"),
    )
}

/// `_links/<d>`: the repository may serve that blob or manifest.
pub(super) fn link(repository: &RepositoryName, digest: &Digest) -> Key {
    of(repository, &format!("_links/{}", digest.key_form()))
}

/// `_tags`: the versions of all captured tags of a repository.
pub(super) fn tags(repository: &RepositoryName) -> Key {
    of(repository, "_tags")
}

/// `_tags/<tag>`: the versions of one captured tag.
pub(super) fn tag(repository: &RepositoryName, tag: &Tag) -> Key {
    of(repository, &format!("_tags/{tag}"))
}

/// `_tags/<tag>/<n>`: one version of a captured tag.
pub(super) fn tag_version(repository: &RepositoryName, tag: &Tag, number: u64) -> Key {
    of(repository, &format!("_tags/{tag}/{number:020}"))
}

/// `_tagged/<d>`: the tags that have named a manifest, captured ones and others.
pub(super) fn tagged(repository: &RepositoryName, digest: &Digest) -> Key {
    of(repository, &format!("_tagged/{}", digest.key_form()))
}

/// `_tagged/<d>/<tag>`: that tag has named this manifest.
pub(super) fn tagged_by(repository: &RepositoryName, digest: &Digest, tag: &Tag) -> Key {
    of(repository, &format!("_tagged/{}/{tag}", digest.key_form()))
}

/// `_parents/<child>`: the indexes that have listed a manifest.
pub(super) fn parents(repository: &RepositoryName, child: &Digest) -> Key {
    of(repository, &format!("_parents/{}", child.key_form()))
}

/// `_parents/<child>/<parent>`: that index has listed this manifest.
pub(super) fn parent(repository: &RepositoryName, child: &Digest, parent: &Digest) -> Key {
    let (child, parent) = (child.key_form(), parent.key_form());
    of(repository, &format!("_parents/{child}/{parent}"))
}

/// Before the referrers of every subject whose key begins with a referrers tag that was cut, and behind all of those
/// before them.
pub(super) fn before_cut(repository: &RepositoryName, tag: &Tag) -> Key {
    of(repository, &format!("_subjects/{tag}"))
}

/// Behind the referrers of a subject, and before those of the next.
pub(super) fn behind_referrers(repository: &RepositoryName, subject: &Digest) -> Key {
    of(repository, &format!("_subjects/{}0", subject.key_form()))
}

/// `_aliases`: the second names of a repository.
pub(super) fn aliases(repository: &RepositoryName) -> Key {
    of(repository, "_aliases")
}

/// `_aliases/<d>`: the other name of a digest.
pub(super) fn alias(repository: &RepositoryName, digest: &Digest) -> Key {
    of(repository, &format!("_aliases/{}", digest.key_form()))
}

/// `_marks`: the marks of all tags of a repository.
pub(super) fn marks(repository: &RepositoryName) -> Key {
    of(repository, "_marks")
}

/// `_marks/<tag>`: the versions of the mark of one tag.
pub(super) fn mark(repository: &RepositoryName, tag: &Tag) -> Key {
    of(repository, &format!("_marks/{tag}"))
}

/// `_marks/<tag>/<n>`: one version of the mark of a tag.
pub(super) fn mark_version(repository: &RepositoryName, tag: &Tag, number: u64) -> Key {
    of(repository, &format!("_marks/{tag}/{number:020}"))
}

/// The inverse of [`mark_version`].
pub(super) fn parse_mark_version(key: &Key) -> Option<(Tag, u64)> {
    let (_, record) = key.as_str().split_once("/_marks/")?;
    let (tag, number) = record.split_once('/')?;
    Some((tag.parse().ok()?, number.parse().ok()?))
}

/// `_kept/<d>`: a manifest that was rejected, for a while.
pub(super) fn kept(repository: &RepositoryName, digest: &Digest) -> Key {
    of(repository, &format!("_kept/{}", digest.key_form()))
}

/// `_existing/<d>`: a manifest that the registry had when the inventory was made.
pub(super) fn existing(repository: &RepositoryName, digest: &Digest) -> Key {
    of(repository, &format!("_existing/{}", digest.key_form()))
}

/// `v1/inventory`: that there is an inventory, and of when.
pub(super) fn inventory() -> Key {
    key("v1/inventory")
}

/// `v1/import`: the runs of an import.
pub(super) fn imports() -> Key {
    key("v1/import")
}

/// `v1/import/<n>/begun`: that a run was begun, and with what scope.
pub(super) fn import_begun(run: u64) -> Key {
    key(&format!("v1/import/{run:020}/begun"))
}

/// `v1/import/<n>/finished`: what a run has come to.
pub(super) fn import_finished(run: u64) -> Key {
    key(&format!("v1/import/{run:020}/finished"))
}

/// `v1/import/<n>`: all that a run has written down.
pub(super) fn import_run(run: u64) -> Key {
    key(&format!("v1/import/{run:020}"))
}

/// `v1/import/<n>/repositories/<repository>`: the parts of a repository, and those of the repositories nested in it.
pub(super) fn import_repository(run: u64, repository: &RepositoryName) -> Key {
    key(&format!("v1/import/{run:020}/repositories/{repository}"))
}

/// Before the first part of a repository.
pub(super) fn before_import_parts(run: u64, repository: &RepositoryName) -> Key {
    key(&format!("v1/import/{run:020}/repositories/{repository}/_"))
}

/// `v1/import/<n>/repositories/<repository>/_<m>`: a part of a repository that a run is through with.
pub(super) fn import_part(run: u64, repository: &RepositoryName, number: u64) -> Key {
    key(&format!(
        "v1/import/{run:020}/repositories/{repository}/_{number:020}"
    ))
}

/// The run that a key below [`imports`] is of, and where the keys of the next begin.
pub(super) fn parse_import(found: &Key) -> Option<(u64, Key)> {
    let run = found.as_str().strip_prefix("v1/import/")?;
    let run = run.split('/').next()?.parse().ok()?;
    Some((run, key(&format!("v1/import/{run:020}="))))
}

/// `_deleted/<d>`: tombstone.
pub(super) fn tombstone(repository: &RepositoryName, digest: &Digest) -> Key {
    of(repository, &format!("_deleted/{}", digest.key_form()))
}

/// `_orphaned/<subject>`: that subject was deleted, and its referrers wait for it to come back.
pub(super) fn orphaned(repository: &RepositoryName, subject: &Digest) -> Key {
    of(repository, &format!("_orphaned/{}", subject.key_form()))
}

/// `_staging/<d>`: uploaded bytes that no manifest has claimed yet.
pub(super) fn staged(repository: &RepositoryName, digest: &Digest) -> Key {
    of(repository, &format!("_staging/{}", digest.key_form()))
}

/// `v1/journal`: what the index still has to learn.
pub(super) fn journal() -> Key {
    key("v1/journal")
}

/// `v1/journal/<id>`: one entry; `replica` is of this process alone, `number` grows.
pub(super) fn journal_entry(replica: u64, number: u64) -> Key {
    key(&format!("v1/journal/{replica:016x}-{number:020}"))
}

/// `v1/blobs`: all bytes.
pub(super) fn blobs() -> Key {
    key("v1/blobs")
}

/// The inverse of [`blob`].
pub(super) fn blob_digest(found: &Key) -> Option<Digest> {
    let below = found.as_str().strip_prefix("v1/blobs/")?;
    let (algorithm, rest) = below.split_once('/')?;
    let (_, encoded) = rest.split_once('/')?;
    let digest = format!("{algorithm}:{encoded}").parse().ok()?;
    (blob(&digest) == *found).then_some(digest)
}

/// `_links`: all links of a repository.
pub(super) fn links(repository: &RepositoryName) -> Key {
    of(repository, "_links")
}

/// `v1/gc/sweeps`: what collectors are about to delete.
pub(super) fn sweeps() -> Key {
    key("v1/gc/sweeps")
}

/// `v1/gc/sweeps/<id>`: one batch of one collector; `id` is random.
pub(super) fn sweep(id: u64) -> Key {
    key(&format!("v1/gc/sweeps/{id:016x}"))
}

/// `v1/gc/candidates`: what scans have found unreferenced.
pub(super) fn candidate_sets() -> Key {
    key("v1/gc/candidates")
}

/// `v1/gc/candidates/<time>-<id>`: a part of what one scan has found by that time; `id` is random.
pub(super) fn candidate_set(time: UnixMillis, id: u64) -> Key {
    let time = time.as_u64();
    key(&format!("v1/gc/candidates/{time:020}-{id:016x}"))
}

/// The time of a [`candidate_set`] key.
pub(super) fn candidate_time(key: &Key) -> Option<UnixMillis> {
    let (time, _) = key.as_str().rsplit('/').next()?.split_once('-')?;
    time.parse().ok().map(UnixMillis::new)
}

/// What a key below [`repositories`] holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// One referrer of a subject.
    Referrer {
        /// The subject.
        subject: Digest,
        /// The referrer.
        digest: Digest,
        /// The record of one that was only found upstream.
        is_upstream: bool,
    },
    /// A link.
    Link(Digest),
    /// A version of a captured tag.
    TagVersion(Tag, u64),
    /// Staged bytes.
    Staged,
    /// A record that no index row is made from, or a file that is none of ours.
    Other,
}

/// The inverse of the functions above: repository and kind of record. `None` outside of every repository.
pub(super) fn parse(key: &Key) -> Option<(RepositoryName, Record)> {
    let below = key.as_str().strip_prefix("v1/repos/")?;
    let (repository, record) = below.split_once("/_")?;
    let repository = repository.parse().ok()?;
    let record = match record.split('/').collect::<Vec<_>>().as_slice() {
        ["subjects", subject, referrer] => {
            let found = referrer.strip_suffix(UPSTREAM);
            parse_digest(subject)
                .zip(parse_digest(found.unwrap_or(referrer)))
                .map(|(subject, digest)| Record::Referrer {
                    subject,
                    digest,
                    is_upstream: found.is_some(),
                })
        }
        ["links", digest] => parse_digest(digest).map(Record::Link),
        ["tags", tag, number] => tag
            .parse()
            .ok()
            .zip(number.parse().ok())
            .map(|(tag, number)| Record::TagVersion(tag, number)),
        ["staging", _] => Some(Record::Staged),
        _ => None,
    };
    Some((repository, record.unwrap_or(Record::Other)))
}

/// A section whose objects have their time and go.
#[derive(Clone, Copy, Debug)]
pub(super) enum Passing {
    Staging,
    Kept,
}

impl Passing {
    fn name(self) -> &'static str {
        match self {
            Self::Staging => "_staging",
            Self::Kept => "_kept",
        }
    }

    /// Whether `key` is of this section.
    pub(super) fn has(self, key: &Key) -> bool {
        let Some((_, record)) = key.as_str().split_once("/_") else {
            return false;
        };
        let section = record
            .split_once('/')
            .map_or(record, |(section, _)| section);
        self.name().strip_prefix('_') == Some(section)
    }

    /// Where to go on after `key` for a walk that is only after this section: sections lie in byte order, so it can
    /// leap over the others.
    pub(super) fn leap(self, key: &Key) -> Key {
        let Some((repository, _)) = parse(key) else {
            return key.clone();
        };
        let begin = of(&repository, self.name());
        let end = of(&repository, &format!("{}=", self.name()));
        if *key < begin {
            begin
        } else if *key < end {
            key.clone()
        } else {
            of(&repository, "_z")
        }
    }
}

/// The tag of a [`tagged_by`] key.
pub(super) fn last_as_tag(key: &Key) -> Option<Tag> {
    key.as_str().rsplit('/').next()?.parse().ok()
}

/// The digest at the end of a [`parent`] key.
pub(super) fn last_as_digest(key: &Key) -> Option<Digest> {
    parse_digest(key.as_str().rsplit('/').next()?)
}

/// The inverse of [`Digest::key_form`]. Exact for algorithms without a dash in their name, and no other is stored.
fn parse_digest(form: &str) -> Option<Digest> {
    let (algorithm, encoded) = form.split_once('-')?;
    format!("{algorithm}:{encoded}").parse().ok()
}

fn of(repository: &RepositoryName, record: &str) -> Key {
    key(&format!("v1/repos/{repository}/{record}"))
}

fn key(text: &str) -> Key {
    text.parse()
        .expect("names, tags and digests have the characters of a key and bounded lengths")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_where_the_layout_says() {
        let repository: RepositoryName = "a/b".parse().unwrap();
        let subject = Digest::sha256(b"subject");
        let digest = Digest::sha256(b"{}");
        let hex = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        let subject_hex = subject.encoded();
        let tag: Tag = "sha256-00.sig".parse().unwrap();
        for (key, expected) in [
            (blob(&digest), format!("v1/blobs/sha256/44/{hex}")),
            (
                referrer(&repository, &subject, &digest),
                format!("v1/repos/a/b/_subjects/sha256-{subject_hex}/sha256-{hex}"),
            ),
            (
                link(&repository, &digest),
                format!("v1/repos/a/b/_links/sha256-{hex}"),
            ),
            (
                tag_version(&repository, &tag, 7),
                "v1/repos/a/b/_tags/sha256-00.sig/00000000000000000007".to_owned(),
            ),
            (
                tagged_by(&repository, &digest, &tag),
                format!("v1/repos/a/b/_tagged/sha256-{hex}/sha256-00.sig"),
            ),
            (
                tombstone(&repository, &digest),
                format!("v1/repos/a/b/_deleted/sha256-{hex}"),
            ),
            (
                staged(&repository, &digest),
                format!("v1/repos/a/b/_staging/sha256-{hex}"),
            ),
            (
                parent(&repository, &subject, &digest),
                format!("v1/repos/a/b/_parents/sha256-{subject_hex}/sha256-{hex}"),
            ),
            (
                mark_version(&repository, &tag, 7),
                "v1/repos/a/b/_marks/sha256-00.sig/00000000000000000007".to_owned(),
            ),
            (
                kept(&repository, &digest),
                format!("v1/repos/a/b/_kept/sha256-{hex}"),
            ),
            (
                existing(&repository, &digest),
                format!("v1/repos/a/b/_existing/sha256-{hex}"),
            ),
            (
                alias(&repository, &digest),
                format!("v1/repos/a/b/_aliases/sha256-{hex}"),
            ),
            (inventory(), "v1/inventory".to_owned()),
            (
                import_part(1, &repository, 2),
                "v1/import/00000000000000000001/repositories/a/b/_00000000000000000002".to_owned(),
            ),
            (
                journal_entry(1, 2),
                "v1/journal/0000000000000001-00000000000000000002".to_owned(),
            ),
        ] {
            assert_eq!(key.as_str(), expected);
        }
    }

    #[test]
    fn keys_read_back_as_what_they_were_made_from() {
        let repository: RepositoryName = "a/b".parse().unwrap();
        let (subject, digest) = (Digest::sha256(b"subject"), Digest::sha256(b"{}"));
        let tag: Tag = "t".parse().unwrap();
        for (key, record) in [
            (
                referrer(&repository, &subject, &digest),
                Record::Referrer {
                    subject: subject.clone(),
                    digest: digest.clone(),
                    is_upstream: false,
                },
            ),
            (
                upstream_referrer(&repository, &subject, &digest),
                Record::Referrer {
                    subject: subject.clone(),
                    digest: digest.clone(),
                    is_upstream: true,
                },
            ),
            (link(&repository, &digest), Record::Link(digest.clone())),
            (
                tag_version(&repository, &tag, 7),
                Record::TagVersion(tag.clone(), 7),
            ),
            (staged(&repository, &digest), Record::Staged),
            (tombstone(&repository, &digest), Record::Other),
        ] {
            assert_eq!(parse(&key), Some((repository.clone(), record)), "{key}");
        }
        assert_eq!(parse(&blob(&digest)), None);
        assert_eq!(blob_digest(&blob(&digest)), Some(digest));
    }

    #[test]
    fn the_longest_names_still_make_keys() {
        let repository: RepositoryName = "a".repeat(255).parse().unwrap();
        let long: Digest = format!("x:{}", "a".repeat(198)).parse().unwrap();
        let tag: Tag = "t".repeat(128).parse().unwrap();
        referrer(&repository, &long, &long);
        tagged_by(&repository, &long, &tag);
        parent(&repository, &long, &long);
        mark_version(&repository, &tag, u64::MAX);
    }

    #[test]
    fn versions_of_marks_are_read_back() {
        let repository: RepositoryName = "a/b".parse().unwrap();
        let tag: Tag = "_marks".parse().unwrap();
        let key = mark_version(&repository, &tag, 7);
        assert_eq!(parse_mark_version(&key), Some((tag.clone(), 7)));
        let other = tag_version(&repository, &tag, 7);
        assert_eq!(parse_mark_version(&other), None);
        let digest = Digest::sha256(b"{}");
        let key = parent(&repository, &digest, &digest);
        assert_eq!(last_as_digest(&key), Some(digest));
    }

    #[test]
    fn a_walk_for_one_section_leaps_over_the_others() {
        let (first, next): (RepositoryName, RepositoryName) =
            ("a".parse().unwrap(), "a/b".parse().unwrap());
        let digest = Digest::sha256(b"{}");
        let tag: Tag = "t".parse().unwrap();
        for (section, inside) in [
            (Passing::Staging, staged(&first, &digest)),
            (Passing::Kept, kept(&first, &digest)),
        ] {
            let before = section.leap(&existing(&first, &digest));
            assert!(before < inside && before > existing(&first, &digest));
            assert_eq!(section.leap(&inside), inside);
            let behind = section.leap(&referrer(&first, &digest, &digest));
            assert!(behind > tag_version(&first, &tag, 1));
            assert!(behind < existing(&next, &digest));
            assert!(section.has(&inside));
            for other in [link(&first, &digest), mark_version(&first, &tag, 1)] {
                assert!(!section.has(&other), "{other}");
            }
        }
    }
}
