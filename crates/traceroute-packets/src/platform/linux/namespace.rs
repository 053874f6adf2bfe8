//! Sockets of another network namespace: a thread that has entered it makes them.

use std::fs::File;
use std::path::Path;
use std::sync::mpsc;
use std::thread;

use traceroute_core::{Operation, TracerouteError};

use super::sys;
use crate::host::Job;
use crate::platform::errors::refused;
use crate::platform::sockets::Place;

/// The network namespace that sockets are made in.
#[derive(Debug)]
pub(super) enum Namespace {
    /// That of the calling thread.
    Current,
    /// Another, entered by a thread of our own that does `jobs` and ends when this is dropped.
    Other { file: File, jobs: mpsc::Sender<Job> },
}

impl Namespace {
    /// The namespace that `path` refers to (`/run/netns/NAME`, `/proc/PID/ns/net`), or the current one.
    pub(super) fn enter(path: Option<&Path>) -> Result<Self, TracerouteError> {
        let Some(path) = path else { return Ok(Self::Current) };
        let file = File::open(path).map_err(|error| refused(Operation::EnterNamespace, &error))?;
        let (jobs, queue) = mpsc::channel::<Job>();
        spawn_inside("netns", Some(&file), Box::new(move || queue.into_iter().for_each(|job| job())))?;
        Ok(Self::Other { file, jobs })
    }
}

impl Place for Namespace {
    fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, TracerouteError> {
        match self {
            Self::Current => Ok(job()),
            Self::Other { jobs, .. } => {
                let gone = TracerouteError::System { operation: Operation::EnterNamespace, errno: 0 };
                let (done, result) = mpsc::channel();
                // Whoever waits for the result is this call.
                let job = move || done.send(job()).unwrap_or_default();
                jobs.send(Box::new(job)).map_err(|_| gone.clone())?;
                result.recv().map_err(|_| gone)
            }
        }
    }

    fn spawn(&self, name: &str, job: Job) -> Result<(), TracerouteError> {
        match self {
            Self::Current => spawn_inside(name, None, job),
            Self::Other { file, .. } => spawn_inside(name, Some(file), job),
        }
    }
}

/// Runs `job` on a new thread, and returns once that has entered the namespace.
fn spawn_inside(name: &str, namespace: Option<&File>, job: Job) -> Result<(), TracerouteError> {
    let refused_entry = |error| refused(Operation::EnterNamespace, &error);
    let namespace = namespace.map(File::try_clone).transpose().map_err(refused_entry)?;
    let (entered, entry) = mpsc::channel();
    let thread = thread::Builder::new().name(name.into()).spawn(move || {
        let outcome = namespace.as_ref().map_or(Ok(()), sys::enter_network_namespace);
        let inside = outcome.is_ok();
        // Whoever waits for the outcome is this call.
        entered.send(outcome).unwrap_or_default();
        if inside {
            job();
        }
    });
    thread.map_err(|error| refused(Operation::StartThread, &error))?;
    entry.recv().map_or(Ok(()), |outcome| outcome).map_err(refused_entry)
}
