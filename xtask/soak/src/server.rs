//! The service as a process of its own, and what it holds.

use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use traceroute_testnet::kernel::Daemon;

use crate::error::Error;
use crate::http::ADDRESS;
use crate::system;
use crate::visit::HEADER_TIMEOUT;

/// More than there are at one time at the greatest rate.
const MAX_CONCURRENT: &str = "4096";
/// How often a sample is taken.
const PERIOD: Duration = Duration::from_secs(1);

/// The service, which ends when this is dropped, or with this process.
pub(crate) struct Server(Daemon);

/// What it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Since the start.
    pub(crate) at: Duration,
    /// Bytes.
    pub(crate) resident: u64,
    pub(crate) descriptors: u64,
    pub(crate) threads: u64,
}

impl Server {
    /// Starts it and waits until it listens.
    pub(crate) fn start(program: &Path) -> Result<Self, Error> {
        let mut command = Command::new(program);
        command.args(["--addr", &ADDRESS.to_string(), "--max-concurrent", MAX_CONCURRENT]);
        command.args(["--header-timeout", &HEADER_TIMEOUT.as_millis().to_string()]);
        system::end_with_this_process(&mut command);
        Ok(Self(Daemon::start(command, "listening")?))
    }

    pub(crate) fn sample(&self, start: Instant) -> Result<Sample, Error> {
        sample(&self.0.id().to_string(), start)
    }

    /// Takes a sample each second.
    pub(crate) fn watch(&self, start: Instant) -> Result<Sampler, Error> {
        let process = self.0.id().to_string();
        let (stop, stopped) = mpsc::channel();
        let watch = move || {
            let mut taken = Vec::new();
            while stopped.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                taken.push(sample(&process, start)?);
            }
            Ok(taken)
        };
        let thread = thread::Builder::new().name("sampler".into()).spawn(watch);
        Ok(Sampler { stop, thread: thread.map_err(Error::system("starting a thread"))? })
    }
}

pub(crate) struct Sampler {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<Result<Vec<Sample>, Error>>,
}

impl Sampler {
    pub(crate) fn stop(self) -> Result<Vec<Sample>, Error> {
        drop(self.stop);
        self.thread.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload))
    }
}

fn sample(process: &str, start: Instant) -> Result<Sample, Error> {
    Ok(Sample {
        at: start.elapsed(),
        resident: system::resident_of(process)?,
        descriptors: system::descriptors_of(process)?,
        threads: system::threads_of(process)?,
    })
}
