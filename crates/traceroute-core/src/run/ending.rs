//! What follows for the path from what was heard: where it ends, and how far that is.

use traceroute_wire::Unreachable;

use super::path::Path;
use crate::{PortState, ProbeResponse, Protocol, ReplyKind, Ttl};

/// How far the destination is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Distance {
    /// The lowest TTL that reaches it.
    pub ttl: Ttl,
    /// Whether that was quoted or seen, and not guessed from the TTL of its answer.
    pub exact: bool,
}

impl Distance {
    /// The distance that an answer with this TTL has come, if its sender started with one of the usual TTLs and the way back is
    /// as long as the way there. `None` for 0: it is not known.
    #[must_use]
    pub fn guessed(ttl: u8) -> Option<Self> {
        if ttl == 0 {
            return None;
        }
        let initial = [32, 64, 128, 255].into_iter().find(|initial| *initial >= ttl)?;
        Some(Self { ttl: Ttl::new((initial - ttl).saturating_add(1))?, exact: false })
    }

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
    /// What the target said of the port.
    pub port: Option<PortState>,
}

impl Knowledge {
    /// Adds what somebody else knows; whether that was news.
    pub fn merge(&mut self, other: Self) -> bool {
        let before = *self;
        self.farthest = self.farthest.max(other.farthest);
        self.distance = self.distance.into_iter().chain(other.distance).reduce(Distance::better);
        self.port = self.port.max(other.port);
        *self != before
    }
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

impl Path {
    pub(super) fn meaning(&self, response: &ProbeResponse) -> Meaning {
        let from_target = response.from == self.target;
        match response.kind {
            ReplyKind::TimeExceeded if from_target => Meaning::TargetHop,
            ReplyKind::TimeExceeded => Meaning::Hop,
            ReplyKind::EchoReply
            | ReplyKind::UdpAnswer
            | ReplyKind::SynAck
            | ReplyKind::Reset
            | ReplyKind::Sack => Meaning::Destination,
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

    /// Where an answer that ends the path stands on it: at the distance that its quote shows, or its TTL and sisters together,
    /// unless other answers belie that; otherwise at the TTL of its probe. Silence belies nothing: Linux sends six ICMP errors
    /// at once, and one a second from then on.
    fn position(&self, probe: Ttl, response: &ProbeResponse) -> Ttl {
        let shown = quoted_distance(probe, response).or_else(|| self.agreed_distance(response));
        let Some(distance) = shown.map(|ttl| ttl.max(self.first)).filter(|ttl| *ttl < probe) else {
            return probe;
        };
        let free = self.slot(distance).is_some_and(|slot| {
            slot.answer
                .as_ref()
                .is_none_or(|answer| matches!(self.meaning(answer), Meaning::Barrier | Meaning::Destination))
        });
        let believed = free && distance.get() > self.farthest();
        if believed { distance } else { probe }
    }

    /// The distance of an answer that quotes nothing, where its own TTL and what the destination told sisters agree: the probes
    /// before were lost.
    fn agreed_distance(&self, response: &ProbeResponse) -> Option<Ttl> {
        if response.quoted.is_some() {
            return None;
        }
        let guess = Distance::guessed(response.ttl)?.ttl;
        self.told.filter(|told| *told == guess)
    }

    /// What this path tells about itself to runs of other flows: a barrier may stand in the way of this one only.
    pub(super) fn knowledge(&self) -> Knowledge {
        Knowledge {
            farthest: self.farthest(),
            distance: self.nearest(|meaning| meaning == Meaning::Destination),
            port: None,
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
        let guess = Distance::guessed(response.ttl).map(|guess| guess.ttl).filter(|ttl| *ttl <= probe);
        let skipped = self.first > Ttl::FIRST || self.lowest_unsent().is_some_and(|ttl| ttl < probe);
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
