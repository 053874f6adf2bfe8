//! The log, on standard error.

use std::io;

use tracing::Level;

/// How much is logged, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) level: Level,
    /// A JSON object a line, for programs.
    pub(crate) json: bool,
}

/// From now on everything is logged that is not below the level.
pub(crate) fn begin(Log { level, json }: Log) {
    let log = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .with_writer(io::stderr)
        // Otherwise it tells standard error that it cannot write to standard error, and panics.
        .log_internal_errors(false);
    if json {
        log.json().flatten_event(true).init();
    } else {
        log.init();
    }
}
