//! Whom a statement trusts: anchors, types of stores, identities.

use serde_json::json;

use super::maker::{Draft, Template, p256, subject};
use super::verdicts::{END_MILLIS, judge, leaf};
use super::{NOW, at_level, statement, stores};
use crate::clock::UnixMillis;
use crate::verification::Conclusion;

#[test]
fn a_signing_authority_vouches_for_the_time() {
    let key = p256(1);
    let certificate = leaf(&key);
    let stores = stores(&[
        ("ca:it", &certificate),
        ("signingAuthority:it", &certificate),
    ]);
    let late = UnixMillis::new(END_MILLIS + 1);
    for (signed_at, store, expected, why) in [
        (
            "2025-06-01T12:00:00Z",
            "signingAuthority:it",
            Conclusion::Valid,
            "then valid",
        ),
        (
            "2023-06-01T12:00:00Z",
            "signingAuthority:it",
            Conclusion::Untrusted,
            "not yet valid",
        ),
        (
            "2031-06-01T12:00:00Z",
            "signingAuthority:it",
            Conclusion::Untrusted,
            "no longer valid",
        ),
        (
            "2025-06-01T12:00:00Z",
            "ca:it",
            Conclusion::Untrusted,
            "a store of another type",
        ),
    ] {
        let draft = Draft::new(&key, std::slice::from_ref(&certificate)).by_authority(signed_at);
        let statement = at_level("strict", &[store]);
        let verdict = judge(&draft.sign(&key), &statement, &stores, late);
        assert_eq!(verdict.conclusion, expected, "{why}: {verdict:?}");
        assert_eq!(verdict.valid_until, None, "{why}");
    }
}

#[test]
fn any_certificate_of_the_chain_can_be_the_anchor() {
    let keys = [p256(1), p256(2), p256(3)];
    let (middle, root) = (Template::authority("middle"), Template::authority("root"));
    let chain = [
        Template::leaf("signer").issued_by(&keys[0], &middle, &keys[1]),
        middle.issued_by(&keys[1], &root, &keys[2]),
        root.self_signed(&keys[2]),
    ];
    let envelope = Draft::new(&keys[0], &chain).sign(&keys[0]);
    let twin = Template {
        not_after: "290101000000Z",
        ..root
    }
    .self_signed(&keys[2]);
    for (anchor, listed, expected, why) in [
        (&chain[2], "ca:it", Conclusion::Valid, "root"),
        (&chain[1], "ca:it", Conclusion::Valid, "intermediate"),
        (
            &chain[2],
            "ca:other",
            Conclusion::Untrusted,
            "a store that is not there",
        ),
        (
            &twin,
            "ca:it",
            Conclusion::Untrusted,
            "same key and name, other bytes",
        ),
    ] {
        let verdict = judge(
            &envelope,
            &at_level("strict", &[listed]),
            &stores(&[("ca:it", anchor)]),
            NOW,
        );
        assert_eq!(verdict.conclusion, expected, "{why}");
        assert_eq!(verdict.identity.as_deref(), Some("CN=signer"));
    }
}

#[test]
fn the_leaf_must_have_every_attribute_that_an_identity_lists() {
    let key = p256(1);
    let (c, st, o, ou) = ("2.5.4.6", "2.5.4.8", "2.5.4.10", "2.5.4.11");
    let usual = [(c, "US"), (st, "WA"), (o, "Acme, Inc"), (ou, "a")];
    let twice = [&usual[..], &[(ou, "b")]].concat();
    let mail = [&usual[..], &[("1.2.840.113549.1.9.1", "a@b.c")]].concat();
    for (attributes, identities, trusted, why) in [
        (&usual[..], json!(["*"]), true, "anyone"),
        (
            &usual[..],
            json!([r"x509.subject: C=US, ST=WA, O=Acme\, Inc"]),
            true,
            "a subset",
        ),
        (
            &usual[..],
            json!([r"x509.subject: O=Acme\2c Inc;S=WA;C=US;OU=a"]),
            true,
            "all, reordered",
        ),
        (
            &usual[..],
            json!([r"x509.subject: C=US,ST=WA,O=acme\, inc"]),
            false,
            "another case",
        ),
        (
            &usual[..],
            json!([r"x509.subject: C=US,ST=WA,O=Acme\, Inc,CN=x"]),
            false,
            "one more",
        ),
        (
            &usual[..],
            json!(["other.kind: C=US"]),
            false,
            "of no known kind",
        ),
        (
            &usual[..],
            json!([
                "x509.subject: C=DE,ST=WA,O=x",
                r"x509.subject: C=US,ST=WA,O=Acme\, Inc"
            ]),
            true,
            "the second",
        ),
        (
            &usual[..3],
            json!([r"x509.subject: C=US,ST=WA,O=Acme\, Inc,OU=a"]),
            false,
            "lacks OU",
        ),
        (
            &usual[1..],
            json!([r"x509.subject: C=US,ST=WA,O=Acme\, Inc"]),
            false,
            "lacks C",
        ),
        (
            &twice[..],
            json!([r"x509.subject: C=US,ST=WA,O=Acme\, Inc,OU=b"]),
            true,
            "a type twice",
        ),
        (
            &mail[..],
            json!([r"x509.subject: C=US,ST=WA,O=Acme\, Inc"]),
            true,
            "a type more",
        ),
    ] {
        let template = Template {
            subject: subject(attributes),
            ..Template::leaf("")
        };
        let certificate = template.self_signed(&key);
        let envelope = Draft::new(&key, std::slice::from_ref(&certificate)).sign(&key);
        let statement = statement(json!({"trustedIdentities": identities}));
        let verdict = judge(
            &envelope,
            &statement,
            &stores(&[("ca:it", &certificate)]),
            NOW,
        );
        assert_eq!(
            verdict.conclusion == Conclusion::Valid,
            trusted,
            "{why}: {verdict:?}"
        );
    }
}
