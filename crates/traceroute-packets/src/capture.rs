//! The one capture of a process: a task that reads packets and hands each to the runs it can concern.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::task::{AbortHandle, coop};
use traceroute_core::{
    Captured, Demultiplexer, Direction, DropCounter, FlowKey, PacketKeys, Source, Stamp, TracerouteError,
};
use tracing::{debug, trace};

use crate::queue::Queue;

/// How many packets may wait for one run. A run that does not read them loses its own packets only.
const QUEUE: usize = 128;

/// The shared capture. It stops when it is dropped.
#[derive(Debug)]
pub struct Capture {
    shared: Arc<Shared>,
    task: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    runs: Mutex<Runs>,
    drops: DropCounter,
    /// Packets that were read.
    seen: AtomicU64,
    /// Some run wants to know when it is up to date.
    asked: Notify,
}

#[derive(Debug, Default)]
struct Runs {
    next: RunId,
    index: Demultiplexer<RunId>,
    queues: HashMap<RunId, Arc<Queue<Arrival>>>,
    asking: Vec<RunId>,
    ended: Option<TracerouteError>,
}

type RunId = u64;

/// What comes through a run's queue.
#[derive(Clone, Debug)]
enum Arrival {
    Packet(Packet),
    /// Every packet that was there when the run asked has come.
    UpToDate,
}

/// A captured packet that outlives the capture's buffer.
#[derive(Clone, Debug)]
struct Packet {
    direction: Direction,
    stamp: Stamp,
    interface: u32,
    datagram: Arc<[u8]>,
}

impl Capture {
    /// Starts reading `source` in a task of its own.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn start(source: impl Source + 'static) -> Self {
        let shared = Arc::new(Shared {
            runs: Mutex::default(),
            drops: source.drop_counter(),
            seen: AtomicU64::new(0),
            asked: Notify::new(),
        });
        let task = tokio::spawn(read(source, EndOnDrop(Arc::clone(&shared)))).abort_handle();
        Self { shared, task }
    }

    /// Subscribes a run to the packets of its flows, from this moment on.
    #[must_use]
    pub fn subscribe(&self, flows: &[FlowKey]) -> Subscription {
        let queue = Arc::new(Queue::new(QUEUE));
        let mut runs = self.shared.lock();
        let run = runs.next;
        runs.next += 1;
        if runs.ended.is_some() {
            queue.close();
        } else {
            for flow in flows {
                runs.index.insert(flow, run);
            }
            runs.queues.insert(run, Arc::clone(&queue));
        }
        drop(runs);
        Subscription {
            shared: Arc::clone(&self.shared),
            run,
            flows: flows.into(),
            queue,
            current: None,
            catching_up: 0,
            drops_before: self.shared.drops.count(),
        }
    }

    /// How many packets the system's buffer has lost so far.
    #[must_use]
    pub fn drops(&self) -> u64 {
        self.shared.drops.count()
    }

    /// How many packets were read so far, whether they concerned a run or not: all that the filter has admitted and the
    /// system's buffer has not lost.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.shared.seen.load(Ordering::Relaxed)
    }

    /// Whether it has come to an end, and with it every subscription.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.shared.lock().ended.is_some()
    }

    /// Whether no run is subscribed.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.shared.lock().queues.is_empty()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Runs> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deliver(&self, captured: &Captured<'_>) {
        self.seen.fetch_add(1, Ordering::Relaxed);
        let Some(keys) = PacketKeys::of(captured) else { return };
        let runs = self.lock();
        let mut candidates = runs.index.candidates(&keys).peekable();
        if candidates.peek().is_none() {
            return;
        }
        let packet = Packet {
            direction: captured.direction,
            stamp: captured.stamp,
            interface: captured.interface,
            datagram: captured.datagram.into(),
        };
        for queue in candidates.filter_map(|run| runs.queues.get(run)) {
            queue.push(|| Arrival::Packet(packet.clone()));
        }
    }

    /// The runs that ask whether they are up to date.
    fn asking(&self) -> Vec<RunId> {
        std::mem::take(&mut self.lock().asking)
    }

    /// Answers them.
    fn up_to_date(&self, asking: &[RunId]) {
        let runs = self.lock();
        for queue in asking.iter().filter_map(|run| runs.queues.get(run)) {
            queue.insist(Arrival::UpToDate);
        }
    }

    /// Lets all subscriptions end with the first error given.
    fn end(&self, error: TracerouteError) {
        let mut runs = self.lock();
        runs.ended.get_or_insert(error);
        runs.index = Demultiplexer::default();
        runs.queues.drain().for_each(|(_, queue)| queue.close());
    }
}

/// Ends the subscriptions however the reading task comes to its end.
struct EndOnDrop(Arc<Shared>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end(TracerouteError::CaptureEnded);
    }
}

async fn read(mut source: impl Source, guard: EndOnDrop) {
    let shared = &guard.0;
    // Those who asked before the source was told to catch up.
    let mut asking = Vec::new();
    loop {
        let caught_up = tokio::select! {
            biased;
            // First: a flood of packets must not keep runs from seeing their time over.
            () = shared.asked.notified(), if asking.is_empty() => true,
            packet = source.recv() => match packet {
                Ok(Some(captured)) => {
                    trace!(?captured.direction, length = captured.datagram.len(), "captured");
                    shared.deliver(&captured);
                    false
                }
                Ok(None) => true,
                Err(error) => {
                    debug!(%error, "the capture ended");
                    return shared.end(error);
                }
            },
        };
        if caught_up {
            shared.up_to_date(&asking);
            asking = shared.asking();
            if !asking.is_empty() {
                source.catch_up();
            }
        }
        // Nor from running.
        coop::consume_budget().await;
    }
}

/// A run's view of the shared capture: the packets that can concern it. It ends when it is dropped.
#[derive(Debug)]
pub struct Subscription {
    shared: Arc<Shared>,
    run: RunId,
    flows: Box<[FlowKey]>,
    queue: Arc<Queue<Arrival>>,
    current: Option<Packet>,
    /// How many answers to [`catch_up`](Source::catch_up) are to come.
    catching_up: u32,
    drops_before: u64,
}

/// Counts what a run may have missed.
#[derive(Clone, Debug)]
pub struct Losses {
    capture: Arc<Shared>,
    before: u64,
    queue: Arc<Queue<Arrival>>,
}

impl Losses {
    /// What was lost since the subscription, for this run or by the whole capture.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.capture.drops.count().saturating_sub(self.before) + self.queue.lost()
    }
}

impl Subscription {
    /// Adds a flow that has become known since.
    pub fn follow(&mut self, flow: &FlowKey) {
        if self.flows.contains(flow) {
            return;
        }
        let mut runs = self.shared.lock();
        if runs.ended.is_none() {
            runs.index.insert(flow, self.run);
        }
        drop(runs);
        self.flows = self.flows.iter().chain([flow]).copied().collect();
    }

    /// Counts what the run may have missed.
    #[must_use]
    pub fn losses(&self) -> Losses {
        Losses {
            capture: Arc::clone(&self.shared),
            before: self.drops_before,
            queue: Arc::clone(&self.queue),
        }
    }
}

impl Source for Subscription {
    async fn recv(&mut self) -> Result<Option<Captured<'_>>, TracerouteError> {
        let packet = loop {
            match self.queue.pop().await {
                Some(Arrival::Packet(packet)) => break self.current.insert(packet),
                Some(Arrival::UpToDate) => {
                    self.catching_up -= 1;
                    // One that was asked for later says more.
                    if self.catching_up == 0 {
                        return Ok(None);
                    }
                }
                None => {
                    return Err(self.shared.lock().ended.clone().unwrap_or(TracerouteError::CaptureEnded));
                }
            }
        };
        Ok(Some(Captured {
            direction: packet.direction,
            stamp: packet.stamp,
            interface: packet.interface,
            datagram: &packet.datagram,
        }))
    }

    fn catch_up(&mut self) {
        self.catching_up += 1;
        self.shared.lock().asking.push(self.run);
        self.shared.asked.notify_one();
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut runs = self.shared.lock();
        for flow in &self.flows {
            runs.index.remove(flow, &self.run);
        }
        runs.queues.remove(&self.run);
    }
}
