//! Descriptors (image-spec `descriptor.md`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Digest;

/// A descriptor as regseal reads and writes it. Annotations are ordered, so that equal lists have equal bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Media type of the content.
    #[serde(default)]
    pub media_type: String,
    /// Digest of the content.
    pub digest: Digest,
    /// Length of the content in bytes.
    #[serde(default)]
    pub size: u64,
    /// Type of the artifact when the content is a manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Annotations; for a referrer those of its manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}
