//! `cargo xtask soak`: the library and the service under load for minutes.

use std::ffi::OsString;

use crate::Command;
use crate::failure::Failure;
use crate::metadata::Metadata;
use crate::process::{cargo, run};

pub(crate) const COMMAND: Command = Command {
    name: "soak",
    about: "Load the library and the service for minutes and check what it claims; needs Linux and root",
    run: soak,
};

fn soak(arguments: &[OsString]) -> Result<(), Failure> {
    let program = Metadata::load()?.target_directory.join("release/datadog-traceroute-server");
    run(&mut cargo(["build", "--release", "--locked", "--package", "traceroute-server"]))?;
    let package = ["run", "--release", "--quiet", "--locked", "--package", "xtask-soak", "--"];
    run(cargo(package).arg(program).args(arguments))
}
