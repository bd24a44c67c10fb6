//! Keys of the policy, and of what it trusts in.

use crate::config::kind::FilePath;
use crate::config::mistake::Problem;
use crate::config::section::Section;
use crate::config::settings::{Keys, Policy, Storage};
use crate::config::written::Origin;

/// The policy, and who says that there is one.
pub(super) struct Read {
    pub(super) settings: Policy,
    origin: Option<Origin>,
}

/// Reads `policy` and `trust`.
pub(super) fn read(keys: &mut Section<'_>) -> Read {
    let about = "Which images need whose signature.";
    let (file, origin) = keys.section("policy", about, |keys| {
        let origin = keys.origin("file");
        let about = "The policy file; also --policy. Without it everything is allowed.";
        (keys.optional("file", about, &FilePath), origin)
    });
    let about = "Whom to trust, where the policy does not say it itself.";
    let trust_directory = keys.section("trust", about, |keys| {
        let about = "The directory with notation's trustpolicy.json and truststore/.";
        keys.optional("directory", about, &FilePath)
    });
    Read {
        settings: Policy {
            file,
            trust_directory,
        },
        origin,
    }
}

impl Read {
    /// With S3 there is no data directory in which a key could be made, and each replica would make its own.
    pub(super) fn check_sealing(&self, keys: &mut Section<'_>, storage: &Storage, sealing: &Keys) {
        if let (Some(origin), Storage::S3(_), []) =
            (&self.origin, storage, sealing.sealing.as_slice())
        {
            let why = "keys.sealing: with S3 the replicas share what they have found out, sealed";
            keys.report(origin.clone(), "policy.file", Problem::Needs(why));
        }
    }
}
