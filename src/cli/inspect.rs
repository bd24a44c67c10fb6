//! The options of `verify` and `explain`.

use std::path::PathBuf;

use clap::Args;

use super::Overrides;

/// Not a doc comment: brackets are links there.
const REFERENCE: &str = "The image: [host/]repository[:tag][@digest]; the host is not looked at";

/// Options of `verify` and `explain`.
#[derive(Args, Clone, Debug)]
pub struct Inspect {
    /// The image.
    #[arg(value_name = "REF", help = REFERENCE)]
    pub reference: String,
    /// URL of the admin API of a running regseal [default: the address of the configuration]
    #[arg(long, value_name = "URL", conflicts_with = "offline")]
    pub admin: Option<String>,
    /// File with the token of the admin API [default: that of the configuration]
    #[arg(long, value_name = "FILE", conflicts_with = "offline")]
    pub token_file: Option<PathBuf>,
    /// Open the stores here and ask the registry directly, with the credentials of docker login if there are any, else with
    /// the service account
    #[arg(long)]
    pub offline: bool,
    /// URL of the registry behind, with --offline
    #[arg(long, value_name = "URL", requires = "offline")]
    pub upstream: Option<String>,
    /// Data directory, with --offline
    #[arg(long, value_name = "DIR", requires = "offline")]
    pub data: Option<String>,
    /// Policy file, with --offline
    #[arg(long, value_name = "FILE", requires = "offline")]
    pub policy: Option<String>,
}

impl Inspect {
    /// Its settings.
    #[must_use]
    pub fn overrides(&self) -> Overrides {
        Overrides {
            upstream: self.upstream.clone(),
            data: self.data.clone(),
            policy: self.policy.clone(),
            ..Overrides::default()
        }
    }
}
