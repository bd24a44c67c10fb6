//! The `.sig` layout.

use super::*;

fn with(pointer: &str, value: Value) -> Vec<u8> {
    let mut payload = payload(&image());
    *payload.pointer_mut(pointer).unwrap() = value;
    payload.to_string().into_bytes()
}

#[test]
fn a_signature_by_the_key_is_valid() {
    let signer = Signer::p256();
    let key = signer.key();
    let optional = json!({"creator": "someone", "timestamp": 1_700_000_000, "tag": {"a": []}});
    for (why, payload) in [
        ("optional null", with("/optional", Value::Null)),
        ("optional empty", with("/optional", json!({}))),
        ("optional with annotations", with("/optional", optional)),
        (
            "a name with a tag, as skopeo writes it",
            with(
                "/critical/identity/docker-reference",
                json!("example.com/app:1"),
            ),
        ),
        (
            "no name",
            with("/critical/identity/docker-reference", json!("")),
        ),
        (
            "white space",
            format!(" {:#}\n", payload(&image())).into_bytes(),
        ),
    ] {
        let verdict = verify_simple(
            &payload,
            &signer.annotations(&payload),
            &about(&image()),
            &key,
        );
        assert_eq!(verdict.conclusion, Conclusion::Valid, "{why}: {verdict:?}");
        assert_eq!(
            verdict.identity.as_deref(),
            Some(key.fingerprint()),
            "{why}"
        );
        assert_eq!(verdict.valid_until, None, "{why}");
        assert_eq!(verdict.reason(), None, "{why}");
    }
}

#[test]
fn a_payload_that_contradicts_its_claim_is_invalid_although_it_is_signed() {
    let signer = Signer::p256();
    let other = Digest::sha256(b"another image");
    let upper = image()
        .to_string()
        .to_uppercase()
        .replace("SHA256", "sha256");
    let twice = payload(&image()).to_string();
    let twice = twice.replacen("\"optional\":null", "\"optional\":null,\"optional\":{}", 1);
    let mut unknown = payload(&image());
    unknown["critical"]["image"]["size"] = json!(1);
    let mut outer = payload(&image());
    outer["extra"] = json!(1);
    for (why, payload, expected) in [
        (
            "another image",
            payload(&other).to_string().into_bytes(),
            "binding: the payload is about sha256:",
        ),
        (
            "digits in upper case",
            with("/critical/image/docker-manifest-digest", json!(upper)),
            "binding: ",
        ),
        (
            "only the digits",
            with(
                "/critical/image/docker-manifest-digest",
                json!(image().encoded()),
            ),
            "binding: ",
        ),
        (
            "no digest",
            with("/critical/image/docker-manifest-digest", json!("")),
            "binding: ",
        ),
        (
            "a digest that is no text",
            with(
                "/critical/image/docker-manifest-digest",
                json!([image().as_str()]),
            ),
            "integrity: the payload is malformed",
        ),
        (
            "the type of OpenPGP signatures",
            with("/critical/type", json!("atomic container signature")),
            "integrity: the payload's critical.type is atomic",
        ),
        (
            "optional text",
            with("/optional", json!("x")),
            "integrity: ",
        ),
        ("optional list", with("/optional", json!([])), "integrity: "),
        (
            "nothing critical",
            with("/critical", json!({})),
            "integrity: ",
        ),
        ("member twice", twice.into_bytes(), "names a key twice"),
        (
            "critical member unknown",
            unknown.to_string().into_bytes(),
            "unknown field",
        ),
        (
            "member unknown",
            outer.to_string().into_bytes(),
            "unknown field",
        ),
        ("a list", b"[]".to_vec(), "integrity: "),
        ("empty", Vec::new(), "integrity: "),
        ("no text", vec![0xff; 8], "integrity: "),
        (
            "cut",
            payload(&image()).to_string().into_bytes()[..40].to_vec(),
            "integrity: ",
        ),
        (
            "two values",
            format!("{0}{0}", payload(&image())).into_bytes(),
            "integrity: ",
        ),
    ] {
        let annotations = signer.annotations(&payload);
        let verdict = verify_simple(&payload, &annotations, &about(&image()), &signer.key());
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
        let examined = examine_simple(&payload, &annotations, &about(&image()));
        assert_eq!(examined, verdict, "{why}: the same without a key");
    }
}

#[test]
fn a_signature_that_is_none_is_invalid() {
    let signer = Signer::p256();
    let key = signer.key();
    let payload = payload(&image()).to_string().into_bytes();
    for (why, annotations, conclusion, expected) in [
        (
            "absent",
            BTreeMap::new(),
            Conclusion::Invalid,
            "no annotation",
        ),
        ("empty", annotated(""), Conclusion::Invalid, "empty"),
        (
            "white space",
            annotated(" "),
            Conclusion::Invalid,
            "no base64",
        ),
        (
            "line ends alone",
            annotated("\r\n"),
            Conclusion::Invalid,
            "empty",
        ),
        (
            "no padding",
            annotated("AAA"),
            Conclusion::Invalid,
            "no base64",
        ),
        (
            "not canonical",
            annotated("AB=="),
            Conclusion::Invalid,
            "no base64",
        ),
        (
            "URL alphabet",
            annotated("__--"),
            Conclusion::Invalid,
            "no base64",
        ),
        (
            "longer than any signature",
            annotated(&"A".repeat(4000)),
            Conclusion::Unsupported,
            "longer than",
        ),
    ] {
        let verdict = verify_simple(&payload, &annotations, &about(&image()), &key);
        assert_eq!(verdict.conclusion, conclusion, "{why}: {verdict:?}");
        assert!(
            told(&verdict).contains(expected),
            "{why}: {}",
            told(&verdict)
        );
    }
}

#[test]
fn a_signature_may_be_broken_into_lines() {
    let signer = Signer::rsa(KeySize::Rsa2048, &engine::RSA_PKCS1_SHA256);
    let payload = payload(&image()).to_string().into_bytes();
    let signature = signer.sign_base64(&payload);
    for end in ["\n", "\r\n"] {
        let (first, second) = signature.split_at(64);
        let annotations = annotated(&format!("{first}{end}{second}{end}"));
        let verdict = verify_simple(&payload, &annotations, &about(&image()), &signer.key());
        assert_eq!(verdict.conclusion, Conclusion::Valid, "{verdict:?}");
    }
}

fn annotated(signature: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(SIGNATURE.to_owned(), signature.to_owned())])
}

#[test]
fn a_signature_of_another_key_or_other_bytes_is_untrusted() {
    let signer = Signer::p256();
    let key = signer.key();
    let payload = payload(&image()).to_string().into_bytes();
    let other_bytes = [&payload[..], b" "].concat();
    for (why, annotations) in [
        ("another key", Signer::p256().annotations(&payload)),
        ("another algorithm", Signer::ed25519().annotations(&payload)),
        ("other bytes", signer.annotations(&other_bytes)),
        ("no signature of any kind", annotated("AAAA")),
    ] {
        let verdict = verify_simple(&payload, &annotations, &about(&image()), &key);
        let expected = format!(
            "untrusted: authenticity: not made with the key {}",
            key.fingerprint()
        );
        assert_eq!(told(&verdict), expected, "{why}");
        assert_eq!(verdict.identity, None, "{why}");
    }
}

#[test]
fn annotations_of_other_ways_to_verify_are_passed_over() {
    let signer = Signer::p256();
    let payload = payload(&image()).to_string().into_bytes();
    let mut annotations = signer.annotations(&payload);
    for name in ["certificate", "chain", "bundle", "rfc3161timestamp"] {
        annotations.insert(format!("dev.sigstore.cosign/{name}"), " \n{".to_owned());
    }
    let verdict = verify_simple(&payload, &annotations, &about(&image()), &signer.key());
    assert_eq!(verdict.conclusion, Conclusion::Valid);
}

#[test]
fn a_payload_is_read_up_to_its_bound() {
    let signer = Signer::p256();
    for (longer, conclusion) in [(0, Conclusion::Valid), (1, Conclusion::Unsupported)] {
        let mut payload = payload(&image()).to_string().into_bytes();
        payload.resize(1024 * 1024 + longer, b' ');
        let annotations = signer.annotations(&payload);
        let verdict = verify_simple(&payload, &annotations, &about(&image()), &signer.key());
        assert_eq!(verdict.conclusion, conclusion);
    }
}

#[test]
fn without_a_key_a_sound_signature_is_untrusted() {
    let signer = Signer::p256();
    let payload = payload(&image()).to_string().into_bytes();
    let verdict = examine_simple(&payload, &signer.annotations(&payload), &about(&image()));
    assert_eq!(verdict.conclusion, Conclusion::Untrusted);
    let checks: Vec<_> = verdict
        .checks
        .iter()
        .map(|check| (check.name, check.outcome))
        .collect();
    assert_eq!(
        checks,
        [
            (CheckName::Binding, Outcome::Passed),
            (CheckName::Integrity, Outcome::Skipped),
            (CheckName::Authenticity, Outcome::Skipped),
        ]
    );
}
