//! Quoted datagrams: what is there of them at every length that a router may choose.

mod support;

use support::{ICMP, ICMPV6, TCP, TTL, UDP, V4, V6, error, header, icmp, ip, ipv4, ipv6, udp_segment, word};
use traceroute_wire::{Endpoints, Quoted, QuotedEcho, Udp};

const TIME_EXCEEDED_V4: u8 = 11;
const TIME_EXCEEDED_V6: u8 = 3;

/// An echo request of id 0x1234, sequence 0x5678 and checksum 0x9abc.
fn echo_request(endpoints: Endpoints, payload: &[u8]) -> (u8, Vec<u8>) {
    let (protocol, kind) = match endpoints {
        Endpoints::V4 { .. } => (ICMP, 8),
        Endpoints::V6 { .. } => (ICMPV6, 128),
    };
    let mut message = vec![kind, 0, 0x9a, 0xbc, 0x12, 0x34, 0x56, 0x78];
    message.extend(payload);
    (protocol, message)
}

#[test]
fn a_quoted_udp_header_is_what_is_there_of_it() {
    let segment = udp_segment(b"four");
    for endpoints in [V4, V6] {
        let whole = ip(endpoints, UDP, &segment);
        for transport_len in 0..=segment.len() {
            let quoted = Quoted::parse(&whole[..endpoints.header_len() + transport_len]).unwrap();
            assert_eq!(quoted.header, header(endpoints, UDP));
            assert_eq!(
                (quoted.source(), quoted.destination()),
                (endpoints.source(), endpoints.destination())
            );
            assert_eq!(quoted.transport_len(), transport_len);
            assert_eq!(quoted.udp(), Udp::parse(&segment[..transport_len]));
            assert_eq!(quoted.udp().is_some(), transport_len >= 4);
            assert_eq!(quoted.echo_request(), None);
        }
        for length in 0..endpoints.header_len() {
            assert_eq!(Quoted::parse(&whole[..length]), None);
        }
    }
}

#[test]
fn a_quoted_echo_request_is_what_is_there_of_it() {
    for endpoints in [V4, V6] {
        let (protocol, message) = echo_request(endpoints, b"four");
        let whole = ip(endpoints, protocol, &message);
        for transport_len in 0..=message.len() {
            let quoted = Quoted::parse(&whole[..endpoints.header_len() + transport_len]).unwrap();
            let expected = (transport_len >= 4).then(|| QuotedEcho {
                checksum: 0x9abc,
                id: (transport_len >= 6).then_some(0x1234),
                sequence: (transport_len >= 8).then_some(0x5678),
                payload: message[..transport_len].get(8..).unwrap_or_default(),
            });
            assert_eq!(quoted.echo_request(), expected, "{transport_len} bytes");
            assert_eq!(quoted.udp(), None);
        }
    }
}

#[test]
fn the_eight_bytes_of_rfc_792_are_the_whole_transport_header() {
    let quote = &ip(V4, UDP, &udp_segment(&[7; 100]))[..28];
    let bytes = icmp(V4, TIME_EXCEEDED_V4, 0, [0; 4], quote);
    let udp = error(&bytes).unwrap().quoted.udp().unwrap();
    assert_eq!((udp.length, udp.checksum, udp.payload), (Some(108), Some(0x5a17), &[][..]));
}

#[test]
fn a_quote_of_every_length_comes_through_an_error() {
    for (endpoints, kind) in [(V4, TIME_EXCEEDED_V4), (V6, TIME_EXCEEDED_V6)] {
        let segment = udp_segment(&[0; 60]);
        let whole = ip(endpoints, UDP, &segment);
        for length in endpoints.header_len()..=whole.len() {
            let bytes = icmp(endpoints, kind, 0, [0; 4], &whole[..length]);
            let quoted = error(&bytes).unwrap().quoted;
            assert_eq!(quoted.transport_len(), length - endpoints.header_len());
            assert_eq!(quoted.udp(), Udp::parse(&segment[..quoted.transport_len()]));
        }
    }
}

#[test]
fn the_padding_of_rfc_4884_is_not_part_of_the_quote() {
    for (endpoints, kind, length) in
        [(V4, TIME_EXCEEDED_V4, [0, 32, 0, 0]), (V6, TIME_EXCEEDED_V6, [16, 0, 0, 0])]
    {
        let mut quote = ip(endpoints, UDP, &udp_segment(b"data"));
        quote.resize(128, 0);
        for second_word in [length, [0; 4]] {
            let bytes = icmp(endpoints, kind, 0, second_word, &quote);
            let quoted = error(&bytes).unwrap().quoted;
            assert_eq!(quoted.transport_len(), 12);
            assert_eq!(quoted.udp().unwrap().payload, b"data");
        }
    }
}

#[test]
fn options_of_the_quoted_header_are_not_transport() {
    for words in 1..=10 {
        // Loose source route and its end are 3 bytes and more; a router rewrites them, so they may be anything.
        let quote = ipv4(UDP, &vec![0x83; words * 4], &udp_segment(b"data"));
        let bytes = icmp(V4, TIME_EXCEEDED_V4, 0, [0; 4], &quote);
        let quoted = error(&bytes).unwrap().quoted;
        assert_eq!(quoted.udp(), Udp::parse(&udp_segment(b"data")));
        let cut = icmp(V4, TIME_EXCEEDED_V4, 0, [0; 4], &quote[..20 + words * 4 - 1]);
        assert_eq!(error(&cut), None, "half a header is none");
    }
}

#[test]
fn a_wrong_length_of_the_quoted_header_costs_nothing() {
    // Some systems quote the total length in their own byte order, or without the header.
    for total_len in [0, 12, 0x2000, 65_535] {
        let mut quote = ip(V4, UDP, &udp_segment(b"data"));
        quote[2..4].copy_from_slice(&word(total_len));
        let bytes = icmp(V4, TIME_EXCEEDED_V4, 0, [0; 4], &quote);
        assert_eq!(error(&bytes).unwrap().quoted.udp().unwrap().payload, b"data");
    }
}

#[test]
fn the_quoted_ttl_and_label_are_those_of_arrival() {
    for endpoints in [V4, V6] {
        let mut quote = ip(endpoints, UDP, &udp_segment(b"data"));
        let at = if endpoints == V4 { 8 } else { 7 };
        assert_eq!(quote[at], TTL);
        quote[at] = 1;
        let quoted = Quoted::parse(&quote).unwrap();
        assert_eq!(quoted.header.ttl, 1);
        assert_eq!(quoted.header.label, header(endpoints, UDP).label);
    }
}

#[test]
fn another_protocol_is_neither_udp_nor_echo() {
    // Valid as a UDP header and, by its first byte, as an echo request of either family.
    for first in [8, 128] {
        let bytes = [first, 0, 1, 1, 0, 8, 1, 1];
        for endpoints in [V4, V6] {
            for protocol in [TCP, 132, 47] {
                let quote = ip(endpoints, protocol, &bytes);
                let quoted = Quoted::parse(&quote).unwrap();
                assert_eq!((quoted.udp(), quoted.echo_request()), (None, None));
                assert_eq!(quoted.header.protocol, protocol);
                assert_eq!(quoted.transport_len(), 8);
            }
            let quote = ip(endpoints, UDP, &bytes);
            assert_eq!(Quoted::parse(&quote).unwrap().echo_request(), None);
        }
    }
}

#[test]
fn only_the_familys_own_echo_request_is_one() {
    for kind in 0..=255 {
        let bytes = [kind, 0, 1, 1, 0, 1, 0, 1];
        let is_request = |quote: &[u8]| Quoted::parse(quote).unwrap().echo_request().is_some();
        assert_eq!(is_request(&ipv4(ICMP, &[], &bytes)), kind == 8);
        assert_eq!(is_request(&ipv6(ICMPV6, &bytes)), kind == 128);
        assert!(!is_request(&ipv4(ICMPV6, &[], &bytes)));
        assert!(!is_request(&ipv6(ICMP, &bytes)));
    }
}

#[test]
fn a_later_fragment_quotes_no_transport_header() {
    let mut quote = ip(V4, UDP, &udp_segment(b"data"));
    quote[7] = 0x10;
    let quoted = Quoted::parse(&quote).unwrap();
    assert_eq!((quoted.udp(), quoted.transport_len()), (None, 0));
}

#[test]
fn a_quote_behind_ipv6_extension_headers_is_found() {
    let segment = udp_segment(b"data");
    let quote = ipv6(60, &[&[UDP, 0, 1, 4, 0, 0, 0, 0][..], &segment].concat());
    for transport_len in 0..=segment.len() {
        let quoted = Quoted::parse(&quote[..48 + transport_len]).unwrap();
        assert_eq!(quoted.udp(), Udp::parse(&segment[..transport_len]));
    }
    for length in 40..48 {
        let quoted = Quoted::parse(&quote[..length]).unwrap();
        assert_eq!((quoted.udp(), quoted.transport_len()), (None, 0), "{length} bytes");
    }
}

#[test]
fn a_total_length_without_the_header_costs_no_transport_header() {
    // What BSD-derived stacks quote: the length less that of the IP header.
    let mut quote = vec![
        0x45, 0, 0, 26, 0x12, 0x34, 0x40, 0, 1, 17, 0, 0, 192, 0, 2, 1, 198, 51, 100, 9, 0xee, 0x48, 0x82,
        0x9a, 0, 26, 0xab, 0xcd,
    ];
    quote.extend([0x5a; 18]);
    let quoted = Quoted::parse(&quote).expect("the header is whole");
    assert_eq!(quoted.transport_len(), 8);
    let udp = quoted.udp().expect("the ports are there");
    assert_eq!((udp.source_port, udp.destination_port), (61_000, 33_434));
    assert_eq!((udp.length, udp.checksum), (Some(26), Some(0xabcd)));
    assert_eq!(
        Quoted::parse(&quote[..25]).expect("the header is whole").transport_len(),
        5,
        "nothing is invented"
    );
}
