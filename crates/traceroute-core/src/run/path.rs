//! What a run has sent and heard, TTL by TTL, and what follows from it about the path.

use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use traceroute_wire::{Stamp, StampSource, Timestamp, Unreachable};

use crate::{ProbeId, ProbeResponse, Protocol, ReplyKind, Ttl};

/// How much later a packet is at most seen again on another interface of this host.
const SEEN_AGAIN_WITHIN: Duration = Duration::from_millis(1);

/// How far the destination is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Distance {
    /// The lowest TTL that reaches it.
    pub ttl: Ttl,
    /// Whether that was quoted or seen, and not guessed from the TTL of its answer.
    pub exact: bool,
}

impl Distance {
    /// An exact distance beats a guess; of two alike the shorter.
    fn better(self, other: Self) -> Self {
        core::cmp::min_by_key(self, other, |distance| (!distance.exact, distance.ttl))
    }
}

/// What the runs of a request tell each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Knowledge {
    /// The highest TTL that a router answered, 0 for none.
    pub farthest: u8,
    /// How far the destination is.
    pub distance: Option<Distance>,
}

impl Knowledge {
    /// Adds what somebody else knows; whether that was news.
    pub fn merge(&mut self, other: Self) -> bool {
        let before = *self;
        self.farthest = self.farthest.max(other.farthest);
        self.distance = self.distance.into_iter().chain(other.distance).reduce(Distance::better);
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

impl Slot {
    fn is_unnamed(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| answer.probe.is_none())
    }
}

#[derive(Debug)]
pub(super) struct Path {
    pub(super) protocol: Protocol,
    pub(super) target: IpAddr,
    first: Ttl,
    pub(super) slots: Vec<Slot>,
    /// Answers that name no probe, in the order in which they came.
    unnamed: Vec<ProbeResponse>,
}

impl Path {
    pub(super) fn new(protocol: Protocol, target: IpAddr, first: Ttl, max: Ttl) -> Self {
        let len = usize::from(max.get().saturating_sub(first.get())) + 1;
        let mut slots = Vec::new();
        slots.resize_with(len, Slot::default);
        Self { protocol, target, first, slots, unnamed: Vec::new() }
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
            .filter(|(at, slot)| *at <= ttl && slot.sent.is_some() && slot.answer.is_none())
            .filter_map(|(_, slot)| slot.called)
            .max()
    }

    /// Enters an answer: the first one of a TTL, or one that ends the path where the first does not. `None` if it
    /// answers nothing that this run sent.
    pub(super) fn book(&mut self, response: ProbeResponse) -> Option<Booked> {
        let ttl = match response.probe {
            Some(probe) if probe == ProbeId::first(probe.ttl) => probe.ttl,
            Some(_) => return None,
            None => return self.book_unnamed(response),
        };
        let (meaning, interface) = (self.meaning(&response), response.interface);
        let answer = &self.slot(ttl)?.answer;
        let answered =
            answer.as_ref().filter(|answer| answer.probe.is_some()).map(|answer| self.meaning(answer));
        let slot = self.slot_mut(ttl)?;
        slot.sent?;
        let booked = match answered {
            None => {
                slot.answer = Some(response);
                Booked::New { ttl, rtt: slot.rtt().unwrap_or_default() }
            }
            Some(known) if meaning == Meaning::Destination && known != Meaning::Destination => {
                slot.answer = Some(response);
                Booked::Replaced { ttl }
            }
            Some(_) => return self.duplicate(ttl, interface),
        };
        self.assign_unnamed();
        Some(booked)
    }

    /// A further answer to a probe, unless it is the first one seen again on another interface: a bridge and its port, a
    /// VLAN and the device below.
    fn duplicate(&self, ttl: Ttl, interface: u32) -> Option<Booked> {
        let first = self.slot(ttl)?.answer.as_ref()?;
        (first.interface == interface).then_some(Booked::Duplicate)
    }

    /// Enters an answer that names no probe. Which one it belongs to can only be told from all of them together.
    fn book_unnamed(&mut self, response: ProbeResponse) -> Option<Booked> {
        let again = self.unnamed.last().is_some_and(|last| {
            let later = response.stamp.at.saturating_since(last.stamp.at);
            last.interface != response.interface && later < SEEN_AGAIN_WITHIN
        });
        if again || !self.any_sent() {
            return None;
        }
        let assigned = |path: &Self| -> Vec<Ttl> {
            path.numbered().filter(|(_, slot)| slot.is_unnamed()).map(|(ttl, _)| ttl).collect()
        };
        let before = assigned(self);
        self.unnamed.push(response);
        self.assign_unnamed();
        let Some(ttl) = assigned(self).into_iter().find(|ttl| !before.contains(ttl)) else {
            self.unnamed.pop();
            self.assign_unnamed();
            return Some(Booked::Duplicate);
        };
        let rtt = self.slot(ttl).and_then(Slot::rtt);
        Some(Booked::New { ttl, rtt: rtt.unwrap_or_default() })
    }

    /// Gives each answer that names no probe a probe.
    ///
    /// Every probe that gets to the destination is answered once, so as many of the highest TTLs as there are answers
    /// got there, among those sent before the answer came; and answers come in the order of their probes. Probes that
    /// are known to have run out on the way are none of them.
    fn assign_unnamed(&mut self) {
        if self.unnamed.is_empty() {
            return;
        }
        for slot in &mut self.slots {
            slot.answer.take_if(|answer| answer.probe.is_none());
        }
        let farthest = usize::from(self.farthest().saturating_sub(self.first.get() - 1));
        let open =
            self.slots.iter_mut().skip(farthest).filter(|slot| slot.sent.is_some() && slot.answer.is_none());
        let mut open: Vec<&mut Slot> = open.rev().collect();
        let mut arrived = Vec::new();
        let mut answers = Vec::new();
        for answer in &self.unnamed {
            let sent_before = |slot: &&mut Slot| slot.called.is_some_and(|called| called <= answer.stamp.at);
            if let Some(highest) = open.iter().position(sent_before) {
                arrived.push(open.remove(highest));
                answers.push(answer);
            }
        }
        arrived.sort_by_key(|slot| slot.called);
        for (slot, answer) in arrived.into_iter().zip(answers) {
            slot.answer = Some(answer.clone());
        }
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
        let believed = free && distance.get() > self.farthest() && self.silent_before(distance, probe) <= 2;
        if believed { distance } else { probe }
    }

    /// How many probes from `distance` on were sent before `probe` and not answered. The sender of an answer to `probe`
    /// would have got them too, were it at `distance`.
    fn silent_before(&self, distance: Ttl, probe: Ttl) -> usize {
        let sent = self.sent_at(probe);
        let between = self.numbered().filter(|(ttl, _)| (distance..probe).contains(ttl));
        between
            .filter(|(_, slot)| slot.answer.is_none() && slot.called.is_some() && slot.called < sent)
            .count()
    }

    /// What this path tells about itself to runs of other flows: a barrier may stand in the way of this one only.
    pub(super) fn knowledge(&self) -> Knowledge {
        Knowledge {
            farthest: self.farthest(),
            distance: self.nearest(|meaning| meaning == Meaning::Destination),
        }
    }

    /// How far whatever ends this path is.
    pub(super) fn distance(&self) -> Option<Distance> {
        self.nearest(|meaning| matches!(meaning, Meaning::Barrier | Meaning::Destination))
    }

    fn nearest(&self, ends: impl Fn(Meaning) -> bool) -> Option<Distance> {
        let farthest = self.farthest();
        self.numbered()
            .filter_map(|(ttl, slot)| {
                let response = slot.answer.as_ref()?;
                if ends(self.meaning(response)) { self.shown_distance(ttl, response) } else { None }
            })
            .filter(|distance| distance.ttl.get() > farthest)
            .reduce(Distance::better)
    }

    /// The distance that an answer shows. What is guessed must be plausible: a probe is not answered by somebody
    /// farther away than it goes.
    fn shown_distance(&self, probe: Ttl, response: &ProbeResponse) -> Option<Distance> {
        let guess = guessed_distance(response.ttl).filter(|ttl| *ttl <= probe);
        let skipped = self.lowest_unsent().is_some_and(|ttl| ttl < probe);
        match quoted_distance(probe, response) {
            // A probe that skipped all of the path and just made it: more likely a quote whose TTL was rewritten.
            Some(ttl) if ttl == probe && skipped && guess.is_some_and(|guess| guess < probe) => {}
            Some(ttl) => return Some(Distance { ttl, exact: true }),
            None => {}
        }
        if response.probe.is_some() && probe.get() == self.farthest() + 1 {
            return Some(Distance { ttl: probe, exact: true });
        }
        let ttl = if skipped { guess? } else { guess.unwrap_or(probe) };
        Some(Distance { ttl, exact: false })
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
    let initial = [32, 64, 128, 255].into_iter().find(|initial| *initial >= ttl)?;
    Ttl::new((initial - ttl).saturating_add(1))
}
