//! What a signature claims, once its form is known to be right, and the verdict on it.

use std::borrow::Cow;
use std::fmt::Display;

use base64ct::{Base64, Encoding};

use super::{Hash, PublicKey};
use crate::verification::{Check, CheckName, Conclusion, Family, Outcome, Verdict};

/// Longer signatures are of no algorithm that is known here; RSA 4096 has 512 bytes.
const MAX_SIGNATURE: usize = 1024;
/// So much of what others wrote is repeated in a reason.
const MAX_QUOTE: usize = 200;

/// A signature over the digest of the subject, in a form that is allowed.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    /// What was signed.
    pub(super) signed: Signed<'a>,
    /// The signature as the key's algorithm has it.
    pub(super) signature: Vec<u8>,
    /// The predicate type, if it is an attestation about the subject and no signature.
    pub(super) attestation: Option<String>,
}

/// What was signed.
#[derive(Debug)]
pub(super) enum Signed<'a> {
    /// These bytes.
    Message(Cow<'a, [u8]>),
    /// Bytes that are not here, with this hash.
    Hashed(Hash, Vec<u8>),
}

/// Why there is no claim to verify.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The signature is about something else.
    Binding(String),
    /// The form is wrong.
    Form(String),
    /// The form or its size is none that is examined here.
    Unsupported(String),
}

/// The verdict on what was read; without a key it is never *valid*.
pub(super) fn verdict(read: Result<Claim<'_>, Refusal>, key: Option<&PublicKey>) -> Verdict {
    let claim = match read {
        Ok(claim) => claim,
        Err(refusal) => return refused(refusal),
    };
    let unsigned = "only the key that signed can tell";
    let binding = Check::new(CheckName::Binding, Outcome::Passed, "");
    let integrity = |outcome, detail| Check::new(CheckName::Integrity, outcome, detail);
    let authenticity = |outcome, detail| Check::new(CheckName::Authenticity, outcome, detail);
    let untrusted = |outcome, detail| Verdict {
        family: Family::Cosign,
        conclusion: Conclusion::Untrusted,
        identity: None,
        checks: vec![
            binding.clone(),
            integrity(Outcome::Skipped, unsigned),
            authenticity(outcome, detail),
        ],
        valid_until: None,
    };

    if let Some(predicate) = &claim.attestation {
        let detail = format!("an attestation of {}, not a signature", quoted(predicate));
        return Verdict {
            conclusion: Conclusion::Unsupported,
            ..untrusted(Outcome::Failed, detail)
        };
    }
    let Some(key) = key else {
        return untrusted(Outcome::Skipped, "no authority was asked".to_owned());
    };
    let verifies = match &claim.signed {
        Signed::Message(message) => key.verifies(message, &claim.signature),
        Signed::Hashed(hash, _) if key.hash() != Some(*hash) => {
            return refused(Refusal::Unsupported(format!(
                "a signature over a {hash} hash of the manifest cannot be verified with an {} key",
                key.algorithm()
            )));
        }
        Signed::Hashed(_, hashed) => key.verifies_hashed(hashed, &claim.signature),
    };
    if !verifies {
        let detail = format!("not made with the key {}", key.fingerprint());
        return untrusted(Outcome::Failed, detail);
    }
    Verdict {
        family: Family::Cosign,
        conclusion: Conclusion::Valid,
        identity: Some(key.fingerprint().to_owned()),
        checks: vec![
            binding,
            integrity(Outcome::Passed, ""),
            authenticity(Outcome::Passed, String::new()),
            Check::new(
                CheckName::AuthenticTimestamp,
                Outcome::Skipped,
                "transparency log and timestamps are ignored for this key",
            ),
        ],
        valid_until: None,
    }
}

fn refused(refusal: Refusal) -> Verdict {
    let (conclusion, name, outcome, detail) = match refusal {
        Refusal::Binding(detail) => (
            Conclusion::Invalid,
            CheckName::Binding,
            Outcome::Failed,
            detail,
        ),
        Refusal::Form(detail) => (
            Conclusion::Invalid,
            CheckName::Integrity,
            Outcome::Failed,
            detail,
        ),
        Refusal::Unsupported(detail) => (
            Conclusion::Unsupported,
            CheckName::Integrity,
            Outcome::Undetermined,
            detail,
        ),
    };
    Verdict {
        family: Family::Cosign,
        conclusion,
        identity: None,
        checks: vec![Check::new(name, outcome, detail)],
        valid_until: None,
    }
}

/// Decodes a signature.
pub(super) fn signature(text: &str) -> Result<Vec<u8>, Refusal> {
    if text.is_empty() {
        return Err(Refusal::Form("the signature is empty".to_owned()));
    }
    if text.len() > MAX_SIGNATURE.div_ceil(3) * 4 {
        return Err(Refusal::Unsupported(format!(
            "the signature is longer than {MAX_SIGNATURE} bytes"
        )));
    }
    base64("the signature", text)
}

/// Decodes base64 with padding, without line breaks, in its only form.
pub(super) fn base64(what: &str, text: &str) -> Result<Vec<u8>, Refusal> {
    Base64::decode_vec(text).map_err(|error| Refusal::Form(format!("{what} is no base64: {error}")))
}

/// The beginning of what others wrote, without control characters and what else does not print.
pub(super) fn quoted(text: impl Display) -> String {
    let mut shown = String::new();
    for (count, character) in text.to_string().chars().enumerate() {
        if count == MAX_QUOTE {
            shown.push('…');
            break;
        }
        match character {
            '"' | '\'' | '\\' => shown.push(character),
            _ => shown.extend(character.escape_debug()),
        }
    }
    shown
}
