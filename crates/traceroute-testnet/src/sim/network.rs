//! The engine.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use traceroute_wire::Timestamp;

use super::flow;
use super::host::{self, Host, Reaction};
use super::link::LaneState;
use super::message::{IcmpError, Unreachable};
use super::nat::{DestinationNat, SourceNatState};
use super::node::{Refusal, Router};
use super::packet::{self, Header, Malformed};
use super::random::{Random, mix};
use super::sequence_shift::SequenceShift;
use super::tcp::Alarm;
use super::topology::{Balance, Forgery, ForgeryTime, Topology};
use crate::address_plan::DualStack;

/// A simulated network in operation.
///
/// It has no clock and does no I/O: whoever drives it says what time it is. Times never go back: a datagram that is
/// injected late is forwarded late. The same topology, seed and calls give the same results, byte for byte.
#[derive(Debug)]
pub struct Network {
    nodes: Vec<Node>,
    stages: Vec<StageState>,
    forgeries: Vec<Forgery>,
    client: DualStack,
    target: DualStack,
    events: BinaryHeap<Reverse<Event>>,
    sequence: u64,
    injected: u64,
    seed: u64,
}

/// A datagram that reached the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When it reached the client.
    pub at: Timestamp,
    /// The datagram.
    pub datagram: Vec<u8>,
}

#[derive(Debug)]
struct Node {
    kind: Kind,
    stage: usize,
    forward: LaneState,
    back: LaneState,
}

#[derive(Debug)]
enum Kind {
    Router { host: Host, gateway: Gateway },
    Target(Host),
}

/// What makes a router of a host.
#[derive(Debug)]
struct Gateway {
    refuses: Option<Refusal>,
    source_nat: Option<SourceNatState>,
    destination_nat: Vec<DestinationNat>,
    sequence_shift: Option<SequenceShift>,
    /// The next router of the same branch.
    next: Option<usize>,
}

/// What becomes of a datagram from the client at a router.
enum Fate {
    /// It is for the router.
    Local,
    /// It is answered with an error that quotes it as it came in.
    Refused(IcmpError),
    /// It is answered with an error that quotes it as it would have gone out.
    Rejected(IcmpError),
    Forwarded,
}

impl Gateway {
    fn fate(&self, host: &Host, header: &Header) -> Fate {
        if host.has(header.destination) {
            return Fate::Local;
        }
        match self.refuses {
            Some(Refusal::NoRoute(why)) => Fate::Refused(IcmpError::Unreachable(why)),
            _ if header.ttl <= 1 => Fate::Refused(IcmpError::TimeExceeded),
            Some(Refusal::TooBig { mtu }) => {
                Fate::Refused(IcmpError::Unreachable(Unreachable::FragmentationNeeded { mtu }))
            }
            Some(Refusal::Firewall(why)) => Fate::Rejected(IcmpError::Unreachable(why)),
            None => Fate::Forwarded,
        }
    }
}

#[derive(Debug)]
struct StageState {
    /// The first routers of the branches; none where a branch has no router.
    entrances: Vec<Option<usize>>,
    balance: Balance,
    passed: usize,
}

/// A datagram under way, and the nodes that it passed or, on the way back, has yet to pass.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Flight {
    path: Vec<usize>,
    datagram: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    at: Timestamp,
    sequence: u64,
    step: Step,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// Reaches the last node of its path, coming from the client.
    Outward(Flight),
    /// Leaves the last node of its path toward the client.
    Answer(Flight),
    /// Wakes the last node of a path.
    Alarm(Vec<usize>, Alarm),
    /// Reaches the last node of its path, going to the client.
    Inward(Flight),
    /// Reaches the client.
    Delivery(Vec<u8>),
}

impl Network {
    /// Puts a topology into operation.
    #[must_use]
    pub fn new(topology: Topology, seed: u64) -> Self {
        let mut network = Self {
            nodes: Vec::new(),
            stages: Vec::new(),
            forgeries: topology.forgeries,
            client: topology.client,
            target: topology.target.addresses,
            events: BinaryHeap::new(),
            sequence: 0,
            injected: 0,
            seed,
        };
        for (index, stage) in topology.stages.into_iter().enumerate() {
            let entrances = stage.branches.into_iter().map(|b| network.add_branch(index, b)).collect();
            network.stages.push(StageState { entrances, balance: stage.balance, passed: 0 });
        }
        let target = topology.target;
        let link = target.link.clone();
        network.add_node(Kind::Target(Host::from_target(target)), network.stages.len(), link);
        for forgery in &network.forgeries {
            if let ForgeryTime::At(at) = forgery.when {
                let step = Step::Delivery((forgery.make)(&[]));
                network.events.push(Reverse(Event { at, sequence: network.sequence, step }));
                network.sequence += 1;
            }
        }
        network
    }

    fn add_branch(&mut self, stage: usize, routers: Vec<Router>) -> Option<usize> {
        let (first, count) = (self.nodes.len(), routers.len());
        for (place, mut router) in routers.into_iter().enumerate() {
            let gateway = Gateway {
                refuses: router.refuses,
                source_nat: router.source_nat.take().map(SourceNatState::new),
                destination_nat: std::mem::take(&mut router.destination_nat),
                sequence_shift: router.sequence_shift.take(),
                next: (place + 1 < count).then_some(first + place + 1),
            };
            let link = router.link.clone();
            self.add_node(Kind::Router { host: Host::from_router(router), gateway }, stage, link);
        }
        (count > 0).then_some(first)
    }

    fn add_node(&mut self, kind: Kind, stage: usize, link: super::link::Link) {
        let stream = 2 * self.nodes.len() as u64;
        self.nodes.push(Node {
            kind,
            stage,
            forward: LaneState::new(link.forward, Random::new(self.seed, stream)),
            back: LaneState::new(link.back, Random::new(self.seed, stream + 1)),
        });
    }

    /// The client's addresses.
    #[must_use]
    pub fn client(&self) -> DualStack {
        self.client
    }

    /// The target's own addresses.
    #[must_use]
    pub fn target(&self) -> DualStack {
        self.target
    }

    /// Takes a datagram that the client sends.
    ///
    /// Multicast and link-local talk, which no router forwards, is ignored.
    pub fn inject(&mut self, now: Timestamp, datagram: &[u8]) -> Result<(), Malformed> {
        packet::check(datagram)?;
        if packet::is_local_talk(datagram) {
            return Ok(());
        }
        self.injected += 1;
        let forged: Vec<_> = self
            .forgeries
            .iter()
            .filter_map(|forgery| match forgery.when {
                ForgeryTime::AfterProbe { number, delay } if number == self.injected => {
                    Some((now + delay, (forgery.make)(datagram)))
                }
                _ => None,
            })
            .collect();
        for (at, datagram) in forged {
            self.schedule(at, Step::Delivery(datagram));
        }
        self.enter(now, datagram);
        Ok(())
    }

    /// Takes a datagram that the client's kernel sends: no forgery counts it as a probe.
    pub(super) fn enter(&mut self, now: Timestamp, datagram: &[u8]) {
        let first = self.node_from_stage(0, datagram);
        self.send_outward(now, Flight { path: Vec::new(), datagram: datagram.to_vec() }, first);
    }

    /// When something happens next; [`poll`](Self::poll) then.
    #[must_use]
    pub fn next_event(&self) -> Option<Timestamp> {
        self.events.peek().map(|Reverse(event)| event.at)
    }

    /// Lets everything happen that happens until `now`, up to and including the next arrival at the client.
    pub fn poll(&mut self, now: Timestamp) -> Option<Arrival> {
        while self.next_event().is_some_and(|at| at <= now) {
            let Reverse(Event { at, step, .. }) = self.events.pop()?;
            match step {
                Step::Outward(flight) => self.outward(at, flight),
                Step::Answer(flight) => self.send_inward(at, flight),
                Step::Alarm(path, alarm) => self.wake(at, &path, alarm),
                Step::Inward(flight) => self.inward(at, flight),
                Step::Delivery(datagram) => return Some(Arrival { at, datagram }),
            }
        }
        None
    }

    /// A datagram from the client reaches the last node of its path.
    fn outward(&mut self, now: Timestamp, mut flight: Flight) {
        let Some(&at) = flight.path.last() else { return };
        let node = &mut self.nodes[at];
        let stage = node.stage;
        let (host, gateway) = match &mut node.kind {
            Kind::Target(host) => {
                let reaction = host.serve(now, &flight.datagram);
                return self.react(reaction, &flight.path);
            }
            Kind::Router { host, gateway } => (host, gateway),
        };
        for nat in &gateway.destination_nat {
            nat.outward(&mut flight.datagram);
        }
        let Some(header) = Header::parse(&flight.datagram) else { return };
        let reaction = match gateway.fate(host, &header) {
            Fate::Local => host.serve(now, &flight.datagram),
            Fate::Refused(error) => host.error(now, error, &flight.datagram).into(),
            Fate::Rejected(error) => {
                packet::set_ttl(&mut flight.datagram, header.ttl - 1);
                host.error(now, error, &flight.datagram).into()
            }
            Fate::Forwarded => {
                packet::set_ttl(&mut flight.datagram, header.ttl - 1);
                if let Some(shift) = gateway.sequence_shift {
                    shift.outward(&mut flight.datagram);
                }
                if let Some(nat) = &mut gateway.source_nat {
                    nat.outward(&mut flight.datagram);
                }
                let next = gateway.next.unwrap_or_else(|| self.node_from_stage(stage + 1, &flight.datagram));
                return self.send_outward(now, flight, next);
            }
        };
        let reaction = host::translated(reaction, &gateway.destination_nat);
        self.react(reaction, &flight.path);
    }

    /// Wakes the last node of a path.
    fn wake(&mut self, now: Timestamp, path: &[usize], alarm: Alarm) {
        let Some(&at) = path.last() else { return };
        let reaction = match &mut self.nodes[at].kind {
            Kind::Target(host) => host.wake(now, alarm),
            Kind::Router { host, gateway } => {
                host::translated(host.wake(now, alarm), &gateway.destination_nat)
            }
        };
        self.react(reaction, path);
    }

    /// A datagram for the client reaches the last node of its path.
    fn inward(&mut self, now: Timestamp, mut flight: Flight) {
        let Some(&at) = flight.path.last() else { return };
        let Kind::Router { gateway, .. } = &mut self.nodes[at].kind else { return };
        if let Some(nat) = &gateway.source_nat {
            nat.inward(&mut flight.datagram);
        }
        if let Some(shift) = gateway.sequence_shift {
            shift.inward(&mut flight.datagram);
        }
        for nat in &gateway.destination_nat {
            nat.inward(&mut flight.datagram);
        }
        match Header::parse(&flight.datagram) {
            // Nobody is told: an error about an error is not sent, and of other answers nobody would learn anything.
            Some(header) if header.ttl > 1 => {
                packet::set_ttl(&mut flight.datagram, header.ttl - 1);
                self.send_inward(now, flight);
            }
            _ => {}
        }
    }

    fn react(&mut self, reaction: Reaction, path: &[usize]) {
        for answer in reaction.answers {
            let flight = Flight { path: path.to_vec(), datagram: answer.datagram };
            self.schedule(answer.at, Step::Answer(flight));
        }
        for (at, alarm) in reaction.alarms {
            self.schedule(at, Step::Alarm(path.to_vec(), alarm));
        }
    }

    /// The node to which a datagram goes that has passed all stages before `stage`.
    fn node_from_stage(&mut self, stage: usize, datagram: &[u8]) -> usize {
        for (index, stage) in self.stages.iter_mut().enumerate().skip(stage) {
            let branches = stage.entrances.len();
            let branch = match stage.balance {
                _ if branches <= 1 => 0,
                Balance::PerPacket => stage.passed % branches,
                Balance::PerFlow => {
                    let hash = flow::hash(datagram, mix(self.seed.wrapping_add(index as u64)));
                    usize::try_from(hash % branches as u64).unwrap_or_default()
                }
            };
            stage.passed += 1;
            if let Some(&Some(node)) = stage.entrances.get(branch) {
                return node;
            }
        }
        self.nodes.len() - 1
    }

    fn send_outward(&mut self, now: Timestamp, mut flight: Flight, to: usize) {
        flight.path.push(to);
        for arrival in self.nodes[to].forward.transmit(now) {
            let Flight { path, datagram } = &flight;
            let copy = Flight { path: path.clone(), datagram: datagram.clone() };
            self.schedule(arrival, Step::Outward(copy));
        }
    }

    fn send_inward(&mut self, now: Timestamp, mut flight: Flight) {
        let Some(from) = flight.path.pop() else { return };
        for arrival in self.nodes[from].back.transmit(now) {
            let Flight { path, datagram } = &flight;
            let step = if path.is_empty() {
                Step::Delivery(datagram.clone())
            } else {
                Step::Inward(Flight { path: path.clone(), datagram: datagram.clone() })
            };
            self.schedule(arrival, step);
        }
    }

    fn schedule(&mut self, at: Timestamp, step: Step) {
        self.events.push(Reverse(Event { at, sequence: self.sequence, step }));
        self.sequence += 1;
    }
}
