//! What the command writes itself: its manual page and completions.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;
use crate::process::output;

/// What to ask the program for, and the name of the file; `[package.metadata.deb]` knows the names.
const GENERATED: &[(&[&str], &str)] = &[
    (&["man"], "datadog-traceroute.1"),
    (&["completion", "bash"], "datadog-traceroute.bash"),
    (&["completion", "zsh"], "_datadog-traceroute"),
    (&["completion", "fish"], "datadog-traceroute.fish"),
    (&["completion", "powershell"], "_datadog-traceroute.ps1"),
    (&["completion", "elvish"], "datadog-traceroute.elv"),
];

/// Lets the program write all of it into a directory.
pub(crate) fn write(program: &Path, directory: &Path) -> Result<(), Failure> {
    let cannot_write = |path: PathBuf| |error| Failure::CannotWrite { path, error };
    fs::create_dir_all(directory).map_err(cannot_write(directory.to_owned()))?;
    for (words, name) in GENERATED {
        let path = directory.join(name);
        let text = output(Command::new(program).args(*words))?;
        fs::write(&path, text).map_err(cannot_write(path))?;
    }
    Ok(())
}
