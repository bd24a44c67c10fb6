//! Tags whose name is made from the digest of another manifest: the referrers tag schema (distribution-spec
//! "Referrers Tag Schema") and cosign's `.sig`, `.att` and `.sbom` tags (cosign `SIGNATURE_SPEC.md`).

use super::{Digest, Tag};

/// A tag that accompanies a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompanionTag {
    /// `sha256-<64 hex>`: the fallback for the Referrers API.
    Referrers(Digest),
    /// `sha512-<64 hex>`: the same, of every subject whose digest begins so.
    CutReferrers(Tag),
    /// `sha256-<64 hex>.sig|.att|.sbom`: one growing manifest of cosign 2 and older.
    Cosign(Digest),
}

impl CompanionTag {
    /// Reads the subject from the name of `tag`; `None` for any other tag.
    ///
    /// Only sha256 has an exact inverse: the schema cuts longer digests, so for those [`referrers_tag`] is compared.
    #[must_use]
    pub fn parse(tag: &Tag) -> Option<Self> {
        if let Some(encoded) = tag.as_str().strip_prefix("sha512-") {
            return is_hex(encoded, CUT).then(|| Self::CutReferrers(tag.clone()));
        }
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

/// Characters that the referrers tag schema leaves of the encoded part of a digest.
const CUT: usize = 64;

/// The tag of the referrers tag schema that `text` means, if it is one that was not cut (oras-go leaves all 128 digits
/// of a sha512 digest, which is too long for a tag).
pub(super) fn cut(text: &str) -> Option<&str> {
    let encoded = text.strip_prefix("sha512-")?;
    let excess = encoded.get(CUT..)?;
    is_hex(encoded, 2 * CUT)
        .then(|| text.strip_suffix(excess))
        .flatten()
}

fn is_hex(text: &str, length: usize) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == length && text.bytes().all(digit)
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
        part(subject.encoded(), CUT)
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
            (
                format!("sha512-{hex}"),
                Some(CompanionTag::CutReferrers(
                    format!("sha512-{hex}").parse().unwrap(),
                )),
            ),
            (format!("sha512-{}", "A".repeat(64)), None),
            (format!("sha512-{hex}0"), None),
            (format!("sha512-{hex}.sig"), None),
            ("latest".to_owned(), None),
        ] {
            assert_eq!(parse(&tag), expected, "{tag}");
        }
    }

    #[test]
    fn the_referrers_tag_of_a_long_digest_is_cut() {
        let encoded = format!("{}{}", "b".repeat(64), "c".repeat(64));
        let subject: Digest = format!("sha512:{encoded}").parse().unwrap();
        let tag = referrers_tag(&subject);
        assert_eq!(tag, format!("sha512-{}", "b".repeat(64)));
        assert_eq!(cut(&format!("sha512-{encoded}")), Some(tag.as_str()));
        for (other, why) in [
            (tag, "cut already"),
            (format!("sha512-{encoded}d"), "too long"),
            (format!("sha512-{}", "b".repeat(127)), "too short"),
            (format!("sha512-{}", encoded.to_uppercase()), "no digest"),
            (format!("sha256-{encoded}"), "of another algorithm"),
        ] {
            assert_eq!(cut(&other), None, "{why}");
        }
    }
}
