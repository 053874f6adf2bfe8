//! Why a scenario could not be played.

use std::io;
use std::process::ExitStatus;

/// Why a scenario could not be played.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The command line is not one of ours.
    #[error("{0}\n\n{usage}", usage = crate::arguments::USAGE)]
    Arguments(String),
    /// The network could not be built.
    #[error(transparent)]
    Network(#[from] traceroute_testnet::Error),
    /// The tracer could not be built.
    #[error(transparent)]
    Tracer(#[from] traceroute::Error),
    /// The system refused something.
    #[error("{action}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The worker ended before it had said all.
    #[error("the worker failed: {0}")]
    Worker(ExitStatus),
    /// A line of the worker is none that it should print.
    #[error("the worker printed `{0}`")]
    Line(String),
}

impl Error {
    pub(crate) const fn system(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { action, source }
    }
}
