//! Probes, and what is known of the answers, by `etherparse`.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "a module of tests; each uses a part")]

#[cfg(target_os = "linux")]
pub mod raw;
pub mod talk;
pub mod tcp;

use std::net::IpAddr;
use std::time::Duration;

use etherparse::checksum::Sum16BitWords;
use etherparse::{IpNumber, LaxIpSlice, PacketBuilder};
use traceroute_testnet::DualStack;
use traceroute_testnet::sim::Network;
use traceroute_wire::Timestamp;

pub const MS: Duration = Duration::from_millis(1);

pub fn at(millis: u64) -> Timestamp {
    Timestamp::ZERO + Duration::from_millis(millis)
}

pub fn micros(at: Timestamp) -> u64 {
    at.as_nanos() / 1000
}

pub fn udp(source: IpAddr, target: IpAddr, ttl: u8, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = match (source, target) {
        (IpAddr::V4(s), IpAddr::V4(t)) => PacketBuilder::ipv4(s.octets(), t.octets(), ttl),
        (IpAddr::V6(s), IpAddr::V6(t)) => PacketBuilder::ipv6(s.octets(), t.octets(), ttl),
        _ => panic!("two families"),
    };
    builder.udp(ports.0, ports.1).write(&mut bytes, payload).unwrap();
    bytes
}

pub fn echo_request(source: IpAddr, target: IpAddr, ttl: u8, id: u16, seq: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    match (source, target) {
        (IpAddr::V4(s), IpAddr::V4(t)) => PacketBuilder::ipv4(s.octets(), t.octets(), ttl)
            .icmpv4_echo_request(id, seq)
            .write(&mut bytes, payload)
            .unwrap(),
        (IpAddr::V6(s), IpAddr::V6(t)) => PacketBuilder::ipv6(s.octets(), t.octets(), ttl)
            .icmpv6_echo_request(id, seq)
            .write(&mut bytes, payload)
            .unwrap(),
        _ => panic!("two families"),
    }
    bytes
}

pub fn tcp_syn(source: IpAddr, target: IpAddr, ttl: u8, ports: (u16, u16), seq: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = match (source, target) {
        (IpAddr::V4(s), IpAddr::V4(t)) => PacketBuilder::ipv4(s.octets(), t.octets(), ttl),
        (IpAddr::V6(s), IpAddr::V6(t)) => PacketBuilder::ipv6(s.octets(), t.octets(), ttl),
        _ => panic!("two families"),
    };
    builder.tcp(ports.0, ports.1, seq, 1024).syn().write(&mut bytes, &[]).unwrap();
    bytes
}

/// Both families' ends of a network.
pub fn families(network: &Network) -> [(IpAddr, IpAddr); 2] {
    let DualStack { v4, v6 } = network.client();
    let target = network.target();
    [(v4.into(), target.v4.into()), (v6.into(), target.v6.into())]
}

/// What arrives at the client from now on.
pub fn drain(network: &mut Network) -> Vec<(Timestamp, Vec<u8>)> {
    let mut seen = Vec::new();
    while let Some(next) = network.next_event() {
        while let Some(arrival) = network.poll(next) {
            assert_eq!(arrival.at, next, "an arrival is an event of its own");
            seen.push((arrival.at, arrival.datagram));
        }
    }
    seen
}

/// What one probe brings back.
pub fn answers(network: &mut Network, now: Timestamp, probe: &[u8]) -> Vec<(Timestamp, Vec<u8>)> {
    network.inject(now, probe).unwrap();
    drain(network)
}

/// The one answer that a probe brings back.
pub fn answer(network: &mut Network, now: Timestamp, probe: &[u8]) -> (Timestamp, Seen) {
    let mut answers = answers(network, now, probe);
    assert_eq!(answers.len(), 1);
    let (at, datagram) = answers.remove(0);
    (at, Seen::parse(&datagram))
}

/// An answer with every checksum verified.
#[derive(Clone, Debug)]
pub struct Seen {
    pub from: IpAddr,
    pub to: IpAddr,
    pub ttl: u8,
    pub protocol: IpNumber,
    pub transport: Vec<u8>,
}

impl Seen {
    pub fn parse(datagram: &[u8]) -> Self {
        let (ip, error) = LaxIpSlice::from_slice(datagram).unwrap();
        assert!(error.is_none());
        let payload = ip.payload();
        assert!(!payload.incomplete, "the datagram has the length its header states");
        let mut sum = Sum16BitWords::new();
        let ttl = match &ip {
            LaxIpSlice::Ipv4(v4) => {
                let header = v4.header();
                assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
                if payload.ip_number != IpNumber::ICMP {
                    sum = sum.add_4bytes(header.source()).add_4bytes(header.destination());
                }
                header.ttl()
            }
            LaxIpSlice::Ipv6(v6) => {
                let header = v6.header();
                sum = sum.add_16bytes(header.source()).add_16bytes(header.destination());
                header.hop_limit()
            }
        };
        if payload.ip_number != IpNumber::ICMP {
            let length = u16::try_from(payload.payload.len()).unwrap();
            sum = sum.add_2bytes(length.to_be_bytes()).add_2bytes([0, payload.ip_number.0]);
        }
        assert_eq!(sum.add_slice(payload.payload).ones_complement(), 0, "transport checksum");
        Self {
            from: ip.source_addr(),
            to: ip.destination_addr(),
            ttl,
            protocol: payload.ip_number,
            transport: payload.payload.to_vec(),
        }
    }

    pub fn icmp_type_and_code(&self) -> (u8, u8) {
        assert!([IpNumber::ICMP, IpNumber::IPV6_ICMP].contains(&self.protocol));
        (self.transport[0], self.transport[1])
    }

    pub fn is_time_exceeded(&self) -> bool {
        self.icmp_type_and_code() == if self.from.is_ipv4() { (11, 0) } else { (3, 0) }
    }

    pub fn is_port_unreachable(&self) -> bool {
        self.icmp_type_and_code() == if self.from.is_ipv4() { (3, 3) } else { (1, 4) }
    }

    /// What an ICMP error quotes.
    pub fn quote(&self) -> &[u8] {
        &self.transport[8..]
    }
}

/// A probe as it looks after its TTL was decremented to `ttl` on the way.
pub fn with_ttl(probe: &[u8], ttl: u8) -> Vec<u8> {
    let mut bytes = probe.to_vec();
    if probe[0] >> 4 == 6 {
        bytes[7] = ttl;
        return bytes;
    }
    let (mut header, payload) = etherparse::Ipv4Header::from_slice(probe).unwrap();
    header.time_to_live = ttl;
    header.header_checksum = header.calc_header_checksum();
    [&header.to_bytes()[..], payload].concat()
}
