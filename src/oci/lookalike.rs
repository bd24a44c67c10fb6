//! Tells a manifest that is asked for as a blob from other blobs.
//!
//! Registries and clients are written in languages whose JSON parsers take keys in any case, and fold a few letters
//! beyond ASCII into it. What any of them would read as a manifest has to count as one here.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

/// Whether some parser would take `bytes` for a manifest: a JSON object with one of the fields that only manifests
/// have. In what is no JSON by the book such a field counts wherever it stands.
#[must_use]
pub fn is_like_a_manifest(bytes: &[u8]) -> bool {
    let mut fields = Fields::default();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    if deserializer.deserialize_map(Walk(&mut fields)).is_err() {
        // Other parsers go on where this one ends: at bytes that are no Unicode, or at half a character.
        fields.search(bytes);
    }
    fields.is_manifest()
}

/// The fields of manifests that were seen, in lower case.
#[derive(Debug, Default)]
struct Fields(BTreeSet<&'static str>);

const OF_MANIFESTS: [&str; 7] = [
    "schemaversion",
    "manifests",
    "fslayers",
    "layers",
    "blobs",
    "config",
    "subject",
];

impl Fields {
    fn see(&mut self, key: &str) {
        let key = folded(key);
        self.0
            .extend(OF_MANIFESTS.iter().find(|field| **field == key));
    }

    fn has(&self, any_of: &[&str]) -> bool {
        any_of.iter().any(|field| self.0.contains(field))
    }

    /// Sees every key, and perhaps more, of what could not be read.
    fn search(&mut self, bytes: &[u8]) {
        let text = unescaped(&String::from_utf8_lossy(bytes));
        for quoted in text.split('"') {
            self.see(quoted);
        }
    }

    fn is_manifest(&self) -> bool {
        self.has(&["schemaversion", "manifests", "fslayers"])
            || (self.has(&["layers", "blobs"]) && self.has(&["config", "subject"]))
            || (self.has(&["config"]) && self.has(&["subject"]))
    }
}

/// Lower case, with the two letters beyond ASCII that simple case folding maps into it.
pub(super) fn folded(key: &str) -> String {
    key.chars()
        .map(|letter| match letter {
            '\u{17f}' => 's',
            '\u{212a}' => 'k',
            other => other.to_ascii_lowercase(),
        })
        .collect()
}

/// The text with its escapes of four digits replaced, wherever they are.
fn unescaped(text: &str) -> String {
    let mut parts = text.split("\\u");
    let mut unescaped = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let letter = part
            .get(..4)
            .and_then(|digits| u32::from_str_radix(digits, 16).ok());
        match (letter, part.get(4..)) {
            (Some(letter), Some(rest)) => {
                unescaped.push(char::from_u32(letter).unwrap_or(char::REPLACEMENT_CHARACTER));
                unescaped.push_str(rest);
            }
            _ => unescaped.push_str(part),
        }
    }
    unescaped
}

struct Walk<'a>(&'a mut Fields);

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            self.0.see(&key);
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_other_parsers_read_further_is_searched() {
        for (bytes, expected, why) in [
            (
                b"{\"\xff\":0,\"schemaVersion\":2}".as_slice(),
                true,
                "no Unicode",
            ),
            (
                br#"{"\ud800":0,"schemaVersion":2}"#,
                true,
                "half a character",
            ),
            (
                br#"{"\ud800":0,"\u0073chemaVersion":2}"#,
                true,
                "and an escape",
            ),
            (
                br#"{"\ud800":0,"layers":[],"CONFIG":{}}"#,
                true,
                "two fields",
            ),
            (br#"{"\ud800":0,"layers":[]}"#, false, "one of two fields"),
            (
                br#"{"config":{},"subject":{}}"#,
                true,
                "a referrer without layers",
            ),
            (b"{{ template }}", false, "a template"),
        ] {
            assert_eq!(is_like_a_manifest(bytes), expected, "{why}");
        }
    }

    #[test]
    fn whatever_some_parser_takes_for_a_manifest_is_one() {
        for (bytes, expected, why) in [
            (r#"{"schemaVersion":2,"config":{}}"#, true, "an image"),
            (r#"{"manifests":[]}"#, true, "an index without a version"),
            (
                r#"{"layers":[],"config":{}}"#,
                true,
                "an image without a version",
            ),
            (r#"{"fsLayers":[]}"#, true, "schema 1"),
            (r#"{"blobs":[],"subject":{}}"#, true, "an artifact"),
            (r#" {"SCHEMAVERSION":2}"#, true, "another case"),
            (r#"{"\u0073chemaVersion":2}"#, true, "an escaped letter"),
            ("{\"\u{17f}chemaVersion\":2}", true, "a letter that folds"),
            (r#"{"a":1,"schemaVersion":2,"#, true, "broken off"),
            (r#"{"a":1,"a":2,"schemaVersion":2}"#, true, "a repeated key"),
            (
                r#"{"architecture":"amd64","config":{},"rootfs":{}}"#,
                false,
                "an image configuration",
            ),
            (r#"{"critical":{"image":{}}}"#, false, "a payload"),
            (r#"{"nested":{"schemaVersion":2}}"#, false, "not at the top"),
            ("{}", false, "nothing"),
            ("[]", false, "a list"),
            ("\u{1f}\u{8b}", false, "an archive"),
        ] {
            assert_eq!(is_like_a_manifest(bytes.as_bytes()), expected, "{why}");
        }
    }
}
