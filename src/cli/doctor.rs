//! The options of `doctor`.

use std::path::PathBuf;

use clap::Args;

/// Options of `doctor`.
#[derive(Args, Clone, Debug)]
pub struct Doctor {
    /// The registry: http or https, host and perhaps port
    #[arg(value_name = "URL")]
    pub url: String,
    /// A repository with at least one tag, to look at; nothing is changed there [default: the first of the catalog]
    #[arg(long, value_name = "NAME")]
    pub repository: Option<String>,
    /// A repository to write to: without one nothing is written. What is put there is deleted at the end, as far as the
    /// registry lets it be
    #[arg(long, value_name = "NAME")]
    pub scratch: Option<String>,
    /// PEM file with authorities to trust besides those of the system [default: upstream.ca]
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

impl Doctor {
    /// Its settings.
    #[must_use]
    pub fn overrides(&self) -> super::Overrides {
        super::Overrides {
            upstream: Some(self.url.clone()),
            ..super::Overrides::default()
        }
    }
}
