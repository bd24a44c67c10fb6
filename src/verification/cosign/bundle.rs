//! Sigstore bundles of version 0.3: a DSSE envelope with an in-toto statement, or a signature over the manifest itself.
//!
//! Sigstore protobuf-specs, `sigstore_bundle.proto`; DSSE `protocol.md`; cosign specs, `BUNDLE_SPEC.md`. Members that are
//! not defined are refused, as the field's own reader of the format does.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Hash;
use super::claim::{self, Claim, Refusal, Signed, quoted};
use super::object::Object;
use super::statement::{self, Kind};
use crate::oci::strict_json;
use crate::verification::Subject;

/// Version 0.3, as it is written today and as it was at first.
const MEDIA_TYPES: [&str; 2] = [
    "application/vnd.dev.sigstore.bundle.v0.3+json",
    "application/vnd.dev.sigstore.bundle+json;version=0.3",
];
const IN_TOTO: &str = "application/vnd.in-toto+json";
/// Longer bundles are not read. Those that carry an SBOM can be longer; they are no signatures.
const MAX_BUNDLE: usize = 8 * 1024 * 1024;
const MAX_LOG_ENTRIES: usize = 32;
const MAX_TIMESTAMPS: usize = 32;

#[derive(Deserialize)]
struct Versioned {
    #[serde(rename = "mediaType")]
    media_type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Bundle {
    #[serde(rename = "mediaType")]
    _media_type: String,
    verification_material: Object<Material>,
    message_signature: Option<Object<MessageSignature>>,
    dsse_envelope: Option<Object<Envelope>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Material {
    public_key: Option<Object<IgnoredAny>>,
    certificate: Option<Object<IgnoredAny>>,
    tlog_entries: Option<Vec<IgnoredAny>>,
    timestamp_verification_data: Option<Object<Timestamps>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Timestamps {
    rfc3161_timestamps: Option<Vec<IgnoredAny>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MessageSignature {
    message_digest: Object<MessageDigest>,
    signature: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageDigest {
    algorithm: String,
    digest: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Object<EnvelopeSignature>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvelopeSignature {
    sig: String,
    /// A hint, and not signed.
    #[serde(rename = "keyid")]
    _key_id: Option<IgnoredAny>,
}

/// Reads what a bundle claims about `subject`; `media_type` is that of its layer.
pub(super) fn read(
    bundle: &[u8],
    media_type: &str,
    subject: &Subject<'_>,
) -> Result<Claim<'static>, Refusal> {
    if bundle.len() > MAX_BUNDLE {
        return Err(Refusal::Unsupported(format!(
            "the bundle is longer than {MAX_BUNDLE} bytes"
        )));
    }
    supported(media_type)?;
    let malformed = |error: serde_json::Error| {
        Refusal::Form(format!("the bundle is malformed: {}", quoted(error)))
    };
    // The version first: nothing else is known of a bundle of another one.
    let Object(versioned): Object<Versioned> =
        strict_json::from_slice(bundle).map_err(malformed)?;
    supported(&versioned.media_type)?;
    let Object(bundle): Object<Bundle> = serde_json::from_slice(bundle).map_err(malformed)?;
    examine(&bundle.verification_material.0)?;
    match (bundle.dsse_envelope, bundle.message_signature) {
        (Some(Object(envelope)), None) => read_envelope(&envelope, subject),
        (None, Some(Object(message))) => read_message(&message, subject),
        (Some(_), Some(_)) => Err(Refusal::Form(
            "the bundle has both an envelope and a message signature".to_owned(),
        )),
        (None, None) => Err(Refusal::Form(
            "the bundle has neither an envelope nor a message signature".to_owned(),
        )),
    }
}

fn supported(media_type: &str) -> Result<(), Refusal> {
    if MEDIA_TYPES.contains(&media_type) {
        return Ok(());
    }
    Err(Refusal::Unsupported(format!(
        "a bundle of media type {}",
        quoted(media_type)
    )))
}

/// The number of things that come along: what they say does not matter to a key.
fn examine(material: &Material) -> Result<(), Refusal> {
    match (&material.public_key, &material.certificate) {
        (Some(_), None) | (None, Some(_)) => {}
        (Some(_), Some(_)) | (None, None) => {
            return Err(Refusal::Form(
                "the bundle has to have either a public key or a certificate".to_owned(),
            ));
        }
    }
    let entries = material.tlog_entries.as_ref().map_or(0, Vec::len);
    if entries > MAX_LOG_ENTRIES {
        return Err(Refusal::Unsupported(format!(
            "the bundle has more than {MAX_LOG_ENTRIES} log entries"
        )));
    }
    let timestamps = material.timestamp_verification_data.as_ref();
    let timestamps =
        timestamps.and_then(|Object(timestamps)| timestamps.rfc3161_timestamps.as_ref());
    if timestamps.map_or(0, Vec::len) > MAX_TIMESTAMPS {
        return Err(Refusal::Unsupported(format!(
            "the bundle has more than {MAX_TIMESTAMPS} timestamps"
        )));
    }
    Ok(())
}

fn read_envelope(envelope: &Envelope, subject: &Subject<'_>) -> Result<Claim<'static>, Refusal> {
    let [Object(signature)] = envelope.signatures.as_slice() else {
        return Err(Refusal::Form(format!(
            "an envelope has exactly one signature, this one has {}",
            envelope.signatures.len()
        )));
    };
    if envelope.payload_type != IN_TOTO {
        return Err(Refusal::Unsupported(format!(
            "an envelope of payload type {}",
            quoted(&envelope.payload_type)
        )));
    }
    let signature = claim::signature(&signature.sig)?;
    let payload = claim::base64("the envelope's payload", &envelope.payload)?;
    let attestation = match statement::read(&payload, subject.digest)? {
        Kind::Signature => None,
        Kind::Attestation(predicate_type) => Some(predicate_type),
    };
    Ok(Claim {
        signed: Signed::Message(Cow::Owned(pre_authentication_encoding(&payload))),
        signature,
        attestation,
    })
}

/// What DSSE signs: type and payload, each behind its length.
fn pre_authentication_encoding(payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {IN_TOTO} {} ", IN_TOTO.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// The message is the manifest, which is not here; its hash is the digest of the subject.
fn read_message(
    message: &MessageSignature,
    subject: &Subject<'_>,
) -> Result<Claim<'static>, Refusal> {
    let signature = claim::signature(&message.signature)?;
    let Object(claimed) = &message.message_digest;
    let hashed = claim::base64("the message digest", &claimed.digest)?;
    let (hash, algorithm) = match claimed.algorithm.as_str() {
        "SHA2_256" => (Hash::Sha256, "sha256"),
        "SHA2_512" => (Hash::Sha512, "sha512"),
        other => {
            return Err(Refusal::Unsupported(format!(
                "a message digest of {}",
                quoted(other)
            )));
        }
    };
    if algorithm != subject.digest.algorithm() {
        return Err(Refusal::Unsupported(format!(
            "a message digest of {algorithm} cannot be compared with {}",
            subject.digest
        )));
    }
    let claimed: String = hashed.iter().map(|byte| format!("{byte:02x}")).collect();
    if claimed != subject.digest.encoded() {
        return Err(Refusal::Binding(format!(
            "the signature is about {algorithm}:{}, not {}",
            quoted(claimed),
            subject.digest
        )));
    }
    Ok(Claim {
        signed: Signed::Hashed(hash, hashed),
        signature,
        attestation: None,
    })
}
