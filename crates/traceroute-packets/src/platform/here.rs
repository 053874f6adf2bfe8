//! Systems without network namespaces.

use std::path::Path;
use std::thread;

use traceroute_core::{Operation, TracerouteError};

use super::errors::refused;
use super::sockets::Place;
use crate::host::Job;

/// Nothing is better done beforehand.
#[derive(Debug)]
pub(crate) struct Prepared;

/// Refuses a namespace, for there is none.
pub(crate) fn prepare(namespace: Option<&Path>) -> Result<Prepared, TracerouteError> {
    match namespace {
        Some(_) => Err(TracerouteError::Unsupported { operation: Operation::EnterNamespace }),
        None => Ok(Prepared),
    }
}

/// The only place there is, on systems without network namespaces.
#[derive(Debug)]
pub(super) struct Here;

impl Place for Here {
    fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, TracerouteError> {
        Ok(job())
    }

    fn spawn(&self, name: &str, job: Job) -> Result<(), TracerouteError> {
        let thread = thread::Builder::new().name(name.into()).spawn(job);
        thread.map(drop).map_err(|error| refused(Operation::StartThread, &error))
    }
}
