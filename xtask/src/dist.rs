//! `cargo xtask dist`: the archive of a platform, as a release has it.

mod sbom;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use crate::Command;
use crate::checksum;
use crate::crates::{self, PACKAGES};
use crate::failure::Failure;
use crate::generated;
use crate::metadata::Metadata;
use crate::process::{cargo, run};

pub(crate) const COMMAND: Command = Command {
    name: "dist",
    about: "Pack the programs: dist TRIPLE [DIRECTORY WITH PROGRAMS]; an archive, its checksum and its parts list",
    run: dist,
};

/// With all that the README points to.
const DOCUMENTS: [&str; 7] =
    ["ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "docs", "packaging"];

/// Builds the programs, unless they were built already, and packs them.
fn dist(arguments: &[OsString]) -> Result<(), Failure> {
    let unexpected = || Failure::Arguments(arguments.into());
    let (target, built) = match arguments {
        [target] => (target, None),
        [target, built] => (target, Some(PathBuf::from(built))),
        _ => return Err(unexpected()),
    };
    let target = target.to_str().filter(|target| !target.starts_with('-')).ok_or_else(unexpected)?;
    // The manual page and the completions are written by the command of this machine, and name what its system has.
    if system(target) != env::consts::OS {
        return Err(Failure::Unexpected(format!("{target} is packed on {}, and not here", system(target))));
    }
    let metadata = Metadata::load()?;
    let programs = built.map_or_else(|| build(&metadata, target), Ok)?;
    let version = metadata.packages.iter().find(|package| package.name == PACKAGES[0]);
    let version = version.map(|package| package.version.as_str()).unwrap_or_default();
    let name = format!("datadog-traceroute-{version}-{target}");
    let shelf = metadata.target_directory.join("dist");
    let directory = shelf.join(&name);

    fill(&directory, &metadata, target, &programs)?;
    let archive = archive_name(&name, target);
    remove(&shelf.join(&archive))?;
    run(pack(&archive, &name).current_dir(&shelf))?;
    write(&shelf.join(format!("{name}.cdx.json")), &sbom::describe(&metadata, target, PACKAGES)?)?;
    checksum::write(&shelf, &archive)?;
    eprintln!("{}", shelf.join(archive).display());
    Ok(())
}

/// Where the programs for a target are, when they have been built.
fn build(metadata: &Metadata, target: &str) -> Result<PathBuf, Failure> {
    let packages = PACKAGES.iter().flat_map(|package| ["--package", package]);
    run(cargo(["build", "--release", "--locked", "--target", target]).args(packages))?;
    Ok(metadata.target_directory.join(target).join("release"))
}

/// The directory that is packed.
fn fill(directory: &Path, metadata: &Metadata, target: &str, programs: &Path) -> Result<(), Failure> {
    if directory.exists() {
        fs::remove_dir_all(directory)
            .map_err(|error| Failure::CannotWrite { path: directory.to_owned(), error })?;
    }
    generated::write(&own_program(metadata)?, &directory.join("completions"))?;
    let page = "datadog-traceroute.1";
    move_file(&directory.join("completions").join(page), &directory.join(page))?;
    for program in [crates::COMMAND, crates::SERVICE] {
        let program = format!("{program}{}", program_suffix(target));
        copy(&programs.join(&program), &directory.join(&program))?;
    }
    DOCUMENTS.iter().try_for_each(|name| copy(&metadata.workspace_root.join(name), &directory.join(name)))
}

/// The program for this machine: the one that is packed may not run here.
fn own_program(metadata: &Metadata) -> Result<PathBuf, Failure> {
    run(&mut cargo(["build", "--locked", "--package", PACKAGES[0]]))?;
    let name = format!("{}{}", crates::COMMAND, env::consts::EXE_SUFFIX);
    Ok(metadata.target_directory.join("debug").join(name))
}

/// The system of a target, as Rust calls it.
fn system(target: &str) -> &'static str {
    if is_windows(target) {
        "windows"
    } else if target.contains("-darwin") {
        "macos"
    } else if target.contains("-linux-") {
        "linux"
    } else {
        "another system"
    }
}

fn is_windows(target: &str) -> bool {
    target.contains("-windows-")
}

fn program_suffix(target: &str) -> &'static str {
    if is_windows(target) { ".exe" } else { "" }
}

/// What each system opens without further programs.
fn archive_name(name: &str, target: &str) -> String {
    format!("{name}.{}", if is_windows(target) { "zip" } else { "tar.gz" })
}

fn pack(archive: &str, directory: &str) -> Process {
    let (program, arguments): (_, &[&str]) =
        if Path::new(archive).extension().is_some_and(|extension| extension == "zip") {
            ("7z", &["a", "-bso0", "-tzip"])
        } else {
            ("tar", &["-czf"])
        };
    let mut pack = Process::new(program);
    pack.args(arguments).args([archive, directory]);
    // Otherwise macOS packs a second file for each, with what its file system knows of it.
    pack.env("COPYFILE_DISABLE", "1");
    pack
}

/// Copies a file, or a directory with all that it has.
fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    let cannot_read = |error| Failure::CannotRead { path: from.to_owned(), error };
    if !from.is_dir() {
        return fs::copy(from, to).map(drop).map_err(cannot_read);
    }
    fs::create_dir(to).map_err(|error| Failure::CannotWrite { path: to.to_owned(), error })?;
    for entry in fs::read_dir(from).map_err(cannot_read)? {
        let name = entry.map_err(cannot_read)?.file_name();
        copy(&from.join(&name), &to.join(&name))?;
    }
    Ok(())
}

fn move_file(from: &Path, to: &Path) -> Result<(), Failure> {
    fs::rename(from, to).map_err(|error| Failure::CannotWrite { path: to.to_owned(), error })
}

fn write(path: &Path, text: &[u8]) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| Failure::CannotWrite { path: path.to_owned(), error })
}

/// A packer would add to an archive that is there.
fn remove(path: &Path) -> Result<(), Failure> {
    if !path.exists() {
        return Ok(());
    }
    fs::remove_file(path).map_err(|error| Failure::CannotWrite { path: path.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(process: &Process) -> Vec<String> {
        let words = std::iter::once(process.get_program()).chain(process.get_args());
        words.map(|word| word.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn windows_has_a_zip_with_exe_files_and_others_a_tar() {
        for (target, archive, suffix, packer) in [
            ("x86_64-pc-windows-msvc", "a.zip", ".exe", "7z"),
            ("aarch64-apple-darwin", "a.tar.gz", "", "tar"),
            ("x86_64-unknown-linux-musl", "a.tar.gz", "", "tar"),
        ] {
            assert_eq!(archive_name("a", target), archive);
            assert_eq!(program_suffix(target), suffix);
            assert_eq!(words(&pack(archive, "a"))[0], packer);
        }
    }

    #[test]
    fn another_system_is_packed_there() {
        for (target, there) in [
            ("x86_64-pc-windows-msvc", "windows"),
            ("aarch64-apple-darwin", "macos"),
            ("x86_64-unknown-linux-musl", "linux"),
            ("x86_64-unknown-freebsd", "another system"),
        ] {
            assert_eq!(system(target), there);
        }
        let elsewhere =
            if env::consts::OS == "windows" { "aarch64-apple-darwin" } else { "x86_64-pc-windows-msvc" };
        let refused = dist(&[elsewhere.into()]).expect_err("it is another system").to_string();
        assert!(refused.contains(elsewhere), "{refused}");
    }

    #[test]
    fn what_the_readme_points_to_is_packed() {
        let readme = include_str!("../../README.md");
        let links = readme.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link);
        for link in links.filter(|link| !link.starts_with("https://") && !link.starts_with('#')) {
            let first = link.split(['/', '#']).next().unwrap_or_default();
            assert!(DOCUMENTS.contains(&first), "{link}");
        }
    }

    #[test]
    fn a_target_is_needed() {
        for arguments in [&[][..], &["--help".into()], &["a".into(), "b".into(), "c".into()]] {
            assert!(matches!(dist(arguments), Err(Failure::Arguments(_))), "{arguments:?}");
        }
    }
}
