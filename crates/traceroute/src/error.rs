//! What a request can fail with.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use traceroute_core::{ConnectFailure, ErrorCode, Family, Operation, SackRefusal, TracerouteError};

use crate::tracer::Refusal;

/// A request that cannot be made: which part of it is wrong, and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRequest {
    /// A number is out of its range, or is none.
    #[error("invalid {name} {given}: allowed are {allowed}")]
    NotInRange {
        /// The parameter, by its name in the command line and in HTTP.
        name: &'static str,
        /// What was given.
        given: String,
        /// What is allowed.
        allowed: String,
    },
    /// A word is not one of those known.
    #[error("unknown {name} {given:?}: allowed are {allowed}")]
    UnknownValue {
        /// The parameter, by its name in the command line and in HTTP.
        name: &'static str,
        /// What was given.
        given: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// Two parameters contradict each other.
    #[error("{what}: {why}")]
    Contradiction {
        /// The parameter, and its value.
        what: String,
        /// What stands against it.
        why: String,
    },
    /// There is no such interface.
    #[error("there is no interface {name:?}")]
    Interface {
        /// What was given.
        name: String,
    },
    /// It works on other platforms.
    #[error("{what} works on {platform} only: use {instead}")]
    NotOnThisPlatform {
        /// The parameter and its value.
        what: &'static str,
        /// Where it works.
        platform: &'static str,
        /// What does the same here.
        instead: &'static str,
    },
    /// The target is not one.
    #[error("invalid target {target:?}: {reason}")]
    Target {
        /// What was given.
        target: String,
        /// Why it cannot be traced.
        reason: String,
    },
}

/// Why a request gave no result.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request itself is wrong.
    #[error(transparent)]
    Invalid(#[from] InvalidRequest),
    /// The name could not be resolved.
    #[error("failed to resolve host {name:?}: {reason}")]
    Resolve {
        /// The name.
        name: String,
        /// What the system's resolver says.
        reason: String,
    },
    /// The name has no address of the family that is to be traced.
    #[error("failed to resolve host {name:?}: it has no {} address", family.as_str())]
    NoAddress {
        /// The name.
        name: String,
        /// The family.
        family: Family,
    },
    /// The name resolves to something that is not the address of a host.
    #[error("{name:?} resolves to {address}, which {reason}")]
    ResolvedTo {
        /// The name.
        name: String,
        /// The address.
        address: IpAddr,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The tracer's policy forbids the target.
    #[error("{target} may not be traced: {reason}")]
    Refused {
        /// The address.
        target: IpAddr,
        /// Why; whoever made the policy knows its type.
        reason: Refusal,
    },
    /// The packets could not be sent or captured.
    #[error("{}", describe(.0))]
    Trace(#[from] TracerouteError),
    /// The network namespace could not be entered.
    #[error("{}: {}", namespace.display(), describe(.error))]
    Namespace {
        /// The path that was given.
        namespace: PathBuf,
        /// Why.
        error: TracerouteError,
    },
    /// Every run failed; the distinct reasons.
    #[error("{}", lines(.0))]
    AllRunsFailed(Vec<TracerouteError>),
    /// Too many requests at one time.
    #[error("the limit of {limit} requests at one time is reached")]
    TooManyRequests {
        /// The limit.
        limit: usize,
    },
    /// The request was stopped before anything was learnt.
    #[error("stopped before anything was learnt")]
    Stopped,
}

impl Error {
    /// An error on opening a network in a namespace.
    pub(crate) fn opening(namespace: Option<PathBuf>, error: TracerouteError) -> Self {
        let entering = Operation::EnterNamespace;
        match (namespace, error) {
            (
                Some(namespace),
                error @ (TracerouteError::System { operation, .. }
                | TracerouteError::NotPermitted { operation }),
            ) if operation == entering => Self::Namespace { namespace, error },
            (_, error) => Self::Trace(error),
        }
    }

    /// The code that the HTTP interface gives this error.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Invalid(_) => ErrorCode::InvalidRequest,
            Self::Resolve { .. } | Self::NoAddress { .. } | Self::ResolvedTo { .. } => ErrorCode::Dns,
            Self::Trace(error) | Self::Namespace { error, .. } => error.code(),
            Self::AllRunsFailed(errors) => errors.first().map_or(ErrorCode::Unknown, TracerouteError::code),
            Self::Refused { .. } => ErrorCode::Forbidden,
            Self::TooManyRequests { .. } => ErrorCode::Overloaded,
            Self::Stopped => ErrorCode::Timeout,
        }
    }
}

/// With the system's own words for the number that it gave.
pub(crate) fn describe(error: &TracerouteError) -> String {
    match error {
        TracerouteError::System { operation: Operation::EnterNamespace, errno: 0 } => {
            "the thread inside the network namespace is gone".into()
        }
        TracerouteError::System { operation, errno } => {
            format!("{operation} failed: {}", io::Error::from_raw_os_error(*errno))
        }
        TracerouteError::SackNotSupported {
            reason: SackRefusal::NotConnected(ConnectFailure::Other(errno)),
            ..
        } => format!("{error}: {}", io::Error::from_raw_os_error(*errno)),
        other => other.to_string(),
    }
}

fn lines(errors: &[TracerouteError]) -> String {
    errors.iter().map(describe).collect::<Vec<_>>().join("\n")
}
