//! Echo requests and replies of ICMP and ICMPv6, written and read.

mod support;

use etherparse::{IcmpEchoHeader, Icmpv4Slice, Icmpv4Type, Icmpv6Slice, Icmpv6Type};
use proptest::prelude::*;
use support::{
    ICMP, ICMPV6, UDP, V4, V6, build, bytes, endpoints, header, icmp, internet_checksum, ip, ip_header,
    message, with_pseudo_header,
};
use traceroute_wire::icmp::{echo_request_sum, protocol_number, write_echo_request};
use traceroute_wire::{Echo, Endpoints, IcmpMessage, IpHeader, Sum};

fn written(ip: &IpHeader, id: u16, sequence: u16, payload: &[u8]) -> Vec<u8> {
    build(|buffer| write_echo_request(ip, id, sequence, payload, buffer))
}

/// The bytes that the checksum of a message covers.
fn covered(endpoints: Endpoints, message: &[u8]) -> Vec<u8> {
    match endpoints {
        Endpoints::V4 { .. } => message.to_vec(),
        Endpoints::V6 { .. } => with_pseudo_header(endpoints, ICMPV6, message),
    }
}

/// The checksum field that etherparse computes for an echo request.
fn expected_checksum(endpoints: Endpoints, id: u16, sequence: u16, payload: &[u8]) -> u16 {
    let echo = IcmpEchoHeader { id, seq: sequence };
    match endpoints {
        Endpoints::V4 { .. } => Icmpv4Type::EchoRequest(echo).calc_checksum(payload),
        Endpoints::V6 { source, destination } => Icmpv6Type::EchoRequest(echo)
            .calc_checksum(source.octets(), destination.octets(), payload)
            .expect("a short payload"),
    }
}

#[test]
fn echo_types_are_those_of_rfc_792_and_rfc_4443() {
    for (endpoints, request, reply) in [(V4, 8, 0), (V6, 128, 129)] {
        let bytes = icmp(endpoints, request, 0, [0x12, 0x34, 0, 9], b"data");
        assert!(matches!(
            message(&bytes),
            Some(IcmpMessage::EchoRequest(Echo { id: 0x1234, sequence: 9, payload: b"data", .. }))
        ));
        let bytes = icmp(endpoints, reply, 0, [0x12, 0x34, 0, 9], b"data");
        assert!(matches!(
            message(&bytes),
            Some(IcmpMessage::EchoReply(Echo { id: 0x1234, sequence: 9, payload: b"data", .. }))
        ));
    }
}

#[test]
fn an_echo_message_is_read_once_its_header_is_whole() {
    for (endpoints, kind) in [(V4, 8), (V4, 0), (V6, 128), (V6, 129)] {
        let whole = icmp(endpoints, kind, 0, [0xca, 0xfe, 0x80, 0x01], b"data");
        let start = endpoints.header_len();
        let checksum = u16::from_be_bytes([whole[start + 2], whole[start + 3]]);
        for length in 0..=whole.len() {
            let read = message(&whole[..length]);
            if length < start + 8 {
                assert_eq!(read, None, "type {kind}, {length} bytes");
                continue;
            }
            let echo = Echo { checksum, id: 0xcafe, sequence: 0x8001, payload: &whole[start + 8..length] };
            let expected = match kind {
                8 | 128 => IcmpMessage::EchoRequest(echo),
                _ => IcmpMessage::EchoReply(echo),
            };
            assert_eq!(read, Some(expected), "type {kind}, {length} bytes");
        }
    }
}

#[test]
fn the_protocol_number_is_the_familys() {
    assert_eq!(protocol_number(V4), ICMP);
    assert_eq!(protocol_number(V6), ICMPV6);
}

#[test]
#[should_panic(expected = "out of range")]
fn a_buffer_one_byte_short_is_refused() {
    write_echo_request(&header(V4, ICMP), 1, 2, b"data", &mut [0; 31]);
}

#[test]
#[should_panic(expected = "a datagram is at most 65,535 bytes long")]
fn data_that_fits_no_datagram_is_refused() {
    write_echo_request(&header(V4, ICMP), 1, 2, &vec![0; 65_508], &mut vec![0; 70_000]);
}

#[test]
fn the_longest_data_fits() {
    for (endpoints, longest) in [(V4, 65_507), (V6, 65_527)] {
        let datagram = written(&header(endpoints, protocol_number(endpoints)), 1, 2, &vec![0xab; longest]);
        assert_eq!(datagram.len(), endpoints.header_len() + 8 + longest);
        assert_eq!(internet_checksum(&covered(endpoints, &datagram[endpoints.header_len()..])), 0);
    }
}

proptest! {
    #[test]
    fn a_request_is_what_etherparse_reads(
        ip in ip_header(),
        id: u16,
        sequence: u16,
        payload in bytes(0..200),
    ) {
        let endpoints = ip.endpoints;
        let ip = IpHeader { protocol: protocol_number(endpoints), ..ip };
        let datagram = written(&ip, id, sequence, &payload);
        let segment = &datagram[endpoints.header_len()..];
        let echo = IcmpEchoHeader { id, seq: sequence };
        let checksum = match endpoints {
            Endpoints::V4 { .. } => {
                let theirs = Icmpv4Slice::from_slice(segment).unwrap();
                prop_assert_eq!(theirs.icmp_type(), Icmpv4Type::EchoRequest(echo));
                prop_assert_eq!(theirs.payload(), &payload[..]);
                theirs.checksum()
            }
            Endpoints::V6 { source, destination } => {
                let theirs = Icmpv6Slice::from_slice(segment).unwrap();
                prop_assert_eq!(theirs.icmp_type(), Icmpv6Type::EchoRequest(echo));
                prop_assert_eq!(theirs.payload(), &payload[..]);
                prop_assert!(theirs.is_checksum_valid(source.octets(), destination.octets()));
                theirs.checksum()
            }
        };
        prop_assert_eq!(checksum, expected_checksum(endpoints, id, sequence, &payload));
        prop_assert_eq!(internet_checksum(&covered(endpoints, segment)), 0);
        prop_assert_eq!(
            Sum::covered_by(checksum),
            echo_request_sum(endpoints, id, sequence, payload.len(), Sum::bytes(&payload))
        );
        prop_assert_eq!(
            message(&datagram),
            Some(IcmpMessage::EchoRequest(Echo { checksum, id, sequence, payload: &payload }))
        );
    }

    #[test]
    fn a_sum_of_all_ones_is_sent_as_zero(endpoints in endpoints(), id: u16, sequence: u16, front in bytes(6)) {
        // Unlike in UDP, zero means nothing special here: the complement is sent as it is.
        let ip = header(endpoints, protocol_number(endpoints));
        let mut payload = [&front[..], &[0, 0]].concat();
        let checksum = expected_checksum(endpoints, id, sequence, &payload);
        payload[6..8].copy_from_slice(&checksum.to_be_bytes());
        let datagram = written(&ip, id, sequence, &payload);
        let segment = &datagram[endpoints.header_len()..];
        prop_assert_eq!(&segment[2..4], &[0, 0]);
        prop_assert_eq!(expected_checksum(endpoints, id, sequence, &payload), 0);
        prop_assert_eq!(internet_checksum(&covered(endpoints, segment)), 0);
    }

    #[test]
    fn the_sum_covers_the_pseudo_header_in_ipv6_only(
        endpoints in endpoints(),
        id: u16,
        sequence: u16,
        payload in bytes(0..64),
    ) {
        let kind = if matches!(endpoints, Endpoints::V4 { .. }) { 8 } else { 128 };
        let mut message = vec![kind, 0, 0, 0];
        message.extend(id.to_be_bytes());
        message.extend(sequence.to_be_bytes());
        message.extend(&payload);
        prop_assert_eq!(
            echo_request_sum(endpoints, id, sequence, payload.len(), Sum::bytes(&payload)),
            Sum::covered_by(internet_checksum(&covered(endpoints, &message)))
        );
    }

    #[test]
    fn what_another_protocol_carries_is_no_icmp(data in bytes(8..64)) {
        for (endpoints, protocol) in [(V4, UDP), (V6, UDP), (V4, ICMPV6), (V6, ICMP)] {
            let datagram = ip(endpoints, protocol, &data);
            prop_assert_eq!(message(&datagram), None);
        }
    }
}
