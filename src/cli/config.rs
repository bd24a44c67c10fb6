//! `regseal config dump` and `regseal config schema`.

use std::io::{self, Write};

use super::{Exit, OutputForm};
use crate::config::{self, Environment, Flags};

/// Runs `regseal config dump`: the answer goes to `out`, what prevents one to `err`.
///
/// # Errors
/// If the output cannot be written.
pub fn dump_config(
    flags: &Flags,
    environment: &Environment,
    form: OutputForm,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Exit> {
    let dump = match form {
        OutputForm::Table => config::dump_yaml(flags, environment),
        OutputForm::Json => config::dump_json(flags, environment).map(|dump| format!("{dump:#}\n")),
    };
    match dump {
        Ok(dump) => out.write_all(dump.as_bytes()).map(|()| Exit::Success),
        Err(errors) => writeln!(err, "{errors}").map(|()| Exit::Usage),
    }
}

/// Runs `regseal config schema`.
///
/// # Errors
/// If the output cannot be written.
pub fn show_schema(out: &mut dyn Write) -> io::Result<Exit> {
    writeln!(out, "{:#}", config::schema()).map(|()| Exit::Success)
}
