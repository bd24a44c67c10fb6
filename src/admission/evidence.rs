//! Finds the signatures of a digest and reads what has to be verified of them.

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;

use super::{Admission, AdmissionError, Elsewhere};
use crate::oci::{CompanionTag, Descriptor, Digest, Manifest, RepositoryName, Tag};
use crate::store::StoreError;
use crate::verification::Family;
use crate::verification::evidence::{self, Evidence, Shape};

/// The largest manifest of a signature, in bytes. A tag of a thousand payloads needs this much.
const MAX_MANIFEST: usize = 4 << 20;
/// The largest payload, envelope or bundle, in bytes.
const MAX_BLOB: u64 = 8 << 20;
const TOO_LARGE: &str = "it is too large";

/// Something that may hold signatures of a digest.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Source {
    /// Of its manifest.
    pub(super) digest: Digest,
    /// Whether a `.sig` tag names it, which makes its layers signatures whatever its type.
    pub(super) is_tag: bool,
}

/// One signature as it was found.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// Of its manifest; of its layer where one manifest holds several.
    pub(super) digest: Digest,
    pub(super) content: Content,
}

/// What of a signature could be read.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Evidence(Evidence),
    Malformed(Family, &'static str),
    Unreadable(Family, &'static str),
}

/// What a referrer is to the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A signature of a family that is verified: config and layers are checked, not what it says it is.
    Signature,
    /// Says that it is a signature, and has not its form.
    Malformed(&'static str),
    /// Anything else.
    Other,
}

/// Whether a manifest is a signature, which needs none itself.
#[must_use]
pub fn form(manifest: &Manifest) -> Form {
    match Shape::of_referrer(manifest) {
        Shape::None => Form::Other,
        Shape::Malformed(_, why) => Form::Malformed(why),
        Shape::Envelope(_) | Shape::SimpleSigning(_) | Shape::Bundle(_) => {
            if manifest.subject.is_some() && !manifest.is_image_to_some() {
                Form::Signature
            } else {
                Form::Other
            }
        }
    }
}

impl Admission {
    /// All that may hold signatures of `subject`, in a fixed order.
    pub(super) async fn sources(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<Vec<Source>, StoreError> {
        let referrers = self.store.referrers(repository, subject).await?;
        let mut sources: Vec<Source> = referrers
            .into_iter()
            .filter(|referrer| is_of_signature(referrer.descriptor.artifact_type.as_deref()))
            .map(|referrer| Source {
                digest: referrer.descriptor.digest,
                is_tag: false,
            })
            .collect();
        if let Some(tag) = signature_tag(subject) {
            let versions = self.store.tag_manifests(repository, &tag).await?;
            sources.extend(versions.into_iter().map(|digest| Source {
                digest,
                is_tag: true,
            }));
        }
        Ok(sources)
    }

    /// Reads the signatures of one source.
    pub(super) async fn read(
        &self,
        repository: &RepositoryName,
        source: &Source,
        elsewhere: &dyn Elsewhere,
    ) -> Result<Vec<Found>, AdmissionError> {
        let Some((bytes, link)) = self.store.read_manifest(repository, &source.digest).await?
        else {
            return Ok(Vec::new());
        };
        let manifest = match Manifest::parse(&bytes, &link.media_type) {
            Ok(manifest) if bytes.len() <= MAX_MANIFEST => manifest,
            _ => return Ok(Vec::new()),
        };
        self.read_manifest(
            repository,
            &source.digest,
            &manifest,
            source.is_tag,
            elsewhere,
        )
        .await
    }

    /// Reads the signatures that a manifest holds.
    pub(super) async fn read_manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        manifest: &Manifest,
        is_tag: bool,
        elsewhere: &dyn Elsewhere,
    ) -> Result<Vec<Found>, AdmissionError> {
        let shape = if is_tag {
            Shape::of_signature_tag(manifest)
        } else {
            Shape::of_referrer(manifest)
        };
        let one = |content| {
            Ok(vec![Found {
                digest: digest.clone(),
                content,
            }])
        };
        match shape {
            Shape::None => Ok(Vec::new()),
            Shape::Malformed(family, why) => one(Content::Malformed(family, why)),
            Shape::Envelope(layer) => {
                let read = self.blob(repository, &layer, elsewhere).await?;
                one(content(Family::Notation, read, |bytes| {
                    Evidence::Envelope {
                        media_type: layer.media_type,
                        bytes,
                    }
                }))
            }
            Shape::Bundle(layer) => {
                let read = self.blob(repository, &layer, elsewhere).await?;
                one(content(Family::Cosign, read, |bytes| Evidence::Bundle {
                    media_type: layer.media_type,
                    bytes,
                }))
            }
            Shape::SimpleSigning(layers) => {
                let mut found = Vec::with_capacity(layers.len());
                for layer in layers {
                    let read = self.blob(repository, &layer, elsewhere).await?;
                    let annotations = layer.annotations.unwrap_or_default();
                    found.push(Found {
                        digest: layer.digest,
                        content: content(Family::Cosign, read, |payload| Evidence::SimpleSigning {
                            payload,
                            annotations,
                        }),
                    });
                }
                Ok(found)
            }
        }
    }

    async fn blob(
        &self,
        repository: &RepositoryName,
        blob: &Descriptor,
        elsewhere: &dyn Elsewhere,
    ) -> Result<Result<Bytes, &'static str>, AdmissionError> {
        if blob.size > MAX_BLOB {
            return Ok(Err(TOO_LARGE));
        }
        let kept = match self.store.read(repository, &blob.digest).await? {
            Some(content) if content.size > MAX_BLOB => return Ok(Err(TOO_LARGE)),
            Some(content) => {
                let collected: Result<BytesMut, _> = content.body.try_collect().await;
                let unavailable = |source| StoreError::Unavailable {
                    operation: "read a signature",
                    source: Box::new(source),
                };
                Some(collected.map_err(unavailable)?.freeze())
            }
            None => elsewhere.blob(&blob.digest, blob.size).await?,
        };
        Ok(match kept {
            Some(bytes) if blob.digest.matches(&bytes) => Ok(bytes),
            Some(_) => Err("it does not have its digest"),
            None => Err("its content is missing"),
        })
    }
}

/// The tag under which cosign's older layout keeps the signatures of `subject`.
pub(super) fn signature_tag(subject: &Digest) -> Option<Tag> {
    let tag: Tag = format!("{}-{}.sig", subject.algorithm(), subject.encoded())
        .parse()
        .ok()?;
    matches!(CompanionTag::parse(&tag), Some(CompanionTag::Cosign(_))).then_some(tag)
}

fn is_of_signature(artifact_type: Option<&str>) -> bool {
    artifact_type.is_some_and(|is| {
        is == evidence::NOTATION
            || is == evidence::COSIGN_SIGNATURE
            || is.starts_with(evidence::BUNDLE)
    })
}

fn content(
    family: Family,
    read: Result<Bytes, &'static str>,
    evidence: impl FnOnce(Bytes) -> Evidence,
) -> Content {
    match read {
        Ok(bytes) => Content::Evidence(evidence(bytes)),
        // It will not become smaller.
        Err(TOO_LARGE) => Content::Malformed(family, TOO_LARGE),
        Err(why) => Content::Unreadable(family, why),
    }
}
