//! The `.sig` layout: a JSON payload, signed as it is, with the signature in an annotation of its layer.
//!
//! cosign specs, `SIGNATURE_SPEC.md`; containers/image, `containers-signature(5)`, for the payload. The payload is read
//! with the strictness of the latter: no member twice, none that is not defined. The name in `docker-reference` is
//! signed, and means nothing: images are renamed on their way through registries.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::claim::{self, Claim, Refusal, Signed, quoted};
use super::object::Object;
use crate::oci::strict_json;
use crate::verification::Subject;

/// Annotation with the signature, in base64.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// The only `critical.type`.
const TYPE: &str = "cosign container image signature";
/// Longer payloads are not read; cosign writes some hundred bytes.
const MAX_PAYLOAD: usize = 1024 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    critical: Object<Critical>,
    #[serde(rename = "optional")]
    _optional: Option<BTreeMap<String, IgnoredAny>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    #[serde(rename = "type")]
    kind: String,
    image: Object<Image>,
    #[serde(rename = "identity")]
    _identity: Object<Identity>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    #[serde(rename = "docker-reference")]
    _reference: String,
}

/// Reads what a layer claims about `subject`.
pub(super) fn read<'a>(
    payload: &'a [u8],
    annotations: &BTreeMap<String, String>,
    subject: &Subject<'_>,
) -> Result<Claim<'a>, Refusal> {
    if payload.len() > MAX_PAYLOAD {
        return Err(Refusal::Unsupported(format!(
            "the payload is longer than {MAX_PAYLOAD} bytes"
        )));
    }
    let Some(signature) = annotations.get(SIGNATURE) else {
        return Err(Refusal::Form(format!("there is no annotation {SIGNATURE}")));
    };
    // `cosign attach signature` takes what openssl writes, and that is broken into lines.
    let signature = claim::signature(&signature.replace(['\r', '\n'], ""))?;
    let Object(Payload { critical, .. }): Object<Payload> = strict_json::from_slice(payload)
        .map_err(|error| Refusal::Form(format!("the payload is malformed: {}", quoted(error))))?;
    let Object(Critical { kind, image, .. }) = critical;
    let Object(Image { digest }) = image;
    if kind != TYPE {
        return Err(Refusal::Form(format!(
            "the payload's critical.type is {}, not {TYPE}",
            quoted(kind)
        )));
    }
    if digest != subject.digest.as_str() {
        return Err(Refusal::Binding(format!(
            "the payload is about {}, not {}",
            quoted(digest),
            subject.digest
        )));
    }
    Ok(Claim {
        signed: Signed::Message(Cow::Borrowed(payload)),
        signature,
        attestation: None,
    })
}
