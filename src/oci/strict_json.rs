//! JSON in which no object may name a key twice.
//!
//! Parsers disagree on which of two equal keys counts, so a manifest that has them would be one thing to regseal and
//! another to the registry behind. Depth is limited by `serde_json` (128).

use std::collections::BTreeSet;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor,
};

/// Reads `bytes` as one JSON value.
///
/// The keys are checked in a pass of their own that builds nothing: a tree of the whole document would cost many times
/// its length, also for the parts that `T` skips.
///
/// # Errors
/// Anything `serde_json` refuses, and a repeated key at any depth.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    Unrepeated(&RandomState::new()).deserialize(&mut deserializer)?;
    serde_json::from_slice(bytes)
}

/// Any value without repeated keys. Keys are told apart by their hashes, under a secret that nobody can make two keys
/// collide for.
#[derive(Clone, Copy)]
struct Unrepeated<'a>(&'a RandomState);

impl<'de> DeserializeSeed<'de> for Unrepeated<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unrepeated<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        while access.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(hash) = access.next_key_seed(KeyHash(self.0))? {
            if !seen.insert(hash) {
                return Err(de::Error::custom("an object names a key twice"));
            }
            access.next_value_seed(self)?;
        }
        Ok(())
    }
}

/// The hash of a key, taken where the key lies.
struct KeyHash<'a>(&'a RandomState);

impl<'de> DeserializeSeed<'de> for KeyHash<'_> {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyHash<'_> {
    type Value = u64;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<u64, E> {
        Ok(self.0.hash_one(key))
    }
}

#[cfg(test)]
mod tests {
    use serde::de::IgnoredAny;
    use serde_json::Value;

    use super::*;

    #[test]
    fn ordinary_documents_are_read_as_serde_json_reads_them() {
        for text in [
            r#"{"a":[1,-2,3.5,null,true,"x"],"b":{"c":{}},"d":{"a":{"a":0}},"":""}"#,
            r#"[{"":0},{"":0}]"#,
            "18446744073709551616",
        ] {
            assert_eq!(
                from_slice::<Value>(text.as_bytes()).unwrap(),
                serde_json::from_str::<Value>(text).unwrap()
            );
        }
    }

    #[test]
    fn ambiguous_documents_are_refused_also_where_nothing_is_read() {
        for (text, why) in [
            (r#"{"a":1,"a":1}"#, "repeated key"),
            (
                r#"{"x":[{"b":1,"\u0062":2}]}"#,
                "repeated key, one of them escaped, nested",
            ),
            (r#"{"a":1,"b":{"a":{}},"a":1}"#, "repeated behind an object"),
            (r#"{"a":1}{}"#, "two values"),
            ("", "empty"),
            (&"[".repeat(200), "too deep"),
        ] {
            assert!(from_slice::<IgnoredAny>(text.as_bytes()).is_err(), "{why}");
        }
    }
}
