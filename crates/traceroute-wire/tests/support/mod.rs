//! Packets laid out byte by byte as the RFCs draw them, so that nothing under test says what to expect.
#![allow(dead_code, reason = "every test file uses its own part")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use traceroute_wire::{Datagram, Endpoints, IcmpError, IcmpMessage, IpHeader};

pub(crate) const SOURCE_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const DESTINATION_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
pub(crate) const SOURCE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);
pub(crate) const DESTINATION_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 2);

pub(crate) const V4: Endpoints = Endpoints::V4 { source: SOURCE_V4, destination: DESTINATION_V4 };
pub(crate) const V6: Endpoints = Endpoints::V6 { source: SOURCE_V6, destination: DESTINATION_V6 };

pub(crate) const TTL: u8 = 7;
pub(crate) const IDENTIFICATION: u16 = 0xbeef;
pub(crate) const FLOW_LABEL: u32 = 0xa_bcde;

pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMPV6: u8 = 58;

pub(crate) fn word(value: usize) -> [u8; 2] {
    u16::try_from(value).expect("a 16-bit field").to_be_bytes()
}

/// RFC 1071, section 1, the carries folded in afterwards. Zero over bytes that contain their checksum.
pub(crate) fn internet_checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    let mut sum: u32 = words.map(u32::from).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded")
}

/// What transport checksums cover: the pseudo-header of RFC 768 or RFC 8200, section 8.1, and the segment.
pub(crate) fn with_pseudo_header(endpoints: Endpoints, protocol: u8, segment: &[u8]) -> Vec<u8> {
    let mut covered = Vec::new();
    match endpoints {
        Endpoints::V4 { source, destination } => {
            covered.extend(source.octets());
            covered.extend(destination.octets());
            covered.extend([0, protocol]);
            covered.extend(word(segment.len()));
        }
        Endpoints::V6 { source, destination } => {
            covered.extend(source.octets());
            covered.extend(destination.octets());
            covered.extend([0, 0]);
            covered.extend(word(segment.len()));
            covered.extend([0, 0, 0, protocol]);
        }
    }
    covered.extend(segment);
    covered
}

/// An IPv4 datagram (RFC 791); `options` fill whole words.
pub(crate) fn ipv4(protocol: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let header_len = 20 + options.len();
    let mut datagram = vec![0x40 | u8::try_from(header_len / 4).expect("at most 15 words"), 0];
    datagram.extend(word(header_len + payload.len()));
    datagram.extend(IDENTIFICATION.to_be_bytes());
    datagram.extend([0x40, 0, TTL, protocol, 0, 0]);
    datagram.extend(SOURCE_V4.octets());
    datagram.extend(DESTINATION_V4.octets());
    datagram.extend(options);
    let checksum = internet_checksum(&datagram);
    datagram[10..12].copy_from_slice(&checksum.to_be_bytes());
    datagram.extend(payload);
    datagram
}

/// An IPv6 datagram (RFC 8200); `payload` starts with what `next_header` names.
pub(crate) fn ipv6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut datagram = (0x6000_0000 | FLOW_LABEL).to_be_bytes().to_vec();
    datagram.extend(word(payload.len()));
    datagram.extend([next_header, TTL]);
    datagram.extend(SOURCE_V6.octets());
    datagram.extend(DESTINATION_V6.octets());
    datagram.extend(payload);
    datagram
}

/// The header that [`ipv4`] and [`ipv6`] write.
pub(crate) fn header(endpoints: Endpoints, protocol: u8) -> IpHeader {
    let label = match endpoints {
        Endpoints::V4 { .. } => u32::from(IDENTIFICATION),
        Endpoints::V6 { .. } => FLOW_LABEL,
    };
    IpHeader { endpoints, ttl: TTL, protocol, label, dont_fragment: true, traffic_class: 0 }
}

/// An ICMP message in a datagram of the family of `endpoints`; the source of an error does not matter here.
pub(crate) fn icmp(endpoints: Endpoints, kind: u8, code: u8, second_word: [u8; 4], body: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend(second_word);
    message.extend(body);
    let (protocol, covered) = match endpoints {
        Endpoints::V4 { .. } => (ICMP, message.clone()),
        Endpoints::V6 { .. } => (ICMPV6, with_pseudo_header(endpoints, ICMPV6, &message)),
    };
    message[2..4].copy_from_slice(&internet_checksum(&covered).to_be_bytes());
    ip(endpoints, protocol, &message)
}

pub(crate) fn ip(endpoints: Endpoints, protocol: u8, payload: &[u8]) -> Vec<u8> {
    match endpoints {
        Endpoints::V4 { .. } => ipv4(protocol, &[], payload),
        Endpoints::V6 { .. } => ipv6(protocol, payload),
    }
}

/// A UDP segment (RFC 768) whose checksum nobody checks.
pub(crate) fn udp_segment(payload: &[u8]) -> Vec<u8> {
    let mut segment = vec![0x82, 0x9a, 0x82, 0x9b];
    segment.extend(word(8 + payload.len()));
    segment.extend([0x5a, 0x17]);
    segment.extend(payload);
    segment
}

pub(crate) fn message(bytes: &[u8]) -> Option<IcmpMessage<'_>> {
    IcmpMessage::parse(&Datagram::parse(bytes)?)
}

pub(crate) fn error(bytes: &[u8]) -> Option<IcmpError<'_>> {
    match message(bytes)? {
        IcmpMessage::Error(error) => Some(error),
        other => panic!("not an error: {other:?}"),
    }
}

/// An extension object (RFC 4884, section 8).
pub(crate) fn object(class: u8, ctype: u8, data: &[u8]) -> Vec<u8> {
    let mut object = word(4 + data.len()).to_vec();
    object.extend([class, ctype]);
    object.extend(data);
    object
}

/// An extension structure (RFC 4884, section 7) of version 2 with its checksum.
pub(crate) fn structure(objects: &[u8]) -> Vec<u8> {
    let mut structure = vec![0x20, 0, 0, 0];
    structure.extend(objects);
    let checksum = internet_checksum(&structure);
    structure[2..4].copy_from_slice(&checksum.to_be_bytes());
    structure
}

/// Builds into longer buffers of zeros, ones and noise: the bytes must be the same and those behind untouched.
pub(crate) fn build(write: impl Fn(&mut [u8]) -> usize) -> Vec<u8> {
    const SPARE: usize = 64;
    let needed = write(&mut vec![0; 66_000]);
    let fills: [fn(usize) -> u8; 3] = [|_| 0, |_| 0xff, |at| (at * 151 + 89).to_le_bytes()[0]];
    let mut built = fills.map(|fill| {
        let before: Vec<u8> = (0..needed + SPARE).map(fill).collect();
        let mut buffer = before.clone();
        assert_eq!(write(&mut buffer), needed, "the length depends on what was in the buffer");
        assert_eq!(buffer[needed..], before[needed..], "bytes behind the datagram were written");
        buffer.truncate(needed);
        buffer
    });
    assert_eq!(built[0], built[1]);
    assert_eq!(built[0], built[2]);
    std::mem::take(&mut built[0])
}

pub(crate) fn endpoints() -> impl Strategy<Value = Endpoints> {
    prop_oneof![
        any::<(u32, u32)>().prop_map(|(source, destination)| {
            Endpoints::V4 { source: source.into(), destination: destination.into() }
        }),
        any::<(u128, u128)>().prop_map(|(source, destination)| {
            Endpoints::V6 { source: source.into(), destination: destination.into() }
        }),
    ]
}

pub(crate) fn ip_header() -> impl Strategy<Value = IpHeader> {
    (endpoints(), any::<u8>(), any::<u8>(), any::<u32>(), any::<bool>(), any::<u8>()).prop_map(
        |(endpoints, ttl, protocol, label, dont_fragment, traffic_class)| IpHeader {
            endpoints,
            ttl,
            protocol,
            label,
            dont_fragment,
            traffic_class,
        },
    )
}

pub(crate) fn bytes(length: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), length)
}

pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
