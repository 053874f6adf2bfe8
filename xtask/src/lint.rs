//! `cargo xtask lint`: formatting, clippy and the rules of the house.

mod arrows;
mod files;
mod machine_paths;
mod platforms;
mod pure;

use std::ffi::OsString;
use std::path::Path;

use crate::Command;
use crate::failure::Failure;
use crate::metadata::Metadata;
use crate::process::{cargo, run};

pub(crate) const COMMAND: Command = Command {
    name: "lint",
    about: "Check formatting, clippy, who depends on whom, purity, conditions on platforms and machine paths",
    run: lint,
};

type Check = fn(&Metadata) -> Result<(), Failure>;

const CHECKS: &[(&str, Check)] = &[
    ("arrows", |metadata| no_violations(arrows::violations(metadata))),
    ("purity", |metadata| no_violations(pure::violations(metadata, &pure::read_libraries(metadata)?))),
    ("platforms", |metadata| {
        let sources =
            files::read(&metadata.workspace_root, |name| Path::new(name).extension() == Some("rs".as_ref()))?;
        no_violations(sources.iter().flat_map(|(name, text)| platforms::violations(name, text)).collect())
    }),
    ("machine paths", |metadata| no_violations(machine_paths::violations(&metadata.workspace_root)?)),
    ("formatting", |_| run(&mut cargo(["fmt", "--all", "--check"]))),
    ("clippy", |_| run(&mut cargo("clippy --workspace --all-targets --locked -- -D warnings".split(' ')))),
];

/// Runs every check, also after one has failed.
fn lint(arguments: &[OsString]) -> Result<(), Failure> {
    if !arguments.is_empty() {
        return Err(Failure::Arguments(arguments.into()));
    }
    let metadata = Metadata::load()?;
    let mut failed = Vec::new();
    for (name, check) in CHECKS {
        if let Err(failure) = check(&metadata) {
            eprintln!("{name}:\n{failure}");
            failed.push(*name);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(Failure::Checks(failed)) }
}

fn no_violations(lines: Vec<String>) -> Result<(), Failure> {
    if lines.is_empty() { Ok(()) } else { Err(Failure::Violations(lines)) }
}
