//! Signatures: no text is more than untrusted without somebody to trust in.

use std::collections::BTreeMap;

use regseal::oci::Digest;
use regseal::verification::cosign::{examine_bundle, examine_simple};
use regseal::verification::notary::{TrustPolicy, examine_integrity};
use regseal::verification::{Conclusion, Subject, Verdict};

const SUBJECT: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
const BUNDLES: [&str; 2] = [
    "application/vnd.dev.sigstore.bundle.v0.3+json",
    "application/vnd.dev.sigstore.bundle+json;version=0.1",
];

pub(crate) fn read_bundle(bytes: &[u8]) {
    about(|subject| BUNDLES.map(|media_type| examine_bundle(bytes, media_type, subject)));
}

/// Payload and signature of the older layout, parted by a line of their own.
pub(crate) fn read_simple(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (payload, signature) = text.split_once("\n--\n").unwrap_or((&text, ""));
    let annotation = (
        "dev.cosignproject.cosign/signature".to_owned(),
        signature.to_owned(),
    );
    let annotations = BTreeMap::from([annotation]);
    about(|subject| [examine_simple(payload.as_bytes(), &annotations, subject)]);
}

/// An envelope of notation; a trust policy is JSON of operators, and must not fall over either.
pub(crate) fn read_jws(bytes: &[u8]) {
    about(|subject| [examine_integrity(bytes, "application/jose+json", subject)]);
    let _ = TrustPolicy::parse(bytes);
}

fn about<const N: usize>(examine: impl Fn(&Subject<'_>) -> [Verdict; N]) {
    let digest: Digest = SUBJECT.parse().unwrap();
    let subject = Subject {
        digest: &digest,
        media_type: None,
        size: None,
    };
    for verdict in examine(&subject) {
        assert_ne!(verdict.conclusion, Conclusion::Valid);
    }
}
