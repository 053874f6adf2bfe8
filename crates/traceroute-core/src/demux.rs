//! The demultiplexer: which runs a captured packet can concern, found by hash whatever their number.

use alloc::vec::Vec;
use core::net::IpAddr;

use hashbrown::HashMap;
use traceroute_wire::{Datagram, IcmpMessage, Quoted, Udp, protocol};

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
        Some(Self::probe(Protocol::Icmp, quoted.echo_request()?.id?, &quoted.header))
    }

    fn probe(protocol: Protocol, local: u16, header: &traceroute_wire::IpHeader) -> Self {
        let remote = header.endpoints.destination();
        Self {
            flow: ByFlow { protocol, local, remote },
            label: Some(ByLabel { protocol, remote, label: header.label }),
        }
    }

    fn answer(protocol: Protocol, local: u16, remote: IpAddr) -> Self {
        Self { flow: ByFlow { protocol, local, remote }, label: None }
    }
}

/// The index of live flows. `T` is whatever the owner finds a run by; a run may have several flows.
#[derive(Debug)]
pub struct Demultiplexer<T> {
    by_flow: HashMap<ByFlow, Vec<T>>,
    by_label: HashMap<ByLabel, Vec<T>>,
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
        self.by_flow.entry(flow).or_default().push(run.clone());
        self.by_label.entry(label).or_default().push(run);
    }

    /// Removes a flow of the run `run`.
    pub fn remove(&mut self, key: &FlowKey, run: &T) {
        let (flow, label) = keys(key);
        remove(&mut self.by_flow, &flow, run);
        remove(&mut self.by_label, &label, run);
    }

    /// The runs that a packet with these keys can concern, each once. Whether it really does is for the run's method
    /// to say.
    pub fn candidates(&self, keys: &PacketKeys) -> impl Iterator<Item = &T> {
        let by_flow = self.by_flow.get(&keys.flow).map(Vec::as_slice).unwrap_or_default();
        let by_label =
            keys.label.and_then(|label| self.by_label.get(&label)).map(Vec::as_slice).unwrap_or_default();
        by_flow.iter().chain(by_label.iter().filter(|run| !by_flow.contains(run)))
    }
}

fn keys(key: &FlowKey) -> (ByFlow, ByLabel) {
    let &FlowKey { protocol, local, remote, label } = key;
    (ByFlow { protocol, local, remote }, ByLabel { protocol, remote, label })
}

fn remove<K: Eq + core::hash::Hash, T: PartialEq>(index: &mut HashMap<K, Vec<T>>, key: &K, run: &T) {
    if let Some(runs) = index.get_mut(key) {
        runs.retain(|candidate| candidate != run);
        if runs.is_empty() {
            index.remove(key);
        }
    }
}
