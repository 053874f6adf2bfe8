//! The log, on standard error.

use std::io::{self, BufWriter};

use tracing::Level;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};

/// How much is logged, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) level: Level,
    /// A JSON object a line, for programs.
    pub(crate) json: bool,
}

/// How many lines may wait to be written.
const WAITING: usize = 4096;

/// From now on everything is logged that is not below the level, until the guard is dropped. It is written by a thread of its
/// own: where nobody reads the log, lines are lost and nothing else.
pub(crate) fn begin(Log { level, json }: Log) -> WorkerGuard {
    // Whatever waits is written at once: a thousand refusals are not a thousand system calls.
    let stream = BufWriter::new(io::stderr());
    let (writer, guard) =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(WAITING).finish(stream);
    let log = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .with_writer(writer)
        // Otherwise it tells standard error that it cannot write to standard error, and panics.
        .log_internal_errors(false);
    if json {
        log.json().flatten_event(true).init();
    } else {
        log.init();
    }
    guard
}
