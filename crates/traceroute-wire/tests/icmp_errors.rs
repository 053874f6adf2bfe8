//! ICMP errors: which messages are any, and what their types and codes mean.

mod support;

use support::{ICMP, ICMPV6, UDP, V4, V6, error, header, icmp, ip, ipv4, message, udp_segment};
use traceroute_wire::{Endpoints, IcmpErrorKind, IcmpMessage, Unreachable};

/// The kind of an error with a second word of zeros.
fn kind(endpoints: Endpoints, kind: u8, code: u8) -> Option<IcmpErrorKind> {
    let quote = ip(endpoints, UDP, &udp_segment(b"data"));
    error(&icmp(endpoints, kind, code, [0; 4], &quote)).map(|error| error.kind)
}

#[test]
fn codes_of_icmp_destination_unreachable() {
    for (code, reason) in [
        // RFC 792.
        (0, Unreachable::Network),
        (1, Unreachable::Host),
        (2, Unreachable::Protocol),
        (3, Unreachable::Port),
        (4, Unreachable::FragmentationNeeded { mtu: 0 }),
        (5, Unreachable::Code(5)),
        // RFC 1122, section 3.2.2.1: destination network and host unknown, source host isolated, network and host
        // prohibited, network and host unreachable for this type of service.
        (6, Unreachable::Network),
        (7, Unreachable::Host),
        (8, Unreachable::Code(8)),
        (9, Unreachable::AdminProhibited),
        (10, Unreachable::AdminProhibited),
        (11, Unreachable::Network),
        (12, Unreachable::Host),
        // RFC 1812, section 5.2.7.1: prohibited, host precedence violation, precedence cutoff.
        (13, Unreachable::AdminProhibited),
        (14, Unreachable::Code(14)),
        (15, Unreachable::Code(15)),
    ] {
        assert_eq!(kind(V4, 3, code), Some(IcmpErrorKind::Unreachable(reason)), "code {code}");
    }
    for code in 16..=255 {
        assert_eq!(kind(V4, 3, code), Some(IcmpErrorKind::Unreachable(Unreachable::Code(code))));
    }
}

#[test]
fn codes_of_icmpv6_destination_unreachable() {
    for (code, reason) in [
        // RFC 4443, section 3.1.
        (0, Unreachable::Network),
        (1, Unreachable::AdminProhibited),
        (2, Unreachable::Code(2)),
        (3, Unreachable::Host),
        (4, Unreachable::Port),
        (5, Unreachable::AdminProhibited),
        (6, Unreachable::AdminProhibited),
    ] {
        assert_eq!(kind(V6, 1, code), Some(IcmpErrorKind::Unreachable(reason)), "code {code}");
    }
    for code in 7..=255 {
        assert_eq!(kind(V6, 1, code), Some(IcmpErrorKind::Unreachable(Unreachable::Code(code))));
    }
}

#[test]
fn time_exceeded_is_in_transit_and_not_in_reassembly() {
    for (endpoints, time_exceeded) in [(V4, 11), (V6, 3)] {
        assert_eq!(kind(endpoints, time_exceeded, 0), Some(IcmpErrorKind::TimeExceeded));
        for code in 1..=255 {
            assert_eq!(kind(endpoints, time_exceeded, code), None, "code {code}");
        }
    }
}

#[test]
fn an_unrecognized_next_header_is_the_only_parameter_problem_of_concern() {
    for code in 0..=255 {
        let expected = if code == 1 { Some(IcmpErrorKind::Unreachable(Unreachable::Protocol)) } else { None };
        assert_eq!(kind(V6, 4, code), expected, "code {code}");
        assert_eq!(kind(V4, 12, code), None, "code {code}");
    }
}

#[test]
fn every_other_type_is_ignored() {
    let quote = |endpoints| ip(endpoints, UDP, &udp_segment(b"data"));
    for kind in 0..=255 {
        for code in [0, 1, 4, 255] {
            if ![0, 3, 8, 11].contains(&kind) {
                assert_eq!(message(&icmp(V4, kind, code, [0; 4], &quote(V4))), None, "ICMP type {kind}");
            }
            if ![1, 2, 3, 4, 128, 129].contains(&kind) {
                assert_eq!(message(&icmp(V6, kind, code, [0; 4], &quote(V6))), None, "ICMPv6 type {kind}");
            }
        }
    }
}

#[test]
fn the_icmp_of_one_family_inside_the_other_is_ignored() {
    let quote = ip(V4, UDP, &udp_segment(b"data"));
    for kind in 0..=255 {
        let inner = &icmp(V4, kind, 0, [0; 4], &quote)[20..];
        assert_eq!(message(&ip(V6, ICMP, inner)), None, "ICMP type {kind} in IPv6");
        let inner = &icmp(V6, kind, 0, [0; 4], &quote)[40..];
        assert_eq!(message(&ip(V4, ICMPV6, inner)), None, "ICMPv6 type {kind} in IPv4");
    }
}

#[test]
fn the_mtu_of_icmp_is_the_last_16_bits_of_the_second_word() {
    let quote = ip(V4, UDP, &udp_segment(b"data"));
    for (second_word, mtu) in
        [([0, 0, 0x05, 0xdc], 1500), ([0, 0, 0xff, 0xff], 65_535), ([0xaa, 0, 2, 0x40], 576)]
    {
        let bytes = icmp(V4, 3, 4, second_word, &quote);
        let expected = Some(IcmpErrorKind::Unreachable(Unreachable::FragmentationNeeded { mtu }));
        assert_eq!(error(&bytes).map(|error| error.kind), expected);
    }
}

#[test]
fn the_mtu_of_icmpv6_is_the_second_word_whatever_the_code() {
    let quote = ip(V6, UDP, &udp_segment(b"data"));
    for (second_word, mtu) in [([0, 0, 0x05, 0x00], 1280), ([0xff; 4], u32::MAX), ([1, 2, 3, 4], 0x0102_0304)]
    {
        // RFC 4443, section 3.2: the code is "ignored by the receiver".
        for code in [0, 1, 255] {
            let bytes = icmp(V6, 2, code, second_word, &quote);
            let error = error(&bytes).unwrap();
            assert_eq!(
                Some(error.kind),
                Some(IcmpErrorKind::Unreachable(Unreachable::FragmentationNeeded { mtu }))
            );
            assert_eq!(error.quoted.transport_len(), 12, "the MTU is not a length of the quote");
        }
    }
}

#[test]
fn an_error_is_read_once_the_ip_header_it_quotes_is_whole() {
    for (endpoints, kind, code) in
        [(V4, 3, 3), (V4, 3, 4), (V4, 11, 0), (V6, 1, 4), (V6, 2, 0), (V6, 3, 0), (V6, 4, 1)]
    {
        let quote = ip(endpoints, UDP, &udp_segment(b"data"));
        let whole = icmp(endpoints, kind, code, [0; 4], &quote);
        let start = endpoints.header_len() * 2 + 8;
        for length in 0..=whole.len() {
            let read = error(&whole[..length]);
            assert_eq!(read.is_some(), length >= start, "type {kind}, {length} bytes");
            if let Some(error) = read {
                assert_eq!(error.quoted.header, header(endpoints, UDP));
                assert_eq!(error.quoted.transport_len(), length - start);
                assert_eq!(error.extensions, None);
            }
        }
    }
}

#[test]
fn an_error_that_quotes_no_ip_is_ignored() {
    for (endpoints, kind) in [(V4, 3), (V4, 11), (V6, 1), (V6, 2), (V6, 3)] {
        assert_eq!(message(&icmp(endpoints, kind, 0, [0; 4], &[0x25; 64])), None, "type {kind}");
        assert_eq!(message(&icmp(endpoints, kind, 0, [0; 4], &[])), None, "type {kind}");
    }
}

#[test]
fn a_later_fragment_of_an_error_is_ignored() {
    let mut bytes = icmp(V4, 11, 0, [0; 4], &ip(V4, UDP, &udp_segment(b"data")));
    assert!(message(&bytes).is_some());
    bytes[7] = 1;
    assert_eq!(message(&bytes), None);
}

#[test]
fn an_error_behind_ip_options_is_read() {
    let plain = icmp(V4, 11, 0, [0; 4], &ip(V4, UDP, &udp_segment(b"data")));
    // Router alert, RFC 2113.
    let with_options = ipv4(ICMP, &[0x94, 4, 0, 0], &plain[20..]);
    assert_eq!(message(&with_options), message(&plain));
    assert!(matches!(message(&with_options), Some(IcmpMessage::Error(_))));
}

#[test]
fn reasons_have_the_names_of_the_output_format() {
    for (reason, name) in [
        (Unreachable::Network, "net"),
        (Unreachable::Host, "host"),
        (Unreachable::Protocol, "protocol"),
        (Unreachable::Port, "port"),
        (Unreachable::AdminProhibited, "admin_prohibited"),
        (Unreachable::FragmentationNeeded { mtu: 1280 }, "fragmentation_needed"),
        (Unreachable::Code(14), "code 14"),
    ] {
        assert_eq!(reason.to_string(), name);
    }
}
