//! UDP datagrams, written and read.

mod support;

use etherparse::UdpSlice;
use proptest::prelude::*;
use support::{
    UDP, V4, V6, build, bytes, endpoints, header, internet_checksum, ip_header, udp_segment,
    with_pseudo_header,
};
use traceroute_wire::{Datagram, Endpoints, IpHeader, Sum, Udp, udp};

fn written(ip: &IpHeader, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    build(|buffer| udp::write_datagram(ip, ports.0, ports.1, payload, buffer))
}

/// The checksum field that etherparse computes.
fn expected_checksum(endpoints: Endpoints, segment: &[u8]) -> u16 {
    let theirs = UdpSlice::from_slice(segment).expect("a whole segment");
    let (header, payload) = (theirs.to_header(), theirs.payload());
    match endpoints {
        Endpoints::V4 { source, destination } => {
            header.calc_checksum_ipv4_raw(source.octets(), destination.octets(), payload)
        }
        Endpoints::V6 { source, destination } => {
            header.calc_checksum_ipv6_raw(source.octets(), destination.octets(), payload)
        }
    }
    .expect("a short payload")
}

#[test]
fn each_field_is_there_once_its_last_byte_is() {
    let segment = udp_segment(b"data");
    for length in 0..=segment.len() {
        let expected = (length >= 4).then(|| Udp {
            source_port: 0x829a,
            destination_port: 0x829b,
            length: (length >= 6).then_some(12),
            checksum: (length >= 8).then_some(0x5a17),
            payload: segment[..length].get(8..).unwrap_or_default(),
        });
        assert_eq!(Udp::parse(&segment[..length]), expected, "{length} bytes");
    }
}

#[test]
fn the_sum_of_the_data_needs_length_and_checksum() {
    let segment = udp_segment(b"data");
    for endpoints in [V4, V6] {
        for length in 4..=segment.len() {
            let sum = Udp::parse(&segment[..length]).unwrap().payload_sum(endpoints);
            assert_eq!(sum.is_some(), length >= 8, "{length} bytes");
        }
    }
}

#[test]
fn without_a_checksum_nothing_is_known_of_the_data() {
    let mut segment = udp_segment(b"data");
    segment[6..8].fill(0);
    let udp = Udp::parse(&segment).unwrap();
    assert_eq!(udp.checksum, Some(0));
    assert_eq!(udp.payload_sum(V4), None);
    assert_eq!(udp.payload_sum(V6), None);
}

#[test]
#[should_panic(expected = "a datagram is at most 65,535 bytes long")]
fn data_that_fits_no_ipv4_datagram_is_refused() {
    udp::write_datagram(&header(V4, UDP), 1, 2, &vec![0; 65_508], &mut vec![0; 70_000]);
}

#[test]
#[should_panic(expected = "an IPv6 payload is at most 65,535 bytes long")]
fn data_that_fits_no_ipv6_datagram_is_refused() {
    udp::write_datagram(&header(V6, UDP), 1, 2, &vec![0; 65_528], &mut vec![0; 70_000]);
}

#[test]
#[should_panic(expected = "out of range")]
fn a_buffer_one_byte_short_is_refused() {
    udp::write_datagram(&header(V4, UDP), 1, 2, b"data", &mut [0; 31]);
}

#[test]
fn the_longest_data_fits() {
    for (endpoints, longest) in [(V4, 65_507), (V6, 65_527)] {
        let datagram = written(&header(endpoints, UDP), (1, 2), &vec![0xab; longest]);
        assert_eq!(datagram.len(), endpoints.header_len() + 8 + longest);
        let segment = &datagram[endpoints.header_len()..];
        assert_eq!(internet_checksum(&with_pseudo_header(endpoints, UDP, segment)), 0);
    }
}

proptest! {
    #[test]
    fn a_datagram_is_what_etherparse_reads(
        ip in ip_header(),
        ports: (u16, u16),
        payload in bytes(0..200),
    ) {
        let ip = IpHeader { protocol: UDP, ..ip };
        let datagram = written(&ip, ports, &payload);
        let segment = &datagram[ip.endpoints.header_len()..];
        let theirs = UdpSlice::from_slice(segment).unwrap();
        prop_assert_eq!((theirs.source_port(), theirs.destination_port()), ports);
        prop_assert_eq!(usize::from(theirs.length()), 8 + payload.len());
        prop_assert_eq!(theirs.payload(), &payload[..]);
        prop_assert_eq!(theirs.checksum(), expected_checksum(ip.endpoints, segment));
        prop_assert_eq!(internet_checksum(&with_pseudo_header(ip.endpoints, UDP, segment)), 0);

        let ours = Udp::parse(Datagram::parse(&datagram).unwrap().payload).unwrap();
        prop_assert_eq!(ours.payload_sum(ip.endpoints), Some(Sum::bytes(&payload)));
        prop_assert_eq!(ours, Udp {
            source_port: ports.0,
            destination_port: ports.1,
            length: Some(theirs.length()),
            checksum: Some(theirs.checksum()),
            payload: &payload,
        });
    }

    #[test]
    fn a_sum_of_zero_is_sent_as_all_ones(endpoints in endpoints(), ports: (u16, u16), front in bytes(6)) {
        // RFC 768: the word that makes the complement of the sum zero is that complement itself.
        let mut payload = [&front[..], &[0, 0]].concat();
        let ip = header(endpoints, UDP);
        let segment = written(&ip, ports, &payload)[endpoints.header_len()..].to_vec();
        payload[6..8].copy_from_slice(&segment[6..8]);
        let datagram = written(&ip, ports, &payload);
        let segment = &datagram[endpoints.header_len()..];
        prop_assert_eq!(&segment[6..8], &[0xff, 0xff]);
        prop_assert_eq!(expected_checksum(endpoints, segment), 0xffff);
        prop_assert_eq!(Udp::parse(segment).unwrap().payload_sum(endpoints), Some(Sum::bytes(&payload)));
    }
}
