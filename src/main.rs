//! The regseal executable: reads the command line, and runs what it names.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use regseal::app::{self, App, CommandError, StartError, collect, rebuild};
use regseal::cli::{self, Cli, Command, Exit};
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
        Command::Config(command) => Ok(cli::run_config(
            command,
            &cli.global,
            &environment,
            out,
            err,
        )?),
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
    Exit::Undecided
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
