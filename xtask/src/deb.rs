//! `cargo xtask deb`: a Debian package of the command.

use std::ffi::OsString;

use crate::Command;
use crate::failure::Failure;
use crate::generated;
use crate::metadata::Metadata;
use crate::process::{cargo, run};

pub(crate) const COMMAND: Command =
    Command { name: "deb", about: "Build a Debian package of the command; needs cargo-deb", run: deb };

/// Builds the program, lets it write its manual page and completions, and packs it all.
fn deb(arguments: &[OsString]) -> Result<(), Failure> {
    let metadata = Metadata::load()?;
    run(&mut cargo("build --release --locked --package traceroute-cli".split(' ')))?;
    let program = metadata.target_directory.join("release/datadog-traceroute");
    generated::write(&program, &metadata.workspace_root.join("target/package"))?;
    run(cargo("deb --no-build --locked --package traceroute-cli".split(' ')).args(arguments))
}
