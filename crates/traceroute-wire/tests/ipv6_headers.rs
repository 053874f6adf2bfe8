//! IPv6 extension headers (RFC 8200, section 4).

mod support;

use proptest::prelude::*;
use support::{UDP, V6, header, ipv6};
use traceroute_wire::Datagram;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const NO_NEXT_HEADER: u8 = 59;
const DESTINATION_OPTIONS: u8 = 60;

const PAYLOAD: [u8; 12] = *b"Hello, hops!";

/// A header's number, and its bytes given the number of the next.
type ExtensionHeader<'a> = (u8, &'a dyn Fn(u8) -> Vec<u8>);

/// Hop-by-hop, routing and destination options share a layout: next header, length in 8 bytes minus one, data.
fn options(next_header: u8, units: u8) -> Vec<u8> {
    let mut header = vec![next_header, units - 1];
    header.resize(usize::from(units) * 8, 0x1e);
    header
}

fn fragment(next_header: u8, offset_and_more: u16) -> Vec<u8> {
    let [high, low] = offset_and_more.to_be_bytes();
    vec![next_header, 0, high, low, 0xfe, 0xdc, 0xba, 0x98]
}

/// A datagram with a chain of headers, each given its successor.
fn chain(headers: &[ExtensionHeader<'_>], last: u8) -> (Vec<u8>, Vec<u8>) {
    let numbers: Vec<u8> = headers.iter().map(|(number, _)| *number).chain([last]).collect();
    let extension: Vec<u8> =
        headers.iter().zip(&numbers[1..]).flat_map(|((_, build), next)| build(*next)).collect();
    let datagram = ipv6(numbers[0], &[&extension[..], &PAYLOAD].concat());
    (datagram, extension)
}

#[test]
fn every_chain_is_skipped_to_the_transport_header() {
    let options_of = |units: u8| move |next: u8| options(next, units);
    let (one, four, longest) = (options_of(1), options_of(4), options_of(255));
    let whole = |next: u8| fragment(next, 0);
    let chains: [&[ExtensionHeader<'_>]; 7] = [
        &[(HOP_BY_HOP, &one)],
        &[(ROUTING, &four)],
        &[(DESTINATION_OPTIONS, &longest)],
        &[(FRAGMENT, &whole)],
        &[(HOP_BY_HOP, &one), (DESTINATION_OPTIONS, &four), (ROUTING, &one)],
        &[(HOP_BY_HOP, &four), (ROUTING, &one), (FRAGMENT, &whole), (DESTINATION_OPTIONS, &one)],
        &[(DESTINATION_OPTIONS, &one), (DESTINATION_OPTIONS, &one), (ROUTING, &one), (ROUTING, &one)],
    ];
    for headers in chains {
        let (datagram, _) = chain(headers, UDP);
        let read = Datagram::parse(&datagram).unwrap();
        assert_eq!(read.header, header(V6, UDP));
        assert_eq!(read.payload, PAYLOAD);
    }
}

#[test]
fn a_chain_cut_anywhere_has_no_transport_header() {
    let whole = |next: u8| fragment(next, 0);
    let (first, second, third) = (|next| options(next, 1), |next| options(next, 3), |next| options(next, 2));
    let headers: [ExtensionHeader<'_>; 4] =
        [(HOP_BY_HOP, &first), (ROUTING, &second), (FRAGMENT, &whole), (DESTINATION_OPTIONS, &third)];
    let (datagram, extension) = chain(&headers, UDP);
    let ends = [8, 32, 40, 56];
    for length in 40..=datagram.len() {
        let read = Datagram::parse(&datagram[..length]).unwrap();
        let complete = ends.iter().filter(|&&end| length - 40 >= end).count();
        let expected = [HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION_OPTIONS, UDP][complete];
        assert_eq!(read.header.protocol, expected, "{length} bytes");
        let payload = datagram[..length].get(40 + extension.len()..).unwrap_or_default();
        assert_eq!(read.payload, payload, "{length} bytes");
    }
}

#[test]
fn a_header_longer_than_the_datagram_hides_the_transport() {
    let mut datagram = ipv6(DESTINATION_OPTIONS, &options(UDP, 2));
    datagram[41] = 9;
    let read = Datagram::parse(&datagram).unwrap();
    assert_eq!((read.header.protocol, read.payload), (DESTINATION_OPTIONS, &[][..]));
}

#[test]
fn the_first_fragment_has_the_transport_header() {
    for offset_and_more in [0x0000, 0x0001, 0x0006, 0x0007] {
        let datagram = ipv6(FRAGMENT, &[&fragment(UDP, offset_and_more)[..], &PAYLOAD].concat());
        let read = Datagram::parse(&datagram).unwrap();
        assert_eq!(read.header.protocol, UDP);
        assert_eq!(read.payload, PAYLOAD, "offset, reserved bits and more flag {offset_and_more:#x}");
    }
}

#[test]
fn a_later_fragment_has_no_transport_header() {
    for offset_and_more in [0x0008, 0x0009, 0x8000, 0xfff8, 0xffff] {
        let datagram = ipv6(FRAGMENT, &[&fragment(UDP, offset_and_more)[..], &PAYLOAD].concat());
        let read = Datagram::parse(&datagram).unwrap();
        assert_eq!((read.header.protocol, read.payload), (UDP, &[][..]), "{offset_and_more:#x}");
    }
}

#[test]
fn the_middle_of_a_datagram_is_not_read_as_headers() {
    // The fragment header names the header that the first fragment starts with; here is something else.
    let middle = [&fragment(DESTINATION_OPTIONS, 0x0100)[..], &options(UDP, 1), &PAYLOAD].concat();
    for before in [&[][..], &options(FRAGMENT, 1)] {
        let first = if before.is_empty() { FRAGMENT } else { ROUTING };
        let datagram = ipv6(first, &[before, &middle].concat());
        let read = Datagram::parse(&datagram).unwrap();
        assert_eq!((read.header.protocol, read.payload), (DESTINATION_OPTIONS, &[][..]));
    }
}

#[test]
fn hop_by_hop_options_count_only_in_the_first_place() {
    let datagram = ipv6(ROUTING, &[&options(HOP_BY_HOP, 1)[..], &options(UDP, 1), &PAYLOAD].concat());
    let read = Datagram::parse(&datagram).unwrap();
    assert_eq!((read.header.protocol, read.payload), (HOP_BY_HOP, &[][..]));
}

#[test]
fn no_next_header_is_a_protocol_of_its_own() {
    let datagram = ipv6(HOP_BY_HOP, &options(NO_NEXT_HEADER, 1));
    let read = Datagram::parse(&datagram).unwrap();
    assert_eq!((read.header.protocol, read.payload), (NO_NEXT_HEADER, &[][..]));
}

proptest! {
    #[test]
    fn padding_behind_a_chain_is_not_payload(units in 1_u8..5, padding in 0_usize..46) {
        let mut frame = ipv6(HOP_BY_HOP, &[&options(UDP, units)[..], &PAYLOAD].concat());
        frame.resize(frame.len() + padding, 0xee);
        prop_assert_eq!(Datagram::parse(&frame).unwrap().payload, PAYLOAD);
    }
}
