//! The JWS envelope (signature-envelope-jws): flattened JSON serialization, and nothing else.
//!
//! Stricter than notation where JSON is ambiguous: a key that stands twice, a member that the format does not have, and
//! base64 that could be written in another way are refused. What was signed is taken as received, never encoded anew.

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use thiserror::Error;

use super::attributes::{AttributeError, Attributes};
use super::chain::{self, Chain, ChainError};
use crate::oci::{Digest, strict_json};

/// Longer envelopes are refused unread. Real ones have 2 to 10 KiB.
const MAX_LENGTH: usize = 1024 * 1024;

/// An envelope whose signature its own leaf certificate verifies.
#[derive(Clone, Debug)]
pub(super) struct Envelope {
    pub(super) chain: Chain,
    pub(super) attributes: Attributes,
    pub(super) artifact: Artifact,
    /// Whether a countersignature says when it was made.
    pub(super) has_timestamp: bool,
}

/// What was signed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Artifact {
    #[serde(rename = "mediaType")]
    pub(super) media_type: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
}

/// The envelope has no integrity.
#[derive(Debug, Error)]
pub(super) enum EnvelopeError {
    #[error("the envelope is longer than {MAX_LENGTH} bytes")]
    TooLong,
    #[error("the envelope is no flattened JWS: {0}")]
    Form(#[source] serde_json::Error),
    #[error("{0} is not base64 as it has to be written")]
    Base64(&'static str),
    #[error("the protected header is no JSON object: {0}")]
    Header(#[source] serde_json::Error),
    #[error("protected header: {0}")]
    Attribute(#[from] AttributeError),
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error("alg is {written:?}, and the signing key asks for {needed}")]
    Algorithm {
        written: String,
        needed: &'static str,
    },
    #[error("the signature is not that of its signing certificate over these bytes")]
    Signature,
    #[error("the payload is not that of the Notary Project: {0}")]
    Payload(#[source] serde_json::Error),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Flattened {
    payload: String,
    protected: String,
    header: Map<String, Value>,
    signature: String,
}

/// Unknown members are ignored, as is the signing agent.
#[derive(Deserialize)]
struct Unprotected {
    x5c: Vec<String>,
    #[serde(rename = "io.cncf.notary.timestampSignature")]
    timestamp: Option<String>,
}

impl Envelope {
    /// Reads an envelope and verifies everything that needs no trust: form, attributes, chain, signature.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        if bytes.len() > MAX_LENGTH {
            return Err(EnvelopeError::TooLong);
        }
        let envelope: Flattened = object(bytes).map_err(EnvelopeError::Form)?;
        let unprotected: Unprotected =
            serde_json::from_value(Value::Object(envelope.header)).map_err(EnvelopeError::Form)?;
        let protected = base64url("protected", &envelope.protected)?;
        let payload = base64url("payload", &envelope.payload)?;
        let signature = base64url("signature", &envelope.signature)?;
        let header = strict_json::from_slice(&protected).map_err(EnvelopeError::Header)?;
        let attributes = Attributes::parse(&header)?;
        let chain = Chain::parse(&x5c(&unprotected.x5c)?)?;
        if attributes.algorithm != chain.algorithm().as_str() {
            return Err(EnvelopeError::Algorithm {
                written: attributes.algorithm,
                needed: chain.algorithm().as_str(),
            });
        }
        let signed = format!("{}.{}", envelope.protected, envelope.payload);
        if !chain
            .leaf()
            .is_some_and(|leaf| leaf.key.verifies(signed.as_bytes(), &signature))
        {
            return Err(EnvelopeError::Signature);
        }
        let artifact = artifact(&payload).map_err(EnvelopeError::Payload)?;
        Ok(Self {
            chain,
            attributes,
            artifact,
            has_timestamp: unprotected.timestamp.is_some(),
        })
    }
}

/// Reads an object. The parser would take the fields of a list one by one, so it goes by way of a map.
fn object<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    let members: Map<String, Value> = strict_json::from_slice(bytes)?;
    serde_json::from_value(Value::Object(members))
}

/// Other members of the payload are for others.
fn artifact(payload: &[u8]) -> Result<Artifact, serde_json::Error> {
    #[derive(Deserialize)]
    struct Payload {
        #[serde(rename = "targetArtifact")]
        artifact: Map<String, Value>,
    }
    let payload: Payload = object(payload)?;
    serde_json::from_value(Value::Object(payload.artifact))
}

fn base64url(field: &'static str, text: &str) -> Result<Vec<u8>, EnvelopeError> {
    Base64UrlUnpadded::decode_vec(text).or(Err(EnvelopeError::Base64(field)))
}

/// The chain is in ordinary base64, padded.
fn x5c(certificates: &[String]) -> Result<Vec<Vec<u8>>, EnvelopeError> {
    if certificates.len() > chain::MAX_LENGTH {
        return Err(ChainError::TooLong.into());
    }
    let decode = |text: &String| Base64::decode_vec(text).or(Err(EnvelopeError::Base64("x5c")));
    certificates.iter().map(decode).collect()
}
