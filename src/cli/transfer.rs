//! The options of `import` and `export`.

use std::path::PathBuf;

use clap::Args;

use super::Overrides;

/// Where and with what a transfer is done.
#[derive(Args, Clone, Debug)]
pub struct Place {
    /// URL of the admin API of a running regseal [default: the address of the configuration]
    #[arg(long, value_name = "URL", conflicts_with = "offline")]
    pub admin: Option<String>,
    /// File with the token of the admin API [default: that of the configuration]
    #[arg(long, value_name = "FILE", conflicts_with = "offline")]
    pub token_file: Option<PathBuf>,
    /// Open the stores here, beside a running regseal or without one, and ask the registry directly, with the credentials
    /// of docker login if there are any, else with the service account
    #[arg(long)]
    pub offline: bool,
    /// URL of the registry behind, with --offline
    #[arg(long, value_name = "URL", requires = "offline")]
    pub upstream: Option<String>,
    /// Data directory, with --offline
    #[arg(long, value_name = "DIR", requires = "offline")]
    pub data: Option<String>,
}

impl Place {
    /// Its settings.
    #[must_use]
    pub fn overrides(&self) -> Overrides {
        Overrides {
            upstream: self.upstream.clone(),
            data: self.data.clone(),
            ..Overrides::default()
        }
    }
}

/// Options of `import`.
#[derive(Args, Clone, Debug)]
pub struct Import {
    /// Only this repository; can be given several times
    #[arg(long, value_name = "NAME")]
    pub repository: Vec<String>,
    /// File with the names of the repositories, one a line; - for the standard input
    #[arg(long, value_name = "FILE")]
    pub repositories: Option<PathBuf>,
    /// The repositories named are all that the registry has: the inventory can be finished
    #[arg(long)]
    pub complete_list: bool,
    /// Take the inventory anew: all that the registry has now counts as having been there
    #[arg(long)]
    pub renew_inventory: bool,
    /// Manifests that are worked on at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub parallel: u8,
    /// Say what would be stored and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Where it is done.
    #[command(flatten)]
    pub place: Place,
}

/// Options of `export`.
#[derive(Args, Clone, Debug)]
pub struct Export {
    /// Only this repository; can be given several times
    #[arg(long, value_name = "NAME")]
    pub repository: Vec<String>,
    /// Folder for an OCI image layout of what the registry refuses: the layout itself if one repository is named, else one
    /// below it for each, with + for / in its name
    #[arg(long, value_name = "DIR", requires = "offline")]
    pub layout: Option<PathBuf>,
    /// Write everything there, and nothing to the registry
    #[arg(long, requires = "layout")]
    pub layout_only: bool,
    /// Subjects and tags that are worked on at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub parallel: u8,
    /// Say what would be written and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Where it is done.
    #[command(flatten)]
    pub place: Place,
}
