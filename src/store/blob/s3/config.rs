//! The settings of a bucket.

use std::time::Duration;

use http::Uri;

use crate::secret::Secret;

/// Settings of an S3 bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Its name.
    pub bucket: String,
    /// What all keys begin with, without slashes at its ends.
    pub prefix: Option<String>,
    /// Its region. `None`: that of the AWS environment (variables, profile), else `us-east-1` if there is an endpoint.
    pub region: Option<String>,
    /// Where the service is, if not at AWS.
    pub endpoint: Option<Uri>,
    /// Whether the bucket stands in the path instead of the host name.
    pub path_style: bool,
    /// Who asks.
    pub credentials: Credentials,
    /// What encryption is asked for.
    pub encryption: Encryption,
    /// When the SDK adds checksums of its own.
    pub checksums: Checksums,
    /// Whether `If-None-Match` is sent.
    pub conditional_writes: ConditionalWrites,
    /// Authorities (PEM) to trust besides those of the system.
    pub ca: Option<Vec<u8>>,
    /// For one exchange with the service, of up to three attempts; a third of it is the time of each.
    pub operation_timeout: Duration,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// A key pair.
    Static {
        /// Its name.
        access_key_id: String,
        /// Its secret.
        secret_access_key: Secret,
        /// The token of temporary keys.
        session_token: Option<Secret>,
    },
    /// A profile of the AWS configuration files: keys in it, or a role. Single sign-on and `credential_process` are
    /// not supported.
    Profile(String),
    /// What the AWS environment has: variables, profile, web identity (IRSA), container (ECS, EKS), instance.
    Chain,
}

/// What encryption is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// Nothing is sent: the bucket decides.
    Bucket,
    /// `AES256`, with keys of the service.
    Aes256,
    /// `aws:kms`.
    Kms {
        /// The key; `None`: the default key of the account.
        key_id: Option<String>,
    },
}

/// When the SDK adds checksums of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksums {
    /// Where the operation requires them, which none of those used here does.
    WhenRequired,
    /// Where the operation takes them: understood by AWS, and refused by several others.
    WhenSupported,
}

/// Whether `If-None-Match` is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionalWrites {
    /// It is: of several creators of an object exactly one succeeds.
    Auto,
    /// It is not, for services that refuse it. An object is looked for before it is created, which is not atomic:
    /// two creators at once may both succeed, and the later one's bytes stay.
    Off,
}
