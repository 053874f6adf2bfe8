//! `cargo xtask test`: all tests. None can be skipped.

use std::ffi::OsString;

use crate::Command;
use crate::failure::Failure;
use crate::process::{cargo, run};

pub(crate) const COMMAND: Command =
    Command { name: "test", about: "Run all tests; arguments go to `cargo test`", run: test };

fn test(arguments: &[OsString]) -> Result<(), Failure> {
    run(cargo(["test", "--workspace", "--locked"]).args(arguments))
}
