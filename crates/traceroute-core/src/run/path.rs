//! What a run has sent and heard, TTL by TTL, and what follows from it about the path.

use alloc::vec::Vec;
use core::cmp::Reverse;
use core::net::IpAddr;
use core::time::Duration;

use traceroute_wire::{Stamp, StampSource, Timestamp, Unreachable};

use crate::{ProbeId, ProbeResponse, Protocol, ReplyKind, Ttl};

/// How far the destination is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Distance {
    /// The lowest TTL that reaches it.
    pub ttl: Ttl,
    /// Whether that was quoted or seen, and not guessed from the TTL of its answer.
    pub exact: bool,
}

/// What the runs of a request tell each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Knowledge {
    /// The highest TTL that a router answered, 0 for none.
    pub farthest: u8,
    /// How far the destination is, or whatever else ends the path.
    pub distance: Option<Distance>,
}

impl Knowledge {
    /// Adds what somebody else knows; whether that was news.
    pub fn merge(&mut self, other: Self) -> bool {
        let before = *self;
        self.farthest = self.farthest.max(other.farthest);
        // An exact distance beats a guess; of two alike the shorter.
        let rank = |distance: &Distance| (!distance.exact, distance.ttl);
        self.distance = self.distance.into_iter().chain(other.distance).min_by_key(rank);
        *self != before
    }
}

/// How a response was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Booked {
    New { ttl: Ttl, rtt: Duration },
    Replaced { ttl: Ttl },
    Duplicate,
}

/// What an answer means for the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A router on the way.
    Hop,
    /// A time exceeded of the target's own address: a translator in front of it, or the target forwards.
    TargetHop,
    /// Nothing passes beyond this point.
    Barrier,
    /// The destination.
    Destination,
}

/// The end of the path as this run sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    /// Its position.
    pub(super) ttl: Ttl,
    /// The TTL of the probe whose answer shows it.
    pub(super) shown_by: Ttl,
    /// Whether it is the destination.
    pub(super) destination: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Slot {
    /// When the probe was handed to the system; waits count from here.
    called: Option<Timestamp>,
    /// The best that is known of when it left; `None` while unsent or refused.
    pub(super) sent: Option<Stamp>,
    pub(super) answer: Option<ProbeResponse>,
}

impl Slot {
    /// The round trip, never zero: zero stands for a lost probe in the results.
    pub(super) fn rtt(&self) -> Option<Duration> {
        let (sent, answer) = (self.sent?, self.answer.as_ref()?);
        Some(answer.stamp.at.saturating_since(sent.at).max(Duration::from_nanos(1)))
    }
}

#[derive(Debug)]
pub(super) struct Path {
    pub(super) protocol: Protocol,
    pub(super) target: IpAddr,
    first: Ttl,
    pub(super) slots: Vec<Slot>,
}

impl Path {
    pub(super) fn new(protocol: Protocol, target: IpAddr, first: Ttl, max: Ttl) -> Self {
        let len = usize::from(max.get().saturating_sub(first.get())) + 1;
        let mut slots = Vec::new();
        slots.resize_with(len, Slot::default);
        Self { protocol, target, first, slots }
    }

    pub(super) fn slot(&self, ttl: Ttl) -> Option<&Slot> {
        self.slots.get(self.index(ttl)?)
    }

    fn slot_mut(&mut self, ttl: Ttl) -> Option<&mut Slot> {
        let index = self.index(ttl)?;
        self.slots.get_mut(index)
    }

    fn index(&self, ttl: Ttl) -> Option<usize> {
        ttl.get().checked_sub(self.first.get()).map(usize::from)
    }

    /// All slots with their TTLs, in order.
    pub(super) fn numbered(&self) -> impl DoubleEndedIterator<Item = (Ttl, &Slot)> + ExactSizeIterator {
        let first = self.first;
        self.slots.iter().enumerate().map(move |(index, slot)| {
            // The slots end at 255 at the latest.
            (first.plus(u8::try_from(index).unwrap_or(u8::MAX)), slot)
        })
    }

    pub(super) fn mark_sent(&mut self, ttl: Ttl, now: Timestamp) {
        if let Some(slot) = self.slot_mut(ttl) {
            slot.called = Some(now);
        }
    }

    /// Enters a better send time. `None` if it is not one, else whether it is the first.
    pub(super) fn improve_sent(&mut self, probe: ProbeId, stamp: Stamp) -> Option<bool> {
        let slot = self.slot_mut(probe.ttl).filter(|_| probe == ProbeId::first(probe.ttl))?;
        slot.called?;
        if stamp.source == StampSource::User {
            slot.called = Some(stamp.at);
        }
        let Some(known) = slot.sent else {
            slot.sent = Some(stamp);
            return Some(true);
        };
        let better = stamp.source == StampSource::Kernel
            && slot.answer.as_ref().is_none_or(|answer| stamp.at <= answer.stamp.at)
            && stamp != known;
        if !better {
            return None;
        }
        slot.sent = Some(stamp);
        Some(false)
    }

    pub(super) fn any_sent(&self) -> bool {
        self.slots.iter().any(|slot| slot.sent.is_some())
    }

    pub(super) fn is_answered(&self, ttl: Ttl) -> bool {
        self.slot(ttl).is_some_and(|slot| slot.answer.is_some())
    }

    pub(super) fn sent_at(&self, ttl: Ttl) -> Option<Timestamp> {
        self.slot(ttl)?.called
    }

    pub(super) fn lowest_unsent(&self) -> Option<Ttl> {
        self.numbered().find(|(_, slot)| slot.called.is_none()).map(|(ttl, _)| ttl)
    }

    /// When the probe before `ttl` was sent, if it is still unanswered.
    pub(super) fn previous_outstanding(&self, ttl: Ttl) -> Option<Timestamp> {
        let (_, slot) = self.numbered().rfind(|(before, _)| *before < ttl)?;
        slot.called.filter(|_| slot.answer.is_none())
    }

    /// When the last of the unanswered probes up to `ttl` was sent.
    pub(super) fn latest_unanswered(&self, ttl: Ttl) -> Option<Timestamp> {
        self.numbered()
            .filter(|(at, slot)| *at <= ttl && slot.answer.is_none())
            .filter_map(|(_, slot)| slot.called)
            .max()
    }

    /// Enters an answer: the first one of a TTL, or one that ends the path where the first does not. `None` if it
    /// answers nothing that this run sent.
    pub(super) fn book(&mut self, response: ProbeResponse) -> Option<Booked> {
        let ttl = match response.probe {
            Some(probe) if probe == ProbeId::first(probe.ttl) => probe.ttl,
            Some(_) => return None,
            None => self.likeliest_probe()?,
        };
        let meaning = self.meaning(&response);
        let answered = self.slot(ttl)?.answer.as_ref().map(|answer| self.meaning(answer));
        let slot = self.slot_mut(ttl)?;
        slot.sent?;
        match answered {
            None => {
                slot.answer = Some(response);
                Some(Booked::New { ttl, rtt: slot.rtt().unwrap_or_default() })
            }
            Some(known) if meaning == Meaning::Destination && known != Meaning::Destination => {
                slot.answer = Some(response);
                Some(Booked::Replaced { ttl })
            }
            Some(_) => Some(Booked::Duplicate),
        }
    }

    /// The probe that an answer means which names none: of those that got past every router heard from, the one
    /// unanswered for longest; of those sent at one time the one that goes farthest.
    fn likeliest_probe(&self) -> Option<Ttl> {
        let farthest = self.farthest();
        let beyond = || self.numbered().filter(|(ttl, slot)| ttl.get() > farthest && slot.sent.is_some());
        let waiting = beyond().filter(|(_, slot)| slot.answer.is_none());
        waiting
            .min_by_key(|(ttl, slot)| (slot.called, Reverse(*ttl)))
            .or_else(|| beyond().next())
            .map(|(ttl, _)| ttl)
    }

    pub(super) fn meaning(&self, response: &ProbeResponse) -> Meaning {
        let from_target = response.from == self.target;
        match response.kind {
            ReplyKind::TimeExceeded if from_target => Meaning::TargetHop,
            ReplyKind::TimeExceeded => Meaning::Hop,
            ReplyKind::EchoReply | ReplyKind::UdpAnswer => Meaning::Destination,
            ReplyKind::Unreachable(reason) => match (self.protocol, reason) {
                // A filter on the target itself is the target's answer too: many hosts answer like that on every
                // closed port.
                (Protocol::Udp, Unreachable::Port | Unreachable::Protocol | Unreachable::AdminProhibited)
                    if from_target =>
                {
                    Meaning::Destination
                }
                _ => Meaning::Barrier,
            },
        }
    }

    /// The highest TTL at which the probe ran out on the way, 0 for none.
    pub(super) fn farthest(&self) -> u8 {
        self.numbered()
            .rfind(|(_, slot)| slot.answer.as_ref().is_some_and(|a| a.kind == ReplyKind::TimeExceeded))
            .map_or(0, |(ttl, _)| ttl.get())
    }

    /// The end of the path: the destination where it has answered, otherwise the first barrier.
    pub(super) fn ending(&self) -> Option<Ending> {
        self.numbered()
            .filter_map(|(ttl, slot)| {
                let response = slot.answer.as_ref()?;
                let destination = match self.meaning(response) {
                    Meaning::Destination => true,
                    Meaning::Barrier => false,
                    Meaning::Hop | Meaning::TargetHop => return None,
                };
                Some(Ending { ttl: self.position(ttl, response), shown_by: ttl, destination })
            })
            .min_by_key(|ending| (!ending.destination, ending.ttl, ending.shown_by))
    }

    /// Where an answer that ends the path stands on it: at the distance that its quote shows, unless other answers
    /// belie that; otherwise at the TTL of its probe.
    fn position(&self, probe: Ttl, response: &ProbeResponse) -> Ttl {
        let Some(distance) = quoted_distance(probe, response).filter(|ttl| *ttl < probe) else {
            return probe;
        };
        let free = self.slot(distance).is_some_and(|slot| {
            slot.answer
                .as_ref()
                .is_none_or(|answer| matches!(self.meaning(answer), Meaning::Barrier | Meaning::Destination))
        });
        if free && distance.get() > self.farthest() { distance } else { probe }
    }

    /// What this path tells about itself.
    pub(super) fn knowledge(&self) -> Knowledge {
        let mut knowledge = Knowledge { farthest: self.farthest(), distance: None };
        let ends = self.numbered().filter_map(|(ttl, slot)| {
            let response = slot.answer.as_ref()?;
            matches!(self.meaning(response), Meaning::Barrier | Meaning::Destination)
                .then(|| self.distance(ttl, response))
        });
        for distance in ends.filter(|distance| distance.ttl.get() > knowledge.farthest).collect::<Vec<_>>() {
            knowledge.merge(Knowledge { farthest: 0, distance: Some(distance) });
        }
        knowledge
    }

    fn distance(&self, probe: Ttl, response: &ProbeResponse) -> Distance {
        if let Some(ttl) = quoted_distance(probe, response) {
            return Distance { ttl, exact: true };
        }
        if probe.get() == self.farthest() + 1 {
            return Distance { ttl: probe, exact: true };
        }
        Distance { ttl: guessed_distance(response.ttl).map_or(probe, |ttl| ttl.min(probe)), exact: false }
    }
}

/// The TTL that just reaches the sender of an ICMP error: what the probe spent on the way, and one.
fn quoted_distance(probe: Ttl, response: &ProbeResponse) -> Option<Ttl> {
    let left = response.quoted.as_ref()?.ttl;
    let spent = probe.get().checked_sub(left)?;
    if left == 0 { None } else { Ttl::new(spent + 1) }
}

/// The distance that an answer has come if its sender started with one of the usual TTLs and the way back is as long
/// as the way there.
fn guessed_distance(ttl: u8) -> Option<Ttl> {
    let initial = [64, 128, 255].into_iter().find(|initial| *initial >= ttl)?;
    Ttl::new((initial - ttl).saturating_add(1))
}
