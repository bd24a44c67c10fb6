//! Levels, overrides, times, stores and identities: what becomes of a sound envelope.

use serde_json::json;

use super::super::{Statement, TrustStores, verify};
use super::maker::{Draft, Key, MANIFEST, SUBJECT, Template, extension, p256, the_subject, tlv};
use super::{NOW, at_level, outcome, statement, stores};
use crate::clock::UnixMillis;
use crate::oci::Digest;
use crate::verification::evidence::{COSE, JWS};
use crate::verification::{CheckName, Conclusion, Outcome, Subject, Verdict};

/// 2026-06-01T00:00:00Z.
const EXPIRY: &str = "2026-06-01T00:00:00Z";
const EXPIRY_MILLIS: u64 = 1_780_272_000_000;
/// 2030-01-01T00:00:00Z, the end of what the maker makes.
pub(super) const END_MILLIS: u64 = 1_893_456_000_000;

pub(super) fn judge(
    envelope: &[u8],
    statement: &Statement,
    stores: &TrustStores,
    now: UnixMillis,
) -> Verdict {
    verify(envelope, JWS, &the_subject(), statement, stores, now)
}

pub(super) fn leaf(key: &Key) -> Vec<u8> {
    Template::leaf("signer").self_signed(key)
}

#[test]
fn the_payload_must_be_about_the_subject() {
    let key = p256(1);
    let certificate = leaf(&key);
    let stores = stores(&[("ca:it", &certificate)]);
    let envelope = Draft::new(&key, &[certificate]).sign(&key);
    let other = Digest::sha256(b"other");
    let digest = &*SUBJECT;
    for (digest, media_type, size, expected, why) in [
        (
            digest,
            Some(MANIFEST),
            Some(8),
            Conclusion::Valid,
            "all the same",
        ),
        (
            digest,
            None,
            None,
            Conclusion::Valid,
            "the manifest was not seen",
        ),
        (
            &other,
            Some(MANIFEST),
            Some(8),
            Conclusion::Invalid,
            "another digest",
        ),
        (
            &other,
            None,
            None,
            Conclusion::Invalid,
            "another digest, not seen",
        ),
        (
            digest,
            Some("text/plain"),
            Some(8),
            Conclusion::Invalid,
            "another media type",
        ),
        (
            digest,
            Some(MANIFEST),
            Some(9),
            Conclusion::Invalid,
            "another size",
        ),
    ] {
        let subject = Subject {
            digest,
            media_type,
            size,
        };
        let verdict = verify(
            &envelope,
            JWS,
            &subject,
            &at_level("audit", &["ca:it"]),
            &stores,
            NOW,
        );
        assert_eq!(verdict.conclusion, expected, "{why}");
        let failed = verdict.checks.first().unwrap();
        assert_eq!(failed.name, CheckName::Binding, "{why}");
        assert_eq!(
            failed.outcome == Outcome::Failed,
            expected == Conclusion::Invalid,
            "{why}"
        );
    }
    let verdict = verify(
        &envelope,
        COSE,
        &the_subject(),
        &at_level("strict", &["ca:it"]),
        &stores,
        NOW,
    );
    assert_eq!(verdict.conclusion, Conclusion::Unsupported);
}

#[test]
fn a_broken_envelope_is_invalid_at_every_level_that_verifies() {
    let key = p256(1);
    let certificate = leaf(&key);
    let stores = stores(&[("ca:it", &certificate)]);
    let envelope = Draft::new(&key, &[certificate]).sign(&p256(2));
    for level in ["strict", "permissive", "audit"] {
        let verdict = judge(&envelope, &at_level(level, &["ca:it"]), &stores, NOW);
        assert_eq!(verdict.conclusion, Conclusion::Invalid, "{level}");
        assert_eq!(verdict.checks.len(), 1);
        assert_eq!(verdict.identity, None, "what is not proven is not named");
    }
}

#[test]
fn a_statement_that_skips_trusts_nobody() {
    let key = p256(1);
    let envelope = Draft::new(&key, &[leaf(&key)]).sign(&key);
    let skip = statement(json!({
        "registryScopes": ["registry.example/a"],
        "signatureVerification": {"level": "skip"},
        "trustStores": [],
        "trustedIdentities": [],
    }));
    let verdict = judge(&envelope, &skip, &TrustStores::default(), NOW);
    assert_eq!(verdict.conclusion, Conclusion::Untrusted);
    assert!(verdict.reason().unwrap().contains("skip"));
}

/// An envelope for which one check fails, with stores that trust its signer unless that check is authenticity.
fn failing(check: CheckName) -> (Vec<u8>, TrustStores, UnixMillis) {
    let (leaf_key, root_key) = (p256(1), p256(2));
    let root = Template::authority("root");
    let mut leaf = Template::leaf("signer");
    if check == CheckName::Revocation {
        leaf = leaf.and(extension("2.5.29.31", false, &tlv(0x30, &[])));
    }
    if check == CheckName::AuthenticTimestamp {
        leaf.not_after = "250701000000Z";
    }
    let chain = [
        leaf.issued_by(&leaf_key, &root, &root_key),
        root.self_signed(&root_key),
    ];
    let mut draft = Draft::new(&leaf_key, &chain);
    if check == CheckName::Expiry {
        draft = draft.critical("io.cncf.notary.expiry", "2025-12-01T00:00:00Z");
    }
    let trusted = if check == CheckName::Authenticity {
        Template::authority("other").self_signed(&p256(3))
    } else {
        chain[1].clone()
    };
    (draft.sign(&leaf_key), stores(&[("ca:it", &trusted)]), NOW)
}

#[test]
fn levels_and_overrides_decide_what_a_failed_check_means() {
    let (enforced, logged) = (Some("enforce"), Some("log"));
    for (name, check, undecided) in [
        ("authenticity", CheckName::Authenticity, false),
        ("expiry", CheckName::Expiry, false),
        ("authenticTimestamp", CheckName::AuthenticTimestamp, false),
        ("revocation", CheckName::Revocation, true),
    ] {
        let (envelope, stores, now) = failing(check);
        let is_identity = check == CheckName::Authenticity;
        for (level, action, is_enforced) in [
            ("strict", None, true),
            ("strict", logged, false),
            ("permissive", None, is_identity),
            ("permissive", enforced, true),
            ("permissive", logged, false),
            ("audit", None, false),
            ("audit", enforced, true),
        ] {
            let mut verification = json!({"level": level});
            if let Some(action) = action {
                verification["override"] = json!({name: action});
            }
            let statement = statement(json!({"signatureVerification": verification}));
            let verdict = judge(&envelope, &statement, &stores, now);
            let why = format!("{name} at {level} with {action:?}: {verdict:?}");
            let (conclusion, expected) = match (is_enforced, undecided) {
                (true, true) => (Conclusion::Undetermined, Outcome::Undetermined),
                (true, false) => (Conclusion::Untrusted, Outcome::Failed),
                (false, _) if is_identity => (Conclusion::Untrusted, Outcome::Logged),
                (false, _) => (Conclusion::Valid, Outcome::Logged),
            };
            assert_eq!(verdict.conclusion, conclusion, "{why}");
            assert_eq!(outcome(&verdict, check), Some(expected), "{why}");
            if is_enforced {
                assert_eq!(
                    verdict.checks.last().unwrap().name,
                    check,
                    "the last one: {why}"
                );
            } else {
                assert_eq!(verdict.checks.len(), 6, "all were made: {why}");
            }
        }
    }
    let (envelope, stores, now) = failing(CheckName::Revocation);
    let skipped = statement(json!({
        "signatureVerification": {"level": "strict", "override": {"revocation": "skip"}},
    }));
    let verdict = judge(&envelope, &skipped, &stores, now);
    assert_eq!(verdict.conclusion, Conclusion::Valid);
    assert_eq!(
        outcome(&verdict, CheckName::Revocation),
        Some(Outcome::Skipped)
    );
}

#[test]
fn a_verdict_ends_with_what_it_rests_on() {
    let key = p256(1);
    let certificate = leaf(&key);
    let stores = stores(&[("ca:it", &certificate)]);
    let lasting = Draft::new(&key, std::slice::from_ref(&certificate));
    let ending = lasting.clone().critical("io.cncf.notary.expiry", EXPIRY);
    let end = END_MILLIS + 1;
    let at = UnixMillis::new;
    let (valid, untrusted) = (Conclusion::Valid, Conclusion::Untrusted);
    for (draft, level, now, expected, until, why) in [
        (&lasting, "strict", NOW, valid, Some(end), "the certificate"),
        (
            &ending,
            "strict",
            NOW,
            valid,
            Some(EXPIRY_MILLIS),
            "the expiry, which is earlier",
        ),
        (
            &ending,
            "permissive",
            NOW,
            valid,
            None,
            "nothing that depends on time is enforced",
        ),
        (
            &ending,
            "strict",
            at(EXPIRY_MILLIS - 1),
            valid,
            Some(EXPIRY_MILLIS),
            "just before",
        ),
        (
            &ending,
            "strict",
            at(EXPIRY_MILLIS),
            untrusted,
            None,
            "at its expiry it has expired",
        ),
        (
            &lasting,
            "strict",
            at(END_MILLIS),
            valid,
            Some(end),
            "the last instant is included",
        ),
        (
            &lasting,
            "strict",
            at(END_MILLIS + 1),
            untrusted,
            None,
            "the certificate has expired",
        ),
        (
            &lasting,
            "strict",
            at(1_600_000_000_000),
            untrusted,
            Some(1_704_067_200_000),
            "until the certificate is valid",
        ),
    ] {
        let verdict = judge(
            &draft.sign(&key),
            &at_level(level, &["ca:it"]),
            &stores,
            now,
        );
        assert_eq!(verdict.conclusion, expected, "{why}: {verdict:?}");
        assert_eq!(verdict.valid_until, until.map(UnixMillis::new), "{why}");
    }
}

#[test]
fn a_countersignature_is_asked_for_as_the_statement_says() {
    let key = p256(1);
    let certificate = leaf(&key);
    let authority = Template::authority("tsa").self_signed(&p256(9));
    let stores = stores(&[("ca:it", &certificate), ("tsa:it", &authority)]);
    let without = Draft::new(&key, std::slice::from_ref(&certificate));
    let mut with = without.clone();
    with.header.insert(
        "io.cncf.notary.timestampSignature".to_owned(),
        json!("aW52YWxpZA=="),
    );
    let late = UnixMillis::new(END_MILLIS + 1);
    let (always, after) = ("always", "afterCertExpiry");
    for (draft, when, listed, now, expected, why) in [
        (
            &without,
            always,
            false,
            NOW,
            Conclusion::Valid,
            "no store: valid now",
        ),
        (
            &with,
            always,
            false,
            late,
            Conclusion::Untrusted,
            "no store: a token proves nothing",
        ),
        (
            &without,
            always,
            true,
            NOW,
            Conclusion::Untrusted,
            "missing",
        ),
        (
            &with,
            always,
            true,
            NOW,
            Conclusion::Undetermined,
            "there, not verified",
        ),
        (
            &without,
            after,
            true,
            NOW,
            Conclusion::Valid,
            "not needed yet",
        ),
        (
            &with,
            after,
            true,
            NOW,
            Conclusion::Valid,
            "not looked at yet",
        ),
        (
            &without,
            after,
            true,
            late,
            Conclusion::Untrusted,
            "needed and missing",
        ),
        (
            &with,
            after,
            true,
            late,
            Conclusion::Undetermined,
            "needed, not verified",
        ),
    ] {
        let mut listed_stores = vec!["ca:it"];
        listed_stores.extend(listed.then_some("tsa:it"));
        let statement = statement(json!({
            "signatureVerification": {"level": "strict", "verifyTimestamp": when},
            "trustStores": listed_stores,
        }));
        let verdict = judge(&draft.sign(&key), &statement, &stores, now);
        assert_eq!(verdict.conclusion, expected, "{why}: {verdict:?}");
    }
}
