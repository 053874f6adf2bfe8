//! What the worker holds, second by second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::sleep;
use traceroute_testnet::heap::{self, Counting};

use crate::error::Error;
use crate::system;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What the process holds at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sample {
    /// Since the start.
    pub(crate) at: Duration,
    /// Bytes.
    pub(crate) resident: u64,
    /// Bytes.
    pub(crate) heap: u64,
    pub(crate) descriptors: u64,
    /// Tasks of the runtime.
    pub(crate) tasks: usize,
}

impl Sample {
    pub(crate) fn take(start: Instant, runtime: &Handle) -> Result<Self, Error> {
        Ok(Self {
            at: start.elapsed(),
            resident: system::resident()?,
            heap: heap::live() as u64,
            descriptors: system::descriptors()?,
            tasks: runtime.metrics().num_alive_tasks(),
        })
    }
}

/// A thread that takes a sample each second, and a task that looks how long the runtime keeps it waiting.
#[derive(Debug)]
pub(crate) struct Sampler {
    stop: mpsc::Sender<()>,
    ticks: AbortHandle,
    thread: JoinHandle<Result<Samples, Error>>,
}

/// What it has taken.
#[derive(Debug)]
pub(crate) struct Samples {
    pub(crate) taken: Vec<Sample>,
    /// How late the latest one was: how long the machine kept a thread that only sleeps from running.
    pub(crate) latest: Duration,
    /// How long the runtime kept a task waiting that only sleeps.
    pub(crate) runtime_latest: Duration,
}

impl Sampler {
    /// Samples from now on, for `seconds` and a while more, at most.
    pub(crate) fn start(start: Instant, seconds: u32) -> Result<Self, Error> {
        let runtime = Handle::current();
        let (stop, stopped) = mpsc::channel();
        let late = Arc::new(AtomicU64::new(0));
        let ticks = tokio::spawn(tick(Arc::clone(&late))).abort_handle();
        // Set aside now, so that the samples themselves are no growth.
        let taken = Vec::with_capacity(seconds as usize + 600);
        let sample = move || {
            let mut samples = Samples { taken, latest: Duration::ZERO, runtime_latest: Duration::ZERO };
            let mut next = start;
            while samples.taken.len() < samples.taken.capacity() {
                next += Duration::from_secs(1);
                match stopped.recv_timeout(next.saturating_duration_since(Instant::now())) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
                }
                samples.latest = samples.latest.max(Instant::now().saturating_duration_since(next));
                samples.taken.push(Sample::take(start, &runtime)?);
            }
            samples.runtime_latest = Duration::from_micros(late.load(Ordering::Relaxed));
            Ok(samples)
        };
        let thread = thread::Builder::new().name("sampler".into()).spawn(sample);
        Ok(Self { stop, ticks, thread: thread.map_err(Error::system("starting a thread"))? })
    }

    pub(crate) fn stop(self) -> Result<Samples, Error> {
        drop(self.stop);
        self.ticks.abort();
        self.thread.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload))
    }
}

/// Notes the microseconds by which the latest of many short sleeps ended too late.
async fn tick(latest: Arc<AtomicU64>) {
    const TICK: Duration = Duration::from_millis(10);
    loop {
        let start = Instant::now();
        sleep(TICK).await;
        let late = start.elapsed().saturating_sub(TICK).as_micros();
        latest.fetch_max(u64::try_from(late).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}
