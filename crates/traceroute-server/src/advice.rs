//! What to do about an error that keeps the service from starting.

use traceroute::{Error, TracerouteError};

/// The error, with what grants the permission that is missing.
pub(crate) fn with_advice(error: &Error) -> String {
    match (error, imp::grant()) {
        (Error::Trace(TracerouteError::NotPermitted { .. }), Some(grant)) => format!("{error}; {grant}"),
        _ => error.to_string(),
    }
}

#[cfg(not(any(target_os = "macos", windows)))]
mod imp {
    use std::env;

    /// What to look at where the system has no more to give.
    pub(crate) const LIMIT: &str = "`ulimit -n` shows and raises the limit";

    pub(super) fn grant() -> Option<String> {
        let program = env::current_exe().ok()?.display().to_string().replace('\'', r"'\''");
        Some(format!("`sudo setcap cap_net_raw+ep '{program}'` grants it to the program"))
    }
}

#[cfg(target_os = "macos")]
mod imp {
    pub(crate) const LIMIT: &str = "`ulimit -n` shows and raises the limit";

    /// The error says all that there is to say.
    pub(super) fn grant() -> Option<String> {
        None
    }
}

#[cfg(windows)]
mod imp {
    pub(crate) const LIMIT: &str = "the Task Manager shows who has how many handles and how much memory";

    /// The error says all that there is to say.
    pub(super) fn grant() -> Option<String> {
        None
    }
}

pub(crate) use imp::LIMIT;
