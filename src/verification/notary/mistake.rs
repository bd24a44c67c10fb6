//! What can be wrong with trust material: the trust policy document and the trust stores.

use std::io;

use thiserror::Error;

/// A mistake, and where it is.
#[derive(Debug, Error)]
#[error("{place}: {mistake}")]
pub struct TrustError {
    /// The statement of the trust policy, or the store with its file.
    pub place: String,
    /// What is wrong there.
    pub mistake: Mistake,
}

impl TrustError {
    pub(super) fn new(place: impl Into<String>, mistake: Mistake) -> Self {
        Self {
            place: place.into(),
            mistake,
        }
    }
}

/// A mistake in trust material.
#[derive(Debug, Error)]
pub enum Mistake {
    /// The document is no JSON, or names a key of an object twice.
    #[error("not a JSON document: {0}")]
    Json(#[source] serde_json::Error),
    /// A member that the format does not have.
    #[error("unknown field {0:?}")]
    UnknownField(String),
    /// A member that has to be there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A member of another type than its own.
    #[error("{field} must be {expected}")]
    WrongType {
        /// The member.
        field: String,
        /// Its type.
        expected: &'static str,
    },
    /// A member that must not be empty.
    #[error("{0} must not be empty")]
    Empty(&'static str),
    /// A value that is none of those allowed.
    #[error("{field} is {value:?}, and must be {allowed}")]
    NotOneOf {
        /// The member.
        field: String,
        /// What is written.
        value: String,
        /// What may be written.
        allowed: &'static str,
    },
    /// Two statements of one name.
    #[error("another statement has this name")]
    RepeatedName,
    /// `*` beside other values.
    #[error("{0}: \"*\" stands for all and must be the only one")]
    WildcardWithOthers(&'static str),
    /// A scope that stands twice in the document.
    #[error("registry scope {0:?} is listed before")]
    RepeatedScope(String),
    /// A scope that is not `host[:port]/repository`.
    #[error("registry scope {0:?} must be host[:port]/repository, without scheme, tag or digest")]
    MalformedScope(String),
    /// An override of what cannot be overridden.
    #[error("override: {0:?} cannot be overridden")]
    NotOverridable(String),
    /// A `skip` statement with what only verification needs.
    #[error("level skip verifies nothing, so {0} must not be set")]
    SkipWith(&'static str),
    /// A `skip` statement for every repository.
    #[error("level skip must name its repositories, not \"*\"")]
    SkipEverything,
    /// A trust store that is not `type:name`.
    #[error(
        "trust store {0:?} must be ca:NAME, signingAuthority:NAME or tsa:NAME, of letters, digits, '.', '_' and '-'"
    )]
    MalformedStore(String),
    /// A trusted identity that is not `prefix:value`.
    #[error("trusted identity {0:?} must be \"x509.subject: DN\" or \"*\"")]
    MalformedIdentity(String),
    /// A trusted identity with a distinguished name that is outside the grammar.
    #[error("trusted identity {identity:?}: {source}")]
    Identity {
        /// The identity.
        identity: String,
        /// What is wrong with its name.
        source: super::distinguished_name::NameError,
    },
    /// Two trusted identities of which one covers the other.
    #[error("trusted identities {0:?} and {1:?} overlap")]
    Overlap(String, String),
    /// A file or directory that cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[source] io::Error),
    /// A symbolic link, which could lead out of the store.
    #[error("is a symbolic link")]
    SymbolicLink,
    /// A directory where a file belongs.
    #[error("is no regular file")]
    NotAFile,
    /// A file where a store belongs.
    #[error("is no directory")]
    NotADirectory,
    /// A file that is larger than any of certificates needs to be.
    #[error("is larger than 1 MiB")]
    TooLarge,
    /// More files than trust stores need.
    #[error("more than 1000 files are too many for trust stores")]
    TooManyFiles,
    /// A directory that is no type of store.
    #[error("is no type of trust store: ca, signingAuthority and tsa are")]
    NotAStoreType,
    /// A store whose name is outside the grammar.
    #[error("is no name of a trust store: letters, digits, '.', '_' and '-' are allowed")]
    StoreName,
    /// A store or a file without a certificate.
    #[error("has no certificate")]
    NoCertificate,
    /// A file that is neither PEM nor DER, or has something else than certificates.
    #[error("is no certificate in PEM or DER")]
    NotACertificate,
    /// A certificate that cannot be an anchor.
    #[error("certificate {subject}: {why}")]
    NotAnAnchor {
        /// The subject of the certificate.
        subject: String,
        /// What it lacks.
        why: &'static str,
    },
}
