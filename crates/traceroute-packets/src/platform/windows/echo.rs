//! Echo requests by the system, which everybody may send: what `tracert` shows.
//!
//! The system chooses the identifiers and sequence numbers, so the probes of a run are no one flow; and it tells who answered and
//! how, but not with which bytes.

use std::net::IpAddr;
use std::sync::Arc;

use traceroute_core::{Destination, Direction, Operation, Sink, Stamp, TracerouteError};
use traceroute_wire::{Datagram, IcmpMessage};
use tracing::debug;

use super::answers::{self, Answer};
use super::icmp_status::{Outcome, outcome_v4, outcome_v6};
use super::sys::echo::{EchoThread, Reply, Request};
use crate::clock::Clock;
use crate::inbox::{Inbox, Packet};
use crate::platform::errors::refused;
use crate::platform::sockets::zone;

/// How long the system listens for the answer to a request, in milliseconds. Runs decide for themselves how long they do.
const PATIENCE: u32 = 60_000;

/// Sends echo requests and puts their answers into an inbox.
pub(super) struct EchoSink {
    clock: Clock,
    inbox: Inbox,
    thread: EchoThread,
}

impl EchoSink {
    pub(super) fn new(clock: Clock, inbox: Inbox) -> Result<Self, TracerouteError> {
        let thread = EchoThread::start().map_err(|error| refused(Operation::StartThread, &error))?;
        Ok(Self { clock, inbox, thread })
    }
}

impl Sink for EchoSink {
    async fn send(&self, datagram: &[u8], to: Destination) -> Result<Stamp, TracerouteError> {
        let not_possible = TracerouteError::NotCapable {
            technique: "a probe that is no echo request, or leaves through an interface of choice,",
            family: if to.address.is_ipv4() { "IPv4" } else { "IPv6" },
            remedy: "run as Administrator, or use --windows-driver",
        };
        let parsed = Datagram::parse(datagram).ok_or(not_possible.clone())?;
        let Some(IcmpMessage::EchoRequest(echo)) = IcmpMessage::parse(&parsed) else {
            return Err(not_possible);
        };
        if to.interface != zone(to) {
            return Err(not_possible);
        }
        let (clock, inbox) = (self.clock, self.inbox.clone());
        let probe: Arc<[u8]> = datagram.into();
        let request = Request {
            from: parsed.source(),
            to: to.address,
            zone: zone(to),
            ttl: parsed.header.ttl,
            traffic_class: parsed.header.traffic_class,
            data: echo.payload.to_vec(),
            patience: PATIENCE,
            done: Box::new(move |reply| {
                let stamp = Stamp::user(clock.now());
                if let Some(datagram) = answer(&probe, reply) {
                    inbox.put(Packet { direction: Direction::Received, stamp, datagram: datagram.into() });
                }
            }),
        };
        let stamp = Stamp::user(self.clock.now());
        self.thread.send(request).map_err(|error| refused(Operation::SendProbe, &error))?;
        Ok(stamp)
    }
}

/// What the network would have answered.
fn answer(probe: &[u8], reply: Reply) -> Option<Vec<u8>> {
    let Reply { status, from, ttl } = reply;
    let outcome = match from {
        IpAddr::V4(_) => outcome_v4(status),
        IpAddr::V6(_) => outcome_v6(status),
    };
    match outcome {
        Outcome::Answered(kind) => answers::packet(probe, &Answer { from, ttl, kind }),
        Outcome::Silent => None,
        Outcome::NotSent(status) => {
            debug!(status, %from, "an echo request was not sent");
            None
        }
    }
}
