//! in-toto statements: which subjects they are about, and of which type they are.
//!
//! in-toto attestation framework, Statement v1 and v0.1. Members that are not defined are passed over, as it demands.
//! The predicate of `cosign sign` says nothing, and is absent in bundles of cosign 3.0.0 to 3.0.4.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::claim::{Refusal, quoted};
use super::object::Object;
use crate::oci::{Digest, strict_json};

/// Predicate type of what `cosign sign` writes.
const COSIGN_SIGN: &str = "https://sigstore.dev/cosign/sign/v1";
const TYPES: [&str; 2] = [
    "https://in-toto.io/Statement/v1",
    "https://in-toto.io/Statement/v0.1",
];
const MAX_SUBJECTS: usize = 1024;
const MAX_DIGESTS: usize = 32;

#[derive(Deserialize)]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Object<Described>>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
}

#[derive(Deserialize)]
struct Described {
    #[serde(default)]
    digest: BTreeMap<String, String>,
}

/// What a statement is about `digest`.
pub(super) enum Kind {
    /// The statement of `cosign sign`.
    Signature,
    /// One of this predicate type.
    Attestation(String),
}

/// Reads a statement, which has to name `digest` among its subjects.
pub(super) fn read(statement: &[u8], digest: &Digest) -> Result<Kind, Refusal> {
    let Object(statement): Object<Statement> = strict_json::from_slice(statement)
        .map_err(|error| Refusal::Form(format!("the statement is malformed: {}", quoted(error))))?;
    if !TYPES.contains(&statement.kind.as_str()) {
        return Err(Refusal::Unsupported(format!(
            "a statement of type {}",
            quoted(&statement.kind)
        )));
    }
    if statement.subject.len() > MAX_SUBJECTS {
        return Err(Refusal::Unsupported(format!(
            "the statement has more than {MAX_SUBJECTS} subjects"
        )));
    }
    let crowded = |Object(subject): &Object<Described>| subject.digest.len() > MAX_DIGESTS;
    if statement.subject.iter().any(crowded) {
        return Err(Refusal::Unsupported(format!(
            "a subject of the statement has more than {MAX_DIGESTS} digests"
        )));
    }
    // Algorithm and value: equal digits under another algorithm are another digest.
    let is_meant = |Object(subject): &Object<Described>| {
        let value = subject.digest.get(digest.algorithm());
        value.is_some_and(|value| value == digest.encoded())
    };
    if !statement.subject.iter().any(is_meant) {
        return Err(Refusal::Binding(format!(
            "no subject of the statement is {digest}"
        )));
    }
    if statement.predicate_type == COSIGN_SIGN {
        return Ok(Kind::Signature);
    }
    Ok(Kind::Attestation(statement.predicate_type))
}
