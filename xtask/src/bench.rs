//! `cargo xtask bench`: the product's figures, each beside its limit or a peer's.

use std::ffi::OsString;

use crate::Command;
use crate::failure::Failure;
use crate::metadata::Metadata;
use crate::process::{cargo, run};

pub(crate) const COMMAND: Command = Command {
    name: "bench",
    about: "Measure the product beside its limits and Debian's traceroute; needs Linux and root",
    run: bench,
};

/// Builds what is measured and what measures, each as it is when built alone, and lets the latter do its work.
fn bench(arguments: &[OsString]) -> Result<(), Failure> {
    let program = Metadata::load()?.target_directory.join("release/datadog-traceroute");
    for package in ["traceroute-cli", "traceroute-server"] {
        run(&mut cargo(["build", "--release", "--locked", "--package", package]))?;
    }
    let package = ["run", "--release", "--quiet", "--locked", "--package", "xtask-bench", "--"];
    run(cargo(package).arg(program).args(arguments))
}
