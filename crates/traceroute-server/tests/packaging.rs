//! What is packaged fits the program.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::process::Command;

use traceroute_testnet::kernel::Scratch;

/// Of the variables that stand for flags.
const PREFIX: &str = "DATADOG_TRACEROUTE_";
const PROGRAM: &str = env!("CARGO_BIN_EXE_datadog-traceroute-server");

fn packaged(path: &str) -> String {
    fs::read_to_string(format!("{}/../../packaging/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let installed = "/usr/bin/datadog-traceroute-server";
    let unit = packaged("systemd/datadog-traceroute-server.service");
    assert!(unit.contains(&format!("ExecStart={installed}\n")));
    let scratch = Scratch::new("unit");
    // The program has to be there.
    let path = scratch.write("datadog-traceroute-server.service", &unit.replace(installed, PROGRAM));
    let verified = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output().unwrap();
    let said = String::from_utf8(verified.stderr).unwrap();
    let about_ours: Vec<&str> =
        said.lines().filter(|line| line.contains("datadog-traceroute-server")).collect();
    assert!(verified.status.success() && about_ours.is_empty(), "{said}");
}

#[test]
fn the_variables_that_are_set_are_flags() {
    let help = Command::new(PROGRAM).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for path in ["kubernetes/sidecar.yaml", "systemd/datadog-traceroute-server.service"] {
        let text = packaged(path);
        let named = text.match_indices(PREFIX).map(|(at, _)| &text[at + PREFIX.len()..]);
        let ends = |c: char| !(c.is_ascii_uppercase() || c == '_');
        let named = named.map(|rest| rest.split(ends).next().unwrap().to_lowercase().replace('_', "-"));
        let named: Vec<String> = named.collect();
        assert!(!named.is_empty());
        assert!(named.iter().all(|flag| help.contains(&format!("--{flag} <"))), "{named:?}: {help}");
    }
}
