//! The client of the service: TLS, region, timeouts, retries.

use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::ProvideRegion;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Builder, IdentityCache, Region, RequestChecksumCalculation,
    ResponseChecksumValidation, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use thiserror::Error;

use super::super::Key;
use super::config::{Checksums, Config, Credentials};
use super::credentials;

/// How often an exchange is tried.
const ATTEMPTS: u32 = 3;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A connection that has been idle this long may have been closed by what lies between.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// Where a service that is not AWS thinks it is, mostly.
const DEFAULT_REGION: &str = "us-east-1";
/// A key of the service has 1024 bytes, of which ours may take 900 and a slash one.
const MAX_PREFIX: usize = 123;

/// Why a bucket cannot be used.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Neither the configuration nor the AWS environment names a region, and it is needed to reach AWS.
    #[error("no region for the S3 bucket: set `storage.s3.region` or AWS_REGION")]
    Region,
    /// The prefix cannot begin a key.
    #[error(
        "the S3 prefix {0:?} is longer than {MAX_PREFIX} bytes or has other characters than A-Z a-z 0-9 . _ + = - and single slashes within"
    )]
    Prefix(String),
    /// The file of authorities holds none, or something else.
    #[error("the authorities to trust for S3 cannot be read: {0}")]
    Authorities(String),
}

/// What every key begins with: nothing, or `prefix` and a slash.
pub(super) fn prefix(prefix: Option<String>) -> Result<String, OpenError> {
    match prefix {
        None => Ok(String::new()),
        Some(text) if text.len() <= MAX_PREFIX && text.parse::<Key>().is_ok() => {
            Ok(format!("{text}/"))
        }
        Some(text) => Err(OpenError::Prefix(text)),
    }
}

pub(super) async fn client(config: &Config) -> Result<Client, OpenError> {
    let http = http_client(config.ca.as_deref())?;
    let environment = ProviderConfig::without_region().with_http_client(http.clone());
    let region = region(config, &environment).await?;
    let attempt = config.operation_timeout / ATTEMPTS;
    let credentials = credentials::provider(
        &config.credentials,
        &environment,
        &region,
        // Less than an attempt, so that the reason is told.
        attempt * 4 / 5,
    );
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT.min(attempt))
        .operation_attempt_timeout(attempt)
        .operation_timeout(config.operation_timeout)
        .build();
    let retries = RetryConfig::standard()
        .with_max_attempts(ATTEMPTS)
        .with_initial_backoff(Duration::from_millis(100))
        .with_max_backoff(Duration::from_secs(1));
    let (request_checksums, response_checksums) = match config.checksums {
        Checksums::WhenRequired => (
            RequestChecksumCalculation::WhenRequired,
            ResponseChecksumValidation::WhenRequired,
        ),
        Checksums::WhenSupported => (
            RequestChecksumCalculation::WhenSupported,
            ResponseChecksumValidation::WhenSupported,
        ),
    };
    let mut builder = Builder::new()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .http_client(http)
        .region(region)
        .credentials_provider(credentials)
        .identity_cache(IdentityCache::lazy().load_timeout(attempt).build())
        .force_path_style(config.path_style)
        .timeout_config(timeouts)
        .retry_config(retries)
        // Bodies that are sent are in memory, and what is read has a bound of its own for each piece.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .request_checksum_calculation(request_checksums)
        .response_checksum_validation(response_checksums);
    if let Some(endpoint) = &config.endpoint {
        builder = builder.endpoint_url(endpoint.to_string());
    }
    Ok(Client::from_conf(builder.build()))
}

/// The region without asking anybody: the instance metadata service, which AWS clients ask last, is left out.
async fn region(config: &Config, environment: &ProviderConfig) -> Result<Region, OpenError> {
    if let Some(region) = &config.region {
        return Ok(Region::new(region.clone()));
    }
    let mut profile = ProfileFileRegionProvider::builder().configure(environment);
    if let Credentials::Profile(name) = &config.credentials {
        profile = profile.profile_name(name);
    }
    let variables = EnvironmentVariableRegionProvider::new();
    let found = match variables.region().await {
        Some(region) => Some(region),
        None => profile.build().region().await,
    };
    match found {
        Some(region) => Ok(region),
        None if config.endpoint.is_some() => Ok(Region::from_static(DEFAULT_REGION)),
        None => Err(OpenError::Region),
    }
}

fn http_client(ca: Option<&[u8]>) -> Result<SharedHttpClient, OpenError> {
    let native = rustls_native_certs::load_native_certs();
    let mut trusted = TrustStore::empty().with_native_roots(!native.certs.is_empty());
    if let Some(pem) = ca {
        check_authorities(pem)?;
        trusted.add_pem_certificate(pem);
    }
    let context = TlsContext::builder()
        .with_trust_store(trusted)
        .build()
        .map_err(|error| OpenError::Authorities(error.to_string()))?;
    Ok(aws_smithy_http_client::Builder::new()
        .pool_idle_timeout(IDLE_TIMEOUT)
        .tls_provider(Provider::rustls(CryptoMode::AwsLc))
        .tls_context(context)
        .build_https())
}

/// The connector takes for granted that it can read them.
fn check_authorities(pem: &[u8]) -> Result<(), OpenError> {
    let failed = |error: &dyn std::error::Error| OpenError::Authorities(error.to_string());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| failed(&error))?;
        roots.add(certificate).map_err(|error| failed(&error))?;
    }
    if roots.is_empty() {
        return Err(OpenError::Authorities("no certificate in it".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_key_that_leaves_room_for_keys() {
        for (text, expected) in [
            (None, Some("")),
            (Some("prod"), Some("prod/")),
            (Some("prod/a"), Some("prod/a/")),
            (Some(""), None),
            (Some("/prod"), None),
            (Some("prod/"), None),
            (Some("pröd"), None),
        ] {
            let made = prefix(text.map(str::to_owned)).ok();
            assert_eq!(made.as_deref(), expected, "{text:?}");
        }
        assert!(prefix(Some("a".repeat(MAX_PREFIX))).is_ok());
        assert!(prefix(Some("a".repeat(MAX_PREFIX + 1))).is_err());
    }

    #[test]
    fn authorities_are_read_when_the_store_is_opened() {
        let key = rcgen::KeyPair::generate().unwrap();
        let own = rcgen::CertificateParams::new(vec!["s3.test".to_owned()]).unwrap();
        let pem = own.self_signed(&key).unwrap().pem();
        assert!(http_client(Some(format!("{pem}{pem}").as_bytes())).is_ok());
        for wrong in [
            "",
            "text",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            assert!(http_client(Some(wrong.as_bytes())).is_err(), "{wrong:?}");
        }
    }
}
