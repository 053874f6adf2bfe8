//! Checksums of what is published.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::failure::Failure;
use crate::process::output;

/// Writes a file beside another that `sha256sum --check` reads.
pub(crate) fn write(directory: &Path, name: &str) -> Result<(), Failure> {
    let sum = output(sha256(env::consts::OS, name).current_dir(directory))?;
    let path = directory.join(format!("{name}.sha256"));
    fs::write(&path, sum).map_err(|error| Failure::CannotWrite { path, error })
}

fn sha256(system: &str, name: &str) -> Command {
    let (program, arguments): (_, &[&str]) =
        if system == "macos" { ("shasum", &["-a", "256"]) } else { ("sha256sum", &[]) };
    let mut command = Command::new(program);
    command.args(arguments).arg(name);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_of_the_file_alone() {
        for (system, expected) in [("linux", vec!["a.zip"]), ("macos", vec!["-a", "256", "a.zip"])] {
            assert_eq!(sha256(system, "a.zip").get_args().collect::<Vec<_>>(), expected, "{system}");
        }
    }
}
