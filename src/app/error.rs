//! Why regseal does not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use thiserror::Error;

use crate::auth::AuthError;
use crate::certificates::CertificateError;
use crate::cli::Exit;
use crate::policy::LoadErrors;
use crate::sealing::{InvalidKey, SealingError};
use crate::server::tls::TlsError;
use crate::store::StoreError;
use crate::store::blob::s3;
use crate::store::index::{embedded, redis};

/// Why regseal does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address cannot be bound.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// A file or directory cannot be used.
    #[error("cannot use {path}")]
    File {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is no store where one was expected.
    #[error(
        "cannot use {path}: there is no store, which the first start makes, or `regseal import --offline`"
    )]
    NoStore {
        /// The path of its objects.
        path: PathBuf,
    },
    /// A file of certificates or keys is not what it has to be.
    #[error("cannot use {path}")]
    Certificates {
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        source: CertificateError,
    },
    /// No TLS can be spoken with certificates that are right each for itself.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A file that should hold a sealing key does not.
    #[error("cannot read the sealing key of {path}")]
    SealingKey {
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        source: InvalidKey,
    },
    /// No sealing key can be made.
    #[error("cannot make a sealing key")]
    Sealing(#[from] SealingError),
    /// There is no registry behind.
    #[error("upstream.url does not name a host")]
    Upstream,
    /// The embedded index cannot be opened.
    #[error(transparent)]
    Embedded(#[from] embedded::OpenError),
    /// Redis is not what it has to be. That it is down is no error.
    #[error(transparent)]
    Redis(#[from] redis::OpenError),
    /// The bucket cannot be used as it is configured. That S3 is down is no error.
    #[error(transparent)]
    S3(#[from] s3::OpenError),
    /// The policy or the trust material is wrong.
    #[error(transparent)]
    Policy(#[from] LoadErrors),
    /// A rule lets pass what was there before, and nobody knows what that is.
    #[error(
        "rule {rule:?}: existing: allow needs the inventory of what was there before, and the store has no finished one: run `regseal import` before this rule is in force, or `regseal import --offline` before the first start"
    )]
    Inventory {
        /// The rule.
        rule: String,
    },
    /// The authorizer cannot be made.
    #[error(transparent)]
    Auth(#[from] AuthError),
}

impl StartError {
    /// How the process ends.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            // Nothing that goes by itself: the configuration names something it must not.
            Self::Upstream
            | Self::SealingKey { .. }
            | Self::Policy(_)
            | Self::Inventory { .. }
            | Self::Redis(_)
            | Self::S3(_) => Exit::Usage,
            Self::Bind { .. }
            | Self::File { .. }
            | Self::NoStore { .. }
            | Self::Certificates { .. }
            | Self::Tls(_)
            | Self::Sealing(_)
            | Self::Embedded(_)
            | Self::Auth(_) => Exit::Undecided,
        }
    }
}

/// Why a command that works on the stores did not come to its end.
#[derive(Debug, Error)]
pub enum CommandError {
    /// The stores cannot be opened.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The stores failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The result cannot be written.
    #[error("cannot write the result")]
    Output(#[from] io::Error),
}

impl CommandError {
    /// How the process ends.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Start(error) => error.exit(),
            Self::Store(_) | Self::Output(_) => Exit::Undecided,
        }
    }
}
