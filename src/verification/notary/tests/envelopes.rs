//! The form of a JWS envelope and its signed attributes.

use serde_json::{Value, json};

use super::super::examine_integrity;
use super::maker::{Draft, Key, Template, p256, the_subject};
use crate::verification::evidence::JWS;
use crate::verification::{Conclusion, Verdict};

const SCHEME: &str = "io.cncf.notary.signingScheme";
const TIME: &str = "io.cncf.notary.signingTime";
const AUTHENTIC: &str = "io.cncf.notary.authenticSigningTime";
const EXPIRY: &str = "io.cncf.notary.expiry";
const PLUGIN: &str = "io.cncf.notary.verificationPlugin";

pub(super) fn examine(envelope: &[u8]) -> Verdict {
    examine_integrity(envelope, JWS, &the_subject())
}

pub(super) fn draft(key: &Key) -> Draft {
    Draft::new(key, &[Template::leaf("signer").self_signed(key)])
}

#[test]
fn signed_attributes_are_held_to_their_rules() {
    let key = p256(1);
    let base = || draft(&key);
    let untrusted = Conclusion::Untrusted;
    let invalid = Conclusion::Invalid;
    for (draft, expected, why) in [
        (base(), untrusted, "as it has to be"),
        (
            base().set("org.example.note", json!(1)),
            untrusted,
            "unknown, not critical",
        ),
        (
            base().set(TIME, json!("2025-06-01T20:00:00.5+08:00")),
            untrusted,
            "offset, fraction",
        ),
        (
            base().critical(EXPIRY, "2025-06-01T12:00:01Z"),
            untrusted,
            "later than signing",
        ),
        (
            base().by_authority("2025-06-01T12:00:00Z"),
            untrusted,
            "a signing authority",
        ),
        (
            base().set("cty", json!("application/json")),
            invalid,
            "content type",
        ),
        (base().without("cty"), invalid, "no content type"),
        (base().without("crit"), invalid, "no crit"),
        (base().set("crit", json!([])), invalid, "empty crit"),
        (
            base().set("crit", json!(SCHEME)),
            invalid,
            "crit is no list",
        ),
        (
            base().set("crit", json!([SCHEME, SCHEME])),
            invalid,
            "repeated in crit",
        ),
        (
            base().set("crit", json!([SCHEME, 1])),
            invalid,
            "a number in crit",
        ),
        (
            base().set("crit", json!([SCHEME, "absent"])),
            invalid,
            "crit names what is absent",
        ),
        (
            base().set("crit", json!([SCHEME, "alg"])),
            invalid,
            "crit names alg",
        ),
        (
            base().set("crit", json!([SCHEME, "cty"])),
            invalid,
            "crit names cty",
        ),
        (
            base().set("crit", json!([SCHEME, TIME])),
            invalid,
            "signing time is not critical",
        ),
        (
            base().set("note", json!(1)).set("crit", json!(["note"])),
            invalid,
            "the scheme is not critical",
        ),
        (
            base().critical("org.example.note", "x"),
            invalid,
            "unknown critical",
        ),
        (
            base().set(SCHEME, json!("notary.x509.other")),
            invalid,
            "unknown scheme",
        ),
        (
            base().set(SCHEME, json!(1)),
            invalid,
            "the scheme is no string",
        ),
        (base().without(TIME), invalid, "no signing time"),
        (
            base().set(TIME, json!(1_748_779_200)),
            invalid,
            "time as a number",
        ),
        (
            base().set(TIME, json!("2025-06-01 12:00:00Z")),
            invalid,
            "time with a space",
        ),
        (
            base().set(TIME, json!("2025-06-01T12:00:00")),
            invalid,
            "time without offset",
        ),
        (
            base().set(TIME, json!("20250601T120000Z")),
            invalid,
            "time in basic form",
        ),
        (
            base().set(TIME, json!("2025-06-01T12:00:60Z")),
            invalid,
            "leap second",
        ),
        (
            base().set(TIME, json!("2025-13-01T12:00:00Z")),
            invalid,
            "month 13",
        ),
        (
            base().set(TIME, json!("2025-06-01T12:00:00.Z")),
            invalid,
            "empty fraction",
        ),
        (
            base().set(TIME, json!("2025-06-01T12:00:00Z[UTC]")),
            invalid,
            "time zone name",
        ),
        (
            base().critical(AUTHENTIC, "2025-06-01T12:00:00Z"),
            invalid,
            "both times",
        ),
        (
            base()
                .by_authority("2025-06-01T12:00:00Z")
                .set(TIME, json!("2025-06-01T12:00:00Z")),
            invalid,
            "both times, of an authority",
        ),
        (
            base()
                .by_authority("2025-06-01T12:00:00Z")
                .set("crit", json!([SCHEME])),
            invalid,
            "the authority's time is not critical",
        ),
        (
            base().critical(EXPIRY, "2025-06-01T12:00:00Z"),
            invalid,
            "expires when signed",
        ),
        (
            base().critical(EXPIRY, "2025-05-01T12:00:00Z"),
            invalid,
            "expires before signed",
        ),
        (
            base().set(EXPIRY, json!("2027-06-01T12:00:00Z")),
            invalid,
            "expiry is not critical",
        ),
        (base().critical(PLUGIN, " "), invalid, "blank plugin"),
        (
            base().set(PLUGIN, json!("example")),
            invalid,
            "plugin is not critical",
        ),
        (
            base().critical("io.cncf.notary.verificationPluginMinVersion", "1.0.0"),
            invalid,
            "a version of no plugin",
        ),
        (
            base().critical(PLUGIN, "example"),
            Conclusion::Unsupported,
            "plugin",
        ),
        (
            base()
                .critical(PLUGIN, "example")
                .critical("org.example.note", "x"),
            Conclusion::Unsupported,
            "plugin with an attribute of its own",
        ),
    ] {
        let verdict = examine(&draft.sign(&key));
        assert_eq!(verdict.conclusion, expected, "{why}: {verdict:?}");
    }
    let verdict = examine(&base().critical(PLUGIN, "example").sign(&key));
    assert!(verdict.reason().unwrap().contains("example"));
}

#[test]
fn only_the_flattened_form_is_an_envelope() {
    let key = p256(1);
    let sound = draft(&key).sign(&key);
    let parsed: Value = serde_json::from_slice(&sound).unwrap();
    let text = String::from_utf8(sound).unwrap();
    let edited = |edit: &dyn Fn(&mut Value)| {
        let mut envelope = parsed.clone();
        edit(&mut envelope);
        envelope.to_string()
    };
    let field = |name: &str| parsed[name].as_str().unwrap().to_owned();
    let padded = |name: &'static str| edited(&|e| e[name] = json!(field(name) + "="));
    let compact = [field("protected"), field("payload"), field("signature")].join(".");
    let list = json!([
        parsed["payload"],
        parsed["protected"],
        parsed["header"],
        parsed["signature"]
    ]);
    for (envelope, why) in [
        (String::new(), "empty"),
        (compact, "compact"),
        (list.to_string(), "a list of the members"),
        (edited(&|e| e["signatures"] = json!([])), "general"),
        (edited(&|e| e["extra"] = json!(1)), "a member more"),
        (
            edited(&|e| drop(e.as_object_mut().unwrap().remove("header"))),
            "a member less",
        ),
        (
            edited(&|e| e["header"] = json!([e["header"]["x5c"], null])),
            "header as a list",
        ),
        (edited(&|e| e["header"] = json!({})), "no x5c"),
        (edited(&|e| e["header"]["x5c"] = json!([])), "empty x5c"),
        (
            edited(&|e| e["header"]["x5c"] = json!(["AAAA"])),
            "x5c of something else",
        ),
        (
            edited(&|e| e["header"]["x5c"] = json!(["?"])),
            "x5c not base64",
        ),
        (
            edited(&|e| e["header"]["x5c"] = json!(vec![e["header"]["x5c"][0].clone(); 17])),
            "x5c too long",
        ),
        (
            edited(&|e| e["header"]["io.cncf.notary.timestampSignature"] = json!(1)),
            "timestamp",
        ),
        (padded("payload"), "padded payload"),
        (padded("protected"), "padded header"),
        (padded("signature"), "padded signature"),
        (
            edited(&|e| e["signature"] = json!(field("signature") + "\n")),
            "white space",
        ),
        (edited(&|e| e["signature"] = json!("")), "empty signature"),
        (text.replacen('{', r#"{"payload":"","#, 1), "a member twice"),
        (
            text.replacen("\"x5c\"", r#""x5c":[],"x5c""#, 1),
            "x5c twice",
        ),
        (text.clone() + "{}", "something behind"),
        (" ".repeat(1024 * 1024) + &text, "too long"),
    ] {
        let verdict = examine(envelope.as_bytes());
        assert_eq!(
            verdict.conclusion,
            Conclusion::Invalid,
            "{why}: {verdict:?}"
        );
    }
    let ignored = edited(&|e| {
        e["header"]["io.cncf.notary.signingAgent"] = json!({"any": 1});
        e["header"]["X5C"] = json!("other");
    });
    assert_eq!(
        examine(ignored.as_bytes()).conclusion,
        Conclusion::Untrusted
    );
}

#[test]
fn signed_texts_must_be_unambiguous() {
    let key = p256(1);
    let draft = draft(&key);
    let protected = Value::Object(draft.protected.clone()).to_string();
    let payload = draft.payload.to_string();
    for (protected, payload, why) in [
        (
            protected.replacen('{', r#"{"alg":"ES256","#, 1),
            payload.clone(),
            "header: a name twice",
        ),
        ("[]".to_owned(), payload.clone(), "header: no object"),
        ("x".to_owned(), payload.clone(), "header: no JSON"),
        (protected.clone(), String::new(), "payload: empty"),
        (protected.clone(), "[]".to_owned(), "payload: no object"),
        (
            protected.clone(),
            r#"{"targetArtifact":["a","sha256:aa",1]}"#.to_owned(),
            "payload: list",
        ),
        (
            protected.clone(),
            payload.replace("\"size\":8", "\"size\":-8"),
            "payload: negative size",
        ),
        (
            protected.clone(),
            payload.replace("\"size\":8", "\"size\":8,\"size\":8"),
            "payload: a name twice",
        ),
        (
            protected.clone(),
            payload.replace("sha256:", "sha256-"),
            "payload: no digest",
        ),
    ] {
        let verdict = examine(&draft.sign_text(&key, &protected, &payload));
        assert_eq!(
            verdict.conclusion,
            Conclusion::Invalid,
            "{why}: {verdict:?}"
        );
    }
    let more = payload.replacen('{', r#"{"other":{"a":1},"#, 1);
    let verdict = examine(&draft.sign_text(&key, &protected, &more));
    assert_eq!(verdict.conclusion, Conclusion::Untrusted);
}
