//! Where things are, and how Debian's cargo is called.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use crate::metadata::Metadata;

use super::target::Target;

/// What would lead Debian's cargo to the toolchain that runs us, or to other files than those expected.
const FOREIGN_VARIABLES: [&str; 10] = [
    "CARGO",
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_TARGET_DIR",
    "LD_LIBRARY_PATH",
    "RUSTC",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
];

/// The directories that the steps use.
pub(super) struct Workshop {
    pub(super) root: PathBuf,
    /// Everything that is made here, so that nothing is built twice and one removal forgets it all.
    pub(super) directory: PathBuf,
}

impl Workshop {
    pub(super) fn new(metadata: &Metadata) -> Self {
        Self {
            root: metadata.workspace_root.clone(),
            directory: metadata.workspace_root.join("target/cross"),
        }
    }

    /// Files that the command brings.
    pub(super) fn source(&self, name: &str) -> PathBuf {
        self.root.join("xtask/cross").join(name)
    }

    /// A program that has been linked.
    pub(super) fn program(&self, target: Target, name: &str) -> PathBuf {
        self.directory.join(target.triple()).join("debug").join(name)
    }

    /// A directory with zig, `cargo-zigbuild` and a Python that finds the former.
    pub(super) fn zig(&self) -> PathBuf {
        self.directory.join("zig")
    }

    /// A command with Debian's Rust before all others.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root).env("PATH", self.path()).env("CARGO_TARGET_DIR", &self.directory);
        // The system's Python comes first in `PATH`, and has no zig.
        command.env("CARGO_ZIGBUILD_PYTHON_PATH", self.zig().join("bin/python"));
        // Nobody debugs what is built here, and to write down what debuggers read takes long.
        command.env("CARGO_PROFILE_DEV_DEBUG", "0");
        for variable in FOREIGN_VARIABLES.iter().filter(|variable| **variable != "CARGO_TARGET_DIR") {
            command.env_remove(variable);
        }
        command
    }

    /// Cargo looks for `cargo-clippy` in the bin directory of its home before everywhere else, unless `PATH` has that.
    fn path(&self) -> OsString {
        let home = env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
        let mut path = OsString::from("/usr/bin:/bin:/usr/sbin:/sbin:");
        path.push(self.zig().join("bin"));
        if let Some(home) = home {
            path.push(":");
            path.push(home.join("bin"));
        }
        path
    }

    /// Debian's cargo for a platform, by zig where that is its linker.
    pub(super) fn cargo(&self, target: Target, subcommand: &str) -> Command {
        let mut cargo = self.command(if target.is_built_by_zig() { "cargo-zigbuild" } else { "cargo" });
        // Of cargo-zigbuild, `zigbuild` is what others call `build`.
        cargo.arg(if target.is_built_by_zig() && subcommand == "build" { "zigbuild" } else { subcommand });
        cargo.args(["--locked", "--target", target.triple()]);
        cargo.envs(target.environment().iter().copied());
        cargo
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::workspace;

    fn arguments(command: &Command) -> String {
        let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
        words.join(std::ffi::OsStr::new(" ")).to_string_lossy().into_owned()
    }

    #[test]
    fn zig_links_what_is_static() {
        let workshop = Workshop::new(&workspace(&[]));
        let built = |target| arguments(&workshop.cargo(target, "build"));
        assert_eq!(built(Target::Windows), "cargo build --locked --target x86_64-pc-windows-gnu");
        assert_eq!(
            built(Target::LinuxStatic),
            "cargo-zigbuild zigbuild --locked --target x86_64-unknown-linux-musl"
        );
        let linted = arguments(&workshop.cargo(Target::LinuxStatic, "clippy"));
        assert_eq!(linted, "cargo-zigbuild clippy --locked --target x86_64-unknown-linux-musl");
    }

    #[test]
    fn the_toolchain_that_runs_us_is_out_of_sight() {
        let command = Workshop::new(&workspace(&[])).command("cargo");
        let set: Vec<_> = command.get_envs().collect();
        for variable in FOREIGN_VARIABLES {
            let value = set.iter().find(|(name, _)| *name == variable).map(|(_, value)| *value);
            let ours = (variable == "CARGO_TARGET_DIR").then(|| "/target/cross".as_ref());
            assert_eq!(value, Some(ours), "{variable}");
        }
        let path = set.iter().find(|(name, _)| *name == "PATH").and_then(|(_, value)| *value);
        assert!(path.is_some_and(|path| path.to_string_lossy().starts_with("/usr/bin:")));
    }
}
