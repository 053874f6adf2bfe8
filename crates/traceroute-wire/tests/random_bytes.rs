//! Nothing that arrives makes a parser panic, loop, or read outside of what arrived.

mod support;

use std::hint::black_box;

use proptest::prelude::*;
use support::{ICMP, ICMPV6, UDP, V4, V6, bytes, icmp, ip, ipv6, object, structure, udp_segment};
use traceroute_wire::icmp::echo_request_sum;
use traceroute_wire::{Datagram, Extensions, IcmpMessage, Quoted, QuotedTcp, Sum, TcpSegment, Udp};

/// Reads everything that can be read and returns how many bytes of it are parts of the input.
fn read_all(input: &[u8]) -> usize {
    let inside = |part: &[u8]| {
        let (outer, inner) = (input.as_ptr_range(), part.as_ptr_range());
        assert!(part.is_empty() || outer.start <= inner.start && inner.end <= outer.end);
        part.len()
    };
    let udp = |udp: Udp<'_>, endpoints| {
        black_box(udp.payload_sum(endpoints));
        inside(udp.payload)
    };
    let tcp = |bytes: &[u8]| {
        black_box(QuotedTcp::parse(bytes));
        TcpSegment::parse(bytes).map_or(0, |segment| {
            assert!(segment.options().count() <= segment.options.len());
            segment.sack_blocks().count() * 8 + inside(segment.options) + inside(segment.payload)
        })
    };
    let quoted = |quoted: Quoted<'_>| {
        let (mut bytes, endpoints) = (quoted.transport_len(), quoted.header.endpoints);
        assert_eq!((quoted.source(), quoted.destination()), (endpoints.source(), endpoints.destination()));
        bytes += quoted.udp().map_or(0, |header| udp(header, endpoints));
        black_box(quoted.tcp());
        if let Some(echo) = quoted.echo_request() {
            let (id, sequence) = (echo.id.unwrap_or(0), echo.sequence.unwrap_or(0));
            let sum = Sum::bytes(echo.payload);
            black_box(echo_request_sum(endpoints, id, sequence, echo.payload.len(), sum));
            bytes += inside(echo.payload);
        }
        bytes
    };
    let extensions = |extensions: Extensions<'_>| {
        let names = extensions.interfaces().filter_map(|interface| interface.name);
        extensions.mpls_labels().count() * 4 + names.map(|name| inside(name.as_bytes())).sum::<usize>()
    };

    let mut bytes = Sum::bytes(input).value().into();
    bytes += Udp::parse(input).map_or(0, |header| udp(header, V4));
    bytes += Quoted::parse(input).map_or(0, quoted);
    for quote_len in [0, 1, 20, 128, input.len(), input.len() + 1, usize::MAX] {
        let (quote, found) = Extensions::split(input, quote_len);
        bytes += inside(quote) + found.map_or(0, extensions);
    }
    let Some(datagram) = Datagram::parse(input) else { return bytes };
    bytes += inside(datagram.payload);
    bytes += Udp::parse(datagram.payload).map_or(0, |header| udp(header, datagram.header.endpoints));
    bytes += tcp(datagram.payload);
    bytes += match IcmpMessage::parse(&datagram) {
        Some(IcmpMessage::EchoRequest(echo) | IcmpMessage::EchoReply(echo)) => inside(echo.payload),
        Some(IcmpMessage::Error(error)) => quoted(error.quoted) + error.extensions.map_or(0, extensions),
        None => 0,
    };
    bytes
}

/// Packets of all kinds, as they should be.
fn samples() -> Vec<Vec<u8>> {
    let mut samples = Vec::new();
    for (endpoints, protocol, time_exceeded, unreachable, echo) in
        [(V4, ICMP, 11, 3, [8, 0]), (V6, ICMPV6, 3, 1, [128, 129])]
    {
        let probe = ip(endpoints, UDP, &udp_segment(&[7; 120]));
        let ping = ip(endpoints, protocol, &[&[echo[0], 0, 1, 2, 3, 4, 5, 6][..], &[9; 40]].concat());
        let objects = [
            object(1, 1, &[0x04, 0xbb, 0x40, 0x01, 0x00, 0x10, 0x01, 0x02]),
            object(
                2,
                0x0f,
                &[0, 0, 0, 1, 0, 1, 0, 0, 192, 0, 2, 1, 8, b'e', b't', b'h', b'0', 0, 0, 0, 0, 0, 5, 220],
            ),
        ];
        let behind_quote = [&probe[..128], &structure(&objects.concat())].concat();
        let unverified = [&probe[..128], &[0x20, 0, 0, 0], &objects.concat()].concat();
        let length = if endpoints == V4 { [0, 32, 0, 0] } else { [16, 0, 0, 0] };
        samples.push(icmp(endpoints, unreachable, 1, [0; 4], &ping));
        samples.push(icmp(endpoints, echo[1], 0, [1, 2, 3, 4], b"payload"));
        samples.push(icmp(endpoints, time_exceeded, 0, [0; 4], &behind_quote));
        samples.push(icmp(endpoints, time_exceeded, 0, length, &behind_quote));
        samples.push(icmp(endpoints, time_exceeded, 0, length, &unverified));
        samples.extend([probe, ping]);
    }
    let chain =
        [&[60, 0, 1, 4, 0, 0, 0, 0][..], &[44, 0, 1, 4, 0, 0, 0, 0], &[UDP, 0, 0, 0, 1, 2, 3, 4]].concat();
    samples.push(ipv6(0, &[&chain[..], &udp_segment(b"data")].concat()));
    samples
}

#[test]
fn every_packet_can_be_cut_anywhere() {
    for sample in samples() {
        for length in 0..=sample.len() {
            read_all(&sample[..length]);
        }
    }
}

#[test]
fn every_byte_of_every_packet_can_be_anything() {
    for mut sample in samples() {
        for at in 0..sample.len() {
            let right = sample[at];
            for wrong in [0, 1, 3, 4, 0x0f, 0x20, 0x45, 0x60, 0x7f, 0x80, 0xff, !right, right ^ 1] {
                sample[at] = wrong;
                read_all(&sample);
            }
            sample[at] = right;
        }
    }
}

#[test]
fn the_samples_reach_what_they_are_meant_to_reach() {
    let mut labels = 0;
    let mut interfaces = 0;
    let mut quotes = 0;
    for sample in samples() {
        let datagram = Datagram::parse(&sample).unwrap();
        if let Some(IcmpMessage::Error(error)) = IcmpMessage::parse(&datagram) {
            quotes += usize::from(error.quoted.udp().is_some() || error.quoted.echo_request().is_some());
            labels += error.extensions.map_or(0, |extensions| extensions.mpls_labels().count());
            interfaces += error.extensions.map_or(0, |extensions| extensions.interfaces().count());
        }
    }
    assert_eq!((quotes, labels, interfaces), (8, 12, 6));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn random_bytes_are_read_without_panic(input in bytes(0..300)) {
        read_all(&input);
    }

    #[test]
    fn random_bytes_behind_an_ip_header_are_read_without_panic(
        input in bytes(0..300),
        endpoints in prop::sample::select(&[V4, V6]),
        protocol in prop_oneof![prop::sample::select(&[0_u8, 1, 17, 43, 44, 51, 58, 60]), any::<u8>()],
    ) {
        read_all(&ip(endpoints, protocol, &input));
    }

    #[test]
    fn random_icmp_bodies_are_read_without_panic(
        body in bytes(0..300),
        second_word: [u8; 4],
        kind in prop::sample::select(&[0_u8, 1, 2, 3, 4, 8, 11, 128, 129]),
        code in 0_u8..3,
        quoted_header in prop::option::of(prop::sample::select(&[V4, V6])),
    ) {
        let body = quoted_header.map_or(body.clone(), |endpoints| ip(endpoints, UDP, &body));
        for endpoints in [V4, V6] {
            read_all(&icmp(endpoints, kind, code, second_word, &body));
        }
    }

    #[test]
    fn mutated_packets_are_read_without_panic(
        sample in prop::sample::select(samples()),
        mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        length: prop::sample::Index,
        cut: bool,
    ) {
        let mut sample = sample;
        for (at, value) in mutations {
            *at.get_mut(&mut sample) = value;
        }
        if cut {
            sample.truncate(length.index(sample.len() + 1));
        }
        read_all(&sample);
    }
}
