//! The result of a run.

use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use serde::Serialize;
use traceroute_wire::{StampSource, Unreachable};

use super::ending::{Ending, Meaning};
use super::path::{Path, Slot};
use crate::{ProbeResponse, Protocol, QuotedFacts, ReplyKind, Ttl};

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The destination answered.
    Destination,
    /// Nothing but time exceeded came from the target's own address; the first such hop counts as the destination.
    DestinationTimeExceeded,
    /// A router, or a stranger in the target's name, said that there is no way on.
    Unreachable,
    /// The last TTL was probed and nothing ended the path.
    MaxTtl,
    /// The run was stopped before its end.
    Interrupted,
}

/// What the target does with connections to the port probed. Of two that say different things, the greater is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PortState {
    /// It refuses them.
    Closed,
    /// It accepts them.
    Open,
}

/// What the resets of a run say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The port is closed.
    Certain,
    /// The port is closed, or an answer is missing: had that been a SYN-ACK, an open port would have sent this reset, too.
    Doubtful,
}

/// One TTL of a run's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HopReport {
    /// The TTL.
    pub ttl: Ttl,
    /// Who answered and what, `None` if nobody did.
    pub answer: Option<HopAnswer>,
}

/// The answer of a hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HopAnswer {
    /// The address that answered.
    pub address: IpAddr,
    /// The round trip, at least a nanosecond.
    pub rtt: Duration,
    /// Whether both stamps of the round trip are the kernel's.
    pub rtt_source: StampSource,
    /// Why the probe went no further, if this hop says so and is not simply the destination.
    pub unreachable: Option<Unreachable>,
    /// What the answer quotes, if it is an ICMP error.
    pub quoted: Option<QuotedFacts>,
}

/// The result of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunReport {
    /// The hops from the first TTL to the end of the path, or to the last TTL probed.
    pub hops: Vec<HopReport>,
    /// Why the run ended.
    pub end_reason: EndReason,
    /// Whether the destination answered.
    pub reached: bool,
    /// What the target said of the port; `None` if it said nothing that is certain, to this run or to a sister, or the method
    /// is not TCP.
    pub port_state: Option<PortState>,
    /// Whether the target sent data of its own, in a SACK run; its bare acknowledgements are told apart from that.
    pub target_speaks: bool,
    /// Answers that came after the run had ended.
    pub late: u32,
    /// Answers to probes that had been answered before.
    pub duplicates: u32,
    /// Probes that the system refused to send.
    pub send_errors: u32,
}

/// How the path ends, as far as a run has seen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Destination(Ending),
    Barrier(Ending),
    /// The target's own address answered with time exceeded, and nothing else beyond.
    TargetHop(Ttl),
    Open,
}

impl Verdict {
    pub(super) const fn end_reason(self) -> EndReason {
        match self {
            Self::Destination(_) => EndReason::Destination,
            Self::Barrier(_) => EndReason::Unreachable,
            Self::TargetHop(_) => EndReason::DestinationTimeExceeded,
            Self::Open => EndReason::MaxTtl,
        }
    }

    pub(super) const fn reached(self) -> bool {
        matches!(self, Self::Destination(_) | Self::TargetHop(_))
    }
}

impl Path {
    pub(super) fn verdict(&self) -> Verdict {
        match self.ending() {
            Some(ending) if ending.destination => Verdict::Destination(ending),
            Some(ending) => Verdict::Barrier(ending),
            None => self.target_hop().map_or(Verdict::Open, Verdict::TargetHop),
        }
    }

    pub(super) fn hops(&self, verdict: Verdict) -> Vec<HopReport> {
        let (ending, last) = match verdict {
            Verdict::Destination(ending) | Verdict::Barrier(ending) => (Some(ending), Some(ending.ttl)),
            Verdict::TargetHop(ttl) => (None, Some(ttl)),
            Verdict::Open => (None, None),
        };
        self.numbered()
            .take_while(|(ttl, _)| last.map_or_else(|| self.sent_at(*ttl).is_some(), |last| *ttl <= last))
            .map(|(ttl, slot)| HopReport { ttl, answer: self.answer(ttl, slot, ending) })
            .collect()
    }

    pub(super) fn hop(&self, ttl: Ttl) -> Option<HopReport> {
        let slot = self.slot(ttl)?;
        Some(HopReport { ttl, answer: Some(self.answer(ttl, slot, None)?) })
    }

    /// A hop's own answer; where the end of the path did not answer its own probe, that which shows it.
    fn answer(&self, ttl: Ttl, slot: &Slot, ending: Option<Ending>) -> Option<HopAnswer> {
        let slot = match ending {
            Some(ending) if ending.ttl == ttl && slot.answer.is_none() => self.slot(ending.shown_by)?,
            _ => slot,
        };
        let (sent, response) = (slot.sent()?, slot.answer.as_ref()?);
        let kernel = [sent.source, response.stamp.source] == [StampSource::Kernel; 2];
        Some(HopAnswer {
            address: response.from,
            rtt: slot.rtt()?,
            rtt_source: if kernel { StampSource::Kernel } else { StampSource::User },
            unreachable: self.unreachable(response),
            quoted: response.quoted.clone(),
        })
    }

    /// What the resets say, if there are any: with certainty that the port is closed, if no probe that may have reached the
    /// target before is without an answer.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        let resets = || {
            let answered = self.numbered().filter_map(|(_, slot)| Some((slot, slot.answer.as_ref()?)));
            answered.filter(|(_, answer)| answer.kind == ReplyKind::Reset).map(|(slot, _)| slot)
        };
        let farthest = self.farthest();
        let unheard = |reset: &Slot| {
            self.numbered().any(|(ttl, slot)| {
                ttl.get() > farthest
                    && slot.answer.is_none()
                    && slot.sent().is_some()
                    && slot.called() <= reset.called()
            })
        };
        resets().next()?;
        Some(if resets().any(|reset| !unheard(reset)) { Refusal::Certain } else { Refusal::Doubtful })
    }

    fn unreachable(&self, response: &ProbeResponse) -> Option<Unreachable> {
        match response.kind {
            ReplyKind::Unreachable(Unreachable::Port)
                if self.protocol == Protocol::Udp && response.from == self.target =>
            {
                None
            }
            ReplyKind::Unreachable(reason) => Some(reason),
            _ => None,
        }
    }

    /// The first hop that is the target's own address, unless the path was seen to go on beyond it.
    fn target_hop(&self) -> Option<Ttl> {
        let mut answers =
            self.numbered().filter_map(|(ttl, slot)| Some((ttl, self.meaning(slot.answer.as_ref()?))));
        let (ttl, _) = answers.find(|(_, meaning)| *meaning == Meaning::TargetHop)?;
        answers.all(|(_, meaning)| meaning == Meaning::TargetHop).then_some(ttl)
    }
}
