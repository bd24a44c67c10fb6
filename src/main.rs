//! The regseal executable: reads the command line, and runs what it names.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use regseal::app::doctor::{self, DoctorError};
use regseal::app::inspect::{InspectError, Wanted, inspect};
use regseal::app::{self, App, CommandError, StartError, check, collect, lint, rebuild, transfer};
use regseal::cli::{
    self, Cli, Command, ConfigCommand, Doctor, Exit, Inspect, PolicyCommand, TrustCommand,
};
use regseal::config::{self, Environment, Flags};
use regseal::telemetry;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    run(&Cli::parse())
        .unwrap_or_else(|error| {
            let exit = exit_of(&error);
            // Where not even that can be written, the exit status has to do.
            let _ = writeln!(io::stderr(), "{error:#}");
            exit
        })
        .into()
}

fn run(cli: &Cli) -> anyhow::Result<Exit> {
    let environment = Environment::of_process().context("cannot read the environment")?;
    let (out, err) = (&mut io::stdout(), &mut io::stderr());
    match &cli.command {
        Command::Serve(overrides) => serve(&cli::flags(&cli.global, overrides), &environment),
        Command::Config(ConfigCommand::Check(overrides)) => {
            let flags = cli::flags(&cli.global, overrides);
            let form = cli.global.output;
            Ok(check::check(&flags, &environment, form, out, err)?)
        }
        Command::Config(ConfigCommand::Dump(overrides)) => {
            let flags = cli::flags(&cli.global, overrides);
            let form = cli.global.output;
            Ok(cli::dump_config(&flags, &environment, form, out, err)?)
        }
        Command::Config(ConfigCommand::Schema) => Ok(cli::show_schema(out)?),
        Command::Policy(PolicyCommand::Test(options)) => {
            let flags = cli::flags(&cli.global, &options.overrides);
            let settings = config::load_for_stores(&flags, &environment)?;
            let form = cli.global.output;
            Ok(lint::test(&settings, &options.cases, form, out, err)?)
        }
        Command::Trust(TrustCommand::Check(overrides)) => {
            let flags = cli::flags(&cli.global, overrides);
            let settings = config::load_for_stores(&flags, &environment)?;
            Ok(lint::check_trust(&settings, cli.global.output, out, err)?)
        }
        Command::Verify(options) => look(Wanted::Verdict, options, cli, &environment),
        Command::Explain(options) => look(Wanted::Everything, options, cli, &environment),
        Command::Doctor(options) => visit(options, cli, &environment),
        Command::Import(options) => {
            let flags = cli::flags(&cli.global, &options.place.overrides());
            let settings = config::load_for_stores(&flags, &environment)?;
            let form = cli.global.output;
            let imported = transfer::import(&settings, &environment, options, form, out);
            Ok(Runtime::new()?.block_on(imported)?)
        }
        Command::Export(options) => {
            let flags = cli::flags(&cli.global, &options.place.overrides());
            let settings = config::load_for_stores(&flags, &environment)?;
            let form = cli.global.output;
            let exported = transfer::export(&settings, &environment, options, form, out);
            Ok(Runtime::new()?.block_on(exported)?)
        }
        Command::RebuildIndex(options) => {
            let flags = cli::flags(&cli.global, &options.overrides);
            let settings = config::load_for_stores(&flags, &environment)?;
            let form = cli.global.output;
            let runtime = Runtime::new()?;
            Ok(if options.verify {
                runtime.block_on(rebuild::verify(&settings, form, out))?
            } else {
                runtime.block_on(rebuild::rebuild(&settings, form, out))?
            })
        }
        Command::Gc(options) => {
            let flags = cli::flags(&cli.global, &options.overrides);
            let settings = config::load_for_stores(&flags, &environment)?;
            let collected = collect::collect(&settings, options, cli.global.output, out);
            Ok(Runtime::new()?.block_on(collected)?)
        }
        Command::Version => Ok(cli::run_version(cli.global.output, out)?),
    }
}

/// How the process ends after an error.
fn exit_of(error: &anyhow::Error) -> Exit {
    if error.is::<config::ConfigErrors>() {
        return Exit::Usage;
    }
    if let Some(error) = error.downcast_ref::<StartError>() {
        return error.exit();
    }
    if let Some(error) = error.downcast_ref::<CommandError>() {
        return error.exit();
    }
    if let Some(error) = error.downcast_ref::<InspectError>() {
        return error.exit();
    }
    if let Some(error) = error.downcast_ref::<DoctorError>() {
        return error.exit();
    }
    if let Some(error) = error.downcast_ref::<transfer::CommandError>() {
        return error.exit();
    }
    Exit::Undecided
}

fn look(
    wanted: Wanted,
    options: &Inspect,
    cli: &Cli,
    environment: &Environment,
) -> anyhow::Result<Exit> {
    let flags = cli::flags(&cli.global, &options.overrides());
    let settings = config::load_for_stores(&flags, environment)?;
    let (form, out) = (cli.global.output, &mut io::stdout());
    let looked = inspect(wanted, &settings, environment, options, form, out);
    Ok(Runtime::new()?.block_on(looked)?)
}

fn visit(options: &Doctor, cli: &Cli, environment: &Environment) -> anyhow::Result<Exit> {
    let flags = cli::flags(&cli.global, &options.overrides());
    let settings = config::load(&flags, environment)?;
    let without = cli::flags(&cli.global, &cli::Overrides::default());
    let configured = config::load_for_stores(&without, environment)?.upstream;
    let (form, out) = (cli.global.output, &mut io::stdout());
    let visited = doctor::doctor(
        &settings,
        configured.as_ref(),
        environment,
        options,
        form,
        out,
    );
    Ok(Runtime::new()?.block_on(visited)?)
}

fn serve(flags: &Flags, environment: &Environment) -> anyhow::Result<Exit> {
    let settings = config::load(flags, environment)?;
    Runtime::new()?.block_on(async {
        let telemetry = telemetry::init(&app::telemetry_config(&settings))?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let app = App::start(settings, telemetry).await?;
        let _drained = app
            .run(async {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            })
            .await;
        Ok(Exit::Success)
    })
}
