//! The configuration as a whole: files with mistakes, layers, the dump, and the files that are shipped.

mod layers;
mod mistakes;
mod policy;
mod shown;
mod stores;
mod tls;

use std::path::Path;

use super::*;

/// A directory with one file, and the flags that name it.
struct Case {
    directory: tempfile::TempDir,
    flags: Flags,
}

impl Case {
    fn new(file: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("regseal.yaml"), file).unwrap();
        let flags = Flags {
            config: Some("regseal.yaml".into()),
            ..Flags::default()
        };
        Self { directory, flags }
    }

    /// Writes a certificate and its key.
    fn certificate(&self, certificate: &str, key: &str) {
        let signing = rcgen::KeyPair::generate().unwrap();
        let made = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let made = made.self_signed(&signing).unwrap();
        std::fs::write(self.directory.path().join(certificate), made.pem()).unwrap();
        std::fs::write(self.directory.path().join(key), signing.serialize_pem()).unwrap();
    }

    fn environment(&self, variables: &[(&str, &str)]) -> Environment {
        Environment::new(self.directory.path(), variables.iter().copied())
    }

    fn load(&self, variables: &[(&str, &str)]) -> Result<Settings, String> {
        load(&self.flags, &self.environment(variables)).map_err(|errors| errors.to_string())
    }
}

fn mistakes(file: &str) -> String {
    Case::new(file).load(&[]).unwrap_err()
}

fn upstream_flag() -> Flags {
    Flags {
        upstream: Some("http://localhost:5000".to_owned()),
        ..Flags::default()
    }
}
