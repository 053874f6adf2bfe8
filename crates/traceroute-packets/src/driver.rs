//! The driver of all raw methods: a method, a source of captured packets and a sink.

use traceroute_core::{
    Destination, Direction, Event, Knowledge, MAX_PROBE_LEN, ProbeId, ProbeProtocol, Run, Sink, Source,
    Stamp, Timestamp, TracerouteDriver, TracerouteError,
};

use tokio::sync::watch;
use tokio::time::sleep_until;

use crate::clock::Clock;

/// Sends a run's probes through `N` and finds their answers in `S`.
#[derive(Debug)]
pub struct PacketDriver<P, S, N, O> {
    protocol: P,
    source: S,
    sink: N,
    observer: O,
    destination: Destination,
    clock: Clock,
    sisters: Option<watch::Receiver<Knowledge>>,
    sent_any: bool,
    buffer: [u8; MAX_PROBE_LEN],
}

impl<P, S, N, O> PacketDriver<P, S, N, O>
where
    P: ProbeProtocol,
    S: Source,
    N: Sink,
    O: FnMut(&mut Run) + Send,
{
    /// A driver toward `destination`. `observer` is called after each step of the run. What its sisters learn comes
    /// through `sisters`, for a run that has some.
    pub fn new(
        protocol: P,
        source: S,
        sink: N,
        destination: Destination,
        clock: Clock,
        sisters: Option<watch::Receiver<Knowledge>>,
        observer: O,
    ) -> Self {
        Self {
            protocol,
            source,
            sink,
            observer,
            destination,
            clock,
            sisters,
            sent_any: false,
            buffer: [0; MAX_PROBE_LEN],
        }
    }
}

impl<P, S, N, O> TracerouteDriver for PacketDriver<P, S, N, O>
where
    P: ProbeProtocol,
    S: Source,
    N: Sink,
    O: FnMut(&mut Run) + Send,
{
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn send_probe(&mut self, probe: ProbeId) -> Result<Stamp, TracerouteError> {
        if self.sent_any {
            // Sister runs take turns, so that they climb the path side by side.
            tokio::task::yield_now().await;
        }
        self.sent_any = true;
        let datagram = self.protocol.encode(probe, &mut self.buffer);
        self.sink.send(datagram, self.destination).await
    }

    async fn next_event(&mut self, until: Option<Timestamp>) -> Result<Event, TracerouteError> {
        let Self { protocol, source, sisters, clock, .. } = self;
        let deadline = async {
            match until {
                Some(at) => sleep_until(clock.instant(at)).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(deadline);
        let mut expired = false;
        loop {
            tokio::select! {
                biased;
                captured = source.recv() => {
                    let captured = captured?;
                    match captured.direction {
                        Direction::Sent => {
                            if let Some(probe) = protocol.match_sent(&captured) {
                                return Ok(Event::Sent { probe, stamp: captured.stamp });
                            }
                        }
                        Direction::Received => {
                            if let Some(response) = protocol.match_reply(&captured) {
                                return Ok(Event::Reply(response));
                            }
                        }
                    }
                }
                knowledge = learn(sisters) => return Ok(Event::Learnt(knowledge)),
                () = &mut deadline, if !expired => expired = true,
                () = drained(), if expired => return Ok(Event::Deadline),
            }
        }
    }

    fn observe(&mut self, run: &mut Run) {
        (self.observer)(run);
    }
}

/// Lets the capture hand over what has arrived: where the process was stopped or starved, the time for an answer may seem
/// to be over though the answer waits to be read.
async fn drained() {
    for _ in 0..2 {
        tokio::task::yield_now().await;
    }
}

/// Waits for news from the sister runs; for ever, where there are none.
async fn learn(sisters: &mut Option<watch::Receiver<Knowledge>>) -> Knowledge {
    if let Some(receiver) = sisters {
        if receiver.changed().await.is_ok() {
            return *receiver.borrow_and_update();
        }
        *sisters = None;
    }
    std::future::pending().await
}
