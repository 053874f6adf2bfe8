//! Captured probes, read with `etherparse`.
#![allow(dead_code, clippy::unwrap_used, reason = "a module of tests; each file uses a part")]

use std::net::IpAddr;
use std::time::SystemTime;

use etherparse::checksum::Sum16BitWords;
use etherparse::{IpNumber, IpSlice};
use traceroute_core::Direction;
use traceroute_testnet::CapturedPacket;

/// The control bits of a TCP probe (RFC 9293 section 3.1).
const SYN: u8 = 0x02;

/// A probe on its way out.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    pub(crate) at: SystemTime,
    pub(crate) ttl: u8,
    pub(crate) flow: Flow,
    pub(crate) payload: Vec<u8>,
    /// Those of IPv4 only: identification, and whether routers may fragment it.
    pub(crate) ipv4: Option<(u16, bool)>,
    /// Where an ICMP error quotes it: ports and checksum of UDP, ports and sequence number of TCP, or an echo request's
    /// checksum, id and sequence.
    pub(crate) signature: [u8; 8],
}

/// What load balancers hash.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Flow {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) traffic_class: u8,
    /// The flow label of IPv6.
    pub(crate) label: u32,
    pub(crate) protocol: IpNumber,
    /// Both ports, or type, code, checksum and id of an echo request: some take an ICMP header for one with ports.
    pub(crate) first_bytes: Vec<u8>,
}

/// The probes of every method toward `target`, in the order in which they left, with all their checksums verified.
pub(crate) fn probes(packets: &[CapturedPacket], target: IpAddr) -> Vec<Probe> {
    let sent = packets.iter().filter(|packet| packet.direction == Direction::Sent);
    sent.filter_map(|packet| probe(packet, target)).collect()
}

fn probe(packet: &CapturedPacket, target: IpAddr) -> Option<Probe> {
    let ip = IpSlice::from_slice(&packet.datagram).unwrap();
    let protocol = ip.payload().ip_number;
    if ip.destination_addr() != target
        || ![IpNumber::UDP, IpNumber::TCP, IpNumber::ICMP, IpNumber::IPV6_ICMP].contains(&protocol)
    {
        return None;
    }
    let transport = ip.payload().payload;
    // The kernel resets what the target has half opened; its checksum is still to be filled in.
    if protocol == IpNumber::TCP && transport[13] != SYN {
        return None;
    }
    assert_transport_checksum(&ip);
    let has_ports = [IpNumber::UDP, IpNumber::TCP].contains(&protocol);
    let first_bytes = if has_ports { &transport[..4] } else { &transport[..6] };
    let (ttl, traffic_class, label, ipv4) = match &ip {
        IpSlice::Ipv4(v4) => {
            let header = v4.header();
            assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum(), "IPv4 checksum");
            let ipv4 = (header.identification(), header.dont_fragment());
            (header.ttl(), packet.datagram[1], 0, Some(ipv4))
        }
        IpSlice::Ipv6(v6) => {
            let header = v6.header();
            (header.hop_limit(), header.traffic_class(), header.flow_label().value(), None)
        }
    };
    Some(Probe {
        at: packet.at,
        ttl,
        flow: Flow {
            source: ip.source_addr(),
            destination: target,
            traffic_class,
            label,
            protocol,
            first_bytes: first_bytes.to_vec(),
        },
        payload: transport[8..].to_vec(),
        ipv4,
        signature: *transport.first_chunk().unwrap(),
    })
}

/// The sum over a transport with its checksum in place is all ones. UDP of IPv4 may have none, ours has.
fn assert_transport_checksum(ip: &IpSlice<'_>) {
    let payload = ip.payload();
    let mut sum = Sum16BitWords::new();
    match ip {
        IpSlice::Ipv4(_) if payload.ip_number == IpNumber::ICMP => {}
        IpSlice::Ipv4(v4) => {
            sum = sum.add_4bytes(v4.header().source()).add_4bytes(v4.header().destination());
        }
        IpSlice::Ipv6(v6) => {
            sum = sum.add_16bytes(v6.header().source()).add_16bytes(v6.header().destination());
        }
    }
    if payload.ip_number != IpNumber::ICMP {
        let length = u16::try_from(payload.payload.len()).unwrap();
        sum = sum.add_2bytes(length.to_be_bytes()).add_2bytes([0, payload.ip_number.0]);
    }
    if payload.ip_number == IpNumber::UDP {
        assert_ne!(payload.payload[6..8], [0, 0], "a UDP checksum is there");
    }
    assert_eq!(sum.add_slice(payload.payload).ones_complement(), 0, "transport checksum: {ip:?}");
}

/// How many IP datagrams of any kind, except those that link-local IPv6 sends by itself, left.
pub(crate) fn sent(packets: &[CapturedPacket]) -> usize {
    let own = |packet: &&CapturedPacket| match IpSlice::from_slice(&packet.datagram).unwrap() {
        IpSlice::Ipv4(_) => true,
        IpSlice::Ipv6(ip) => !ip.header().destination_addr().is_multicast(),
    };
    packets.iter().filter(|packet| packet.direction == Direction::Sent).filter(own).count()
}
