//! Bundles.

use super::*;

const OLD: &str = "application/vnd.dev.sigstore.bundle+json;version=0.3";

/// The bundle of a good signature with one place changed, the signature made for what is there.
fn with(signer: &Signer, pointer: &str, value: Value) -> Value {
    let mut statement = statement(&image());
    match statement.pointer_mut(pointer) {
        Some(place) => *place = value,
        None => statement[pointer.trim_start_matches('/')] = value,
    }
    signer.bundle(&statement)
}

/// The same, with the bundle changed around the signature.
fn around(signer: &Signer, pointer: &str, value: Value) -> Value {
    let mut bundle = signer.bundle(&statement(&image()));
    let (parent, member) = pointer.rsplit_once('/').unwrap();
    bundle.pointer_mut(parent).unwrap()[member] = value;
    bundle
}

fn without(mut value: Value, parent: &str, member: &str) -> Value {
    let parent = value.pointer_mut(parent).unwrap();
    parent.as_object_mut().unwrap().remove(member).unwrap();
    value
}

#[test]
fn a_signature_by_the_key_is_valid() {
    let signer = Signer::p256();
    let key = signer.key();
    let other = json!({"digest": {"sha256": "00"}});
    let ours = json!({"name": "app", "digest": {"sha1": "00", "sha256": image().encoded()}});
    for (why, bundle) in [
        ("as cosign 3 writes it", signer.bundle(&statement(&image()))),
        (
            "no predicate, as cosign 3.0.0 to 3.0.4 wrote it",
            signer.bundle(&without(statement(&image()), "", "predicate")),
        ),
        (
            "statement v0.1",
            with(
                &signer,
                "/_type",
                json!("https://in-toto.io/Statement/v0.1"),
            ),
        ),
        (
            "several subjects, ours among them",
            with(&signer, "/subject", json!([other, ours, {"uri": "x"}])),
        ),
        (
            "a member that the statement does not define",
            with(&signer, "/more", json!({"a": 1})),
        ),
        (
            "the version as it was written at first",
            around(&signer, "/mediaType", json!(OLD)),
        ),
        (
            "a certificate, which is not believed",
            around(
                &signer,
                "/verificationMaterial",
                json!({"certificate": {"rawBytes": "AA=="}, "tlogEntries": [{}]}),
            ),
        ),
        (
            "what protobuf writes for nothing",
            around(&signer, "/messageSignature", Value::Null),
        ),
        (
            "no key id",
            without(
                signer.bundle(&statement(&image())),
                "/dsseEnvelope/signatures/0",
                "keyid",
            ),
        ),
    ] {
        let verdict = verified(&bundle, &image(), &key);
        assert_eq!(verdict.conclusion, Conclusion::Valid, "{why}: {verdict:?}");
        assert_eq!(
            verdict.identity.as_deref(),
            Some(key.fingerprint()),
            "{why}"
        );
        let bytes = bundle.to_string();
        let examined = examine_bundle(bytes.as_bytes(), BUNDLE, &about(&image()));
        assert_eq!(
            examined.conclusion,
            Conclusion::Untrusted,
            "{why}: without a key"
        );
    }
    let bytes = signer.bundle(&statement(&image())).to_string();
    let verdict = verify_bundle(bytes.as_bytes(), OLD, &about(&image()), &key);
    assert_eq!(verdict.conclusion, Conclusion::Valid);
}

#[test]
fn a_bundle_that_contradicts_its_claim_is_invalid() {
    let signer = Signer::p256();
    let good = || signer.bundle(&statement(&image()));
    let sig = good()["dsseEnvelope"]["signatures"][0].clone();
    let digits = image().encoded().to_owned();
    let message = signer.message(b"the image")["messageSignature"].clone();
    let chain = json!({"x509CertificateChain": {"certificates": []}});
    let both_materials = json!({"publicKey": {}, "certificate": {}});
    for (why, bundle, expected) in [
        (
            "about another image",
            signer.bundle(&statement(&Digest::sha256(b"another image"))),
            "binding: no subject of the statement is sha256:",
        ),
        (
            "the digits under another algorithm",
            with(&signer, "/subject", json!([{"digest": {"sha512": digits}}])),
            "binding: ",
        ),
        (
            "the digits with their algorithm, where digits are expected",
            with(&signer, "/subject/0/digest/sha256", json!(image().as_str())),
            "binding: ",
        ),
        (
            "no subject",
            with(&signer, "/subject", json!([])),
            "binding: ",
        ),
        (
            "a subject without digest",
            with(&signer, "/subject", json!([{"name": digits}])),
            "binding: ",
        ),
        (
            "no predicate type",
            signer.bundle(&without(statement(&image()), "", "predicateType")),
            "the statement is malformed: missing field",
        ),
        (
            "no signature",
            around(&signer, "/dsseEnvelope/signatures", json!([])),
            "exactly one signature, this one has 0",
        ),
        (
            "two signatures",
            around(&signer, "/dsseEnvelope/signatures", json!([sig, sig])),
            "exactly one signature, this one has 2",
        ),
        (
            "an empty signature",
            around(&signer, "/dsseEnvelope/signatures", json!([{"sig": ""}])),
            "empty",
        ),
        (
            "a signature that is no base64",
            around(&signer, "/dsseEnvelope/signatures", json!([{"sig": "AA"}])),
            "no base64",
        ),
        (
            "a payload that is no base64",
            around(&signer, "/dsseEnvelope/payload", json!("AA=\n=")),
            "payload is no base64",
        ),
        (
            "both contents",
            around(&signer, "/messageSignature", message),
            "both an envelope and a message signature",
        ),
        (
            "no content",
            without(good(), "", "dsseEnvelope"),
            "neither an envelope nor",
        ),
        (
            "no material",
            around(&signer, "/verificationMaterial", json!({})),
            "either a public key or a certificate",
        ),
        (
            "two materials",
            around(&signer, "/verificationMaterial", both_materials),
            "either a public key or a certificate",
        ),
        (
            "a certificate chain, which version 0.3 does not have",
            around(&signer, "/verificationMaterial", chain),
            "unknown field",
        ),
        (
            "a member unknown",
            around(&signer, "/more", json!(1)),
            "unknown field",
        ),
        (
            "no media type",
            without(good(), "", "mediaType"),
            "missing field `mediaType`",
        ),
    ] {
        let verdict = verified(&bundle, &image(), &signer.key());
        assert_eq!(
            verdict.conclusion,
            Conclusion::Invalid,
            "{why}: {verdict:?}"
        );
        assert!(
            told(&verdict).contains(expected),
            "{why}: {}",
            told(&verdict)
        );
        let bytes = bundle.to_string();
        let examined = examine_bundle(bytes.as_bytes(), BUNDLE, &about(&image()));
        assert_eq!(examined, verdict, "{why}: the same without a key");
    }

    let good = good().to_string();
    let twice = good.replacen('{', &format!("{{\"mediaType\":\"{BUNDLE}\","), 1);
    for (why, bytes) in [
        ("a member twice", twice.as_bytes()),
        ("cut", &good.as_bytes()[..good.len() - 1]),
        ("two values", format!("{good}{good}").as_bytes()),
        ("empty", b"".as_slice()),
        ("too deep", "[".repeat(100_000).as_bytes()),
    ] {
        let verdict = verify_bundle(bytes, BUNDLE, &about(&image()), &signer.key());
        assert_eq!(
            verdict.conclusion,
            Conclusion::Invalid,
            "{why}: {verdict:?}"
        );
    }
}

#[test]
fn a_format_that_is_not_known_is_unsupported() {
    let signer = Signer::p256();
    let good = signer.bundle(&statement(&image())).to_string();
    for media_type in [
        "text/plain",
        "application/vnd.dev.sigstore.bundle+json;version=0.1",
        "application/vnd.dev.sigstore.bundle+json;version=0.2",
        "application/vnd.dev.sigstore.bundle.v0.4+json",
        "application/vnd.dev.sigstore.bundle.v0.3",
        "",
    ] {
        let layer = verify_bundle(good.as_bytes(), media_type, &about(&image()), &signer.key());
        assert_eq!(
            layer.conclusion,
            Conclusion::Unsupported,
            "layer {media_type}"
        );
        // Nothing but the version is known of it.
        let inside = json!({"mediaType": media_type, "unknown": {}});
        let inside = verified(&inside, &image(), &signer.key());
        assert_eq!(
            inside.conclusion,
            Conclusion::Unsupported,
            "{media_type} inside"
        );
    }
    for (why, bundle) in [
        (
            "payload type",
            around(&signer, "/dsseEnvelope/payloadType", json!("text/plain")),
        ),
        (
            "statement type",
            with(&signer, "/_type", json!("https://in-toto.io/Statement/v2")),
        ),
    ] {
        let verdict = verified(&bundle, &image(), &signer.key());
        assert_eq!(
            verdict.conclusion,
            Conclusion::Unsupported,
            "{why}: {verdict:?}"
        );
    }
}

#[test]
fn an_attestation_is_no_signature_although_the_key_made_it() {
    let signer = Signer::p256();
    for predicate_type in [
        "https://slsa.dev/provenance/v1",
        "https://spdx.dev/Document",
        "https://sigstore.dev/cosign/sign/v2",
        "https://sigstore.dev/cosign/sign/v1/",
        "",
    ] {
        let bundle = with(&signer, "/predicateType", json!(predicate_type));
        let verdict = verified(&bundle, &image(), &signer.key());
        assert_eq!(
            told(&verdict),
            format!(
                "unsupported: authenticity: an attestation of {predicate_type}, not a signature"
            )
        );
    }
    let hostile = format!("a\u{1b}[2J\r\n\u{202e}{}", "x".repeat(100_000));
    let bundle = with(&signer, "/predicateType", json!(hostile));
    let told = told(&verified(&bundle, &image(), &signer.key()));
    assert!(
        told.len() < 400 && told.chars().all(|c| !c.is_control() && c != '\u{202e}'),
        "{told}"
    );
}

#[test]
fn a_signature_of_another_key_or_other_bytes_is_untrusted() {
    let signer = Signer::p256();
    let other = Signer::p256().bundle(&statement(&image()));
    let certificate = {
        let mut bundle = other.clone();
        bundle["verificationMaterial"] = json!({"certificate": {"rawBytes": "AA=="}});
        bundle
    };
    let payload = encode(format!("{} ", statement(&image())).as_bytes());
    // What DSSE signs is not the payload alone.
    let bare = signer.sign_base64(statement(&image()).to_string().as_bytes());
    for (why, bundle) in [
        ("another key", other),
        ("a certificate, signed by another key", certificate),
        (
            "other bytes",
            around(&signer, "/dsseEnvelope/payload", json!(payload)),
        ),
        (
            "signed without its type",
            around(&signer, "/dsseEnvelope/signatures/0/sig", json!(bare)),
        ),
    ] {
        let told = told(&verified(&bundle, &image(), &signer.key()));
        let expected = "untrusted: authenticity: not made with the key sha256:";
        assert!(told.starts_with(expected), "{why}: {told}");
    }
}

#[test]
fn a_bundle_is_read_up_to_its_bounds() {
    let signer = Signer::p256();
    let material = |entries: usize, timestamps: usize| {
        let timestamps = json!({"rfc3161Timestamps": vec![json!({}); timestamps]});
        json!({
            "publicKey": {},
            "tlogEntries": vec![json!({}); entries],
            "timestampVerificationData": timestamps,
        })
    };
    let crowd = |number: usize, digests: usize| {
        let other = (1..digests).map(|number| (format!("x{number}"), json!("0")));
        let digest: serde_json::Map<_, _> =
            std::iter::once(("sha256".to_owned(), json!(image().encoded())))
                .chain(other)
                .collect();
        with(
            &signer,
            "/subject",
            json!(vec![json!({"digest": digest}); number]),
        )
    };
    let materials = |entries, timestamps| {
        around(
            &signer,
            "/verificationMaterial",
            material(entries, timestamps),
        )
    };
    for (why, within, beyond) in [
        ("log entries", materials(32, 0), materials(33, 0)),
        ("timestamps", materials(0, 32), materials(0, 33)),
        ("subjects", crowd(1024, 1), crowd(1025, 1)),
        ("digests", crowd(1, 32), crowd(1, 33)),
    ] {
        let within = verified(&within, &image(), &signer.key());
        assert_eq!(within.conclusion, Conclusion::Valid, "{why}: {within:?}");
        let beyond = verified(&beyond, &image(), &signer.key());
        assert_eq!(
            beyond.conclusion,
            Conclusion::Unsupported,
            "{why}: {beyond:?}"
        );
    }
    for (longer, conclusion) in [(0, Conclusion::Valid), (1, Conclusion::Unsupported)] {
        let mut bytes = signer.bundle(&statement(&image())).to_string().into_bytes();
        bytes.resize(8 * 1024 * 1024 + longer, b' ');
        let verdict = verify_bundle(&bytes, BUNDLE, &about(&image()), &signer.key());
        assert_eq!(verdict.conclusion, conclusion);
    }
}
