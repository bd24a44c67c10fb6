//! The command line: what can be typed, and the commands that need nothing but the configuration. Output goes to the
//! writers that are passed in, errors of writing to the caller.

mod config;
mod doctor;
mod inspect;
#[cfg(test)]
mod tests;
mod transfer;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use serde_json::json;

use crate::config::Flags;

pub use self::config::{dump_config, show_schema};
pub use self::doctor::Doctor;
pub use self::inspect::Inspect;
pub use self::transfer::{Export, Import, Place};

/// A reverse proxy that gives any OCI registry the Referrers API and a durable signature store.
#[derive(Clone, Debug, Parser)]
#[command(name = "regseal", after_help = AFTER_HELP, disable_help_subcommand = true)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const AFTER_HELP: &str = "\
Every key of the configuration has a variable as well: REGSEAL__LISTEN__ADDRESS sets listen.address.
Exit status: 0 ok, 1 the answer is no, 2 wrong usage or configuration, 3 could not decide.";

const GLOBAL: &str = "Options of every command";

/// Options of every command.
#[derive(Args, Clone, Debug)]
pub struct Global {
    /// Configuration file
    #[arg(long, global = true, value_name = "FILE", help_heading = GLOBAL)]
    pub config: Option<PathBuf>,
    /// Form of the output
    #[arg(short, long, global = true, value_name = "FORM", default_value = "table", help_heading = GLOBAL)]
    pub output: OutputForm,
    /// Log more: debug, and if given twice, trace
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = GLOBAL)]
    pub verbose: u8,
}

/// Form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputForm {
    /// For people
    Table,
    /// For programs
    Json,
}

/// Settings that have a flag. They are stronger than the environment and the file.
#[derive(Args, Clone, Debug, Default)]
pub struct Overrides {
    /// URL of the registry behind
    #[arg(long, value_name = "URL")]
    pub upstream: Option<String>,
    /// Address of the registry that clients see
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Address of health, metrics and the admin API
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<String>,
    /// Data directory
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
    /// Policy file
    #[arg(long, value_name = "FILE")]
    pub policy: Option<String>,
}

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the proxy
    Serve(Overrides),
    /// Check or show the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Try the policy
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Look at what the policy trusts in
    #[command(subcommand)]
    Trust(TrustCommand),
    /// Say whether an image is signed as its rule asks
    Verify(Inspect),
    /// Show all that is known of an image, and what would make it pass
    Explain(Inspect),
    /// Ask a registry what it can do, and say what regseal adds to it and what it cannot
    Doctor(Doctor),
    /// Take over what the registry has: signatures, and the inventory of what was there
    Import(Import),
    /// Write to the registry what only regseal holds, so that regseal can be taken away
    Export(Export),
    /// Rebuild the index from the stored objects
    RebuildIndex(RebuildIndex),
    /// Delete stored objects that nothing refers to
    Gc(Gc),
    /// Show the version
    Version,
}

/// The commands that concern the configuration.
#[derive(Clone, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Report every mistake in file, environment and flags, and in the policy and what it trusts in
    Check(Overrides),
    /// Show the configuration in force and where each value comes from
    Dump(Overrides),
    /// Show the JSON schema of the file
    Schema,
}

/// The commands that concern the policy.
#[derive(Clone, Debug, Subcommand)]
pub enum PolicyCommand {
    /// Judge the cases of a file: images, who has signed them, and what is expected to happen
    Test(PolicyTest),
}

/// Options of `policy test`.
#[derive(Args, Clone, Debug)]
pub struct PolicyTest {
    /// The file with the cases
    #[arg(value_name = "FILE")]
    pub cases: PathBuf,
    /// Where the policy is.
    #[command(flatten)]
    pub overrides: Overrides,
}

/// The commands that concern trust.
#[derive(Clone, Debug, Subcommand)]
pub enum TrustCommand {
    /// Report every mistake in policy, trust directory and keys, and what can never be satisfied
    Check(Overrides),
}

/// Options of `rebuild-index`.
#[derive(Args, Clone, Debug)]
pub struct RebuildIndex {
    /// Open the stores here, the only way in this version; with an embedded index while no regseal runs
    #[arg(long)]
    pub offline: bool,
    /// Compare the index with the objects and change nothing
    #[arg(long)]
    pub verify: bool,
    /// Where the stores are.
    #[command(flatten)]
    pub overrides: Overrides,
}

/// Options of `gc`.
#[derive(Args, Clone, Debug)]
pub struct Gc {
    /// Open the stores here, the only way in this version; beside a running regseal or without one
    #[arg(long)]
    pub offline: bool,
    /// Say what would be deleted and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Hash every object again and report what is damaged
    #[arg(long)]
    pub scrub: bool,
    /// Where the stores are.
    #[command(flatten)]
    pub overrides: Overrides,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, or: yes.
    Success,
    /// No.
    No,
    /// The command line or the configuration is wrong.
    Usage,
    /// Something that is needed for an answer could not be had.
    Undecided,
}

impl Exit {
    /// The status of the process.
    #[must_use]
    pub fn status(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::No => 1,
            Self::Usage => 2,
            Self::Undecided => 3,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.status())
    }
}

/// The flags of a command, as the configuration wants them.
#[must_use]
pub fn flags(global: &Global, overrides: &Overrides) -> Flags {
    let overrides = overrides.clone();
    Flags {
        config: global.config.clone(),
        upstream: overrides.upstream,
        listen: overrides.listen,
        admin: overrides.admin,
        data: overrides.data,
        policy: overrides.policy,
        verbose: global.verbose,
    }
}

/// Runs `regseal version`.
///
/// # Errors
/// If the output cannot be written.
pub fn run_version(form: OutputForm, out: &mut dyn Write) -> io::Result<Exit> {
    let version = env!("CARGO_PKG_VERSION");
    let commit = option_env!("REGSEAL_COMMIT").unwrap_or("unknown");
    match form {
        OutputForm::Table => writeln!(out, "regseal {version} ({commit})")?,
        OutputForm::Json => writeln!(out, "{:#}", json!({"version": version, "commit": commit}))?,
    }
    Ok(Exit::Success)
}
