//! What is typed, and what is answered.

use clap::CommandFactory;

use super::*;
use crate::config::Environment;

/// Dumps the configuration of an empty directory.
fn dump(arguments: &str) -> (Exit, String, String) {
    let directory = tempfile::tempdir().unwrap();
    let variables: [(&str, &str); 0] = [];
    let environment = Environment::new(directory.path(), variables);
    let arguments = format!("regseal config dump {arguments}");
    let cli = Cli::try_parse_from(arguments.split_whitespace()).unwrap();
    let Command::Config(ConfigCommand::Dump(overrides)) = &cli.command else {
        panic!("not a dump: {arguments:?}")
    };
    let flags = flags(&cli.global, overrides);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let form = cli.global.output;
    let exit = dump_config(&flags, &environment, form, &mut out, &mut err).unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (exit, text(out), text(err))
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
      policy         Try the policy
      trust          Look at what the policy trusts in
      verify         Say whether an image is signed as its rule asks
      explain        Show all that is known of an image, and what would make it pass
      doctor         Ask a registry what it can do, and say what regseal adds to it and what it cannot
      import         Take over what the registry has: signatures, and the inventory of what was there
      export         Write to the registry what only regseal holds, so that regseal can be taken away
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
          --admin <ADDR>    Address of health, metrics and the admin API
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
    let arguments =
        "regseal serve --upstream http://a --listen b --admin c --data d --policy e --config f -vv";
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
fn dump_needs_a_configuration_without_mistakes() {
    let (exit, out, err) = dump("");
    assert_eq!((exit, out.as_str()), (Exit::Usage, ""));
    assert!(err.starts_with("upstream.url: required"), "{err}");

    let (exit, out, _) = dump("--upstream http://a");
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
