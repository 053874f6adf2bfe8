//! `cargo xtask deb`: a Debian package of the command.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::Command;
use crate::checksum;
use crate::crates;
use crate::failure::Failure;
use crate::generated;
use crate::metadata::Metadata;
use crate::process::{cargo, output, run};

pub(crate) const COMMAND: Command = Command {
    name: "deb",
    about: "Build a Debian package of the command, with its checksum; needs cargo-deb",
    run: deb,
};

/// Builds the program, lets it write its manual page and completions, and packs it all.
fn deb(arguments: &[OsString]) -> Result<(), Failure> {
    let metadata = Metadata::load()?;
    run(&mut cargo("build --release --locked --package traceroute-cli".split(' ')))?;
    let program = metadata.target_directory.join("release").join(crates::COMMAND);
    generated::write(&program, &metadata.workspace_root.join("target/package"))?;
    // It says where the package is, on a line of its own.
    let said = output(cargo("deb --no-build --locked --package traceroute-cli".split(' ')).args(arguments))?;
    for package in String::from_utf8_lossy(&said).lines().map(Path::new) {
        if let (Some("deb"), Some(directory), Some(name)) = (
            package.extension().and_then(OsStr::to_str),
            package.parent(),
            package.file_name().and_then(OsStr::to_str),
        ) {
            checksum::write(directory, name)?;
            eprintln!("{}", package.display());
        }
    }
    Ok(())
}
