//! Where in S3 objects are: the bucket, and the prefix of their keys.

use std::path::Path;

use serde_json::{Value as Json, json};

use super::{Fault, Kind, Node};

/// The name of a bucket, as AWS restricts it: other services take no name that it does not.
pub(in crate::config) struct Bucket;

impl Kind for Bucket {
    type Value = String;

    fn read(&self, node: &Node, _: &Path) -> Result<String, Vec<Fault>> {
        match node.text() {
            Some(text) if is_bucket(text) => Ok(text.to_owned()),
            Some(_) | None => Err(node.unexpected(
                "the name of a bucket: 3 to 63 lower case letters, digits, dots and hyphens",
            )),
        }
    }

    fn show(&self, value: &String) -> Json {
        json!(value)
    }

    fn schema(&self) -> Json {
        json!({"type": "string", "pattern": "^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"})
    }
}

fn is_bucket(name: &str) -> bool {
    let is_label = |label: &str| {
        let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        label.starts_with(ends)
            && label.ends_with(ends)
            && label.chars().all(|c| ends(c) || c == '-')
    };
    (3..=63).contains(&name.len())
        && name.split('.').all(is_label)
        && name.parse::<std::net::Ipv4Addr>().is_err()
}

/// What the keys of a bucket begin with: names between slashes.
pub(in crate::config) struct Prefix;

/// S3 takes keys of 1024 bytes, and regseal's own may need 900 of them.
const MAX_PREFIX: usize = 120;

impl Kind for Prefix {
    type Value = String;

    fn read(&self, node: &Node, _: &Path) -> Result<String, Vec<Fault>> {
        let is_component = |component: &str| {
            !component.is_empty()
                && !component.starts_with('.')
                && component
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
        };
        let written = node.text();
        let prefix = written.map(|text| text.strip_suffix('/').unwrap_or(text));
        prefix
            .filter(|prefix| prefix.len() <= MAX_PREFIX && prefix.split('/').all(is_component))
            .map(str::to_owned)
            .ok_or_else(|| {
                node.unexpected(
                    "at most 120 letters, digits, dots, underscores and hyphens, with single slashes between names",
                )
            })
    }

    fn show(&self, value: &String) -> Json {
        json!(value)
    }

    fn schema(&self) -> Json {
        json!({"type": "string", "pattern": "^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*/?$", "maxLength": MAX_PREFIX + 1})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::Value;

    fn node(text: &str) -> Node {
        Node {
            line: 1,
            value: Value::Text(text.to_owned()),
        }
    }

    #[test]
    fn buckets_have_names_that_every_service_takes() {
        let longest = "a".repeat(63);
        for (name, valid, why) in [
            ("signatures", true, "plain"),
            ("my.signatures-1", true, "dots and hyphens"),
            (longest.as_str(), true, "63 characters"),
            ("ab", false, "too short"),
            (&"a".repeat(64), false, "too long"),
            ("Signatures", false, "upper case"),
            ("sig_natures", false, "underscore"),
            ("-signatures", false, "begins with a hyphen"),
            ("a..b", false, "an empty label"),
            ("a.-b", false, "a label that begins with a hyphen"),
            ("10.0.0.1", false, "an address"),
            ("s3://signatures", false, "a URL"),
            ("sig--euc1-az1--x-s3", true, "a directory bucket"),
        ] {
            let read = Bucket.read(&node(name), Path::new(""));
            assert_eq!(read.is_ok(), valid, "{why}: {name}");
        }
    }

    #[test]
    fn prefixes_are_names_between_slashes() {
        for (written, prefix, why) in [
            ("prod", Some("prod"), "one name"),
            ("teams/a.b_c-1", Some("teams/a.b_c-1"), "several names"),
            ("prod/", Some("prod"), "a slash at the end means the same"),
            ("/prod", None, "a slash at the beginning is part of S3 keys"),
            ("a//b", None, "an empty name"),
            ("a/../b", None, "a way up"),
            ("a b", None, "a space"),
            ("", None, "nothing"),
        ] {
            let read = Prefix.read(&node(written), Path::new("")).ok();
            assert_eq!(read.as_deref(), prefix, "{why}: {written}");
        }
    }
}
