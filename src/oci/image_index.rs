//! Image indexes that regseal writes: answers of the Referrers API (distribution-spec "Listing Referrers").

use super::Descriptor;

const BEGIN: &str =
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":["#;
const END: &str = "]}";

/// An image index over `manifests`, in their order, as JSON.
#[must_use]
pub fn encode<'a>(manifests: impl IntoIterator<Item = &'a Descriptor>) -> Vec<u8> {
    let mut index = Encoder::new(usize::MAX);
    for descriptor in manifests {
        index.push(descriptor);
    }
    index.finish()
}

/// An image index that is written descriptor by descriptor, up to a length.
#[derive(Debug)]
pub struct Encoder {
    limit: usize,
    bytes: Vec<u8>,
    is_empty: bool,
}

impl Encoder {
    /// An index that is to have at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            bytes: BEGIN.into(),
            is_empty: true,
        }
    }

    /// Adds a descriptor; `false` if it has no room. The first one is added in any case: behind one that is left out
    /// for its length alone, no other could be read.
    pub fn push(&mut self, descriptor: &Descriptor) -> bool {
        let before = self.bytes.len();
        if !self.is_empty {
            self.bytes.push(b',');
        }
        let written = serde_json::to_writer(&mut self.bytes, descriptor);
        let is_full = self.bytes.len().saturating_add(END.len()) > self.limit && !self.is_empty;
        if written.is_err() || is_full {
            self.bytes.truncate(before);
            return false;
        }
        self.is_empty = false;
        true
    }

    /// The index as JSON.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(END.as_bytes());
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{Digest, media_type};

    fn descriptor(text: &str) -> Descriptor {
        Descriptor {
            media_type: "m".to_owned(),
            digest: Digest::sha256(text.as_bytes()),
            size: 1,
            artifact_type: None,
            annotations: None,
        }
    }

    #[test]
    fn an_index_is_the_json_of_its_descriptors() {
        let all = ["a", "b"].map(descriptor);
        for some in [&all[..0], &all[..1], &all] {
            let read: serde_json::Value = serde_json::from_slice(&encode(some)).unwrap();
            let expected = serde_json::json!({
                "schemaVersion": 2,
                "mediaType": media_type::IMAGE_INDEX,
                "manifests": some,
            });
            assert_eq!(read, expected);
        }
    }

    #[test]
    fn an_index_is_as_full_as_its_limit_allows_and_never_without_its_first() {
        let all = ["a", "b", "c"].map(descriptor);
        let length = |count: usize| encode(&all[..count]).len();
        for (limit, expected) in [
            (length(3), 3),
            (length(3) - 1, 2),
            (length(2), 2),
            (length(2) - 1, 1),
            (0, 1),
        ] {
            let mut index = Encoder::new(limit);
            let pushed = all.iter().take_while(|one| index.push(one)).count();
            assert_eq!(pushed, expected, "{limit}");
            assert_eq!(index.finish(), encode(&all[..expected]), "{limit}");
        }
    }
}
