//! IP datagrams as they are captured: cut short, padded, with options, in fragments, with wrong lengths.

mod support;

use proptest::prelude::*;
use support::{ICMPV6, UDP, V4, V6, bytes, header, ip, ipv4, ipv6, word};
use traceroute_wire::{Datagram, IpHeader};

const PAYLOAD: [u8; 12] = *b"Hello, hops!";

fn payload(bytes: &[u8]) -> &[u8] {
    Datagram::parse(bytes).expect("the header is whole").payload
}

#[test]
fn every_truncation_loses_what_is_cut_and_nothing_else() {
    for endpoints in [V4, V6] {
        let whole = ip(endpoints, UDP, &PAYLOAD);
        for length in 0..=whole.len() {
            let read = Datagram::parse(&whole[..length]);
            if length < endpoints.header_len() {
                assert_eq!(read, None, "{length} bytes of {endpoints:?}");
            } else {
                let read = read.unwrap();
                assert_eq!(read.header, header(endpoints, UDP));
                assert_eq!(read.payload, &whole[endpoints.header_len()..length]);
                assert_eq!(
                    (read.source(), read.destination()),
                    (endpoints.source(), endpoints.destination())
                );
            }
        }
    }
}

#[test]
fn options_of_every_length_are_part_of_the_header() {
    for words in 0..=10 {
        // No operation, RFC 791.
        let options = vec![1; words * 4];
        let whole = ipv4(UDP, &options, &PAYLOAD);
        for length in 0..=whole.len() {
            let read = Datagram::parse(&whole[..length]);
            if length < 20 + options.len() {
                assert_eq!(read, None, "{words} words of options, {length} bytes");
            } else {
                let read = read.unwrap();
                assert_eq!(read.header, header(V4, UDP));
                assert_eq!(read.payload, &whole[20 + options.len()..length]);
            }
        }
    }
}

#[test]
fn a_header_length_below_five_words_is_no_header() {
    for ihl in 0..5 {
        let mut datagram = ipv4(UDP, &[], &PAYLOAD);
        datagram[0] = 0x40 | ihl;
        assert_eq!(Datagram::parse(&datagram), None);
    }
}

#[test]
fn other_versions_are_not_ip() {
    for version in (0..16_u8).filter(|version| ![4, 6].contains(version)) {
        for endpoints in [V4, V6] {
            let mut datagram = ip(endpoints, UDP, &PAYLOAD);
            datagram[0] = version << 4 | datagram[0] & 0xf;
            assert_eq!(Datagram::parse(&datagram), None);
        }
    }
}

#[test]
fn a_short_header_of_one_family_is_not_taken_for_the_other() {
    let mut datagram = ipv4(UDP, &[], &PAYLOAD);
    datagram[0] = 0x65;
    assert_eq!(Datagram::parse(&datagram), None, "32 bytes are no IPv6 header");
}

#[test]
fn ethernet_padding_is_not_payload() {
    for endpoints in [V4, V6] {
        let mut frame = ip(endpoints, UDP, &PAYLOAD);
        frame.resize(endpoints.header_len() + 46, 0xee);
        assert_eq!(payload(&frame), PAYLOAD);
    }
}

#[test]
fn an_empty_ipv4_datagram_in_a_padded_frame_stays_empty() {
    let mut frame = ipv4(UDP, &[], &[]);
    frame.resize(46, 0);
    assert_eq!(payload(&frame), []);
}

#[test]
fn a_length_that_cannot_be_is_not_believed() {
    // Segmentation offload leaves 0, old systems the length without the header, routers' quotes anything.
    for total_len in [0, 1, 19, 33, 1500, 65_535] {
        let mut datagram = ipv4(UDP, &[], &PAYLOAD);
        datagram[2..4].copy_from_slice(&word(total_len));
        assert_eq!(payload(&datagram), PAYLOAD, "total length {total_len}");
    }
    for payload_len in [0, 13, 1500, 65_535] {
        let mut datagram = ipv6(UDP, &PAYLOAD);
        datagram[4..6].copy_from_slice(&word(payload_len));
        assert_eq!(payload(&datagram), PAYLOAD, "payload length {payload_len}");
    }
}

#[test]
fn a_length_within_the_options_is_not_believed() {
    let mut datagram = ipv4(UDP, &[1; 8], &PAYLOAD);
    datagram[2..4].copy_from_slice(&word(24));
    assert_eq!(payload(&datagram), PAYLOAD);
}

#[test]
fn a_shorter_length_ends_the_payload() {
    for kept in 0..PAYLOAD.len() {
        let mut datagram = ipv4(UDP, &[1; 4], &PAYLOAD);
        datagram[2..4].copy_from_slice(&word(24 + kept));
        assert_eq!(payload(&datagram), &PAYLOAD[..kept]);
    }
    for kept in 1..PAYLOAD.len() {
        let mut datagram = ipv6(UDP, &PAYLOAD);
        datagram[4..6].copy_from_slice(&word(kept));
        assert_eq!(payload(&datagram), &PAYLOAD[..kept]);
    }
}

#[test]
fn only_the_first_ipv4_fragment_has_a_transport_header() {
    for (flags_and_offset, expected) in [
        (0x0000_u16, &PAYLOAD[..]),
        (0x4000, &PAYLOAD),
        (0x2000, &PAYLOAD),
        (0x8000, &PAYLOAD),
        (0x0001, &[]),
        (0x2001, &[]),
        (0x1000, &[]),
        (0x1fff, &[]),
    ] {
        let mut datagram = ipv4(UDP, &[], &PAYLOAD);
        datagram[6..8].copy_from_slice(&flags_and_offset.to_be_bytes());
        let read = Datagram::parse(&datagram).unwrap();
        assert_eq!(read.payload, expected, "flags and offset {flags_and_offset:#x}");
        assert_eq!(read.header.protocol, UDP);
        assert_eq!(read.header.dont_fragment, flags_and_offset & 0x4000 != 0);
    }
}

#[test]
fn an_authentication_header_is_skipped_but_not_in_a_later_fragment() {
    const AUTHENTICATION: u8 = 51;
    // RFC 4302: length in words minus 2, so three fixed words and one of check value.
    let mut behind = vec![UDP, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 9, 9, 9, 9];
    behind.extend(PAYLOAD);
    let mut datagram = ipv4(AUTHENTICATION, &[], &behind);
    let read = Datagram::parse(&datagram).unwrap();
    assert_eq!((read.header.protocol, read.payload), (UDP, &PAYLOAD[..]));
    for length in 20..36 {
        let read = Datagram::parse(&datagram[..length]).unwrap();
        assert_eq!((read.header.protocol, read.payload), (AUTHENTICATION, &[][..]), "{length} bytes");
    }
    datagram[7] = 1;
    let later = Datagram::parse(&datagram).unwrap();
    assert_eq!((later.header.protocol, later.payload), (AUTHENTICATION, &[][..]));
}

#[test]
fn the_bits_around_the_fields_do_not_leak_into_them() {
    let mut datagram = ipv6(ICMPV6, &PAYLOAD);
    datagram[0] |= 0x0f;
    datagram[1] |= 0xf0;
    let marked = |header| IpHeader { traffic_class: 0xff, ..header };
    assert_eq!(Datagram::parse(&datagram).unwrap().header, marked(header(V6, ICMPV6)));
    let mut datagram = ipv4(UDP, &[], &PAYLOAD);
    datagram[1] = 0xff;
    assert_eq!(Datagram::parse(&datagram).unwrap().header, marked(header(V4, UDP)));
}

proptest! {
    #[test]
    fn a_payload_is_always_the_bytes_behind_a_header(data in bytes(0..300), version in prop::sample::select(&[4_u8, 6])) {
        let mut data = data;
        if let Some(first) = data.first_mut() {
            *first = version << 4 | *first & 0xf;
        }
        if let Some(datagram) = Datagram::parse(&data) {
            let header_len = if version == 4 { usize::from(data[0] & 0xf) * 4 } else { 40 };
            let behind = &data[header_len..];
            let at = datagram.payload.as_ptr() as usize;
            prop_assert!(datagram.payload.is_empty() || behind.as_ptr_range().contains(&datagram.payload.as_ptr()));
            prop_assert!(
                datagram.payload.is_empty() || at + datagram.payload.len() <= behind.as_ptr_range().end as usize
            );
        }
    }
}
