//! `cargo xtask localhost`: a trace of this host by the built command, from end to end.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command as Process;

use crate::Command;
use crate::failure::Failure;
use crate::metadata::Metadata;
use crate::process::{cargo, output, run};
use crate::trace::Trace;

pub(crate) const COMMAND: Command = Command {
    name: "localhost",
    about: "Trace this host with the built command; arguments, such as `sudo`, go before it",
    run: localhost,
};

const LOCALHOST: &str = "127.0.0.1";

fn localhost(arguments: &[OsString]) -> Result<(), Failure> {
    let metadata = Metadata::load()?;
    run(&mut cargo("build --locked --package traceroute-cli".split(' ')))?;
    let program = format!("debug/datadog-traceroute{}", env::consts::EXE_SUFFIX);
    check(arguments, &metadata.target_directory.join(program), methods(env::consts::OS))
}

/// What an ordinary installation of the system lets pass.
fn methods(system: &str) -> &'static [&'static str] {
    if system == "windows" { &["icmp", "tcp --tcp-method syn_socket"] } else { &["udp", "icmp", "tcp"] }
}

/// Traces this host by each method, which may have further arguments, with some words before the program.
pub(crate) fn check(before: &[OsString], program: &Path, methods: &[&str]) -> Result<(), Failure> {
    for method in methods {
        let trace = output(&mut command(before, program, method))?;
        Trace::read(&trace)?.expect_hops(&[LOCALHOST])?;
        eprintln!("{method}: reached {LOCALHOST}");
    }
    Ok(())
}

fn command(before: &[OsString], program: &Path, method: &str) -> Process {
    let mut words = before.iter().cloned().chain([program.into()]);
    let mut command = Process::new(words.next().unwrap_or_default());
    let arguments = "--format json --traceroute-queries 1 --e2e-queries 1 --proto".split(' ');
    command.args(words).args(arguments).args(method.split(' ')).arg(LOCALHOST);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_goes_before_the_program() {
        let words = |before: &[OsString]| {
            let command = command(before, Path::new("program"), "udp");
            let words = std::iter::once(command.get_program()).chain(command.get_args());
            words.take(2).map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(words(&[]), ["program", "--format"]);
        assert_eq!(words(&["sudo".into()]), ["sudo", "program"]);
    }

    #[test]
    fn a_method_may_have_further_arguments() {
        let command = command(&[], Path::new("program"), "tcp --tcp-method syn_socket");
        let words: Vec<_> = command.get_args().skip(6).collect();
        assert_eq!(words, ["--proto", "tcp", "--tcp-method", "syn_socket", LOCALHOST]);
    }
}
