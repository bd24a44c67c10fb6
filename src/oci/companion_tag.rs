//! Tags whose name is made from the digest of another manifest: the referrers tag schema (distribution-spec
//! "Referrers Tag Schema") and cosign's `.sig`, `.att` and `.sbom` tags (cosign `SIGNATURE_SPEC.md`).

use super::{Digest, Tag};

/// A tag that accompanies a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompanionTag {
    /// `sha256-<64 hex>`: the fallback for the Referrers API.
    Referrers(Digest),
    /// `sha256-<64 hex>.sig|.att|.sbom`: one growing manifest of cosign 2 and older.
    Cosign(Digest),
}

impl CompanionTag {
    /// Reads the subject from the name of `tag`; `None` for any other tag.
    ///
    /// Only sha256 has an exact inverse: the schema cuts longer digests, so for those [`referrers_tag`] is compared.
    #[must_use]
    pub fn parse(tag: &Tag) -> Option<Self> {
        let encoded = tag.as_str().strip_prefix("sha256-")?;
        let (encoded, suffix) = encoded
            .split_once('.')
            .map_or((encoded, None), |(hex, suffix)| (hex, Some(suffix)));
        let subject: Digest = format!("sha256:{encoded}").parse().ok()?;
        match suffix {
            None => Some(Self::Referrers(subject)),
            Some("sig" | "att" | "sbom") => Some(Self::Cosign(subject)),
            Some(_) => None,
        }
    }
}

/// The tag of the referrers tag schema for `subject`: algorithm cut to 32 characters, encoded part to 64, characters
/// that a tag cannot have replaced by `-`.
#[must_use]
pub fn referrers_tag(subject: &Digest) -> String {
    let part = |text: &str, length: usize| -> String {
        text.chars()
            .take(length)
            .map(|c| {
                if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') {
                    c
                } else {
                    '-'
                }
            })
            .collect()
    };
    format!(
        "{}-{}",
        part(subject.algorithm(), 32),
        part(subject.encoded(), 64)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(tag: &str) -> Option<CompanionTag> {
        CompanionTag::parse(&tag.parse().unwrap())
    }

    #[test]
    fn companion_tags_are_told_from_other_tags() {
        let hex = "0".repeat(64);
        let subject: Digest = format!("sha256:{hex}").parse().unwrap();
        for (tag, expected) in [
            (
                format!("sha256-{hex}"),
                Some(CompanionTag::Referrers(subject.clone())),
            ),
            (
                format!("sha256-{hex}.sig"),
                Some(CompanionTag::Cosign(subject.clone())),
            ),
            (
                format!("sha256-{hex}.att"),
                Some(CompanionTag::Cosign(subject.clone())),
            ),
            (
                format!("sha256-{hex}.sbom"),
                Some(CompanionTag::Cosign(subject)),
            ),
            (format!("sha256-{hex}.other"), None),
            (format!("sha256-{hex}.sig.sig"), None),
            (format!("sha256-{}", "A".repeat(64)), None),
            ("sha256-abc.sig".to_owned(), None),
            (format!("sha512-{hex}"), None),
            ("latest".to_owned(), None),
        ] {
            assert_eq!(parse(&tag), expected, "{tag}");
        }
    }

    #[test]
    fn the_referrers_tag_of_a_long_digest_is_cut() {
        let subject: Digest = format!("sha512:{}", "b".repeat(128)).parse().unwrap();
        assert_eq!(
            referrers_tag(&subject),
            format!("sha512-{}", "b".repeat(64))
        );
    }
}
