//! The records of the object store, as JSON. Each says all that is needed to read it alone.

use std::fmt::Display;
use std::str::FromStr;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::clock::UnixMillis;
use crate::oci::{Descriptor, Digest, RepositoryName};

/// One referrer of a subject: `_subjects/<subject>/<referrer>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Referrer {
    /// The repository of both.
    #[serde(with = "as_text")]
    pub repository: RepositoryName,
    /// What it refers to.
    pub subject: Digest,
    /// The descriptor that stands in a referrers list, made from the manifest's bytes.
    pub descriptor: Descriptor,
    /// Who holds the manifest.
    pub source: Source,
    /// When it was first recorded.
    #[serde(with = "as_millis")]
    pub time: UnixMillis,
}

/// A [`Referrer`] as it is recorded: what only the object store has to know stands beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ReferrerRecord {
    /// What the index knows as well.
    #[serde(flatten)]
    pub(super) referrer: Referrer,
    /// Config and layers of the manifest.
    pub(super) blobs: Vec<Digest>,
}

/// Who holds a referrer's manifest, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// Found upstream.
    Upstream,
    /// Upstream too; pushed through regseal.
    Forwarded,
    /// Only regseal.
    Captured,
}

/// A repository may serve this content: `_links/<d>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    /// What the content is.
    pub kind: LinkKind,
    /// Its media type.
    pub media_type: String,
    /// Its length in bytes.
    pub size: u64,
    /// The subject a manifest refers to: its referrer record stands there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Digest>,
}

/// What linked content is, weakest first: a link is only ever replaced by one of the same or a stronger kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LinkKind {
    /// A blob that a captured manifest names.
    Blob,
    /// A copy of a manifest that was forwarded or found upstream.
    ManifestCopy,
    /// An index or a union manifest that regseal made.
    Generated,
    /// A captured manifest, served by regseal.
    Manifest,
}

/// One version of a captured tag: `_tags/<tag>/<n>`. What a tag serves follows from its versions alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TagVersion {
    /// What happened.
    pub change: TagChange,
    /// The manifest pushed or withdrawn; of a deletion, what the tag named last.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// When it was recorded.
    #[serde(with = "as_millis")]
    pub time: UnixMillis,
}

/// What a version does to its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TagChange {
    /// The manifest was pushed.
    Pushed,
    /// Earlier versions of this manifest are gone; the others stay.
    Withdrawn,
    /// The tag is gone, with all earlier versions.
    Deleted,
}

/// That something happened, and when: tombstones, `_tagged/<d>/<tag>`, `_parents/<d>/<d>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    /// When.
    #[serde(with = "as_millis")]
    pub(super) time: UnixMillis,
}

/// A tag is marked: what it names does not satisfy a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mark {
    /// What the tag names.
    pub digest: Digest,
    /// The name of the rule.
    pub rule: String,
    /// The authorities without whose signatures it is not satisfied.
    pub missing: Vec<String>,
    /// Since when.
    #[serde(with = "as_millis")]
    pub at: UnixMillis,
}

/// One version of the mark of a tag: `_marks/<tag>/<n>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MarkVersion {
    /// What happened.
    pub(super) state: MarkState,
    /// The mark; of one that was cleared, as it was, with the time of the clearing.
    #[serde(flatten)]
    pub(super) mark: Mark,
}

/// What a version does to the mark of its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum MarkState {
    /// The tag is marked.
    Set,
    /// It is not any more.
    Cleared,
}

/// The first line of a kept object: `_kept/<d>`. What follows it are the bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeptHead {
    /// The media type of the bytes.
    pub(super) media_type: String,
    /// When it ends.
    #[serde(with = "as_millis")]
    pub(super) until: UnixMillis,
}

/// The inventory of what the registry had before there was a policy: `v1/inventory`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inventory {
    /// When it was finished.
    #[serde(with = "as_millis")]
    pub made_at: UnixMillis,
    /// Repositories it has looked through.
    pub repositories: u64,
    /// Manifests it has found in them.
    pub manifests: u64,
}

/// What the index still has to learn: `journal/<id>`. Names records and never holds them, so that a repair can only
/// repeat what the object store says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stale {
    /// The repository of all of them.
    #[serde(with = "as_text")]
    pub(super) repository: RepositoryName,
    /// Subject to derive again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) subject: Option<Digest>,
    /// Links to read again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) links: Vec<Digest>,
    /// Tag whose versions are to be read again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tag: Option<String>,
}

/// The bytes of a record.
pub(super) fn encode<T: Serialize>(record: &T) -> Bytes {
    serde_json::to_vec(record)
        .expect("records are structs with string keys")
        .into()
}

/// The record in `bytes`; `None` if they are none.
pub(super) fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

mod as_text {
    use super::*;

    pub(super) fn serialize<T: Display, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

mod as_millis {
    use super::*;

    pub(super) fn serialize<S: Serializer>(
        time: &UnixMillis,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(time.as_u64())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<UnixMillis, D::Error> {
        u64::deserialize(deserializer).map(UnixMillis::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_keep_their_form() {
        let digest = Digest::sha256(b"{}");
        let referrer = Referrer {
            repository: "a/b".parse().unwrap(),
            subject: digest.clone(),
            descriptor: Descriptor {
                media_type: "m".to_owned(),
                digest: digest.clone(),
                size: 2,
                artifact_type: Some("t".to_owned()),
                annotations: None,
            },
            source: Source::Captured,
            time: UnixMillis::new(5),
        };
        let record = ReferrerRecord {
            referrer: referrer.clone(),
            blobs: vec![],
        };
        let link = Link {
            kind: LinkKind::ManifestCopy,
            media_type: "m".to_owned(),
            size: 2,
            subject: None,
        };
        for (bytes, expected) in [
            (
                encode(&record),
                format!(
                    r#"{{"repository":"a/b","subject":"{digest}","descriptor":{{"mediaType":"m","digest":"{digest}","size":2,"artifactType":"t"}},"source":"captured","time":5,"blobs":[]}}"#
                ),
            ),
            (
                encode(&link),
                r#"{"kind":"manifestCopy","mediaType":"m","size":2}"#.to_owned(),
            ),
        ] {
            assert_eq!(bytes, expected);
        }
        assert_eq!(
            decode::<ReferrerRecord>(&encode(&record)),
            Some(record.clone())
        );
        assert_eq!(decode::<Referrer>(&encode(&record)), Some(referrer));
        assert_eq!(decode::<Link>(&encode(&link)), Some(link));
    }
}
