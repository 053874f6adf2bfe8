//! Address translation.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::packet::{self, Header, Side};
use crate::address_plan::DualStack;

/// The length of an ICMP header before the quote.
const ICMP_HEADER: usize = 8;

/// Translation of source addresses, ports and echo ids (NAPT) on the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceNat {
    /// The addresses that those beyond see.
    pub addresses: DualStack,
    /// What becomes of ports and echo ids.
    pub ports: PortMapping,
    /// Whether the quotes of ICMP errors that come back are translated too. If not, the client sees in them what
    /// those beyond saw.
    pub translates_quotes: bool,
}

/// What becomes of source ports and echo ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortMapping {
    /// They stay, whatever the address.
    Keep,
    /// Each pair of address and port gets the next number from here on.
    From(u16),
}

/// Translation of a destination address on the way in.
///
/// ICMP errors that come back, those of this router and of all behind it, get the public address as their source, as
/// Linux does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DestinationNat {
    /// The address that the client knows.
    pub public: IpAddr,
    /// The address to which it is translated.
    pub private: IpAddr,
}

/// What identifies a flow's end: protocol, address, and port or echo id.
type Endpoint = (u8, IpAddr, Option<u16>);

/// A source NAT in operation.
#[derive(Debug)]
pub(super) struct SourceNatState {
    config: SourceNat,
    outside_of: BTreeMap<Endpoint, Option<u16>>,
    inside_of: BTreeMap<(u8, bool, Option<u16>), Endpoint>,
    next_port: u16,
}

impl SourceNatState {
    pub(super) fn new(config: SourceNat) -> Self {
        let next_port = match config.ports {
            PortMapping::Keep => 0,
            PortMapping::From(port) => port,
        };
        Self { config, outside_of: BTreeMap::new(), inside_of: BTreeMap::new(), next_port }
    }

    /// Translates a datagram on its way out.
    pub(super) fn outward(&mut self, datagram: &mut [u8]) {
        let Some(header) = Header::parse(datagram) else { return };
        let inside = (header.protocol, header.source, header.port(datagram, Side::Source));
        let outside_port = *self.outside_of.entry(inside).or_insert_with(|| match self.config.ports {
            PortMapping::Keep => inside.2,
            PortMapping::From(_) => inside.2.map(|_| {
                let port = self.next_port;
                self.next_port = port.wrapping_add(1).max(1);
                port
            }),
        });
        self.inside_of.insert((header.protocol, header.is_v6(), outside_port), inside);
        packet::rewrite(datagram, Side::Source, self.outside(header.source), outside_port);
    }

    /// Translates a datagram on its way back, if it is one for the outside address.
    pub(super) fn inward(&self, datagram: &mut [u8]) {
        let Some(header) = Header::parse(datagram) else { return };
        if header.destination != self.outside(header.source) {
            return;
        }
        if !header.is_icmp_error(datagram) {
            let port = header.port(datagram, Side::Destination);
            if let Some(&(_, address, port)) = self.inside_of.get(&(header.protocol, header.is_v6(), port)) {
                packet::rewrite(datagram, Side::Destination, address, port);
            }
            return;
        }
        let quote = datagram.get_mut(header.transport + ICMP_HEADER..).unwrap_or_default();
        let inner = Header::parse(quote);
        let known = |protocol: Option<u8>, port: Option<u16>| {
            let same = |i: &&Endpoint| i.1.is_ipv6() == header.is_v6() && protocol.is_none_or(|p| p == i.0);
            match (protocol, port) {
                (Some(protocol), Some(_)) => self.inside_of.get(&(protocol, header.is_v6(), port)).copied(),
                // Too short a quote names no flow. Linux then drops the error; other routers send it to whomever they
                // serve, which keeps such quotes testable.
                _ => self.inside_of.values().find(same).copied(),
            }
        };
        let inside = known(inner.map(|i| i.protocol), inner.and_then(|i| i.port(quote, Side::Source)));
        let Some((_, address, port)) = inside else { return };
        if self.config.translates_quotes {
            packet::rewrite(quote, Side::Source, address, port);
        }
        packet::rewrite(datagram, Side::Destination, address, None);
        packet::update_icmp_checksum(datagram);
    }

    fn outside(&self, like: IpAddr) -> IpAddr {
        self.config.addresses.of_family(like)
    }
}

impl DestinationNat {
    /// Translates a datagram on its way in.
    pub(super) fn outward(&self, datagram: &mut [u8]) {
        if Header::parse(datagram).is_some_and(|h| h.destination == self.public) {
            packet::rewrite(datagram, Side::Destination, self.private, None);
        }
    }

    /// Translates a datagram on its way back to the client.
    pub(super) fn inward(&self, datagram: &mut [u8]) {
        let Some(header) = Header::parse(datagram) else { return };
        if !header.is_icmp_error(datagram) {
            if header.source == self.private {
                packet::rewrite(datagram, Side::Source, self.public, None);
            }
            return;
        }
        let quote = datagram.get_mut(header.transport + ICMP_HEADER..).unwrap_or_default();
        if Header::parse(quote).is_some_and(|inner| inner.destination == self.private) {
            packet::rewrite(quote, Side::Destination, self.public, None);
            packet::rewrite(datagram, Side::Source, self.public, None);
            packet::update_icmp_checksum(datagram);
        }
    }
}
