//! What has to be there: Debian packages, standard libraries, zig.

use std::fs;
use std::process::Command;

use crate::failure::Failure;
use crate::process::{output, run};

use super::plan::Extent;
use super::target::Target;
use super::workshop::Workshop;

/// A compiler, and the source of the standard library that fits it: no other toolchain comes with both in Debian.
const RUST: [&str; 4] = ["cargo-web", "rust-web-clippy", "rust-web-src", "rustc-web"];

const ZIG: [&str; 2] = ["cargo-zigbuild==0.24.1", "ziglang==0.16.0"];

pub(super) fn install_packages(extent: Extent) -> Result<(), Failure> {
    let status =
        output(Command::new("dpkg-query").args(["--show", "--showformat=${Package} ${db:Status-Status}\n"]))?;
    let missing = missing(extent, &String::from_utf8_lossy(&status));
    if missing.is_empty() {
        eprintln!("nothing is missing");
        return Ok(());
    }
    let apt = |arguments: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        apt
    };
    run(&mut apt(&["update"]))?;
    run(apt(&["install", "--yes", "--no-install-recommends"]).args(missing))
}

/// The packages that are needed and that `dpkg-query` does not call installed.
fn missing(extent: Extent, status: &str) -> Vec<&'static str> {
    let needed = RUST.iter().chain(extent.targets().iter().flat_map(|target| target.packages()));
    let is_missing = |package: &&str| !status.lines().any(|line| line == format!("{package} installed"));
    needed.copied().filter(is_missing).collect()
}

pub(super) fn build_standard_library(workshop: &Workshop, target: Target) -> Result<(), Failure> {
    let mut script = workshop.command("sh");
    script.arg(workshop.source("standard-library.sh"));
    run(script.arg(workshop.directory.join("standard-library")).arg(target.triple()))
}

/// In a directory of its own: Debian lets nobody add to the system's Python.
pub(super) fn install_zig(workshop: &Workshop) -> Result<(), Failure> {
    let directory = workshop.zig();
    let (noted, versions) = (directory.join("versions"), ZIG.join("\n"));
    if fs::read_to_string(&noted).is_ok_and(|noted| noted == versions) {
        eprintln!("present");
        return Ok(());
    }
    run(Command::new("/usr/bin/python3").args(["-m", "venv", "--clear"]).arg(&directory))?;
    let mut pip = Command::new(directory.join("bin/python"));
    run(pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(ZIG))?;
    fs::write(&noted, versions).map_err(|error| Failure::CannotWrite { path: noted, error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_installed() {
        let there = "cargo-web installed\nrust-web-clippy installed\nrust-web-src config-files\nrustc-web-doc installed\n\
                     wine installed\nwine64 installed\ngcc-mingw-w64-x86-64-posix installed\n";
        assert_eq!(missing(Extent::Usual, there), ["rust-web-src", "rustc-web"]);
        let all = missing(Extent::All, there);
        assert!(all.contains(&"qemu-user") && all.contains(&"python3-venv"), "{all:?}");
    }
}
