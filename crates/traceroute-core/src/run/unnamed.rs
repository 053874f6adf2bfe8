//! Answers that name no probe: datagrams of the target's own making.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use super::path::{Booked, Path, Slot};
use crate::{ProbeResponse, Ttl};

/// How much later a packet is at most seen again on another interface of this host.
const SEEN_AGAIN_WITHIN: Duration = Duration::from_millis(1);

impl Path {
    /// Enters an answer that names no probe. Which one it belongs to can only be told from all of them together.
    pub(super) fn book_unnamed(&mut self, response: ProbeResponse) -> Option<Booked> {
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
    pub(super) fn assign_unnamed(&mut self) {
        if self.unnamed.is_empty() {
            return;
        }
        for slot in &mut self.slots {
            slot.answer.take_if(|answer| answer.probe.is_none());
        }
        let farthest = usize::from(self.farthest().saturating_sub(self.first.get() - 1));
        let open = self
            .slots
            .iter_mut()
            .skip(farthest)
            .filter(|slot| slot.sent().is_some() && slot.answer.is_none());
        let mut open: Vec<&mut Slot> = open.rev().collect();
        let mut arrived = Vec::new();
        let mut answers = Vec::new();
        for answer in &self.unnamed {
            let sent_before =
                |slot: &&mut Slot| slot.called().is_some_and(|called| called <= answer.stamp.at);
            if let Some(highest) = open.iter().position(sent_before) {
                arrived.push(open.remove(highest));
                answers.push(answer);
            }
        }
        arrived.sort_by_key(|slot| slot.called());
        for (slot, answer) in arrived.into_iter().zip(answers) {
            slot.answer = Some(Box::new(answer.clone()));
        }
    }
}
