//! Echo requests by the system, which everybody may send: what `tracert` shows.
//!
//! The system chooses the identifiers and sequence numbers, so the probes of a run are no one flow; and it tells who answered and
//! how, but not with which bytes.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;
use traceroute_core::{Destination, Direction, Family, Operation, Sink, Stamp, TracerouteError};
use traceroute_wire::{Datagram, IcmpMessage};
use tracing::warn;

use super::answers::{self, Answer};
use super::icmp_status::{Outcome, PACKET_TOO_BIG, outcome_of_none, outcome_v4, outcome_v6};
use super::sys::echo::{EchoThread, Reply, Request};
use crate::clock::Clock;
use crate::inbox::{Inbox, Packet};
use crate::platform::errors::{not_sent, refused};
use crate::platform::sockets::zone;

/// How long the system may take to begin a request, which it is not to wait for.
const PATIENCE: Duration = Duration::from_secs(2);

/// What it takes longer for is said to be `ERROR_TIMEOUT`.
const STUCK: i32 = 1460;

/// Sends echo requests and puts their answers into an inbox.
pub(super) struct EchoSink {
    clock: Clock,
    inbox: Inbox,
    thread: Arc<EchoThread>,
}

impl EchoSink {
    pub(super) fn new(clock: Clock, inbox: Inbox) -> Result<Self, TracerouteError> {
        let thread = EchoThread::start().map_err(|error| refused(Operation::StartThread, &error))?;
        Ok(Self { clock, inbox, thread: Arc::new(thread) })
    }

    /// Lets an inbox be told when all answers are in it that there are by then.
    pub(super) fn catch_up(&self) -> impl FnMut(&Inbox) + Send + use<> {
        let thread = Arc::clone(&self.thread);
        move |inbox| {
            let told = inbox.clone();
            if thread.call(move || told.up_to_date()).is_err() {
                // There is no memory for a call; nor was there for answers.
                inbox.up_to_date();
            }
        }
    }
}

impl Sink for EchoSink {
    async fn send(&self, datagram: &[u8], to: Destination) -> Result<Stamp, TracerouteError> {
        let not_possible = TracerouteError::NotCapable {
            technique: "a probe that is no echo request",
            family: Family::of(to.address),
            remedy: &"run as Administrator, or use --windows-driver",
        };
        let parsed = Datagram::parse(datagram).ok_or(not_possible.clone())?;
        let Some(IcmpMessage::EchoRequest(echo)) = IcmpMessage::parse(&parsed) else {
            return Err(not_possible);
        };
        let inbox = self.inbox.clone();
        let clock = self.clock;
        let probe: Arc<[u8]> = datagram.into();
        let (begun, begins) = oneshot::channel();
        let request = Request {
            from: parsed.source(),
            to: to.address,
            zone: zone(to),
            ttl: parsed.header.ttl,
            data: echo.payload.to_vec(),
            clock,
            begun,
            done: Box::new(move |reply| {
                let stamp = Stamp::user(clock.now());
                if let Some(datagram) = answer(&probe, reply) {
                    inbox.put(Packet { direction: Direction::Received, stamp, datagram: datagram.into() });
                }
            }),
        };
        self.thread.send(request).map_err(|error| refused(Operation::Capture, &error))?;
        // The thread drops no request, but the system may keep it.
        let begun = timeout(PATIENCE, begins).await;
        let begun = begun.map_err(|_| refused(Operation::Capture, &io::Error::from_raw_os_error(STUCK)))?;
        let begun = begun.map_err(|_| TracerouteError::CaptureEnded)?;
        begun.map_err(|errno| match errno {
            PACKET_TOO_BIG => TracerouteError::MessageTooLong { target: to.address, size: datagram.len() },
            errno => not_sent(&io::Error::from_raw_os_error(errno.cast_signed()), to.address, datagram.len()),
        })
    }
}

/// What the network would have answered.
fn answer(probe: &[u8], reply: Result<Reply, u32>) -> Option<Vec<u8>> {
    let outcome = match reply {
        Ok(Reply { status, from: IpAddr::V4(_), .. }) => outcome_v4(status),
        Ok(Reply { status, from: IpAddr::V6(_), .. }) => outcome_v6(status),
        Err(errno) => outcome_of_none(errno),
    };
    match (outcome, reply) {
        (Outcome::Answered(kind), Ok(Reply { from, ttl, .. })) => {
            answers::packet(probe, &Answer { from, ttl, kind })
        }
        (Outcome::NotSent(errno), _) => {
            warn!(errno, "an echo request was not sent");
            None
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::time::Instant;
    use traceroute_core::Source;

    use super::super::testing::{echo_request, loopback, told};
    use super::*;

    #[test]
    fn what_the_system_has_no_answer_for_is_none() {
        let probe = echo_request(1);
        let from = Ipv4Addr::LOCALHOST.into();
        assert!(answer(&probe, Ok(Reply { status: 0, from, ttl: 64 })).is_some());
        for errno in [0, 11_010, 11_050, 87] {
            assert_eq!(answer(&probe, Err(errno)), None, "{errno}");
        }
    }

    #[tokio::test]
    async fn the_thread_says_when_it_has_told_of_all() {
        let (clock, inbox) = (Clock::since(Instant::now()), Inbox::new());
        let sink = EchoSink::new(clock, inbox.clone()).expect("a thread");
        let mut source = inbox.source(sink.catch_up());
        source.catch_up();
        assert!(told(&mut source).await.is_none());
    }

    #[tokio::test]
    async fn the_systems_answer_is_that_of_the_probe() {
        let (clock, inbox) = (Clock::since(Instant::now()), Inbox::new());
        let mut source = inbox.source(Inbox::up_to_date);
        let sink = EchoSink::new(clock, inbox).expect("a thread");
        for sequence in 1..4 {
            let sent = sink.send(&echo_request(sequence), loopback()).await.expect("everybody may send it");
            let captured = told(&mut source).await.expect("a packet");
            assert!(captured.stamp.at >= sent.at);
            let parsed = Datagram::parse(captured.datagram).expect("a datagram");
            assert_eq!([parsed.source(), parsed.destination()], [loopback().address; 2]);
            let Some(IcmpMessage::EchoReply(echo)) = IcmpMessage::parse(&parsed) else { panic!("no reply") };
            assert_eq!((echo.id, echo.sequence, echo.payload), (0x4321, sequence, &b"payload"[..]));
        }
    }
}
