//! What is asked about a registry, and what has been found.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

/// A property of a registry, in the order of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Capability {
    HttpVersion,
    Tls,
    CatchAll,
    AnonymousPull,
    AnonymousPush,
    HidesPrivateRepositories,
    ReferrersApi,
    Subject,
    AbsentSubject,
    MakesFallbackTags,
    TagPaging,
    AcceptNeeded,
    InvalidDigest,
    RangeRequests,
    RangeUnsatisfiable,
    Redirects,
    UploadLocation,
    MonolithicPost,
    ChunkedUpload,
    ChunkOrder,
    CancelUpload,
    Mount,
    AnonymousMount,
    BlobSha512,
    ManifestSha512,
    TagParameter,
    ManifestLimit,
    UnknownConfigTypes,
    UnknownMediaTypes,
    EmptyLayers,
    ArtifactManifest,
    IndexWithMissingChild,
    DeleteTag,
    DeleteManifest,
    DeleteBlob,
    LeftBehind,
}

/// What a question needs before it can be asked.
#[derive(Clone, Copy, Debug)]
enum Needs {
    Nothing,
    Repository,
    Scratch,
}

impl Needs {
    fn how(self) -> &'static str {
        match self {
            Self::Nothing => "not asked",
            Self::Repository => {
                "not asked: it takes a repository with an image that can be read; name one with --repository"
            }
            Self::Scratch => "not asked: it takes writing; name a repository with --scratch",
        }
    }
}

const ALL: [(Capability, &str, Needs); 36] = [
    (Capability::HttpVersion, "http_version", Needs::Nothing),
    (Capability::Tls, "tls", Needs::Nothing),
    (Capability::CatchAll, "catch_all", Needs::Nothing),
    (
        Capability::AnonymousPull,
        "anonymous_pull",
        Needs::Repository,
    ),
    (Capability::AnonymousPush, "anonymous_push", Needs::Scratch),
    (
        Capability::HidesPrivateRepositories,
        "hides_private_repositories",
        Needs::Nothing,
    ),
    (Capability::ReferrersApi, "referrers_api", Needs::Nothing),
    (Capability::Subject, "subject", Needs::Scratch),
    (Capability::AbsentSubject, "absent_subject", Needs::Scratch),
    (
        Capability::MakesFallbackTags,
        "makes_fallback_tags",
        Needs::Scratch,
    ),
    (Capability::TagPaging, "tag_paging", Needs::Repository),
    (Capability::AcceptNeeded, "accept_needed", Needs::Repository),
    (Capability::InvalidDigest, "invalid_digest", Needs::Nothing),
    (
        Capability::RangeRequests,
        "range_requests",
        Needs::Repository,
    ),
    (
        Capability::RangeUnsatisfiable,
        "range_unsatisfiable",
        Needs::Repository,
    ),
    (Capability::Redirects, "redirects", Needs::Repository),
    (
        Capability::UploadLocation,
        "upload_location",
        Needs::Scratch,
    ),
    (
        Capability::MonolithicPost,
        "monolithic_post",
        Needs::Scratch,
    ),
    (Capability::ChunkedUpload, "chunked_upload", Needs::Scratch),
    (Capability::ChunkOrder, "chunk_order", Needs::Scratch),
    (Capability::CancelUpload, "cancel_upload", Needs::Scratch),
    (Capability::Mount, "mount", Needs::Scratch),
    (
        Capability::AnonymousMount,
        "anonymous_mount",
        Needs::Scratch,
    ),
    (Capability::BlobSha512, "blob_sha512", Needs::Scratch),
    (
        Capability::ManifestSha512,
        "manifest_sha512",
        Needs::Scratch,
    ),
    (Capability::TagParameter, "tag_parameter", Needs::Scratch),
    (Capability::ManifestLimit, "manifest_limit", Needs::Scratch),
    (
        Capability::UnknownConfigTypes,
        "unknown_config_types",
        Needs::Scratch,
    ),
    (
        Capability::UnknownMediaTypes,
        "unknown_media_types",
        Needs::Scratch,
    ),
    (Capability::EmptyLayers, "empty_layers", Needs::Scratch),
    (
        Capability::ArtifactManifest,
        "artifact_manifest",
        Needs::Scratch,
    ),
    (
        Capability::IndexWithMissingChild,
        "index_with_missing_child",
        Needs::Scratch,
    ),
    (Capability::DeleteTag, "delete_tag", Needs::Scratch),
    (
        Capability::DeleteManifest,
        "delete_manifest",
        Needs::Scratch,
    ),
    (Capability::DeleteBlob, "delete_blob", Needs::Scratch),
    (Capability::LeftBehind, "left_behind", Needs::Scratch),
];

/// What a capability comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Yes,
    No,
    Number(u64),
    Text(String),
    Unknown,
}

/// A value, and what it was told by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) value: Value,
    pub(super) how: String,
}

/// All that has been found.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings(BTreeMap<Capability, Finding>);

impl Findings {
    /// The latest word on a capability counts.
    pub(super) fn note(
        &mut self,
        capability: Capability,
        value: impl Into<Value>,
        how: impl Into<String>,
    ) {
        let (value, how) = (value.into(), how.into());
        self.0.insert(capability, Finding { value, how });
    }

    /// Says of all that takes writing, and is not known, why it was not asked.
    pub(super) fn without_scratch(&mut self, why: &str) {
        self.without(|needs| matches!(needs, Needs::Scratch), why);
    }

    /// Says of all that takes an image to read, and is not known, why it was not asked.
    pub(super) fn without_image(&mut self, why: &str) {
        self.without(|needs| matches!(needs, Needs::Repository), why);
    }

    /// Says of all that takes neither writing nor an image, and is not known, why it was not asked.
    pub(super) fn without_answers(&mut self, why: &str) {
        self.without(|needs| matches!(needs, Needs::Nothing), why);
    }

    fn without(&mut self, is_meant: impl Fn(Needs) -> bool, why: &str) {
        for (capability, _, needs) in ALL {
            if is_meant(needs) && !self.0.contains_key(&capability) {
                self.note(capability, Value::Unknown, why);
            }
        }
    }

    pub(super) fn value(&self, capability: Capability) -> &Value {
        let found = self.0.get(&capability);
        found.map_or(&Value::Unknown, |finding| &finding.value)
    }

    /// Every capability with its name, also those that nothing was found out about.
    pub(super) fn all(&self) -> impl Iterator<Item = (&'static str, Finding)> {
        ALL.into_iter().map(|(capability, name, needs)| {
            let unknown = || Finding {
                value: Value::Unknown,
                how: needs.how().to_owned(),
            };
            (
                name,
                self.0.get(&capability).cloned().unwrap_or_else(unknown),
            )
        })
    }
}

impl Value {
    /// For people.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Yes => "yes".to_owned(),
            Self::No => "no".to_owned(),
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
            Self::Unknown => "?".to_owned(),
        }
    }
}

impl From<bool> for Value {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Yes => serializer.serialize_bool(true),
            Self::No => serializer.serialize_bool(false),
            Self::Number(number) => serializer.serialize_u64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Unknown => serializer.serialize_str("unknown"),
        }
    }
}
