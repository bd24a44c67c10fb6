//! What each key of a repository is to who walks over all of them.

use crate::oci::{CompanionTag, Digest, RepositoryName, Tag};

use super::{Record, parse, parse_digest};
use crate::store::blob::Key;

/// What a key below [`repositories`](super::repositories) is to the collector: every section by its name.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::store) enum Place {
    /// A tombstone.
    Tombstone,
    /// A link.
    Link(Digest),
    /// The stamp of a subject that was deleted.
    Orphaned(Digest),
    /// Staged bytes.
    Staged,
    /// A referrer of a subject, pushed or found upstream.
    Referrer {
        /// The subject.
        subject: Digest,
        /// The referrer.
        digest: Digest,
    },
    /// The stamp that a captured tag has named this manifest.
    Tagged(Digest),
    /// A version of a captured tag.
    TagVersion,
    /// The stamp that another tag, or an index, has named a manifest.
    Named,
    /// A version of the mark of a tag.
    Mark,
    /// A manifest that was rejected.
    Kept,
    /// An entry of the inventory.
    Existing,
    /// A second name.
    Alias,
    /// A file that is none of ours, or of a later version.
    Unknown,
}

/// Repository and section of a key; `None` outside of every repository.
pub(in crate::store) fn place(key: &Key) -> Option<(RepositoryName, Place)> {
    let (repository, record) = parse(key)?;
    let place = match record {
        Record::Referrer {
            subject, digest, ..
        } => Place::Referrer { subject, digest },
        Record::Link(digest) => Place::Link(digest),
        Record::TagVersion(..) => Place::TagVersion,
        Record::Staged => Place::Staged,
        Record::Other => of_other_section(key).unwrap_or(Place::Unknown),
    };
    Some((repository, place))
}

fn of_other_section(key: &Key) -> Option<Place> {
    let (_, record) = key.as_str().split_once("/_")?;
    match record.split('/').collect::<Vec<_>>().as_slice() {
        ["deleted", digest] => parse_digest(digest).map(|_| Place::Tombstone),
        ["orphaned", digest] => parse_digest(digest).map(Place::Orphaned),
        ["tagged", digest, tag] => {
            let (digest, tag) = (parse_digest(digest)?, tag.parse().ok()?);
            Some(if is_captured(&tag) {
                Place::Tagged(digest)
            } else {
                Place::Named
            })
        }
        ["parents", child, parent] => parse_digest(child)
            .and(parse_digest(parent))
            .map(|_| Place::Named),
        ["marks", tag, number] => {
            let version = tag.parse::<Tag>().ok().zip(number.parse::<u64>().ok());
            version.map(|_| Place::Mark)
        }
        ["kept", digest] => parse_digest(digest).map(|_| Place::Kept),
        ["aliases", digest] => parse_digest(digest).map(|_| Place::Alias),
        ["existing", digest] => parse_digest(digest).map(|_| Place::Existing),
        _ => None,
    }
}

/// Whether `tag` is of the tags that may be captured. Two kinds of stamps lie below `_tagged/<d>`, and the name of the
/// tag alone tells them apart: with a captured tag a manifest stands or falls, of any other it is only said that it has
/// named the manifest.
pub(in crate::store) fn is_captured(tag: &Tag) -> bool {
    matches!(CompanionTag::parse(tag), Some(CompanionTag::Cosign(_)))
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use super::*;

    #[test]
    fn the_collector_knows_every_section() {
        let repository: RepositoryName = "a/b".parse().unwrap();
        let (subject, digest) = (Digest::sha256(b"subject"), Digest::sha256(b"{}"));
        let tag: Tag = "t".parse().unwrap();
        let captured: Tag = format!("{}.sig", subject.key_form()).parse().unwrap();
        let fallback: Tag = subject.key_form().parse().unwrap();
        let of_referrer = || Place::Referrer {
            subject: subject.clone(),
            digest: digest.clone(),
        };
        let upstream = upstream_referrer(&repository, &subject, &digest);
        for (key, expected) in [
            (referrer(&repository, &subject, &digest), of_referrer()),
            (upstream, of_referrer()),
            (link(&repository, &digest), Place::Link(digest.clone())),
            (tag_version(&repository, &tag, 7), Place::TagVersion),
            (staged(&repository, &digest), Place::Staged),
            (tombstone(&repository, &digest), Place::Tombstone),
            (
                orphaned(&repository, &subject),
                Place::Orphaned(subject.clone()),
            ),
            (
                tagged_by(&repository, &digest, &captured),
                Place::Tagged(digest.clone()),
            ),
            (tagged_by(&repository, &digest, &tag), Place::Named),
            (tagged_by(&repository, &digest, &fallback), Place::Named),
            (parent(&repository, &digest, &subject), Place::Named),
            (mark_version(&repository, &tag, 7), Place::Mark),
            (kept(&repository, &digest), Place::Kept),
            (existing(&repository, &digest), Place::Existing),
            (alias(&repository, &digest), Place::Alias),
            (of(&repository, "_later/x"), Place::Unknown),
        ] {
            assert_eq!(place(&key), Some((repository.clone(), expected)), "{key}");
        }
        let time = UnixMillis::new(12);
        assert_eq!(candidate_time(&candidate_set(time, 3)), Some(time));
    }
}
