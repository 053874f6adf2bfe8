//! The demultiplexer: which runs a captured packet can concern, found by hash whatever their number.

use alloc::vec::Vec;
use core::hash::Hash;
use core::net::IpAddr;
use core::{mem, slice};

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use traceroute_wire::{Datagram, IcmpMessage, Quoted, QuotedTcp, Udp, protocol};

use crate::{Captured, Direction, FlowKey, Protocol};

/// What a packet is known by in the first index: the flow as we sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct ByFlow {
    protocol: Protocol,
    local: u16,
    remote: IpAddr,
}

/// What it is known by in the second index, when somebody rewrote its source: target and nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct ByLabel {
    protocol: Protocol,
    remote: IpAddr,
    label: u32,
}

impl ByLabel {
    /// `None` without a label: all flows may have that in common.
    fn new(protocol: Protocol, remote: IpAddr, label: u32) -> Option<Self> {
        (label != 0).then_some(Self { protocol, remote, label })
    }
}

/// The keys under which the run of a packet may be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketKeys {
    flow: ByFlow,
    label: Option<ByLabel>,
}

impl PacketKeys {
    /// The keys of a packet: of our own probe on its way out, of the probe that an ICMP error quotes, or of the one
    /// that a packet from the target answers. `None` for everything else.
    #[must_use]
    pub fn of(packet: &Captured<'_>) -> Option<Self> {
        let datagram = Datagram::parse(packet.datagram)?;
        match (packet.direction, datagram.header.protocol) {
            (Direction::Sent, protocol::UDP) => {
                let udp = Udp::parse(datagram.payload)?;
                Some(Self::probe(Protocol::Udp, udp.source_port, &datagram.header))
            }
            (Direction::Sent, protocol::TCP) => {
                let tcp = QuotedTcp::parse(datagram.payload)?;
                Some(Self::probe(Protocol::Tcp, tcp.source_port, &datagram.header))
            }
            (Direction::Sent, _) => match IcmpMessage::parse(&datagram)? {
                IcmpMessage::EchoRequest(echo) => {
                    Some(Self::probe(Protocol::Icmp, echo.id, &datagram.header))
                }
                _ => None,
            },
            (Direction::Received, protocol::UDP) => {
                let udp = Udp::parse(datagram.payload)?;
                Some(Self::answer(Protocol::Udp, udp.destination_port, datagram.source()))
            }
            (Direction::Received, protocol::TCP) => {
                let tcp = QuotedTcp::parse(datagram.payload)?;
                Some(Self::answer(Protocol::Tcp, tcp.destination_port, datagram.source()))
            }
            (Direction::Received, _) => match IcmpMessage::parse(&datagram)? {
                IcmpMessage::EchoReply(echo) => {
                    Some(Self::answer(Protocol::Icmp, echo.id, datagram.source()))
                }
                IcmpMessage::Error(error) => Self::quoted(&error.quoted),
                IcmpMessage::EchoRequest(_) => None,
            },
        }
    }

    fn quoted(quoted: &Quoted<'_>) -> Option<Self> {
        if let Some(udp) = quoted.udp() {
            return Some(Self::probe(Protocol::Udp, udp.source_port, &quoted.header));
        }
        if let Some(tcp) = quoted.tcp() {
            return Some(Self::probe(Protocol::Tcp, tcp.source_port, &quoted.header));
        }
        Some(Self::probe(Protocol::Icmp, quoted.echo_request()?.id?, &quoted.header))
    }

    fn probe(protocol: Protocol, local: u16, header: &traceroute_wire::IpHeader) -> Self {
        let remote = header.endpoints.destination();
        Self { flow: ByFlow { protocol, local, remote }, label: ByLabel::new(protocol, remote, header.label) }
    }

    fn answer(protocol: Protocol, local: u16, remote: IpAddr) -> Self {
        Self { flow: ByFlow { protocol, local, remote }, label: None }
    }
}

/// The index of live flows. `T` is whatever the owner finds a run by; a run may have several flows.
#[derive(Debug)]
pub struct Demultiplexer<T> {
    by_flow: HashMap<ByFlow, Runs<T>>,
    by_label: HashMap<ByLabel, Runs<T>>,
}

/// The runs with one key: nearly always one, which then lies in the table itself.
#[derive(Debug)]
enum Runs<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> Default for Demultiplexer<T> {
    fn default() -> Self {
        Self { by_flow: HashMap::new(), by_label: HashMap::new() }
    }
}

impl<T: PartialEq + Clone> Demultiplexer<T> {
    /// Adds a flow of the run `run`.
    pub fn insert(&mut self, key: &FlowKey, run: T) {
        let (flow, label) = keys(key);
        if let Some(label) = label {
            insert(&mut self.by_label, label, run.clone());
        }
        insert(&mut self.by_flow, flow, run);
    }

    /// Removes a flow of the run `run`.
    pub fn remove(&mut self, key: &FlowKey, run: &T) {
        let (flow, label) = keys(key);
        remove(&mut self.by_flow, &flow, run);
        if let Some(label) = label {
            remove(&mut self.by_label, &label, run);
        }
    }

    /// The runs that a packet with these keys can concern, each once. Whether it really does is for the run's method
    /// to say.
    pub fn candidates(&self, keys: &PacketKeys) -> impl Iterator<Item = &T> {
        let by_flow = self.by_flow.get(&keys.flow).map(Runs::as_slice).unwrap_or_default();
        let by_label =
            keys.label.and_then(|label| self.by_label.get(&label)).map(Runs::as_slice).unwrap_or_default();
        by_flow.iter().chain(by_label.iter().filter(|run| !by_flow.contains(run)))
    }
}

fn keys(key: &FlowKey) -> (ByFlow, Option<ByLabel>) {
    let &FlowKey { protocol, local, remote, label } = key;
    (ByFlow { protocol, local, remote }, ByLabel::new(protocol, remote, label))
}

fn insert<K: Eq + Hash, T: PartialEq>(index: &mut HashMap<K, Runs<T>>, key: K, run: T) {
    match index.entry(key) {
        Entry::Vacant(entry) => {
            entry.insert(Runs::One(run));
        }
        Entry::Occupied(mut entry) => entry.get_mut().push(run),
    }
}

fn remove<K: Eq + Hash, T: PartialEq>(index: &mut HashMap<K, Runs<T>>, key: &K, run: &T) {
    if index.get_mut(key).is_some_and(|runs| runs.remove(run)) {
        index.remove(key);
    }
}

impl<T: PartialEq> Runs<T> {
    fn as_slice(&self) -> &[T] {
        match self {
            Self::One(run) => slice::from_ref(run),
            Self::Many(runs) => runs,
        }
    }

    fn push(&mut self, run: T) {
        if self.as_slice().contains(&run) {
            return;
        }
        match mem::replace(self, Self::Many(Vec::new())) {
            Self::One(first) => *self = Self::Many(alloc::vec![first, run]),
            Self::Many(mut runs) => {
                runs.push(run);
                *self = Self::Many(runs);
            }
        }
    }

    /// Whether none is left.
    fn remove(&mut self, run: &T) -> bool {
        match self {
            Self::One(only) => only == run,
            Self::Many(runs) => {
                runs.retain(|candidate| candidate != run);
                runs.is_empty()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use super::*;

    fn flow(local: u16, label: u32) -> FlowKey {
        FlowKey { protocol: Protocol::Udp, local, remote: Ipv4Addr::new(192, 0, 2, 1).into(), label }
    }

    /// The runs that a quote of this flow's probe can concern.
    fn found(index: &Demultiplexer<u8>, key: &FlowKey) -> Vec<u8> {
        let (flow, label) = keys(key);
        let mut found: Vec<u8> = index.candidates(&PacketKeys { flow, label }).copied().collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn flows_without_a_label_do_not_share_it() {
        let mut index = Demultiplexer::default();
        for (local, run) in [(1, 1), (2, 2)] {
            index.insert(&flow(local, 0), run);
        }
        assert_eq!(found(&index, &flow(1, 0)), [1]);
        assert_eq!(found(&index, &flow(3, 0)), [0; 0]);
        for (local, run) in [(1, 1), (2, 2)] {
            index.remove(&flow(local, 0), &run);
        }
        assert!(index.by_flow.is_empty() && index.by_label.is_empty());
    }

    #[test]
    fn a_run_whose_flows_share_a_key_is_found_once() {
        let flows = [flow(1, 7), flow(1, 8)];
        let mut index = Demultiplexer::default();
        for flow in &flows {
            index.insert(flow, 1);
        }
        for key in [flow(1, 9), flow(2, 7), flow(2, 8), flow(1, 8)] {
            assert_eq!(found(&index, &key), [1], "{key:?}");
        }
        for flow in &flows {
            index.remove(flow, &1);
        }
        assert!(index.by_flow.is_empty() && index.by_label.is_empty());
    }

    #[test]
    fn runs_that_share_a_key_are_all_found_until_they_are_removed() {
        let flows = [flow(1, 7), flow(2, 7), flow(3, 7)];
        let mut index = Demultiplexer::default();
        for (flow, run) in flows.iter().zip(1..) {
            index.insert(flow, run);
        }
        assert_eq!(found(&index, &flow(2, 7)), [1, 2, 3], "each once");
        assert_eq!(found(&index, &flow(2, 8)), [2], "by flow");
        assert_eq!(found(&index, &flow(4, 7)), [1, 2, 3], "by label");

        index.remove(&flows[1], &2);
        assert_eq!(found(&index, &flow(2, 7)), [1, 3]);
        index.remove(&flows[0], &9);
        assert_eq!(found(&index, &flow(1, 8)), [1], "another run is not removed");
        index.remove(&flows[0], &1);
        index.remove(&flows[2], &3);
        assert!(index.by_flow.is_empty() && index.by_label.is_empty());
    }
}
