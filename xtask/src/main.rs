//! Every developer command: `cargo xtask <command>`. Continuous integration runs the same ones.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks")]

mod bench;
mod checksum;
mod crates;
mod cross;
mod deb;
mod dist;
mod doc;
mod failure;
mod generated;
mod lint;
mod localhost;
mod metadata;
mod process;
mod soak;
mod test;
mod trace;
mod workflows;

use std::env;
use std::ffi::OsString;
use std::fmt::Write;
use std::process::ExitCode;

use crate::failure::Failure;

/// A command: what to type, what it is for, what it does with its arguments.
struct Command {
    name: &'static str,
    about: &'static str,
    run: fn(&[OsString]) -> Result<(), Failure>,
}

const COMMANDS: &[Command] = &[
    lint::COMMAND,
    workflows::COMMAND,
    test::COMMAND,
    doc::COMMAND,
    localhost::COMMAND,
    cross::COMMAND,
    bench::COMMAND,
    soak::COMMAND,
    deb::COMMAND,
    dist::COMMAND,
];

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let Some((name, arguments)) = arguments.split_first() else {
        eprint!("{}", help());
        return ExitCode::FAILURE;
    };
    if ["help", "-h", "--help"].iter().any(|help| name == help) {
        print!("{}", help());
        return ExitCode::SUCCESS;
    }
    let Some(command) = COMMANDS.iter().find(|command| name == command.name) else {
        eprint!("xtask: no command `{}`\n\n{}", name.display(), help());
        return ExitCode::FAILURE;
    };
    match (command.run)(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask {}: {failure}", command.name);
            ExitCode::FAILURE
        }
    }
}

fn help() -> String {
    let mut help = String::from("Usage: cargo xtask <command> [arguments]\n\nCommands:\n");
    let width = COMMANDS.iter().map(|command| command.name.len()).max().unwrap_or(0);
    for Command { name, about, .. } in COMMANDS {
        // Writing to a string cannot fail.
        let _ = writeln!(help, "  {name:width$}  {about}");
    }
    help
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_lists_every_command() {
        for command in COMMANDS {
            assert!(help().contains(&format!("\n  {:9}  {}\n", command.name, command.about)));
        }
    }
}
