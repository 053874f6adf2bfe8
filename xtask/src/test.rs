//! `cargo xtask test`: all tests.

use std::env;
use std::ffi::{OsStr, OsString};

use crate::Command;
use crate::failure::Failure;
use crate::process::{cargo, run};

pub(crate) const COMMAND: Command =
    Command { name: "test", about: "Run all tests; arguments go to `cargo test`", run: test };

/// Skips the tests in network namespaces, which need root: for laptops.
pub(crate) const SKIP_NETNS: &str = "TRACEROUTE_TEST_SKIP_NETNS";

fn test(arguments: &[OsString]) -> Result<(), Failure> {
    if would_skip(env::var_os("CI").as_deref(), env::var_os(SKIP_NETNS).as_deref()) {
        return Err(Failure::TestsSkipped);
    }
    run(cargo(["test", "--workspace", "--locked"]).args(arguments))
}

/// Whether tests would be skipped where they must not be.
fn would_skip(ci: Option<&OsStr>, skip: Option<&OsStr>) -> bool {
    ci == Some(OsStr::new("true")) && skip.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_skipped_on_laptops_only() {
        let would_skip =
            |ci: Option<&str>, skip: Option<&str>| would_skip(ci.map(OsStr::new), skip.map(OsStr::new));
        assert!(would_skip(Some("true"), Some("1")));
        assert!(would_skip(Some("true"), Some("")));
        assert!(!would_skip(Some("true"), None));
        assert!(!would_skip(None, Some("1")));
        assert!(!would_skip(None, None));
    }
}
