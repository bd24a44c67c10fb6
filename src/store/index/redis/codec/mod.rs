//! Rows as compact bytes. Repository and subject are not in them: they are in the keys.
//!
//! Numbers are varints, digests raw bytes, texts see [`text`]. Another form is another [`SCHEMA`](super::SCHEMA).

mod bytes;
mod text;

use std::collections::BTreeMap;

use self::bytes::{Reader, put_varint};
use crate::clock::UnixMillis;
use crate::oci::{Descriptor, Digest, RepositoryName};
use crate::store::records::{Link, LinkKind, Referrer, Source, TagChange, TagVersion};

/// What begins a subject's string: whether it is known, and its generation.
const HEADER: usize = 7;
/// The bytes of a generation.
pub(super) const GENERATION: usize = 6;

pub(super) use text::hex;

const HAS_ARTIFACT_TYPE: u8 = 1 << 2;
const HAS_ANNOTATIONS: u8 = 1 << 3;
const HAS_SUBJECT: u8 = 1 << 2;
/// The bits of an enum.
const VARIANT: u8 = 0b11;

/// The bytes that stand for a digest; none is the beginning of another.
pub(super) fn digest(digest: &Digest) -> Vec<u8> {
    let mut out = Vec::with_capacity(33);
    text::put_digest(&mut out, digest);
    out
}

/// The digest that [`digest`] made bytes of.
pub(super) fn read_digest(bytes: &[u8]) -> Option<Digest> {
    let mut reader = Reader::new(bytes);
    let digest = text::digest(&mut reader)?;
    reader.is_empty().then_some(digest)
}

/// The row of a referrer, with its length before it.
pub(super) fn referrer(referrer: &Referrer) -> Vec<u8> {
    let descriptor = &referrer.descriptor;
    let mut row = digest(&descriptor.digest);
    let mut flags = match referrer.source {
        Source::Upstream => 0,
        Source::Forwarded => 1,
        Source::Captured => 2,
    };
    if descriptor.artifact_type.is_some() {
        flags |= HAS_ARTIFACT_TYPE;
    }
    if descriptor.annotations.is_some() {
        flags |= HAS_ANNOTATIONS;
    }
    row.push(flags);
    put_varint(&mut row, referrer.time.as_u64());
    put_varint(&mut row, descriptor.size);
    text::put(&mut row, &descriptor.media_type);
    if let Some(artifact_type) = &descriptor.artifact_type {
        text::put(&mut row, artifact_type);
    }
    if let Some(annotations) = &descriptor.annotations {
        put_varint(&mut row, annotations.len() as u64);
        for (key, value) in annotations {
            text::put(&mut row, key);
            text::put(&mut row, value);
        }
    }
    let mut framed = Vec::with_capacity(row.len() + 5);
    bytes::put_framed(&mut framed, &row);
    framed
}

/// A subject's string.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) known: bool,
    /// Ordered by digest.
    pub(super) referrers: Vec<Referrer>,
}

/// Reads a subject's string; `None` if it is none.
pub(super) fn read_subject(
    value: &[u8],
    repository: &RepositoryName,
    subject: &Digest,
) -> Option<Subject> {
    let (header, rows) = value.split_at_checked(HEADER)?;
    let known = match header.first()? {
        0 => false,
        1 => true,
        _ => return None,
    };
    let mut reader = Reader::new(rows);
    let mut referrers = Vec::new();
    while !reader.is_empty() {
        let row = reader.framed()?;
        referrers.push(read_referrer(row, repository, subject)?);
    }
    referrers.sort_by(|a: &Referrer, b| a.descriptor.digest.cmp(&b.descriptor.digest));
    Some(Subject { known, referrers })
}

fn read_referrer(row: &[u8], repository: &RepositoryName, subject: &Digest) -> Option<Referrer> {
    let mut reader = Reader::new(row);
    let digest = text::digest(&mut reader)?;
    let flags = reader.byte()?;
    let source = match flags & VARIANT {
        0 => Source::Upstream,
        1 => Source::Forwarded,
        2 => Source::Captured,
        _ => return None,
    };
    let time = UnixMillis::new(reader.varint()?);
    let size = reader.varint()?;
    let media_type = text::text(&mut reader)?;
    let artifact_type = if flags & HAS_ARTIFACT_TYPE == 0 {
        None
    } else {
        Some(text::text(&mut reader)?)
    };
    let annotations = if flags & HAS_ANNOTATIONS == 0 {
        None
    } else {
        let mut annotations = BTreeMap::new();
        for _ in 0..reader.varint()? {
            let key = text::text(&mut reader)?;
            annotations.insert(key, text::text(&mut reader)?);
        }
        Some(annotations)
    };
    reader.is_empty().then(|| Referrer {
        repository: repository.clone(),
        subject: subject.clone(),
        descriptor: Descriptor {
            media_type,
            digest,
            size,
            artifact_type,
            annotations,
        },
        source,
        time,
    })
}

/// The row of a link.
pub(super) fn link(link: &Link) -> Vec<u8> {
    let kind = match link.kind {
        LinkKind::Blob => 0,
        LinkKind::ManifestCopy => 1,
        LinkKind::Generated => 2,
        LinkKind::Manifest => 3,
    };
    let has_subject = if link.subject.is_some() {
        HAS_SUBJECT
    } else {
        0
    };
    let mut row = vec![kind | has_subject];
    text::put(&mut row, &link.media_type);
    put_varint(&mut row, link.size);
    if let Some(subject) = &link.subject {
        text::put_digest(&mut row, subject);
    }
    row
}

/// Reads what [`link`] made.
pub(super) fn read_link(row: &[u8]) -> Option<Link> {
    let mut reader = Reader::new(row);
    let flags = reader.byte()?;
    let kind = match flags & VARIANT {
        0 => LinkKind::Blob,
        1 => LinkKind::ManifestCopy,
        2 => LinkKind::Generated,
        _ => LinkKind::Manifest,
    };
    let media_type = text::text(&mut reader)?;
    let size = reader.varint()?;
    let subject = if flags & HAS_SUBJECT == 0 {
        None
    } else {
        Some(text::digest(&mut reader)?)
    };
    reader.is_empty().then_some(Link {
        kind,
        media_type,
        size,
        subject,
    })
}

/// The row of a version of a tag.
pub(super) fn tag_version(version: &TagVersion) -> Vec<u8> {
    let mut row = vec![match version.change {
        TagChange::Pushed => 0,
        TagChange::Withdrawn => 1,
        TagChange::Deleted => 2,
    }];
    text::put_digest(&mut row, &version.digest);
    text::put(&mut row, &version.media_type);
    put_varint(&mut row, version.time.as_u64());
    row
}

/// Reads what [`tag_version`] made.
pub(super) fn read_tag_version(row: &[u8]) -> Option<TagVersion> {
    let mut reader = Reader::new(row);
    let change = match reader.byte()? {
        0 => TagChange::Pushed,
        1 => TagChange::Withdrawn,
        2 => TagChange::Deleted,
        _ => return None,
    };
    let digest = text::digest(&mut reader)?;
    let media_type = text::text(&mut reader)?;
    let time = UnixMillis::new(reader.varint()?);
    reader.is_empty().then_some(TagVersion {
        change,
        digest,
        media_type,
        time,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digests() -> impl Strategy<Value = Digest> {
        prop_oneof![
            "sha256:[0-9a-f]{64}",
            "sha384:[0-9a-f]{96}",
            "sha512:[0-9a-f]{128}",
            "[a-z0-9]{1,8}(\\+[a-z0-9]{1,4})?:[A-Za-z0-9=_-]{1,150}",
        ]
        .prop_filter_map("not of its algorithm's form", |text| text.parse().ok())
    }

    fn texts() -> impl Strategy<Value = String> {
        let known = (0..text::KNOWN.len()).prop_map(|at| text::KNOWN[at].to_owned());
        prop_oneof![
            any::<String>(),
            known,
            "[0-9a-f]{63,65}",
            "[0-9A-F]{64}",
            r#"(\[)?"[0-9a-f]{64}"(,"[0-9a-f]{64}"){0,3}(,)?\]"#,
            "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9](\\.0)?(Z|\\+00:00)",
            "sha256:[0-9a-f]{64}",
            "[a-z]{0,400}",
        ]
    }

    fn referrers() -> impl Strategy<Value = Referrer> {
        let descriptor = (
            texts(),
            digests(),
            any::<u64>(),
            prop::option::of(texts()),
            prop::option::of(prop::collection::btree_map(texts(), texts(), 0..5)),
        );
        let source = prop_oneof![
            Just(Source::Upstream),
            Just(Source::Forwarded),
            Just(Source::Captured),
        ];
        (descriptor, source, any::<u64>()).prop_map(
            |((media_type, digest, size, artifact_type, annotations), source, time)| Referrer {
                repository: "a/b".parse().unwrap(),
                subject: Digest::sha256(b"s"),
                descriptor: Descriptor {
                    media_type,
                    digest,
                    size,
                    artifact_type,
                    annotations,
                },
                source,
                time: UnixMillis::new(time),
            },
        )
    }

    fn read(value: &[u8]) -> Option<Subject> {
        read_subject(value, &"a/b".parse().unwrap(), &Digest::sha256(b"s"))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_referrers_come_back(rows in prop::collection::vec(referrers(), 0..4), known: bool) {
            let mut rows = rows;
            rows.sort_by(|a, b| a.descriptor.digest.cmp(&b.descriptor.digest));
            let mut value = vec![u8::from(known), 0, 0, 0, 0, 0, 9];
            for row in &rows {
                value.extend(referrer(row));
            }
            let subject = read(&value).unwrap();
            prop_assert_eq!(subject.known, known);
            prop_assert_eq!(&subject.referrers, &rows);
            // A string that was cut is no shorter list.
            if value.len() > HEADER {
                value.pop();
                prop_assert!(read(&value).is_none());
            }
        }

        #[test]
        fn any_link_comes_back(media_type in texts(), size: u64, subject in prop::option::of(digests())) {
            for kind in [LinkKind::Blob, LinkKind::ManifestCopy, LinkKind::Generated, LinkKind::Manifest] {
                let row = Link { kind, media_type: media_type.clone(), size, subject: subject.clone() };
                let bytes = link(&row);
                prop_assert_eq!(read_link(&bytes), Some(row));
                prop_assert_eq!(read_link(&bytes[..bytes.len() - 1]), None);
            }
        }

        #[test]
        fn any_tag_version_comes_back(media_type in texts(), time: u64, digest in digests()) {
            for change in [TagChange::Pushed, TagChange::Withdrawn, TagChange::Deleted] {
                let row = TagVersion {
                    change,
                    digest: digest.clone(),
                    media_type: media_type.clone(),
                    time: UnixMillis::new(time),
                };
                let bytes = tag_version(&row);
                prop_assert_eq!(read_tag_version(&bytes), Some(row));
                prop_assert_eq!(read_tag_version(&bytes[..bytes.len() - 1]), None);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = (read(&bytes), read_link(&bytes), read_tag_version(&bytes), read_digest(&bytes));
        }

        #[test]
        fn digests_are_apart_in_bytes(one in digests(), other in digests()) {
            prop_assert_eq!(read_digest(&digest(&one)), Some(one.clone()));
            prop_assert_eq!(one == other, digest(&one).starts_with(&digest(&other)));
        }
    }

    #[test]
    fn the_usual_rows_are_short() {
        let hex = "ab".repeat(32);
        let descriptor = Descriptor {
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            digest: Digest::sha256(b"r"),
            size: 730,
            artifact_type: Some("application/vnd.cncf.notary.signature".to_owned()),
            annotations: Some(BTreeMap::from([
                (
                    "io.cncf.notary.x509chain.thumbprint#S256".to_owned(),
                    format!(r#"["{hex}"]"#),
                ),
                (
                    "org.opencontainers.image.created".to_owned(),
                    "2026-01-02T03:04:05Z".to_owned(),
                ),
            ])),
        };
        let row = referrer(&Referrer {
            repository: "a/b".parse().unwrap(),
            subject: Digest::sha256(b"s"),
            descriptor,
            source: Source::Captured,
            time: UnixMillis::new(1_800_000_000_000),
        });
        assert!(row.len() <= 96, "{}", row.len());
        let row = link(&Link {
            kind: LinkKind::Manifest,
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            size: 730,
            subject: Some(Digest::sha256(b"s")),
        });
        // Longer values end the compact form of a bucket.
        assert!(row.len() <= 64, "{}", row.len());
    }
}
