//! What stays the same when a translator rewrites a probe and updates its checksum (RFC 1624, RFC 3022).

mod support;

use std::net::IpAddr;

use proptest::prelude::*;
use support::{ICMPV6, UDP, build, bytes, endpoints, header, internet_checksum, octets, with_pseudo_header};
use traceroute_wire::icmp::{echo_request_sum, protocol_number, write_echo_request};
use traceroute_wire::{Endpoints, IpHeader, Quoted, Sum, udp};

/// RFC 1624, equation 3: HC' = ~(~HC + ~m + m'), in ones' complement arithmetic.
fn updated(checksum: u16, old: &[u8], new: &[u8]) -> u16 {
    let words = |bytes: &[u8]| -> Vec<u16> {
        bytes.chunks(2).map(|word| u16::from_be_bytes([word[0], word[1]])).collect()
    };
    let add = |a: u16, b: u16| {
        let (sum, carry) = a.overflowing_add(b);
        sum + u16::from(carry)
    };
    let pairs = words(old).into_iter().zip(words(new));
    !pairs.fold(!checksum, |sum, (old, new)| add(add(sum, !old), new))
}

/// The same destination and another source of the same family.
fn translated(endpoints: Endpoints, source: u128) -> Endpoints {
    match endpoints {
        Endpoints::V4 { destination, .. } => {
            let [.., a, b, c, d] = source.to_be_bytes();
            Endpoints::V4 { source: [a, b, c, d].into(), destination }
        }
        Endpoints::V6 { destination, .. } => Endpoints::V6 { source: source.into(), destination },
    }
}

/// Rewrites the source address and the 16-bit field at `field` and updates the checksum at `checksum` (both in the
/// transport header) for the field and, where a pseudo-header is covered, the address.
fn translate(
    datagram: &mut [u8],
    to: (Endpoints, u16),
    from: Endpoints,
    (field, checksum): (usize, usize),
    covers_addresses: bool,
) {
    let start = from.header_len();
    let (old, new) = (octets(from.source()), octets(to.0.source()));
    let address = if matches!(from, Endpoints::V4 { .. }) { 12 } else { 8 };
    datagram[address..address + new.len()].copy_from_slice(&new);
    let (field, at) = (start + field, start + checksum);
    let mut value = u16::from_be_bytes([datagram[at], datagram[at + 1]]);
    if covers_addresses {
        value = updated(value, &old, &new);
    }
    value = updated(value, &datagram[field..field + 2], &to.1.to_be_bytes());
    datagram[field..field + 2].copy_from_slice(&to.1.to_be_bytes());
    datagram[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

fn udp_datagram(ip: &IpHeader, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    build(|buffer| udp::write_datagram(ip, ports.0, ports.1, payload, buffer))
}

#[test]
fn the_update_follows_the_worked_example_of_rfc_1624() {
    assert_eq!(updated(0xdd2f, &[0x55, 0x55], &[0x32, 0x85]), 0x0000);
}

proptest! {
    #[test]
    fn the_sum_of_udp_data_survives_a_rewritten_source(
        endpoints in endpoints(),
        ports: (u16, u16),
        payload in bytes(0..100),
        source: u128,
        port: u16,
    ) {
        let mut datagram = udp_datagram(&header(endpoints, UDP), ports, &payload);
        let to = translated(endpoints, source);
        translate(&mut datagram, (to, port), endpoints, (0, 6), true);
        let segment = endpoints.header_len();
        // RFC 768: a sum of zero is sent as all ones.
        if datagram[segment + 6..segment + 8] == [0, 0] {
            datagram[segment + 6..segment + 8].fill(0xff);
        }
        prop_assert_eq!(internet_checksum(&with_pseudo_header(to, UDP, &datagram[segment..])), 0);

        for quote_len in [segment + 8, datagram.len()] {
            let quoted = Quoted::parse(&datagram[..quote_len]).unwrap();
            prop_assert_eq!(quoted.header.endpoints, to);
            let udp = quoted.udp().unwrap();
            prop_assert_eq!((udp.source_port, udp.destination_port), (port, ports.1));
            prop_assert_eq!(udp.payload_sum(quoted.header.endpoints), Some(Sum::bytes(&payload)));
        }
    }

    #[test]
    fn a_rewritten_source_without_an_updated_checksum_changes_the_sum(
        endpoints in endpoints(),
        ports: (u16, u16),
        payload in bytes(0..100),
        source: u128,
    ) {
        let to = translated(endpoints, source);
        prop_assume!(Sum::address(to.source()) != Sum::address(endpoints.source()));
        let mut datagram = udp_datagram(&header(endpoints, UDP), ports, &payload);
        let at = if matches!(endpoints, Endpoints::V4 { .. }) { 12 } else { 8 };
        let new = octets(to.source());
        datagram[at..at + new.len()].copy_from_slice(&new);
        let quoted = Quoted::parse(&datagram).unwrap();
        let sum = quoted.udp().unwrap().payload_sum(quoted.header.endpoints).unwrap();
        prop_assert_ne!(sum, Sum::bytes(&payload));
    }

    #[test]
    fn the_checksum_of_an_echo_request_follows_a_rewritten_id(
        endpoints in endpoints(),
        id: u16,
        sequence: u16,
        payload in bytes(0..100),
        source: u128,
        new_id: u16,
    ) {
        let ip = header(endpoints, protocol_number(endpoints));
        let mut datagram = build(|buffer| write_echo_request(&ip, id, sequence, &payload, buffer));
        let to = translated(endpoints, source);
        let is_v6 = matches!(endpoints, Endpoints::V6 { .. });
        translate(&mut datagram, (to, new_id), endpoints, (4, 2), is_v6);
        let message = &datagram[endpoints.header_len()..];
        let covered = if is_v6 { with_pseudo_header(to, ICMPV6, message) } else { message.to_vec() };
        prop_assert_eq!(internet_checksum(&covered), 0);

        let quoted = Quoted::parse(&datagram[..endpoints.header_len() + 8]).unwrap();
        let echo = quoted.echo_request().unwrap();
        prop_assert_eq!((echo.id, echo.sequence), (Some(new_id), Some(sequence)));
        prop_assert_eq!(
            Sum::covered_by(echo.checksum),
            echo_request_sum(quoted.header.endpoints, new_id, sequence, payload.len(), Sum::bytes(&payload))
        );
    }
}

#[test]
fn a_translated_source_keeps_its_family() {
    let endpoints = Endpoints::new(IpAddr::from([1, 2, 3, 4]), IpAddr::from([5, 6, 7, 8])).unwrap();
    assert_eq!(translated(endpoints, 0x0a00_0001).source(), IpAddr::from([10, 0, 0, 1]));
}
