//! IP headers as they are written.

mod support;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{Ipv4HeaderSlice, Ipv6HeaderSlice};
use proptest::prelude::*;
use support::{TCP, UDP, V4, V6, build, header, internet_checksum, ip, ip_header};
use traceroute_wire::{Datagram, Endpoints, IpHeader};

/// Writes the header and leaves `payload_len` bytes of the dirty buffer behind it out of the comparison.
fn written(header: &IpHeader) -> impl Fn(usize) -> Vec<u8> {
    move |payload_len| build(|buffer| header.write(payload_len, buffer))
}

#[test]
fn a_header_is_what_the_rfcs_draw() {
    for (endpoints, protocol) in [(V4, UDP), (V6, UDP), (V4, TCP), (V6, TCP)] {
        let header = header(endpoints, protocol);
        let payload = [0x11; 33];
        let expected = ip(endpoints, protocol, &payload);
        assert_eq!(written(&header)(payload.len()), expected[..endpoints.header_len()]);
    }
}

#[test]
fn dont_fragment_is_the_second_flag_bit_of_ipv4() {
    for (dont_fragment, flags) in [(true, 0x40), (false, 0x00)] {
        let header = IpHeader { dont_fragment, ..header(V4, UDP) };
        assert_eq!(written(&header)(8)[6..8], [flags, 0]);
    }
}

#[test]
fn the_traffic_class_is_where_the_rfcs_draw_it() {
    let class = |endpoints| written(&IpHeader { traffic_class: 0xb9, ..header(endpoints, UDP) })(8);
    assert_eq!(class(V4)[..2], [0x45, 0xb9]);
    // Between the version and the flow label.
    let v6 = class(V6);
    assert_eq!((v6[0], v6[1] >> 4), (0x6b, 0x9));
}

#[test]
fn the_longest_payloads_fit() {
    assert_eq!(written(&header(V4, UDP))(65_515)[2..4], [0xff, 0xff]);
    assert_eq!(written(&header(V6, UDP))(65_535)[4..6], [0xff, 0xff]);
}

#[test]
#[should_panic(expected = "a datagram is at most 65,535 bytes long")]
fn an_ipv4_datagram_beyond_65535_bytes_is_refused() {
    header(V4, UDP).write(65_516, &mut [0; 20]);
}

#[test]
#[should_panic(expected = "an IPv6 payload is at most 65,535 bytes long")]
fn an_ipv6_payload_beyond_65535_bytes_is_refused() {
    header(V6, UDP).write(65_536, &mut [0; 40]);
}

#[test]
#[should_panic(expected = "range end index 20 out of range")]
fn an_ipv4_header_is_not_cut_to_fit_a_buffer() {
    header(V4, UDP).write(0, &mut [0; 19]);
}

#[test]
#[should_panic(expected = "range end index 40 out of range")]
fn an_ipv6_header_is_not_cut_to_fit_a_buffer() {
    header(V6, UDP).write(0, &mut [0; 39]);
}

#[test]
fn endpoints_are_of_one_family() {
    let (v4, v6) = (IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST));
    assert_eq!(Endpoints::new(v4, v6), None);
    assert_eq!(Endpoints::new(v6, v4), None);
    assert_eq!(Endpoints::new(V4.source(), V4.destination()), Some(V4));
    assert_eq!(Endpoints::new(V6.source(), V6.destination()), Some(V6));
    assert_eq!((V4.header_len(), V6.header_len()), (20, 40));
}

proptest! {
    #[test]
    fn etherparse_reads_back_every_field(header in ip_header(), payload_len in 0_usize..60_000) {
        let bytes = written(&header)(payload_len);
        prop_assert_eq!(bytes.len(), header.endpoints.header_len());
        match header.endpoints {
            Endpoints::V4 { source, destination } => {
                let theirs = Ipv4HeaderSlice::from_slice(&bytes).unwrap();
                prop_assert_eq!(usize::from(theirs.total_len()), 20 + payload_len);
                prop_assert_eq!((theirs.source_addr(), theirs.destination_addr()), (source, destination));
                prop_assert_eq!((theirs.ttl(), theirs.protocol().0), (header.ttl, header.protocol));
                prop_assert_eq!(u32::from(theirs.identification()), header.label & 0xffff);
                prop_assert_eq!(theirs.dont_fragment(), header.dont_fragment);
                prop_assert!(!theirs.is_fragmenting_payload());
                let class = (theirs.dcp().value() << 2) | theirs.ecn().value();
                prop_assert_eq!(class, header.traffic_class);
                prop_assert_eq!(theirs.header_checksum(), theirs.to_header().calc_header_checksum());
                prop_assert_eq!(internet_checksum(&bytes), 0);
            }
            Endpoints::V6 { source, destination } => {
                let theirs = Ipv6HeaderSlice::from_slice(&bytes).unwrap();
                prop_assert_eq!(usize::from(theirs.payload_length()), payload_len);
                prop_assert_eq!((theirs.source_addr(), theirs.destination_addr()), (source, destination));
                prop_assert_eq!((theirs.hop_limit(), theirs.next_header().0), (header.ttl, header.protocol));
                prop_assert_eq!(theirs.flow_label().value(), header.label & 0xf_ffff);
                prop_assert_eq!(theirs.traffic_class(), header.traffic_class);
            }
        }
    }

    #[test]
    fn what_is_written_is_read(header in ip_header(), payload in support::bytes(0..200)) {
        let sent = IpHeader { protocol: UDP, ..header };
        let mut bytes = written(&sent)(payload.len());
        bytes.extend(&payload);
        let read = Datagram::parse(&bytes).unwrap();
        let (mask, dont_fragment) = match header.endpoints {
            Endpoints::V4 { .. } => (0xffff, header.dont_fragment),
            Endpoints::V6 { .. } => (0xf_ffff, true),
        };
        prop_assert_eq!(read.header, IpHeader { label: header.label & mask, dont_fragment, ..sent });
        prop_assert_eq!(read.payload, payload);
    }
}
