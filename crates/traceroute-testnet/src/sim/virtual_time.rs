//! A simulated network under tokio's clock, which tests pause.
//!
//! The kernel's stamps are exact to the nanosecond, but tokio's timers tick in milliseconds: who waits for an arrival
//! wakes at the next full millisecond. With delays of whole milliseconds the two agree.
//!
//! The client's kernel answers what belongs to none of its TCP connections with RST, at the moment of its arrival.
//! [`SimSink::tcp`] makes connections.

mod tcp;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;
use traceroute_core::{Captured, Destination, Direction, Sink, Source, TracerouteError};
use traceroute_wire::{Stamp, StampSource, Timestamp};

use super::network::{Arrival, Network};
use super::packet;
use super::recorder::{Record, Recorder};
use super::tcp::ClientKernel;
pub use tcp::{SimConnectError, SimConnection, SimConnectionInfo, SimTcp};

/// Attaches a network to tokio's clock, with a well-behaved capture. Timestamps count from `origin`.
#[must_use]
pub fn attach(network: Network, origin: Instant) -> (SimSource, SimSink, Recorder) {
    Attachment::new(network).attach(origin)
}

/// How a network is attached.
#[derive(Debug)]
pub struct Attachment {
    network: Network,
    sent_copies: usize,
    stamps: StampSource,
    failures: BTreeMap<u64, TracerouteError>,
    resets: bool,
}

impl Attachment {
    /// A capture that shows every datagram once, both ways, with kernel stamps.
    #[must_use]
    pub fn new(network: Network) -> Self {
        let failures = BTreeMap::new();
        Self { network, sent_copies: 1, stamps: StampSource::Kernel, failures, resets: true }
    }

    /// Does not show what is sent.
    #[must_use]
    pub fn withhold_sent(mut self) -> Self {
        self.sent_copies = 0;
        self
    }

    /// Shows twice what is sent, as a capture on a bridge does.
    #[must_use]
    pub fn duplicate_sent(mut self) -> Self {
        self.sent_copies = 2;
        self
    }

    /// Stamps what is captured with the user's clock.
    #[must_use]
    pub fn user_stamps(mut self) -> Self {
        self.stamps = StampSource::User;
        self
    }

    /// Lets sending datagram number `n`, counted from 1, fail.
    #[must_use]
    pub fn fail_send(mut self, n: u64, error: TracerouteError) -> Self {
        self.failures.insert(n, error);
        self
    }

    /// Drops the resets that the client's kernel sends, as some firewalls do.
    #[must_use]
    pub fn drop_resets(mut self) -> Self {
        self.resets = false;
        self
    }

    /// Attaches the network. Timestamps count from `origin`.
    #[must_use]
    pub fn attach(self, origin: Instant) -> (SimSource, SimSink, Recorder) {
        let recorder = Recorder::default();
        let shared = Arc::new(Shared {
            origin,
            sent_copies: self.sent_copies,
            stamps: self.stamps,
            failures: self.failures,
            recorder: recorder.clone(),
            changed: Notify::new(),
            state: Mutex::new(State {
                kernel: ClientKernel::new(self.network.client(), self.resets),
                network: self.network,
                sent: 0,
                captured: VecDeque::new(),
                settled: 0,
            }),
        });
        let source = SimSource { shared: Arc::clone(&shared), current: Vec::new(), catching_up: false };
        (source, SimSink { shared }, recorder)
    }
}

/// The capture of a simulated network's client.
#[derive(Debug)]
pub struct SimSource {
    shared: Arc<Shared>,
    current: Vec<u8>,
    catching_up: bool,
}

/// The raw socket of a simulated network's client. Clones send into the same network.
#[derive(Clone, Debug)]
pub struct SimSink {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    origin: Instant,
    sent_copies: usize,
    stamps: StampSource,
    failures: BTreeMap<u64, TracerouteError>,
    recorder: Recorder,
    /// Tells all who wait for what happens next that something else may be next.
    changed: Notify,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    network: Network,
    kernel: ClientKernel,
    sent: u64,
    /// What the source has yet to show, in the order of time.
    captured: VecDeque<Capture>,
    /// How many of these somebody may already have acted on.
    settled: usize,
}

/// A datagram that passed the client's interface.
#[derive(Debug)]
struct Capture {
    direction: Direction,
    at: Timestamp,
    datagram: Vec<u8>,
}

impl Shared {
    fn now(&self) -> Timestamp {
        Timestamp::ZERO + Instant::now().saturating_duration_since(self.origin)
    }

    /// Waits until something happens, or something else may be next.
    async fn wait(&self, next: Option<Timestamp>, changed: Notified<'_>) {
        match next {
            Some(next) => {
                let wake = self.origin + Duration::from_nanos(next.as_nanos());
                // Either way the state is looked at again.
                let _ = tokio::time::timeout_at(wake, changed).await;
            }
            None => changed.await,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Lets everything happen that happens until `now`.
    fn advance(&self, state: &mut State, now: Timestamp) {
        while self.receive(state, now) {}
        state.settled = state.captured.len();
    }

    /// Lets everything happen until the next arrival at the client, if that is until `now`.
    fn receive(&self, state: &mut State, now: Timestamp) -> bool {
        let Some(Arrival { at, datagram }) = state.network.poll(now) else { return false };
        let direction = Direction::Received;
        self.recorder.record(Record { at, direction, datagram: datagram.clone(), fault: None });
        let reply = state.kernel.take(at, &datagram);
        state.captured.push_back(Capture { direction, at, datagram });
        if let Some(reply) = reply {
            self.send_from_kernel(state, at, &reply);
        }
        true
    }

    /// Sends what the client's kernel makes.
    fn send_from_kernel(&self, state: &mut State, at: Timestamp, datagram: &[u8]) {
        state.network.enter(at, datagram);
        let direction = Direction::Sent;
        self.recorder.record(Record { at, direction, datagram: datagram.to_vec(), fault: None });
        for _ in 0..self.sent_copies {
            state.captured.push_back(Capture { direction, at, datagram: datagram.to_vec() });
        }
        self.changed.notify_waiters();
    }

    /// The earliest thing to show until `now`.
    fn take(&self, state: &mut State, now: Timestamp) -> Option<Capture> {
        if state.captured.iter().all(|capture| capture.direction == Direction::Sent) {
            self.receive(state, now);
        }
        state.settled = state.settled.saturating_sub(1);
        state.captured.pop_front()
    }
}

impl State {
    /// Captures what was sent; it comes before what arrived at the same time and nobody has acted on.
    fn capture_sent(&mut self, at: Timestamp, datagram: Vec<u8>) {
        let later = |capture: &&Capture| capture.direction == Direction::Received && capture.at >= at;
        let unsettled = self.captured.iter().skip(self.settled);
        let place = self.captured.len() - unsettled.rev().take_while(later).count();
        self.captured.insert(place, Capture { direction: Direction::Sent, at, datagram });
    }
}

impl Source for SimSource {
    async fn recv(&mut self) -> Result<Option<Captured<'_>>, TracerouteError> {
        let shared = &self.shared;
        let (direction, at) = loop {
            let changed = shared.changed.notified();
            let next = {
                let mut state = shared.state();
                if let Some(Capture { direction, at, datagram }) = shared.take(&mut state, shared.now()) {
                    self.current = datagram;
                    break (direction, at);
                }
                if std::mem::take(&mut self.catching_up) {
                    return Ok(None);
                }
                state.network.next_event()
            };
            shared.wait(next, changed).await;
        };
        let stamp = Stamp { at, source: shared.stamps };
        Ok(Some(Captured { direction, stamp, interface: 1, datagram: &self.current }))
    }

    fn catch_up(&mut self) {
        self.catching_up = true;
    }
}

impl Sink for SimSink {
    /// Completes IPv4 headers as the kernel does for raw sockets, and injects the datagram.
    async fn send(&self, datagram: &[u8], _to: Destination) -> Result<Stamp, TracerouteError> {
        let shared = &self.shared;
        let at = shared.now();
        let mut datagram = datagram.to_vec();
        packet::complete_ipv4_header(&mut datagram);

        let mut state = shared.state();
        // What comes at this very moment is for the source to find.
        if let Some(before) = at.as_nanos().checked_sub(1) {
            shared.advance(&mut state, Timestamp::from_nanos(before));
        }
        state.sent += 1;
        let failure = shared.failures.get(&state.sent).cloned();
        let fault = match &failure {
            Some(error) => Some(error.to_string()),
            None => state.network.inject(at, &datagram).err().map(|malformed| malformed.to_string()),
        };
        if failure.is_none() {
            (0..shared.sent_copies).for_each(|_| state.capture_sent(at, datagram.clone()));
        }
        shared.recorder.record(Record { at, direction: Direction::Sent, datagram, fault });
        drop(state);
        shared.changed.notify_waiters();
        failure.map_or(Ok(Stamp::user(at)), Err)
    }
}

#[cfg(test)]
mod tests;
