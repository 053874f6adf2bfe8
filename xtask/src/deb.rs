//! `cargo xtask deb`: a Debian package of the command.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;

use crate::Command;
use crate::checksum;
use crate::crates;
use crate::failure::Failure;
use crate::generated;
use crate::metadata::Metadata;
use crate::process::{cargo, run};

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
    run(cargo("deb --no-build --locked --package traceroute-cli".split(' ')).args(arguments))?;
    let shelf = metadata.target_directory.join("debian");
    let cannot_read = |error: io::Error| Failure::CannotRead { path: shelf.clone(), error };
    for entry in fs::read_dir(&shelf).map_err(cannot_read)? {
        let path = entry.map_err(cannot_read)?.path();
        if let (Some("deb"), Some(name)) =
            (path.extension().and_then(OsStr::to_str), path.file_name().and_then(OsStr::to_str))
        {
            checksum::write(&shelf, name)?;
        }
    }
    Ok(())
}
