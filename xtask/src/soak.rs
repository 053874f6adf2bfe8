//! `cargo xtask soak`: the library under load for minutes.

use std::ffi::OsString;

use crate::Command;
use crate::failure::Failure;
use crate::process::{cargo, run};

pub(crate) const COMMAND: Command = Command {
    name: "soak",
    about: "Load the library for minutes and check what it claims; needs Linux and root",
    run: soak,
};

fn soak(arguments: &[OsString]) -> Result<(), Failure> {
    let package = ["run", "--release", "--quiet", "--locked", "--package", "xtask-soak", "--"];
    run(cargo(package).args(arguments))
}
