//! Why a real network could not be built.

use std::io;
use std::time::Duration;

/// Why a namespace, a chain, a link or a capture could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The process may not do this.
    #[error(
        "{action} is not permitted: test networks need root (CAP_SYS_ADMIN, CAP_NET_ADMIN and CAP_NET_RAW)"
    )]
    NotPermitted {
        /// What was tried.
        action: &'static str,
    },
    /// A program that configures the network is missing.
    #[error("`{program}` was not found: install it (Debian packages iproute2 and nftables)")]
    ProgramMissing {
        /// Its name.
        program: String,
    },
    /// A program that configures the network refused its input.
    #[error("`{program}` failed: {stderr}\nits input was:\n{input}")]
    CommandFailed {
        /// Its name.
        program: String,
        /// What it was given on standard input.
        input: String,
        /// What it said.
        stderr: String,
    },
    /// A program that was to serve has ended.
    #[error("`{program}` ended before it was ready, and said: {said}")]
    Ended {
        /// Its name.
        program: String,
        /// What it said.
        said: String,
    },
    /// A system call or a write to /proc/sys failed.
    #[error("{action}: {source}")]
    System {
        /// What was tried.
        action: String,
        /// What the system said.
        source: io::Error,
    },
    /// A network was built, but nothing passed through it.
    #[error("the network was built, but {what} within {waited:?}")]
    NotReady {
        /// What did not happen.
        what: String,
        /// How long it was waited for.
        waited: Duration,
    },
}

impl Error {
    pub(crate) fn system(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::System { action, source }
    }

    /// Like [`Error::system`], for what only root may do.
    pub(crate) fn privileged(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::PermissionDenied => Self::NotPermitted { action },
            _ => Self::System { action: action.to_owned(), source },
        }
    }
}
