//! Makes a verdict of an envelope.

use jiff::Timestamp;

use super::attributes::Scheme;
use super::certificate::Certificate;
use super::jws::Envelope;
use super::level::{Action, Level};
use super::trust_policy::{Identity, Statement, VerifyTimestamp};
use super::trust_store::{StoreType, TrustStores};
use crate::clock::UnixMillis;
use crate::verification::evidence::{COSE, JWS};
use crate::verification::{Check, CheckName, Conclusion, Family, Outcome, Subject, Verdict};

/// Verifies an envelope for a statement of the trust policy.
///
/// The verdict is valid only if the signer is known to be one whom the statement trusts, whatever its level; level
/// `skip` verifies nothing, and so trusts nobody.
#[must_use]
pub fn verify(
    envelope: &[u8],
    media_type: &str,
    subject: &Subject<'_>,
    statement: &Statement,
    stores: &TrustStores,
    now: UnixMillis,
) -> Verdict {
    if statement.level() == Level::Skip {
        let detail = format!(
            "statement {:?} skips verification, which proves no signer",
            statement.name()
        );
        let skipped = Check::new(CheckName::Authenticity, Outcome::Skipped, detail);
        return verdict(Conclusion::Untrusted, None, vec![skipped]);
    }
    let (envelope, checks) = match sound(envelope, media_type, subject) {
        Ok(sound) => sound,
        Err(verdict) => return verdict,
    };
    let examination = Examination {
        envelope: &envelope,
        statement,
        stores,
        now: instant(now),
    };
    examination.conclude(checks)
}

/// Examines what needs no trust: form, chain, signature and binding. A sound signature is untrusted, since nobody was
/// asked.
#[must_use]
pub fn examine_integrity(envelope: &[u8], media_type: &str, subject: &Subject<'_>) -> Verdict {
    match sound(envelope, media_type, subject) {
        Ok((envelope, mut checks)) => {
            let detail = "no authority was asked";
            checks.push(Check::new(
                CheckName::Authenticity,
                Outcome::Skipped,
                detail,
            ));
            verdict(Conclusion::Untrusted, identity(&envelope), checks)
        }
        Err(verdict) => verdict,
    }
}

/// The envelope, if it is sound and about the subject, with the checks that say so.
fn sound(
    envelope: &[u8],
    media_type: &str,
    subject: &Subject<'_>,
) -> Result<(Envelope, Vec<Check>), Verdict> {
    let unsupported = |detail: &str| {
        let check = Check::new(CheckName::Integrity, Outcome::Undetermined, detail);
        Err(verdict(Conclusion::Unsupported, None, vec![check]))
    };
    match media_type {
        JWS => {}
        COSE => return unsupported("envelopes in COSE are not yet supported"),
        other => return unsupported(&format!("{other:?} is no format of envelopes")),
    }
    let envelope = match Envelope::parse(envelope) {
        Ok(envelope) => envelope,
        Err(error) => {
            let failed = Check::new(CheckName::Integrity, Outcome::Failed, error.to_string());
            return Err(verdict(Conclusion::Invalid, None, vec![failed]));
        }
    };
    if let Some(detail) = mismatch(&envelope, subject) {
        let failed = Check::new(CheckName::Binding, Outcome::Failed, detail);
        return Err(verdict(
            Conclusion::Invalid,
            identity(&envelope),
            vec![failed],
        ));
    }
    let passed = |name| Check::new(name, Outcome::Passed, "");
    let mut checks = vec![passed(CheckName::Binding), passed(CheckName::Integrity)];
    if let Some(plugin) = &envelope.attributes.plugin {
        let detail =
            format!("requires verification plugin {plugin:?}, and plugins are not supported");
        let asked = Check::new(CheckName::Authenticity, Outcome::Undetermined, detail);
        checks.push(asked);
        return Err(verdict(
            Conclusion::Unsupported,
            identity(&envelope),
            checks,
        ));
    }
    Ok((envelope, checks))
}

/// How the payload is not about the subject.
fn mismatch(envelope: &Envelope, subject: &Subject<'_>) -> Option<String> {
    let signed = &envelope.artifact;
    if signed.digest != *subject.digest {
        let (signed, wanted) = (signed.digest.as_str(), subject.digest.as_str());
        return Some(format!("signed is digest {signed}, and not {wanted}"));
    }
    let media_type = subject.media_type.unwrap_or(&signed.media_type);
    if signed.media_type != media_type {
        let signed = &signed.media_type;
        return Some(format!(
            "signed is media type {signed:?}, and not {media_type:?}"
        ));
    }
    let size = subject.size.unwrap_or(signed.size);
    if signed.size != size {
        let signed = signed.size;
        return Some(format!("signed is size {signed}, and not {size}"));
    }
    None
}

fn verdict(conclusion: Conclusion, identity: Option<String>, checks: Vec<Check>) -> Verdict {
    Verdict {
        family: Family::Notation,
        conclusion,
        identity,
        checks,
        valid_until: None,
    }
}

fn identity(envelope: &Envelope) -> Option<String> {
    envelope.chain.leaf().map(Certificate::subject)
}

/// A clock beyond the year 9999 reads as its end.
fn instant(now: UnixMillis) -> Timestamp {
    i64::try_from(now.as_u64())
        .ok()
        .and_then(|millis| Timestamp::from_millisecond(millis).ok())
        .unwrap_or(Timestamp::MAX)
}

fn millis(instant: Timestamp) -> UnixMillis {
    UnixMillis::new(u64::try_from(instant.as_millisecond()).unwrap_or(0))
}

/// How a check ended before the statement's action is applied, and until when.
struct Finding {
    outcome: Outcome,
    detail: String,
    /// The instant from which it may end otherwise.
    until: Option<UnixMillis>,
}

impl Finding {
    fn new(outcome: Outcome, detail: impl Into<String>) -> Self {
        Self {
            outcome,
            detail: detail.into(),
            until: None,
        }
    }

    fn until(self, until: Option<UnixMillis>) -> Self {
        Self { until, ..self }
    }
}

/// One envelope before one statement, at one instant.
struct Examination<'a> {
    envelope: &'a Envelope,
    statement: &'a Statement,
    stores: &'a TrustStores,
    now: Timestamp,
}

impl Examination<'_> {
    fn conclude(&self, mut checks: Vec<Check>) -> Verdict {
        let identity = identity(self.envelope);
        let mut conclusion = Conclusion::Valid;
        let mut valid_until: Option<UnixMillis> = None;
        for name in [
            CheckName::Authenticity,
            CheckName::Expiry,
            CheckName::AuthenticTimestamp,
            CheckName::Revocation,
        ] {
            let action = self.statement.action(name);
            if action == Action::Skip {
                let detail = "skipped by the trust policy";
                checks.push(Check::new(name, Outcome::Skipped, detail));
                continue;
            }
            let finding = self.find(name);
            let outcome = action.applied_to(finding.outcome);
            if action == Action::Enforce {
                valid_until = valid_until.into_iter().chain(finding.until).min();
            }
            if name == CheckName::Authenticity && outcome != Outcome::Passed {
                conclusion = Conclusion::Untrusted;
            }
            checks.push(Check::new(name, outcome, finding.detail));
            match outcome {
                Outcome::Passed | Outcome::Logged | Outcome::Skipped => {}
                Outcome::Failed => {
                    conclusion = Conclusion::Untrusted;
                    break;
                }
                Outcome::Undetermined => {
                    // A signer who is not known stays so, whatever an answer would be.
                    if conclusion == Conclusion::Valid {
                        conclusion = Conclusion::Undetermined;
                    }
                    break;
                }
            }
        }
        Verdict {
            valid_until,
            ..verdict(conclusion, identity, checks)
        }
    }

    fn find(&self, name: CheckName) -> Finding {
        match name {
            // Both were found before an examination is made at all.
            CheckName::Binding | CheckName::Integrity => Finding::new(Outcome::Passed, ""),
            CheckName::Authenticity => self.authenticity(),
            CheckName::Expiry => self.expiry(),
            CheckName::AuthenticTimestamp => self.authentic_timestamp(),
            CheckName::Revocation => self.revocation(),
        }
    }

    fn authenticity(&self) -> Finding {
        let failed = |detail: String| {
            let detail = match self.statement.action(CheckName::Authenticity) {
                Action::Log => format!("{detail}; an unknown signer is logged, and does not count"),
                Action::Enforce | Action::Skip => detail,
            };
            Finding::new(Outcome::Failed, detail)
        };
        let kind = match self.envelope.attributes.scheme {
            Scheme::X509 => StoreType::Ca,
            Scheme::SigningAuthority(_) => StoreType::SigningAuthority,
        };
        let chain = self.envelope.chain.certificates();
        let anchor = self
            .statement
            .trust_stores()
            .iter()
            .filter(|store| store.kind() == kind)
            .find(|store| {
                let anchors = self.stores.certificates(store).unwrap_or_default();
                chain
                    .iter()
                    .any(|certificate| anchors.contains(certificate))
            });
        let Some(anchor) = anchor else {
            return failed(format!(
                "no certificate of the chain is in a trust store of type {} that statement {:?} lists",
                kind.as_str(),
                self.statement.name()
            ));
        };
        let Some(leaf) = self.envelope.chain.leaf() else {
            return failed("the chain is empty".to_owned());
        };
        let is_trusted = |identity: &Identity| match identity {
            Identity::Anyone => true,
            Identity::Subject(name) => name.names(&leaf.subject_name),
            Identity::Other(_) => false,
        };
        if !self.statement.trusted_identities().iter().any(is_trusted) {
            return failed(format!(
                "{} is none of the trusted identities of statement {:?}",
                leaf.subject(),
                self.statement.name()
            ));
        }
        Finding::new(Outcome::Passed, format!("trusted by store {anchor}"))
    }

    /// At the instant of expiry it has expired.
    fn expiry(&self) -> Finding {
        match self.envelope.attributes.expiry {
            None => Finding::new(Outcome::Passed, ""),
            Some(expiry) if self.now < expiry => {
                Finding::new(Outcome::Passed, "").until(Some(millis(expiry)))
            }
            Some(expiry) => Finding::new(
                Outcome::Failed,
                format!("the signature expired at {expiry}"),
            ),
        }
    }

    fn authentic_timestamp(&self) -> Finding {
        if let Scheme::SigningAuthority(signed_at) = self.envelope.attributes.scheme {
            return match self.envelope.chain.invalid_at(signed_at) {
                None => Finding::new(Outcome::Passed, ""),
                Some(certificate) => Finding::new(
                    Outcome::Failed,
                    format!(
                        "certificate {} was not valid at the time of signing, {signed_at}",
                        certificate.subject()
                    ),
                ),
            };
        }
        let mut listed = self.statement.trust_stores().iter();
        let has_authority = listed.any(|store| store.kind() == StoreType::Tsa);
        let has_expired = || {
            let mut certificates = self.envelope.chain.certificates().iter();
            certificates.any(|certificate| certificate.not_after < self.now)
        };
        let is_needed = match self.statement.verify_timestamp() {
            VerifyTimestamp::Always => true,
            VerifyTimestamp::AfterCertExpiry => has_expired(),
        };
        if !(has_authority && is_needed) {
            return self.validity_now();
        }
        if self.envelope.has_timestamp {
            let detail = "timestamp countersignatures are not yet verified";
            return Finding::new(Outcome::Undetermined, detail);
        }
        Finding::new(
            Outcome::Failed,
            "the signature has no timestamp countersignature",
        )
    }

    /// Without a countersignature the certificates have to be valid now.
    fn validity_now(&self) -> Finding {
        let chain = &self.envelope.chain;
        let Some(certificate) = chain.invalid_at(self.now) else {
            let ends = chain.certificates().iter().map(Certificate::expires);
            return Finding::new(Outcome::Passed, "").until(ends.min());
        };
        let subject = certificate.subject();
        if certificate.not_before > self.now {
            let begin = certificate.not_before;
            let detail = format!("certificate {subject} is not valid before {begin}");
            return Finding::new(Outcome::Failed, detail).until(Some(millis(begin)));
        }
        let end = certificate.not_after;
        Finding::new(
            Outcome::Failed,
            format!(
                "certificate {subject} expired at {end}, and no countersignature proves an earlier time of signing"
            ),
        )
    }

    /// The root is trusted or not, and never revoked by itself; a single certificate is its own root.
    fn revocation(&self) -> Finding {
        let certificates = self.envelope.chain.certificates().iter();
        let mut below_root = certificates.rev().skip(1);
        match below_root.find(|certificate| certificate.names_revocation) {
            None => Finding::new(
                Outcome::Passed,
                "no certificate names a responder or a revocation list",
            ),
            Some(certificate) => Finding::new(
                Outcome::Undetermined,
                format!(
                    "certificate {} names a responder or a revocation list, and these are not yet asked",
                    certificate.subject()
                ),
            ),
        }
    }
}
