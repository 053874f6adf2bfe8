//! Running programs.

use std::env;
use std::ffi::OsStr;
use std::process::{Command, Output, Stdio};

use crate::failure::Failure;

/// The cargo that runs us, with arguments.
pub(crate) fn cargo<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments);
    cargo
}

/// Shows the command line and runs it.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    eprintln!("$ {}", shown(command));
    let status = command.status().map_err(|error| Failure::CannotStart { program: shown(command), error })?;
    if status.success() { Ok(()) } else { Err(Failure::Failed { program: shown(command), status }) }
}

/// Runs a command and returns what it prints.
pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>, Failure> {
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let Output { status, stdout, .. } =
        command.output().map_err(|error| Failure::CannotStart { program: shown(command), error })?;
    if status.success() { Ok(stdout) } else { Err(Failure::Failed { program: shown(command), status }) }
}

/// The command line, with the program's name for its path.
fn shown(command: &Command) -> String {
    let program = command.get_program();
    let name = std::path::Path::new(program).file_name().unwrap_or(program);
    let words: Vec<_> = [name].into_iter().chain(command.get_args()).map(OsStr::to_string_lossy).collect();
    words.join(" ")
}
