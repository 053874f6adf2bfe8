//! The driver of all raw methods: a method, a source of captured packets and a sink.

use std::time::Duration;

use traceroute_core::{
    Captured, Destination, Direction, Event, Knowledge, ProbeId, ProbeProtocol, Run, Sink, Source, Stamp,
    Timestamp, TracerouteDriver, TracerouteError,
};

use tokio::task::coop;
use tokio::time::{Instant, sleep_until};

use crate::clock::Clock;
use crate::watched::Watched;

/// How long a source may take to say that all has been read that had arrived. It hardly takes milliseconds, unless something of the
/// system's is stuck: then time goes on without it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Sends a run's probes through `N` and finds their answers in `S`.
#[derive(Debug)]
pub struct PacketDriver<'a, P, S, N, O> {
    protocol: P,
    source: S,
    sink: N,
    observer: O,
    destination: Destination,
    clock: Clock,
    sisters: Option<&'a Watched<Knowledge>>,
    known: Knowledge,
    /// When the source was asked to catch up, until it answers.
    asked: Option<Timestamp>,
    sent_any: bool,
}

impl<'a, P, S, N, O> PacketDriver<'a, P, S, N, O>
where
    P: ProbeProtocol,
    S: Source,
    N: Sink,
    O: FnMut(&mut Run) + Send,
{
    /// A driver toward `destination`. `observer` is called after each step of the run. `sisters` is what all runs of the
    /// request know together, for a run that is to be told.
    pub fn new(
        protocol: P,
        source: S,
        sink: N,
        destination: Destination,
        clock: Clock,
        sisters: Option<&'a Watched<Knowledge>>,
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
            known: Knowledge::default(),
            asked: None,
            sent_any: false,
        }
    }
}

impl<P, S, N, O> TracerouteDriver for PacketDriver<'_, P, S, N, O>
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
        let Self { protocol, sink, destination, .. } = self;
        // Boxed, because a run sends for microseconds and waits for seconds.
        Box::pin(async move {
            let mut buffer = vec![0; protocol.buffer_len()];
            let datagram = protocol.encode(probe, &mut buffer);
            sink.send(datagram, *destination).await
        })
        .await
    }

    async fn next_event(&mut self, until: Option<Timestamp>) -> Result<Event, TracerouteError> {
        let Self { protocol, source, sisters, known, asked, clock, .. } = self;
        let at = until.map(|at| clock.instant(at));
        loop {
            tokio::select! {
                biased;
                captured = source.recv() => match captured? {
                    Some(captured) => {
                        if let Some(event) = recognise(protocol, &captured) {
                            return Ok(event);
                        }
                        // A flood of packets that mean nothing must not keep others from running.
                        coop::consume_budget().await;
                    }
                    // Whichever call has asked: one that returned with a packet must not make the next ask again, for
                    // ever, as long as packets come.
                    None if asked.take().is_some_and(|asked| until.is_some_and(|until| until <= asked)) => {
                        return Ok(Event::Deadline);
                    }
                    None => {}
                },
                knowledge = learn(*sisters, *known) => {
                    *known = knowledge;
                    return Ok(Event::Learnt(knowledge));
                }
                // The time for an answer is over only if none waits to be read: the process may have been stopped, or have
                // a thousand other runs to care for.
                () = expiry(asked.map_or(at, |asked| Some(clock.instant(asked + PATIENCE)))) => match asked.take() {
                    None => {
                        *asked = Some(clock.now());
                        source.catch_up();
                    }
                    Some(asked) if until.is_some_and(|until| until <= asked) => return Ok(Event::Deadline),
                    Some(_) => {}
                },
            }
        }
    }

    fn observe(&mut self, run: &mut Run) {
        (self.observer)(run);
    }
}

/// Waits for a time; for ever, where there is none.
async fn expiry(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// What a captured packet means to the run.
fn recognise(protocol: &impl ProbeProtocol, captured: &Captured<'_>) -> Option<Event> {
    match captured.direction {
        Direction::Sent => Some(Event::Sent { probe: protocol.match_sent(captured)?, stamp: captured.stamp }),
        Direction::Received => match protocol.match_reply(captured) {
            Some(response) => Some(Event::Reply(response)),
            None => protocol.match_refusal(captured).map(Event::Refused),
        },
    }
}

/// Waits until the runs of the request know more than `known`; for ever, for a run that is not to be told.
async fn learn(sisters: Option<&Watched<Knowledge>>, known: Knowledge) -> Knowledge {
    match sisters {
        Some(sisters) => sisters.wait(|knowledge| (*knowledge != known).then_some(*knowledge)).await,
        None => std::future::pending().await,
    }
}
