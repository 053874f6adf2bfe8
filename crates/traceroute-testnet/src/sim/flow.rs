//! What load balancers hash.

use std::net::IpAddr;

use super::packet::{Header, ICMP, ICMPV6, TCP, UDP};
use super::random::mix;

/// A hash over everything that load balancers are known to look at: addresses, protocol, traffic class, flow label,
/// ports, and of ICMP the type, code, checksum and identifier.
///
/// The checksum is what makes plain `ping` and ICMP traceroute wander: it changes with the sequence number.
pub(super) fn hash(datagram: &[u8], seed: u64) -> u64 {
    let Some(header) = Header::parse(datagram) else { return seed };
    let mut state = seed;
    let mut add = |bytes: &[u8]| {
        for &byte in bytes {
            state = mix(state ^ u64::from(byte)).wrapping_add(0x9e37_79b9_7f4a_7c15);
        }
    };
    for address in [header.source, header.destination] {
        match address {
            IpAddr::V4(a) => add(&a.octets()),
            IpAddr::V6(a) => add(&a.octets()),
        }
    }
    add(&[header.protocol, header.traffic_class]);
    add(&header.flow_label.to_be_bytes());
    let hashed_len = match header.protocol {
        _ if header.later_fragment => 0,
        TCP | UDP => 4,
        ICMP | ICMPV6 => 6,
        _ => 0,
    };
    let transport = header.transport(datagram);
    add(&transport[..hashed_len.min(transport.len())]);
    state
}
