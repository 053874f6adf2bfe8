//! What is compiled: all of it for the lints, the programs, and the tests of the pure crates.

use crate::crates::{PACKAGES, PURE};
use crate::failure::Failure;
use crate::process::run;

use super::target::Target;
use super::workshop::Workshop;

/// Clippy does all that `cargo check` does; what rustc warns of is denied with the lints.
pub(super) fn lint(workshop: &Workshop, target: Target) -> Result<(), Failure> {
    let arguments = "--workspace --all-targets -- -D warnings".split(' ');
    run(workshop.cargo(target, "clippy").args(arguments))
}

pub(super) fn link(workshop: &Workshop, target: Target) -> Result<(), Failure> {
    run(workshop.cargo(target, "build").args(packages(PACKAGES)))
}

pub(super) fn test_pure_crates_emulated(workshop: &Workshop) -> Result<(), Failure> {
    let mut tests = workshop.cargo(Target::LinuxArm, "test");
    run(tests.args(packages(PURE)).args(["--lib", "--tests"]))
}

fn packages<const N: usize>(names: [&'static str; N]) -> impl Iterator<Item = &'static str> {
    names.into_iter().flat_map(|name| ["--package", name])
}
