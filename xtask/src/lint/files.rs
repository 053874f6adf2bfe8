//! The files of the repository: those that git knows or would add.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use crate::failure::Failure;
use crate::process;

/// Those whose name is wanted, each with what is in it.
pub(super) fn read(root: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let mut files = Vec::new();
    for name in names(root)?.into_iter().filter(|name| wanted(name)) {
        let path = root.join(&name);
        match fs::read(&path) {
            Ok(bytes) => files.push((name, bytes)),
            // Deleted but not committed; a submodule or a link to a directory.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory) => {}
            Err(error) => return Err(Failure::CannotRead { path, error }),
        }
    }
    Ok(files)
}

fn names(root: &Path) -> Result<Vec<String>, Failure> {
    let arguments = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let names = process::output(git(root).args(arguments))?;
    let names = names.split(|&byte| byte == 0).filter(|name| !name.is_empty());
    Ok(names.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
}

/// Git in the directory `root`, also when a hook of another repository runs us or somebody else owns the clone.
pub(super) fn git(root: &Path) -> Command {
    let mut git = Command::new("git");
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        git.env_remove(variable);
    }
    git.arg("-c").arg(format!("safe.directory={}", root.display())).current_dir(root);
    git
}
