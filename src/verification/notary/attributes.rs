//! The signed attributes of an envelope: what its protected header says, by the rules that JWS and COSE share
//! (signature-specification, "Signed attributes").

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Map, Value};
use thiserror::Error;

/// Content type of every payload.
pub(super) const PAYLOAD_TYPE: &str = "application/vnd.cncf.notary.payload.v1+json";

const ALGORITHM: &str = "alg";
const CONTENT_TYPE: &str = "cty";
const CRITICAL: &str = "crit";
const SCHEME: &str = "io.cncf.notary.signingScheme";
const SIGNING_TIME: &str = "io.cncf.notary.signingTime";
const AUTHENTIC_SIGNING_TIME: &str = "io.cncf.notary.authenticSigningTime";
const EXPIRY: &str = "io.cncf.notary.expiry";
const PLUGIN: &str = "io.cncf.notary.verificationPlugin";
const PLUGIN_VERSION: &str = "io.cncf.notary.verificationPluginMinVersion";

/// Who vouches for the time of signing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// The signer, unless a countersignature does.
    X509,
    /// A service that signs for others, at this time.
    SigningAuthority(Timestamp),
}

/// The signed attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) algorithm: String,
    pub(super) scheme: Scheme,
    pub(super) expiry: Option<Timestamp>,
    /// The plugin that must verify the rest.
    pub(super) plugin: Option<String>,
}

/// The protected header breaks a rule.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum AttributeError {
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{0} is not of its type")]
    WrongType(&'static str),
    #[error("{CONTENT_TYPE} is not {PAYLOAD_TYPE}")]
    ContentType,
    #[error("{CRITICAL} must be a list of names, each once")]
    Critical,
    #[error("{CRITICAL} names {0:?}, which must not be listed")]
    NotForCritical(String),
    #[error("{CRITICAL} names {0:?}, which is not in the header")]
    CriticalAbsent(String),
    #[error("{0} must be listed in {CRITICAL}")]
    NotCritical(&'static str),
    #[error("critical attribute {0:?} is not known")]
    UnknownCritical(String),
    #[error("{SCHEME} {0:?} is not known")]
    UnknownScheme(String),
    #[error("{0} does not belong to this signing scheme")]
    OtherScheme(&'static str),
    #[error("{0} is not a time of RFC 3339")]
    Time(&'static str),
    #[error("{EXPIRY} is not later than the time of signing")]
    ExpiresAtOnce,
}

impl Attributes {
    /// Reads the members of a protected header.
    pub(super) fn parse(header: &Map<String, Value>) -> Result<Self, AttributeError> {
        let header = Header {
            members: header,
            critical: critical(header)?,
        };
        let algorithm = header.text(ALGORITHM)?.to_owned();
        if header.text(CONTENT_TYPE)? != PAYLOAD_TYPE {
            return Err(AttributeError::ContentType);
        }
        let scheme = header
            .critical_text(SCHEME)?
            .ok_or(AttributeError::Missing(SCHEME))?;
        let (scheme, signed_at) = match scheme {
            "notary.x509" => {
                header.must_lack(AUTHENTIC_SIGNING_TIME)?;
                let signed_at = time(SIGNING_TIME, header.text(SIGNING_TIME)?)?;
                (Scheme::X509, signed_at)
            }
            "notary.x509.signingAuthority" => {
                header.must_lack(SIGNING_TIME)?;
                let name = AUTHENTIC_SIGNING_TIME;
                let text = header.critical_text(name)?;
                let signed_at = time(name, text.ok_or(AttributeError::Missing(name))?)?;
                (Scheme::SigningAuthority(signed_at), signed_at)
            }
            other => return Err(AttributeError::UnknownScheme(other.to_owned())),
        };
        let expiry = match header.critical_text(EXPIRY)? {
            Some(text) => Some(time(EXPIRY, text)?),
            None => None,
        };
        if expiry.is_some_and(|expiry| expiry <= signed_at) {
            return Err(AttributeError::ExpiresAtOnce);
        }
        let plugin = header.critical_text(PLUGIN)?;
        let version = header.critical_text(PLUGIN_VERSION)?;
        for (name, text) in [(PLUGIN, plugin), (PLUGIN_VERSION, version)] {
            if text.is_some_and(|text| text.trim().is_empty()) {
                return Err(AttributeError::WrongType(name));
            }
        }
        // With a plugin, the attributes that are not known here are for it.
        if plugin.is_none() {
            header.has_no_unknown_critical()?;
        }
        Ok(Self {
            algorithm,
            scheme,
            expiry,
            plugin: plugin.map(str::to_owned),
        })
    }
}

struct Header<'a> {
    members: &'a Map<String, Value>,
    critical: BTreeSet<&'a str>,
}

impl<'a> Header<'a> {
    fn text(&self, name: &'static str) -> Result<&'a str, AttributeError> {
        match self.members.get(name) {
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(AttributeError::WrongType(name)),
            None => Err(AttributeError::Missing(name)),
        }
    }

    /// A member that is critical if it is there.
    fn critical_text(&self, name: &'static str) -> Result<Option<&'a str>, AttributeError> {
        if !self.members.contains_key(name) {
            return Ok(None);
        }
        if !self.critical.contains(name) {
            return Err(AttributeError::NotCritical(name));
        }
        self.text(name).map(Some)
    }

    fn must_lack(&self, name: &'static str) -> Result<(), AttributeError> {
        if self.members.contains_key(name) {
            return Err(AttributeError::OtherScheme(name));
        }
        Ok(())
    }

    fn has_no_unknown_critical(&self) -> Result<(), AttributeError> {
        let known = [SCHEME, AUTHENTIC_SIGNING_TIME, EXPIRY];
        match self.critical.iter().find(|name| !known.contains(name)) {
            Some(unknown) => Err(AttributeError::UnknownCritical((*unknown).to_owned())),
            None => Ok(()),
        }
    }
}

/// The names listed in `crit`, by RFC 7515, section 4.1.11.
fn critical(header: &Map<String, Value>) -> Result<BTreeSet<&str>, AttributeError> {
    let Some(listed) = header.get(CRITICAL) else {
        return Err(AttributeError::Missing(CRITICAL));
    };
    let listed = listed.as_array().ok_or(AttributeError::Critical)?;
    let mut names = BTreeSet::new();
    for name in listed {
        let name = name.as_str().ok_or(AttributeError::Critical)?;
        if [ALGORITHM, CONTENT_TYPE, CRITICAL, SIGNING_TIME].contains(&name) {
            return Err(AttributeError::NotForCritical(name.to_owned()));
        }
        if !header.contains_key(name) {
            return Err(AttributeError::CriticalAbsent(name.to_owned()));
        }
        if !names.insert(name) {
            return Err(AttributeError::Critical);
        }
    }
    if names.is_empty() {
        return Err(AttributeError::Critical);
    }
    Ok(names)
}

/// A time of RFC 3339 in upper case. The parser takes more forms of ISO 8601, so the form is checked before.
fn time(name: &'static str, text: &str) -> Result<Timestamp, AttributeError> {
    let malformed = || AttributeError::Time(name);
    let rest = shaped(text, "dddd-dd-ddTdd:dd:dd").ok_or_else(malformed)?;
    let rest = match rest.strip_prefix('.') {
        Some(fraction) => {
            let offset = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            if offset.len() == fraction.len() {
                return Err(malformed());
            }
            offset
        }
        None => rest,
    };
    let has_offset = ["+dd:dd", "-dd:dd"]
        .iter()
        .any(|shape| shaped(rest, shape) == Some(""));
    let is_leap_second = text.get(17..19) == Some("60");
    if is_leap_second || !(rest == "Z" || has_offset) {
        return Err(malformed());
    }
    text.parse().or(Err(malformed()))
}

/// What follows the part of `text` that has this shape, where `d` stands for a digit and the rest for itself.
fn shaped<'a>(text: &'a str, shape: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(shape.len())?;
    let fits = |(byte, shape): (u8, u8)| match shape {
        b'd' => byte.is_ascii_digit(),
        other => byte == other,
    };
    start.bytes().zip(shape.bytes()).all(fits).then_some(rest)
}
