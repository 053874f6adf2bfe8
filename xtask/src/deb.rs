//! `cargo xtask deb`: a Debian package of the command.

use std::ffi::OsString;
use std::fs;
use std::process::Command as Process;

use crate::Command;
use crate::failure::Failure;
use crate::metadata::Metadata;
use crate::process::{cargo, output, run};

pub(crate) const COMMAND: Command =
    Command { name: "deb", about: "Build a Debian package of the command; needs cargo-deb", run: deb };

const PROGRAM: &str = "datadog-traceroute";

/// What the program writes itself, and the names that `[package.metadata.deb]` gives the files.
const GENERATED: &[(&[&str], &str)] = &[
    (&["man"], "datadog-traceroute.1"),
    (&["completion", "bash"], "datadog-traceroute.bash"),
    (&["completion", "zsh"], "_datadog-traceroute"),
    (&["completion", "fish"], "datadog-traceroute.fish"),
];

/// Builds the program, lets it write its manual page and completions, and packs it all.
fn deb(arguments: &[OsString]) -> Result<(), Failure> {
    let metadata = Metadata::load()?;
    run(&mut cargo("build --release --locked --package traceroute-cli".split(' ')))?;
    let program = metadata.target_directory.join("release").join(PROGRAM);
    let directory = metadata.workspace_root.join("target/package");
    fs::create_dir_all(&directory)
        .map_err(|error| Failure::CannotWrite { path: directory.clone(), error })?;
    for (words, name) in GENERATED {
        let path = directory.join(name);
        let text = output(Process::new(&program).args(*words))?;
        fs::write(&path, text).map_err(|error| Failure::CannotWrite { path, error })?;
    }
    run(cargo("deb --no-build --locked --package traceroute-cli".split(' ')).args(arguments))
}
