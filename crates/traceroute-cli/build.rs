//! Puts version, commit and date of the source into a program.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=../../.git/HEAD");
    println!("cargo:rerun-if-changed=../../.git/logs/HEAD");
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    // The date of the commit, not of the build: the same source gives the same program.
    let source =
        Command::new("git").args(["log", "-1", "--format=commit %h, built from source of %cs"]).output();
    let source = source.ok().filter(|output| output.status.success());
    let source = source.and_then(|output| String::from_utf8(output.stdout).ok());
    let source = source.unwrap_or_else(|| "commit unknown, build date unknown".into());
    println!("cargo:rustc-env=VERSION={version}, {}", source.trim());
}
