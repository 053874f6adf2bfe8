//! Why a command did not succeed.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command takes no arguments, or not these.
    Arguments(Vec<OsString>),
    /// A program could not be started.
    CannotStart { program: String, error: io::Error },
    /// A program ran and failed.
    Failed { program: String, status: ExitStatus },
    /// A file could not be read.
    CannotRead { path: PathBuf, error: io::Error },
    /// A file could not be written.
    CannotWrite { path: PathBuf, error: io::Error },
    /// What `cargo metadata` printed is not what we know.
    Metadata(serde_json::Error),
    /// The rules of the house are violated, in so many places as there are lines.
    Violations(Vec<String>),
    /// Some of several checks failed, and said why.
    Checks(Vec<&'static str>),
    /// A program did something else than it should.
    Unexpected(String),
    /// One of several steps failed.
    Step { title: String, failure: Box<Failure>, remedy: &'static str },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arguments(arguments) => write!(f, "unexpected arguments: {}", quoted(arguments)),
            Self::CannotStart { program, error } => write!(f, "cannot start `{program}`: {error}"),
            Self::Failed { program, status } => write!(f, "`{program}` failed: {status}"),
            Self::CannotRead { path, error } => write!(f, "cannot read {}: {error}", path.display()),
            Self::CannotWrite { path, error } => write!(f, "cannot write {}: {error}", path.display()),
            Self::Metadata(error) => write!(f, "cannot understand the output of `cargo metadata`: {error}"),
            Self::Violations(lines) => f.write_str(&lines.join("\n")),
            Self::Checks(names) => write!(f, "failed: {}", names.join(", ")),
            Self::Unexpected(what) => f.write_str(what),
            Self::Step { title, failure, remedy } => write!(f, "{title}: {failure}\n{remedy}"),
        }
    }
}

fn quoted(arguments: &[OsString]) -> String {
    let quoted: Vec<String> = arguments.iter().map(|argument| format!("`{}`", argument.display())).collect();
    quoted.join(" ")
}
