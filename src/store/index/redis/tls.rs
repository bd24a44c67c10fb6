//! Which authorities a server's certificate may come from.

use base64ct::{Base64, Encoding};
use redis::TlsCertificates;
use rustls::RootCertStore;

/// The authorities of the system and those of `ca` (PEM).
pub(super) fn certificates(ca: Option<&[u8]>) -> TlsCertificates {
    // Those given are all that count, so the system's are added to ours.
    let root_cert = ca.map(|ca| {
        let mut pem = ca.to_vec();
        for certificate in rustls_native_certs::load_native_certs().certs {
            // One that cannot be used would make all unusable.
            if RootCertStore::empty().add(certificate.clone()).is_ok() {
                let body = Base64::encode_string(&certificate);
                let text =
                    format!("\n-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
                pem.extend(text.as_bytes());
            }
        }
        pem
    });
    TlsCertificates {
        client_tls: None,
        root_cert,
    }
}
