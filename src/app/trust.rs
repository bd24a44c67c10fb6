//! The certificate authorities that the clients of registry, S3 and Redis trust: those of the system and a file's.

use std::fs;
use std::path::Path;

use rustls::RootCertStore;

use super::StartError;
use crate::certificates;

/// The authorities of the system and those of `file`.
pub(super) fn roots(file: Option<&Path>) -> Result<RootCertStore, StartError> {
    let mut roots = of_system();
    if let Some(path) = file {
        roots.roots.extend(judged(path, &read(path)?)?.roots);
    }
    Ok(roots)
}

/// The authorities of the system.
pub(super) fn of_system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// The PEM of `file`, whose certificates can all be trusted, for clients that add those of the system themselves.
pub(super) fn authorities(file: Option<&Path>) -> Result<Option<Vec<u8>>, StartError> {
    let Some(path) = file else { return Ok(None) };
    let pem = read(path)?;
    judged(path, &pem)?;
    Ok(Some(pem))
}

fn judged(path: &Path, pem: &[u8]) -> Result<RootCertStore, StartError> {
    certificates::authorities(pem).map_err(|source| StartError::Certificates {
        path: path.to_owned(),
        source,
    })
}

fn read(path: &Path) -> Result<Vec<u8>, StartError> {
    fs::read(path).map_err(|source| StartError::File {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_authorities_is_read_whole_or_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.crt");
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["ca".to_owned()]).unwrap();
        let pem = certificate.self_signed(&key).unwrap().pem();
        fs::write(&path, pem.repeat(2)).unwrap();
        let read = authorities(Some(&path)).unwrap().unwrap();
        assert_eq!(read, pem.repeat(2).as_bytes());
        assert_eq!(
            roots(Some(&path)).unwrap().len(),
            roots(None).unwrap().len() + 2
        );
        assert_eq!(authorities(None).unwrap(), None);

        fs::write(&path, format!("{pem}-----BEGIN CERTIFICATE-----\n!\n")).unwrap();
        assert!(matches!(
            authorities(Some(&path)).unwrap_err(),
            StartError::Certificates { .. }
        ));
        let missing = directory.path().join("missing.crt");
        assert!(matches!(
            authorities(Some(&missing)).unwrap_err(),
            StartError::File { .. }
        ));
    }
}
