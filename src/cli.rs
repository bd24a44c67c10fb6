//! The command line: what can be typed, and the commands that only concern the configuration. Output goes to the writers
//! that are passed in, errors of writing to the caller.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use serde_json::json;

use crate::config::{self, ConfigErrors, Environment, Flags, Origin};

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
    /// Address of health and metrics
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
    /// Report every mistake in file, environment and flags
    Check(Overrides),
    /// Show the configuration in force and where each value comes from
    Dump(Overrides),
    /// Show the JSON schema of the file
    Schema,
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

/// Runs `regseal config`: answers go to `out`, what prevents one to `err`.
///
/// # Errors
/// If the output cannot be written.
pub fn run_config(
    command: &ConfigCommand,
    global: &Global,
    environment: &Environment,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Exit> {
    match command {
        ConfigCommand::Check(overrides) => check(
            &flags(global, overrides),
            environment,
            global.output,
            out,
            err,
        ),
        ConfigCommand::Dump(overrides) => {
            let flags = flags(global, overrides);
            let dump = match global.output {
                OutputForm::Table => config::dump_yaml(&flags, environment),
                OutputForm::Json => {
                    config::dump_json(&flags, environment).map(|dump| format!("{dump:#}\n"))
                }
            };
            match dump {
                Ok(dump) => out.write_all(dump.as_bytes()).map(|()| Exit::Success),
                Err(errors) => writeln!(err, "{errors}").map(|()| Exit::Usage),
            }
        }
        ConfigCommand::Schema => writeln!(out, "{:#}", config::schema()).map(|()| Exit::Success),
    }
}

fn check(
    flags: &Flags,
    environment: &Environment,
    form: OutputForm,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Exit> {
    let mistakes = match config::load(flags, environment) {
        Ok(_) => Vec::new(),
        Err(ConfigErrors::Mistakes(mistakes)) => mistakes,
        Err(unreadable @ ConfigErrors::Unreadable { .. }) => {
            writeln!(err, "{unreadable}")?;
            return Ok(Exit::Undecided);
        }
    };
    let valid = mistakes.is_empty();
    match form {
        OutputForm::Table if valid => writeln!(out, "the configuration is valid")?,
        OutputForm::Table => writeln!(out, "{}", ConfigErrors::Mistakes(mistakes))?,
        OutputForm::Json => {
            let mistakes: Vec<_> = mistakes
                .iter()
                .map(|mistake| {
                    let origin = (mistake.origin != Origin::Default).then(|| mistake.origin.to_string());
                    json!({"origin": origin, "key": mistake.key, "problem": mistake.problem.to_string()})
                })
                .collect();
            writeln!(out, "{:#}", json!({"valid": valid, "mistakes": mistakes}))?;
        }
    }
    Ok(if valid { Exit::Success } else { Exit::No })
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// Runs a command of the configuration in an empty directory that has `file` in it.
    fn run(file: &str, arguments: &[&str]) -> (Exit, String, String) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("regseal.yaml"), file).unwrap();
        let variables: [(&str, &str); 0] = [];
        let environment = Environment::new(directory.path(), variables);
        let cli = Cli::try_parse_from(["regseal", "config"].iter().chain(arguments)).unwrap();
        let Command::Config(command) = &cli.command else {
            panic!("not a command of the configuration: {arguments:?}")
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let exit = run_config(command, &cli.global, &environment, &mut out, &mut err).unwrap();
        (
            exit,
            String::from_utf8(out).unwrap(),
            String::from_utf8(err).unwrap(),
        )
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_is_stable() {
        let mut command = Cli::command().term_width(100);
        command.build();
        insta::assert_snapshot!(command.render_help(), @r#"
        A reverse proxy that gives any OCI registry the Referrers API and a durable signature store

        Usage: regseal [OPTIONS] <COMMAND>

        Commands:
          serve          Run the proxy
          config         Check or show the configuration
          rebuild-index  Rebuild the index from the stored objects
          gc             Delete stored objects that nothing refers to
          version        Show the version

        Options:
          -h, --help  Print help (see more with '--help')

        Options of every command:
              --config <FILE>  Configuration file
          -o, --output <FORM>  Form of the output [default: table] [possible values: table, json]
          -v, --verbose...     Log more: debug, and if given twice, trace

        Every key of the configuration has a variable as well: REGSEAL__LISTEN__ADDRESS sets listen.address.
        Exit status: 0 ok, 1 the answer is no, 2 wrong usage or configuration, 3 could not decide.
        "#);
        let serve = command.find_subcommand_mut("serve").unwrap();
        insta::assert_snapshot!(serve.render_help(), @r#"
        Run the proxy

        Usage: regseal serve [OPTIONS]

        Options:
              --upstream <URL>  URL of the registry behind
              --listen <ADDR>   Address of the registry that clients see
              --admin <ADDR>    Address of health and metrics
              --data <DIR>      Data directory
              --policy <FILE>   Policy file
          -h, --help            Print help (see more with '--help')

        Options of every command:
              --config <FILE>  Configuration file
          -o, --output <FORM>  Form of the output [default: table] [possible values: table, json]
          -v, --verbose...     Log more: debug, and if given twice, trace
        "#);
    }

    #[test]
    fn flags_of_all_levels_reach_the_configuration() {
        let arguments = "regseal serve --upstream http://a --listen b --admin c --data d --policy e --config f -vv";
        let cli = Cli::try_parse_from(arguments.split(' ')).unwrap();
        let Command::Serve(overrides) = &cli.command else {
            panic!("not serve")
        };
        let flags = flags(&cli.global, overrides);
        assert_eq!(flags.config, Some("f".into()));
        let texts = [
            flags.upstream,
            flags.listen,
            flags.admin,
            flags.data,
            flags.policy,
        ];
        assert_eq!(texts.map(Option::unwrap), ["http://a", "b", "c", "d", "e"]);
        assert_eq!(flags.verbose, 2);
    }

    #[test]
    fn the_options_of_commands_on_the_stores_are_read() {
        let read = |arguments: &str| Cli::try_parse_from(arguments.split(' ')).unwrap().command;
        let Command::RebuildIndex(options) = read("regseal rebuild-index --verify --data d") else {
            panic!("not rebuild-index")
        };
        assert!(options.verify && !options.offline);
        assert_eq!(options.overrides.data.as_deref(), Some("d"));
        let Command::Gc(options) = read("regseal gc --dry-run --scrub --offline --data d") else {
            panic!("not gc")
        };
        assert!(options.dry_run && options.scrub && options.offline);
        assert_eq!(options.overrides.data.as_deref(), Some("d"));
    }

    #[test]
    fn wrong_usage_ends_with_2() {
        for arguments in [
            &["regseal"][..],
            &["regseal", "fly"],
            &["regseal", "serve", "--fast"],
        ] {
            let error = Cli::try_parse_from(arguments).unwrap_err();
            assert_eq!(error.exit_code(), i32::from(Exit::Usage.status()));
        }
    }

    #[test]
    fn check_answers_yes_or_no_or_nothing() {
        let check = ["check", "--config", "regseal.yaml"];
        let (exit, out, err) = run("upstream: {url: http://a}", &check);
        assert_eq!(
            (exit.status(), out.as_str(), err.as_str()),
            (0, "the configuration is valid\n", "")
        );

        let bad = "upstream: {url: http://a}\nlisen: {}\n";
        let (exit, out, err) = run(bad, &check);
        let expected = "regseal.yaml:2: lisen: unknown key (did you mean \"listen\"?)\n";
        assert_eq!(
            (exit.status(), out.as_str(), err.as_str()),
            (1, expected, "")
        );

        let (exit, out, err) = run("", &["check", "--config", "missing.yaml"]);
        assert_eq!((exit.status(), out.as_str()), (3, ""));
        assert!(err.starts_with("missing.yaml: cannot be read: "), "{err}");
    }

    #[test]
    fn check_answers_programs_in_json() {
        let (exit, out, _) = run(
            "lisen: {}",
            &["check", "-o", "json", "--config", "regseal.yaml"],
        );
        assert_eq!(exit, Exit::No);
        insta::assert_snapshot!(out, @r#"
        {
          "mistakes": [
            {
              "key": "lisen",
              "origin": "regseal.yaml:1",
              "problem": "unknown key (did you mean \"listen\"?)"
            },
            {
              "key": "upstream.url",
              "origin": null,
              "problem": "required: set it in the file, with REGSEAL__UPSTREAM__URL or with --upstream"
            }
          ],
          "valid": false
        }
        "#);
    }

    #[test]
    fn dump_needs_a_configuration_without_mistakes() {
        let (exit, out, err) = run("", &["dump"]);
        assert_eq!((exit, out.as_str()), (Exit::Usage, ""));
        assert!(err.starts_with("upstream.url: required"), "{err}");

        let (exit, out, _) = run("", &["dump", "--upstream", "http://a"]);
        assert_eq!(exit, Exit::Success);
        assert!(out.contains("  url: http://a  # --upstream\n"), "{out}");
    }

    #[test]
    fn the_version_names_the_commit() {
        for (form, expected) in [
            (OutputForm::Table, "regseal 0.1.0 ("),
            (OutputForm::Json, "\"version\": \"0.1.0\""),
        ] {
            let mut out = Vec::new();
            assert_eq!(run_version(form, &mut out).unwrap(), Exit::Success);
            let out = String::from_utf8(out).unwrap();
            assert!(out.contains(expected), "{out}");
        }
    }
}
