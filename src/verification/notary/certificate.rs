//! One X.509 certificate, with what the rules of the Notary Project look at.

use std::fmt;

use const_oid::{AssociatedOid, ObjectIdentifier};
use der::asn1::BitString;
use der::{Decode, Reader, SliceReader};
use jiff::Timestamp;
use x509_cert::TbsCertificate;
use x509_cert::ext::pkix::{
    AuthorityInfoAccessSyntax, BasicConstraints, ExtendedKeyUsage, KeyUsage,
};
use x509_cert::spki::AlgorithmIdentifierOwned;

use super::distinguished_name::{MAX_LENGTH as MAX_NAME, SubjectName};
use super::key::{Issuance, PublicKey};
use crate::clock::UnixMillis;

const OCSP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1");
const CRL_DISTRIBUTION_POINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.31");

/// A parsed certificate. Equal are those of the same bytes.
#[derive(Clone)]
pub struct Certificate {
    encoded: Vec<u8>,
    /// The signed part as received; encoding it anew could change it.
    signed: Vec<u8>,
    issuance: Issuance,
    signature: Vec<u8>,
    issuer: Vec<u8>,
    subject: Vec<u8>,
    pub(super) subject_name: SubjectName,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    pub(super) key: PublicKey,
    pub(super) basic_constraints: Option<Extension<BasicConstraints>>,
    pub(super) key_usage: Option<Extension<KeyUsage>>,
    pub(super) extended_key_usage: Option<Extension<ExtendedKeyUsage>>,
    /// Whether it says where to ask if it was revoked.
    pub(super) names_revocation: bool,
}

/// An extension that is evaluated.
#[derive(Clone, Debug)]
pub(super) struct Extension<T> {
    pub(super) critical: bool,
    pub(super) value: T,
}

impl Certificate {
    /// Reads one certificate in DER, with nothing behind it.
    pub(super) fn parse(encoded: &[u8]) -> Result<Self, der::Error> {
        let mut reader = SliceReader::new(encoded)?;
        let certificate = reader.sequence(|inner| {
            let signed = inner.tlv_bytes()?;
            let algorithm = AlgorithmIdentifierOwned::decode(inner)?;
            let signature = BitString::decode(inner)?;
            Self::assemble(encoded, signed, &algorithm, &signature)
        })?;
        reader.finish(certificate)
    }

    fn assemble(
        encoded: &[u8],
        signed: &[u8],
        algorithm: &AlgorithmIdentifierOwned,
        signature: &BitString,
    ) -> Result<Self, der::Error> {
        let refused = |tag: der::Tag| tag.value_error();
        let parsed = TbsCertificate::from_der(signed)?;
        let (issuer, subject) = names(signed)?;
        if parsed.signature != *algorithm || issuer.len().max(subject.len()) > MAX_NAME {
            return Err(refused(der::Tag::Sequence));
        }
        let extensions = parsed.extensions.as_deref().unwrap_or_default();
        for (index, extension) in extensions.iter().enumerate() {
            let earlier = extensions.iter().take(index);
            if earlier
                .into_iter()
                .any(|other| other.extn_id == extension.extn_id)
            {
                return Err(refused(der::Tag::ObjectIdentifier));
            }
        }
        Ok(Self {
            encoded: encoded.to_vec(),
            signed: signed.to_vec(),
            issuance: Issuance::new(algorithm),
            signature: signature
                .as_bytes()
                .ok_or_else(|| refused(der::Tag::BitString))?
                .to_vec(),
            issuer: issuer.to_vec(),
            subject: subject.to_vec(),
            subject_name: SubjectName::new(&parsed.subject),
            not_before: instant(&parsed.validity.not_before),
            not_after: instant(&parsed.validity.not_after),
            key: PublicKey::new(&parsed.subject_public_key_info),
            basic_constraints: extension(extensions)?,
            key_usage: extension(extensions)?,
            extended_key_usage: extension(extensions)?,
            names_revocation: names_revocation(extensions),
        })
    }

    /// Its subject, in the form of RFC 4514.
    #[must_use]
    pub fn subject(&self) -> String {
        self.subject_name.to_string()
    }

    /// The first instant at which it is no longer valid.
    #[must_use]
    pub fn expires(&self) -> UnixMillis {
        // The second that is named is the last one of its validity, as far as its first instant.
        UnixMillis::new(u64::try_from(self.not_after.as_millisecond()).unwrap_or(0) + 1)
    }

    /// The certificate in DER.
    #[must_use]
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// Whether `instant` lies within its validity, both ends included.
    pub(super) fn is_valid_at(&self, instant: Timestamp) -> bool {
        self.not_before <= instant && instant <= self.not_after
    }

    /// Whether `issuer` issued it: the names are the same octets, and its key verifies the signature.
    pub(super) fn is_issued_by(&self, issuer: &Self) -> bool {
        self.issuer == issuer.subject
            && issuer
                .key
                .issued(self.issuance, &self.signed, &self.signature)
    }

    /// Whether it says of itself that it may issue certificates.
    pub(super) fn is_authority(&self) -> bool {
        self.basic_constraints
            .as_ref()
            .is_some_and(|extension| extension.value.ca)
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.encoded == other.encoded
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.subject_name)
    }
}

/// The octets of issuer and subject. They are compared as they are, so they are not taken from a parsed form.
fn names(signed: &[u8]) -> Result<(&[u8], &[u8]), der::Error> {
    let mut reader = SliceReader::new(signed)?;
    reader.sequence(|inner| {
        let version = der::TagNumber::N0;
        let context = der::Tag::ContextSpecific {
            constructed: true,
            number: version,
        };
        if inner.peek_tag()? == context {
            inner.tlv_bytes()?;
        }
        let _serial_number = inner.tlv_bytes()?;
        let _algorithm = inner.tlv_bytes()?;
        let issuer = inner.tlv_bytes()?;
        let _validity = inner.tlv_bytes()?;
        let subject = inner.tlv_bytes()?;
        // What follows was parsed by the caller.
        inner.read_slice(inner.remaining_len())?;
        Ok((issuer, subject))
    })
}

fn instant(time: &x509_cert::time::Time) -> Timestamp {
    // The years of X.509 are those of RFC 3339, so this is never out of range.
    i64::try_from(time.to_unix_duration().as_secs())
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

fn extension<T: AssociatedOid + for<'a> Decode<'a>>(
    extensions: &[x509_cert::ext::Extension],
) -> Result<Option<Extension<T>>, der::Error> {
    let Some(extension) = extensions
        .iter()
        .find(|extension| extension.extn_id == T::OID)
    else {
        return Ok(None);
    };
    Ok(Some(Extension {
        critical: extension.critical,
        value: T::from_der(extension.extn_value.as_bytes())?,
    }))
}

/// Whether an extension names an OCSP responder or a CRL; one that cannot be read counts as naming one.
fn names_revocation(extensions: &[x509_cert::ext::Extension]) -> bool {
    extensions.iter().any(|extension| {
        if extension.extn_id != AuthorityInfoAccessSyntax::OID {
            return extension.extn_id == CRL_DISTRIBUTION_POINTS;
        }
        AuthorityInfoAccessSyntax::from_der(extension.extn_value.as_bytes())
            .map_or(true, |access| {
                access.0.iter().any(|access| access.access_method == OCSP)
            })
    })
}
