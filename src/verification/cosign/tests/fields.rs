//! Every member of what is accepted: to change it changes the verdict, or it is named here as passed over.

use super::*;

/// What `value` is after each change of one place, with a name for the change.
fn changes(value: &Value) -> Vec<(String, Value)> {
    let mut changes = Vec::new();
    for pointer in pointers(value) {
        let place = value.pointer(&pointer).unwrap();
        let named = |change: &str| format!("{pointer} {change}");
        let mut others = match place {
            Value::Null => vec![(named("set"), json!({"new": 1}))],
            Value::Bool(_) | Value::Number(_) => vec![(named("changed"), json!("other"))],
            Value::String(text) => {
                vec![
                    (named("changed"), json!(format!("{text}0"))),
                    (named("in upper case"), json!(text.to_uppercase())),
                ]
            }
            Value::Array(items) => {
                let more = [&items[..], &[json!({"new": 1})]].concat();
                vec![(named("longer"), json!(more))]
            }
            Value::Object(members) => {
                let mut more = members.clone();
                more.insert("new".to_owned(), json!(1));
                let values: Vec<_> = members.values().collect();
                let mut others = vec![
                    (named("with a new member"), json!(more)),
                    (named("as a list"), json!(values)),
                ];
                for member in members.keys() {
                    let mut fewer = members.clone();
                    fewer.remove(member);
                    others.push((format!("{pointer}/{member} removed"), json!(fewer)));
                }
                others
            }
        };
        others.push((named("of another type"), json!(7)));
        others.retain(|(_, other)| other != place);
        for (name, other) in others {
            let mut changed = value.clone();
            *changed.pointer_mut(&pointer).unwrap() = other;
            changes.push((name, changed));
        }
    }
    changes
}

pub(super) fn pointers(value: &Value) -> Vec<String> {
    let children: Vec<(String, &Value)> = match value {
        Value::Array(items) => {
            let numbered = items.iter().enumerate();
            numbered.map(|(at, item)| (at.to_string(), item)).collect()
        }
        Value::Object(members) => members
            .iter()
            .map(|(name, member)| (name.clone(), member))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    let mut found = vec![String::new()];
    for (name, child) in children {
        let below = pointers(child).into_iter();
        found.extend(below.map(|below| format!("/{name}{below}")));
    }
    found
}

/// The changes that left the verdict *valid*.
fn passed_over(value: &Value, verdict: impl Fn(&Value) -> Verdict) -> Vec<String> {
    assert_eq!(verdict(value).conclusion, Conclusion::Valid);
    let changes = changes(value);
    assert!(changes.len() > 15, "only {} changes", changes.len());
    let mut passed_over: Vec<_> = changes
        .into_iter()
        .filter(|(_, changed)| verdict(changed).conclusion == Conclusion::Valid)
        .map(|(name, _)| name)
        .collect();
    passed_over.sort();
    passed_over
}

#[test]
fn of_a_bundle_only_what_belongs_to_logs_and_hints_is_passed_over() {
    let signer = Signer::p256();
    let key = signer.key();
    let bundle = signer.bundle(&statement(&image()));
    let expected = [
        "/dsseEnvelope/signatures/0/keyid changed",
        "/dsseEnvelope/signatures/0/keyid of another type",
        "/dsseEnvelope/signatures/0/keyid removed",
        "/verificationMaterial/publicKey with a new member",
        "/verificationMaterial/publicKey/hint changed",
        "/verificationMaterial/publicKey/hint in upper case",
        "/verificationMaterial/publicKey/hint of another type",
        "/verificationMaterial/publicKey/hint removed",
        "/verificationMaterial/timestampVerificationData removed",
        "/verificationMaterial/timestampVerificationData/rfc3161Timestamps longer",
        "/verificationMaterial/timestampVerificationData/rfc3161Timestamps removed",
        "/verificationMaterial/tlogEntries longer",
        "/verificationMaterial/tlogEntries removed",
    ];
    assert_eq!(
        passed_over(&bundle, |bundle| verified(bundle, &image(), &key)),
        expected
    );
    let message = signer.message(b"the image");
    let expected = [
        "/verificationMaterial/publicKey with a new member",
        "/verificationMaterial/publicKey/hint changed",
        "/verificationMaterial/publicKey/hint in upper case",
        "/verificationMaterial/publicKey/hint of another type",
        "/verificationMaterial/publicKey/hint removed",
    ];
    assert_eq!(
        passed_over(&message, |bundle| verified(bundle, &image(), &key)),
        expected
    );
}

#[test]
fn nothing_that_is_signed_is_passed_over() {
    let signer = Signer::p256();
    let key = signer.key();
    let signed = signer.bundle(&statement(&image()));
    let expected: [&str; 0] = [];
    let envelope = |statement: &Value| {
        let mut bundle = signed.clone();
        bundle["dsseEnvelope"]["payload"] = json!(encode(statement.to_string().as_bytes()));
        verified(&bundle, &image(), &key)
    };
    assert_eq!(passed_over(&statement(&image()), envelope), expected);

    let annotations = signer.annotations(payload(&image()).to_string().as_bytes());
    let simple = |payload: &Value| {
        let payload = payload.to_string();
        verify_simple(payload.as_bytes(), &annotations, &about(&image()), &key)
    };
    assert_eq!(passed_over(&payload(&image()), simple), expected);
}

/// What the holder of the key may write as they like.
#[test]
fn of_what_the_key_signs_only_names_and_remarks_are_passed_over() {
    let signer = Signer::p256();
    let key = signer.key();
    let envelope = |statement: &Value| verified(&signer.bundle(statement), &image(), &key);
    let expected = [
        " with a new member",
        "/predicate as a list",
        "/predicate of another type",
        "/predicate removed",
        "/predicate with a new member",
        "/subject longer",
        "/subject/0 with a new member",
        "/subject/0/annotations as a list",
        "/subject/0/annotations of another type",
        "/subject/0/annotations removed",
        "/subject/0/annotations with a new member",
        "/subject/0/annotations/commit changed",
        "/subject/0/annotations/commit in upper case",
        "/subject/0/annotations/commit of another type",
        "/subject/0/annotations/commit removed",
    ];
    assert_eq!(passed_over(&statement(&image()), envelope), expected);

    let simple = |payload: &Value| {
        let payload = payload.to_string().into_bytes();
        let annotations = signer.annotations(&payload);
        verify_simple(&payload, &annotations, &about(&image()), &key)
    };
    let expected = [
        "/critical/identity/docker-reference changed",
        "/critical/identity/docker-reference in upper case",
        "/optional removed",
        "/optional set",
    ];
    assert_eq!(passed_over(&payload(&image()), simple), expected);
}
