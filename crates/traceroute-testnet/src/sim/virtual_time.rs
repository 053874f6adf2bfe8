//! A simulated network under tokio's clock, which tests pause.
//!
//! The kernel's stamps are exact to the nanosecond, but tokio's timers tick in milliseconds: who waits for an arrival
//! wakes at the next full millisecond. With delays of whole milliseconds the two agree.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use traceroute_core::{Captured, Destination, Direction, Sink, Source, TracerouteError};
use traceroute_wire::{Stamp, StampSource, Timestamp};

use super::network::{Arrival, Network};
use super::packet;
use super::recorder::{Record, Recorder};

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
}

impl Attachment {
    /// A capture that shows every datagram once, both ways, with kernel stamps.
    #[must_use]
    pub fn new(network: Network) -> Self {
        Self { network, sent_copies: 1, stamps: StampSource::Kernel, failures: BTreeMap::new() }
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
            sent: Notify::new(),
            state: Mutex::new(State {
                network: self.network,
                sent: 0,
                copies: VecDeque::new(),
                arrival: None,
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
    sent: Notify,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    network: Network,
    sent: u64,
    /// Copies of what was sent that the source has yet to show.
    copies: VecDeque<(Timestamp, Vec<u8>)>,
    /// What reached the client and the source has yet to show.
    arrival: Option<Arrival>,
}

impl Shared {
    fn now(&self) -> Timestamp {
        Timestamp::ZERO + Instant::now().saturating_duration_since(self.origin)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The earliest thing to show until `now`; of equally early ones, what was sent.
    fn take(&mut self, now: Timestamp, recorder: &Recorder) -> Option<(Direction, Timestamp, Vec<u8>)> {
        if self.arrival.is_none() {
            self.arrival = self.network.poll(now);
            if let Some(Arrival { at, datagram }) = self.arrival.clone() {
                recorder.record(Record { at, direction: Direction::Received, datagram, fault: None });
            }
        }
        match (self.copies.front(), &self.arrival) {
            (Some((sent, _)), Some(arrival)) if arrival.at < *sent => {}
            (Some(_), _) => return self.copies.pop_front().map(|(at, d)| (Direction::Sent, at, d)),
            _ => {}
        }
        self.arrival.take().map(|a| (Direction::Received, a.at, a.datagram))
    }
}

impl Source for SimSource {
    async fn recv(&mut self) -> Result<Option<Captured<'_>>, TracerouteError> {
        let shared = &self.shared;
        let (direction, at) = loop {
            let next = {
                let mut state = shared.state();
                if let Some((direction, at, datagram)) = state.take(shared.now(), &shared.recorder) {
                    self.current = datagram;
                    break (direction, at);
                }
                if std::mem::take(&mut self.catching_up) {
                    return Ok(None);
                }
                state.network.next_event()
            };
            match next {
                Some(next) => {
                    let wake = shared.origin + Duration::from_nanos(next.as_nanos());
                    // Either way the state is looked at again.
                    let _ = tokio::time::timeout_at(wake, shared.sent.notified()).await;
                }
                None => shared.sent.notified().await,
            }
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
        state.sent += 1;
        let failure = shared.failures.get(&state.sent).cloned();
        let fault = match &failure {
            Some(error) => Some(error.to_string()),
            None => state.network.inject(at, &datagram).err().map(|malformed| malformed.to_string()),
        };
        if failure.is_none() {
            let copies = std::iter::repeat_n((at, datagram.clone()), shared.sent_copies);
            state.copies.extend(copies);
        }
        shared.recorder.record(Record { at, direction: Direction::Sent, datagram, fault });
        drop(state);
        shared.sent.notify_one();
        failure.map_or(Ok(Stamp::user(at)), Err)
    }
}

#[cfg(test)]
mod tests;
