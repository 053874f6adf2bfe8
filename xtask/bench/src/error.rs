//! Why something could not be measured.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitStatus;

/// Why something could not be measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The command line is not one of ours.
    #[error("{0}\n\n{usage}", usage = crate::arguments::USAGE)]
    Arguments(String),
    /// A network could not be built.
    #[error(transparent)]
    Network(#[from] traceroute_testnet::Error),
    /// A program could not be started.
    #[error("cannot start `{program}`: {source}")]
    CannotStart {
        /// Its command line.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// A program ran and failed.
    #[error("`{program}` failed: {status}\n{stderr}")]
    Failed {
        /// Its command line.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        stderr: String,
    },
    /// A trace did not find all of the path.
    #[error("`{program}` did not print {missing} in its place on the path; it printed:\n{stdout}")]
    Incomplete {
        /// Its command line.
        program: String,
        /// The first address that is missing.
        missing: IpAddr,
        /// What it printed.
        stdout: String,
    },
    /// The launcher's last line is not what it should be.
    #[error("the launcher of `{program}` did not say what it measured but `{line}`")]
    Unmeasured {
        /// The command line.
        program: String,
        /// The launcher's last line.
        line: String,
    },
    /// A peer is missing and cannot be installed.
    #[error(
        "Debian's {package} is missing and apt-get cannot install it ({reason}): \
         install the package and run this again"
    )]
    NoPeer {
        /// What is missing.
        package: &'static str,
        /// Why it cannot be had.
        reason: String,
    },
    /// No experiment has the name that was asked for.
    #[error("no experiment's name contains `{0}`")]
    NoSuchExperiment(String),
    /// What a program printed is not what it should be.
    #[error("`{program}` printed something unexpected ({reason}):\n{stdout}")]
    Unexpected {
        /// Its command line.
        program: String,
        /// What is wrong with it.
        reason: String,
        /// What it printed.
        stdout: String,
    },
    /// The system refused something.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A file or directory of criterion's cannot be read, or not be removed.
    #[error("cannot read or remove `{}`: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What criterion wrote is not what it should be.
    #[error("criterion's figures are not as expected: {0}")]
    Estimates(#[from] serde_json::Error),
}
