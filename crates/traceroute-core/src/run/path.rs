//! What a run has sent and heard, TTL by TTL.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use traceroute_wire::{Stamp, StampSource, Timestamp};

use super::ending::Meaning;
use crate::{ProbeId, ProbeResponse, Protocol, Ttl};

/// How a response was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Booked {
    New { ttl: Ttl, rtt: Duration },
    Replaced { ttl: Ttl },
    Duplicate,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Slot {
    /// `None` until the probe is sent.
    sending: Option<Sending>,
    /// Boxed: most slots of most runs stay empty.
    pub(super) answer: Option<Box<ProbeResponse>>,
}

#[derive(Clone, Copy, Debug)]
struct Sending {
    /// When the probe was handed to the system; waits count from here.
    called: Timestamp,
    /// The best that is known of when it left; `None` where the system refused it.
    left: Option<Stamp>,
}

impl Slot {
    /// When the probe was handed to the system.
    pub(super) fn called(&self) -> Option<Timestamp> {
        Some(self.sending?.called)
    }

    /// The best that is known of when it left; `None` while unsent, or refused.
    pub(super) fn sent(&self) -> Option<Stamp> {
        self.sending?.left
    }

    /// The round trip, never zero: zero stands for a lost probe in the results.
    pub(super) fn rtt(&self) -> Option<Duration> {
        let (sent, answer) = (self.sent()?, self.answer.as_ref()?);
        Some(answer.stamp.at.saturating_since(sent.at).max(Duration::from_nanos(1)))
    }

    pub(super) fn is_unnamed(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| answer.probe.is_none())
    }
}

#[derive(Debug)]
pub(super) struct Path {
    pub(super) protocol: Protocol,
    pub(super) target: IpAddr,
    pub(super) first: Ttl,
    pub(super) slots: Vec<Slot>,
    /// How far the destination is for sister runs that it has told exactly.
    pub(super) told: Option<Ttl>,
    /// Answers that name no probe, in the order in which they came.
    pub(super) unnamed: Vec<ProbeResponse>,
}

impl Path {
    pub(super) fn new(protocol: Protocol, target: IpAddr, first: Ttl, max: Ttl) -> Self {
        let len = usize::from(max.get().saturating_sub(first.get())) + 1;
        let mut slots = Vec::new();
        slots.resize_with(len, Slot::default);
        Self { protocol, target, first, slots, told: None, unnamed: Vec::new() }
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
            slot.sending = Some(Sending { called: now, left: None });
        }
    }

    /// Enters a better send time. `None` if it is not one, else whether it is the first.
    pub(super) fn improve_sent(&mut self, probe: ProbeId, stamp: Stamp) -> Option<bool> {
        let slot = self.slot_mut(probe.ttl).filter(|_| probe == ProbeId::first(probe.ttl))?;
        let sending = slot.sending.as_mut()?;
        if stamp.source == StampSource::User {
            sending.called = stamp.at;
        }
        let Some(known) = sending.left else {
            sending.left = Some(stamp);
            return Some(true);
        };
        let better = stamp.source == StampSource::Kernel
            && slot.answer.as_ref().is_none_or(|answer| stamp.at <= answer.stamp.at)
            && stamp != known;
        if !better {
            return None;
        }
        sending.left = Some(stamp);
        Some(false)
    }

    pub(super) fn any_sent(&self) -> bool {
        self.slots.iter().any(|slot| slot.sent().is_some())
    }

    pub(super) fn is_answered(&self, ttl: Ttl) -> bool {
        self.slot(ttl).is_some_and(|slot| slot.answer.is_some())
    }

    pub(super) fn sent_at(&self, ttl: Ttl) -> Option<Timestamp> {
        self.slot(ttl)?.called()
    }

    pub(super) fn lowest_unsent(&self) -> Option<Ttl> {
        self.numbered().find(|(_, slot)| slot.called().is_none()).map(|(ttl, _)| ttl)
    }

    /// How many TTLs have not been sent yet.
    pub(super) fn unsent(&self) -> u8 {
        let unsent = self.numbered().filter(|(_, slot)| slot.called().is_none()).count();
        u8::try_from(unsent).unwrap_or(u8::MAX)
    }

    /// When the first probe with this TTL or a higher one was sent.
    pub(super) fn first_sent_beyond(&self, ttl: Ttl) -> Option<Timestamp> {
        self.numbered().filter(|(at, _)| *at >= ttl).filter_map(|(_, slot)| slot.called()).min()
    }

    /// When the probe before `ttl` was sent, if it is still unanswered.
    pub(super) fn previous_outstanding(&self, ttl: Ttl) -> Option<Timestamp> {
        let (_, slot) = self.numbered().rfind(|(before, _)| *before < ttl)?;
        slot.called().filter(|_| slot.answer.is_none())
    }

    /// When the last of the unanswered probes up to `ttl` was sent.
    pub(super) fn latest_unanswered(&self, ttl: Ttl) -> Option<Timestamp> {
        self.numbered()
            .filter(|(at, slot)| *at <= ttl && slot.sent().is_some() && slot.answer.is_none())
            .filter_map(|(_, slot)| slot.called())
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
        slot.sent()?;
        let booked = match answered {
            None => {
                slot.answer = Some(Box::new(response));
                Booked::New { ttl, rtt: slot.rtt().unwrap_or_default() }
            }
            Some(known) if meaning == Meaning::Destination && known != Meaning::Destination => {
                slot.answer = Some(Box::new(response));
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
}
