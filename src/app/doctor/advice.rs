//! What follows from the capabilities: what regseal adds, what it cannot, and how it is best configured.

use http::Uri;

use super::capability::{Capability, Findings, Value};
use super::front::{Authentication, Scheme};

/// What clients and registries should both take, in bytes (distribution-spec "Pushing Manifests").
const USUAL_MANIFEST: u64 = 4 << 20;

/// Whether a sentence holds of a value.
type Holds = fn(&Value) -> bool;

/// What regseal does whatever the registry can.
const ALWAYS: [&str; 2] = [
    "a store of signatures that deletion and garbage collection in the registry do not reach",
    "verification of signatures when they are pushed, and a policy on images, where one is configured",
];

const ADDS: [(Capability, Holds, &str); 22] = [
    (
        Capability::UploadLocation,
        is_foreign,
        "upload locations on its own address, in place of those on another host",
    ),
    (
        Capability::DeleteTag,
        falls_short,
        "deletion of a tag that leaves its manifest, where manifests can be deleted",
    ),
    (
        Capability::ReferrersApi,
        lacks,
        "the Referrers API, over signatures it keeps, manifests with a subject, and fallback and cosign tags that are there",
    ),
    (
        Capability::ReferrersApi,
        has,
        "the signatures it keeps to the list of referrers that the registry has itself",
    ),
    (
        Capability::ReferrersApi,
        is_unknown,
        "the Referrers API, with the list that the registry has itself, if it has one",
    ),
    (
        Capability::Subject,
        falls_short,
        "OCI-Subject to the answer to a manifest with a subject, so that clients write no fallback tags",
    ),
    (
        Capability::Subject,
        is_unknown,
        "OCI-Subject to the answer to a manifest with a subject, if the registry lacks it",
    ),
    (
        Capability::MakesFallbackTags,
        has,
        "what is only under fallback tags of the registry to the list of referrers",
    ),
    (
        Capability::AbsentSubject,
        lacks,
        "referrers that come before their subject, which the registry refuses",
    ),
    (
        Capability::UnknownConfigTypes,
        lacks,
        "referrers with a config of an unknown type, which the registry refuses",
    ),
    (
        Capability::UnknownMediaTypes,
        lacks,
        "referrers of an unknown media type, which the registry refuses",
    ),
    (
        Capability::ArtifactManifest,
        lacks,
        "referrers that are artifact manifests, which the registry refuses",
    ),
    (
        Capability::TagPaging,
        falls_short,
        "lists of tags in pages, by n, last and Link",
    ),
    (
        Capability::TagPaging,
        is_unknown,
        "lists of tags in pages, by n, last and Link, if the registry lacks them",
    ),
    (
        Capability::InvalidDigest,
        lacks,
        "400 DIGEST_INVALID for digests that are none",
    ),
    (
        Capability::RangeUnsatisfiable,
        lacks,
        "416 with the size of the blob for a range behind its end",
    ),
    (Capability::MonolithicPost, lacks, "uploads in one POST"),
    (
        Capability::ChunkOrder,
        lacks,
        "416 for chunks that are out of order",
    ),
    (
        Capability::AnonymousMount,
        lacks,
        "mounts that do not say from where",
    ),
    (
        Capability::BlobSha512,
        lacks,
        "blobs by their sha512 digest",
    ),
    (
        Capability::ManifestSha512,
        lacks,
        "manifests by their sha512 digest",
    ),
    (
        Capability::TagParameter,
        lacks,
        "tags in the query of a push by digest, and OCI-Tag",
    ),
];

const CANNOT: [(Capability, Holds, &str); 15] = [
    (
        Capability::HidesPrivateRepositories,
        is_not_no,
        "tell a hidden repository from an absent one: where the registry shows nothing, callers who may not push get an empty list of referrers",
    ),
    (
        Capability::DeleteManifest,
        lacks,
        "delete manifests, and captured signatures with them: the registry's refusal is passed on",
    ),
    (Capability::DeleteBlob, lacks, "delete blobs"),
    (
        Capability::Mount,
        lacks,
        "mount blobs: clients upload them again",
    ),
    (Capability::ChunkedUpload, lacks, "take blobs in chunks"),
    (
        Capability::RangeRequests,
        lacks,
        "serve a part of an image's blob",
    ),
    (
        Capability::IndexWithMissingChild,
        lacks,
        "take an index that names a manifest which is not there",
    ),
    (
        Capability::UnknownConfigTypes,
        lacks,
        "take images with a config of an unknown type",
    ),
    (
        Capability::UnknownMediaTypes,
        lacks,
        "take manifests of an unknown media type that have no subject",
    ),
    (
        Capability::ArtifactManifest,
        lacks,
        "take artifact manifests that have no subject",
    ),
    (Capability::EmptyLayers, lacks, "take images without layers"),
    (
        Capability::ManifestLimit,
        is_below_usual,
        "take larger manifests than the registry does",
    ),
    (
        Capability::Redirects,
        is_elsewhere,
        "serve blobs from its own address alone: the registry sends readers to another host, which they must reach unless regseal is told to follow",
    ),
    (
        Capability::AnonymousPush,
        has,
        "keep strangers from signing: the registry lets everybody push",
    ),
    (
        Capability::Tls,
        is_clear,
        "keep the way to the registry secret: the URL is http",
    ),
];

/// What follows from what was found.
#[derive(Debug)]
pub(super) struct Advice {
    pub(super) adds: Vec<String>,
    pub(super) cannot: Vec<String>,
    /// Lines of the configuration.
    pub(super) configuration: Vec<String>,
}

impl Advice {
    pub(super) fn on(url: &Uri, authentication: &Authentication, findings: &Findings) -> Self {
        let matching = |rows: &[(Capability, Holds, &str)]| -> Vec<String> {
            let rows = rows.iter();
            let held = rows.filter(|(capability, holds, _)| holds(findings.value(*capability)));
            held.map(|(_, _, sentence)| (*sentence).to_owned())
                .collect()
        };
        // A tag is deleted by way of manifests.
        let deletes = !lacks(findings.value(Capability::DeleteManifest));
        let possible = |(capability, _, _): &&(Capability, Holds, &str)| {
            deletes || *capability != Capability::DeleteTag
        };
        let rows: Vec<_> = ADDS.iter().filter(possible).copied().collect();
        let mut adds = matching(&rows);
        adds.extend(ALWAYS.map(str::to_owned));
        Self {
            adds,
            cannot: matching(&CANNOT),
            configuration: configuration(url, authentication, findings),
        }
    }
}

fn configuration(url: &Uri, authentication: &Authentication, findings: &Findings) -> Vec<String> {
    let origin = url.to_string();
    let mut lines = vec![
        "upstream:".to_owned(),
        format!("  url: {}", origin.trim_end_matches('/')),
    ];
    lines.push(match findings.value(Capability::HidesPrivateRepositories) {
        Value::No => "  hides_private_repositories: false".to_owned(),
        Value::Unknown => {
            "  hides_private_repositories: true  # false if everybody may read every repository"
                .to_owned()
        }
        Value::Yes | Value::Number(_) | Value::Text(_) => {
            "  hides_private_repositories: true".to_owned()
        }
    });
    let realm = authentication.realm.as_deref();
    let realm_host = realm.and_then(|realm| realm.parse::<Uri>().ok());
    let is_elsewhere = |realm: &Uri| realm.host() != url.host();
    if let Some(realm) = realm_host.filter(is_elsewhere)
        && authentication.scheme == Scheme::Token
    {
        lines.push("auth:".to_owned());
        lines.push(format!("  realms: [\"{realm}\"]"));
    }
    if let Value::Number(limit) = findings.value(Capability::ManifestLimit)
        && *limit < USUAL_MANIFEST
    {
        lines.push("limits:".to_owned());
        lines.push(format!("  manifest: {limit}"));
    }
    lines
}

fn has(value: &Value) -> bool {
    *value == Value::Yes
}

fn lacks(value: &Value) -> bool {
    *value == Value::No
}

fn is_unknown(value: &Value) -> bool {
    *value == Value::Unknown
}

/// Known not to be so, or only in part.
fn falls_short(value: &Value) -> bool {
    matches!(value, Value::No | Value::Text(_))
}

fn is_not_no(value: &Value) -> bool {
    *value != Value::No
}

fn is_clear(value: &Value) -> bool {
    *value == Value::No
}

fn is_foreign(value: &Value) -> bool {
    matches!(value, Value::Text(text) if text.starts_with("foreign"))
}

fn is_elsewhere(value: &Value) -> bool {
    matches!(value, Value::Text(_))
}

fn is_below_usual(value: &Value) -> bool {
    matches!(value, Value::Number(limit) if *limit < USUAL_MANIFEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::doctor::front::Account;

    fn advice(found: &[(Capability, Value)], realm: Option<&str>) -> Advice {
        let mut findings = Findings::default();
        for (capability, value) in found {
            findings.note(*capability, value.clone(), "");
        }
        let authentication = Authentication {
            scheme: if realm.is_some() {
                Scheme::Token
            } else {
                Scheme::None
            },
            realm: realm.map(str::to_owned),
            service: None,
            account: Account::None,
            how: String::new(),
        };
        let url = "https://registry.example.com:5000/".parse().unwrap();
        Advice::on(&url, &authentication, &findings)
    }

    #[test]
    fn what_is_lacking_is_added_or_cannot_be() {
        for (capability, value, adds, cannot) in [
            (
                Capability::ReferrersApi,
                Value::No,
                "the Referrers API, over signatures",
                "",
            ),
            (
                Capability::ReferrersApi,
                Value::Yes,
                "the list of referrers that the registry has itself",
                "",
            ),
            (
                Capability::Subject,
                Value::from("said, but not listed"),
                "OCI-Subject",
                "",
            ),
            (
                Capability::TagPaging,
                Value::from("n"),
                "lists of tags in pages",
                "",
            ),
            (
                Capability::ArtifactManifest,
                Value::No,
                "referrers that are artifact",
                "that have no subject",
            ),
            (
                Capability::DeleteManifest,
                Value::No,
                "",
                "delete manifests",
            ),
            (
                Capability::ManifestLimit,
                Value::Number(1 << 20),
                "",
                "larger manifests",
            ),
            (
                Capability::UploadLocation,
                Value::from("foreign: a.example.com"),
                "upload locations on its own address",
                "",
            ),
            (Capability::DeleteTag, Value::No, "deletion of a tag", ""),
        ] {
            let without = advice(&[], None);
            let with = advice(&[(capability, value.clone())], None);
            let gains = |before: &[String], after: &[String]| -> String {
                let new = after.iter().filter(|sentence| !before.contains(sentence));
                new.map(String::as_str).collect()
            };
            let (added, lost) = (gains(&[], &with.adds), gains(&without.cannot, &with.cannot));
            assert!(added.contains(adds), "{capability:?} {value:?}: {added}");
            assert!(lost.contains(cannot), "{capability:?} {value:?}: {lost}");
            assert_eq!(
                lost.is_empty(),
                cannot.is_empty(),
                "{capability:?} {value:?}: {lost}"
            );
        }
    }

    #[test]
    fn what_was_not_asked_is_promised_on_a_condition() {
        let adds = advice(&[], None).adds;
        for (sentence, why) in [
            ("OCI-Subject", "subjects take writing"),
            ("lists of tags in pages", "pages take two tags"),
            ("the Referrers API", "it takes a repository"),
        ] {
            let found: Vec<_> = adds
                .iter()
                .filter(|added| added.starts_with(sentence))
                .collect();
            assert!(
                matches!(found.as_slice(), [one] if one.contains(", if ")),
                "{why}: {found:?}"
            );
        }
    }

    #[test]
    fn tags_are_not_deleted_where_nothing_is() {
        for (manifests, is_added) in [(Value::No, false), (Value::Yes, true)] {
            let found = [
                (Capability::DeleteTag, Value::No),
                (Capability::DeleteManifest, manifests),
            ];
            let adds = advice(&found, None).adds.join("\n");
            assert_eq!(adds.contains("deletion of a tag"), is_added, "{adds}");
        }
    }

    #[test]
    fn what_is_not_known_is_configured_as_if_it_were_dangerous() {
        let hides = Capability::HidesPrivateRepositories;
        for (value, expected) in [
            (
                Value::Unknown,
                "true  # false if everybody may read every repository",
            ),
            (Value::Yes, "true"),
            (Value::No, "false"),
        ] {
            let lines = advice(&[(hides, value)], None).configuration;
            assert_eq!(
                lines,
                [
                    "upstream:",
                    "  url: https://registry.example.com:5000",
                    &format!("  hides_private_repositories: {expected}"),
                ]
            );
        }
    }

    #[test]
    fn a_token_service_elsewhere_has_to_be_listed() {
        for (realm, is_listed) in [
            ("https://auth.example.com/token", true),
            ("https://registry.example.com/v2/token", false),
            ("no URL", false),
        ] {
            let lines = advice(&[], Some(realm)).configuration.join("\n");
            assert_eq!(lines.contains("  realms: ["), is_listed, "{lines}");
        }
        let limit = (Capability::ManifestLimit, Value::Number(256 << 10));
        let lines = advice(&[limit], None).configuration;
        assert_eq!(lines.last().unwrap(), "  manifest: 262144");
    }
}
