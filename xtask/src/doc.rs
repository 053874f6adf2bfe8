//! `cargo xtask doc`: the documentation of all crates, private items included.

use std::ffi::OsString;

use crate::Command;
use crate::failure::Failure;
use crate::process::{cargo, run};

pub(crate) const COMMAND: Command =
    Command { name: "doc", about: "Build the documentation, with warnings as errors", run: doc };

fn doc(arguments: &[OsString]) -> Result<(), Failure> {
    if !arguments.is_empty() {
        return Err(Failure::Arguments(arguments.into()));
    }
    let arguments = "doc --workspace --no-deps --document-private-items --locked".split(' ');
    run(cargo(arguments).env("RUSTDOCFLAGS", "-D warnings"))
}
