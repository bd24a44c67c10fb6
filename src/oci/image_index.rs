//! Image indexes that regseal writes: answers of the Referrers API (distribution-spec "Listing Referrers").

use serde::Serialize;

use super::{Descriptor, media_type};

/// An image index over `manifests`, in their order, as JSON.
#[must_use]
pub fn encode(manifests: &[Descriptor]) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Index<'a> {
        schema_version: u8,
        media_type: &'static str,
        manifests: &'a [Descriptor],
    }
    let index = Index {
        schema_version: 2,
        media_type: media_type::IMAGE_INDEX,
        manifests,
    };
    serde_json::to_vec(&index).unwrap_or_default()
}

/// Bytes of [`encode`] for an empty list.
pub const EMPTY_LENGTH: usize =
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#
        .len();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_index_has_an_empty_array() {
        let bytes = encode(&[]);
        assert_eq!(bytes.len(), EMPTY_LENGTH);
        assert!(
            String::from_utf8(bytes)
                .unwrap()
                .ends_with(r#""manifests":[]}"#)
        );
    }
}
