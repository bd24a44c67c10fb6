//! Marker tags: names under which what is marked as unsigned is found.

use crate::oci::tag::MAX_LENGTH;
use crate::oci::{Digest, Tag};

/// What marker tags begin with.
pub const MARKER: &str = "unsigned-";

/// How many digits of a hash stand for what a tag was cut by.
const HASH: usize = 8;

/// The marker of `tag`: `unsigned-<tag>`, or where that is too long for a tag, cut, with a hash of the whole.
#[must_use]
pub fn marker_tag(tag: &Tag) -> Tag {
    let mut text = format!("{MARKER}{tag}");
    if text.len() > MAX_LENGTH {
        let digest = Digest::sha256(tag.as_str().as_bytes());
        // Tags are ASCII, so that every length is one of whole characters.
        text.truncate(MAX_LENGTH - HASH - 1);
        text.push('-');
        text.extend(digest.encoded().chars().take(HASH));
    }
    // What begins with letters and has the characters of a tag is one; no marker would be the tag itself.
    text.parse().unwrap_or_else(|_| tag.clone())
}

/// Whether `tag` has the form of a marker.
#[must_use]
pub fn is_marker(tag: &Tag) -> bool {
    tag.as_str().starts_with(MARKER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_a_tag_of_its_own() {
        for length in [1, 118, 119, 120, 128] {
            let tag: Tag = "a".repeat(length).parse().unwrap();
            let marker = marker_tag(&tag);
            assert_ne!(marker, tag);
            assert!(is_marker(&marker) && !is_marker(&tag));
            assert_eq!(marker.as_str().len(), (length + MARKER.len()).min(128));
        }
    }

    #[test]
    fn long_tags_with_one_beginning_have_markers_of_their_own() {
        let tag = |end: &str| format!("{}{end}", "a".repeat(127)).parse().unwrap();
        let (one, other) = (marker_tag(&tag("1")), marker_tag(&tag("2")));
        assert_ne!(one, other);
        let hash = Digest::sha256(tag("1").as_str().as_bytes());
        let hash: String = hash.encoded().chars().take(8).collect();
        assert_eq!(one.as_str(), format!("unsigned-{}-{hash}", "a".repeat(110)));
    }
}
