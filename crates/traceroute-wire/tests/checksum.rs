//! The Internet checksum: RFC 1071, RFC 1624 and the pseudo-headers.

mod support;

use etherparse::checksum::Sum16BitWords;
use etherparse::{IpNumber, UdpHeader};
use proptest::prelude::*;
use support::{V4, V6, bytes, endpoints, internet_checksum, octets, with_pseudo_header};
use traceroute_wire::checksum::pseudo_header;
use traceroute_wire::{Endpoints, Sum};

#[test]
fn the_worked_example_of_rfc_1624_can_be_subtracted_and_added() {
    // Section 4: a header with checksum 0xdd2f in which 0x5555 becomes 0x3285 gets checksum 0x0000.
    let updated = Sum::covered_by(0xdd2f) - Sum::word(0x5555) + Sum::word(0x3285);
    assert_eq!(updated, Sum::covered_by(0x0000));
    assert_eq!(!updated.value(), 0xffff, "the same number as 0x0000, by its other name");
}

#[test]
fn an_odd_last_byte_is_the_high_half_of_a_word() {
    assert_eq!(Sum::bytes(&[0x12, 0x34, 0x56]), Sum::bytes(&[0x12, 0x34, 0x56, 0x00]));
    assert_eq!(Sum::bytes(&[0xab]).value(), 0xab00);
    assert_eq!(Sum::bytes(&[]).value(), 0);
}

#[test]
fn carries_are_never_lost_however_long_the_data() {
    // Every word is 0xfffe, which is -1.
    assert_eq!(Sum::bytes(&[0xff, 0xfe].repeat(32_767)), Sum::word(0xffff - 32_767));
    assert_eq!(Sum::bytes(&vec![0xff; 200_000]), Sum::default());
}

#[test]
fn addresses_count_as_their_words() {
    assert_eq!(Sum::address(V4.source()), Sum::word(0xc000) + Sum::word(0x0201));
    let words = [0x2001, 0x0db8, 0x0002, 0x0002].map(Sum::word);
    assert_eq!(Sum::address(V6.destination()), words[0] + words[1] + words[2] + words[3]);
}

proptest! {
    #[test]
    fn the_value_is_the_complement_of_the_checksum(data in bytes(0..600)) {
        let expected = !internet_checksum(&data);
        prop_assert_eq!(Sum::bytes(&data).value(), if expected == 0xffff { 0 } else { expected });
        prop_assert_eq!(Sum::covered_by(internet_checksum(&data)), Sum::bytes(&data));
    }

    #[test]
    fn etherparse_computes_the_same_checksum(data in bytes(0..600)) {
        let theirs = Sum16BitWords::new().add_slice(&data).ones_complement().to_be();
        prop_assert_eq!(Sum::covered_by(theirs), Sum::bytes(&data));
    }

    #[test]
    fn parts_of_whole_words_add_up_to_the_whole(
        front in bytes(0..100).prop_map(|half| [half.clone(), half].concat()),
        back in bytes(0..100),
    ) {
        let whole = [front.clone(), back.clone()].concat();
        prop_assert_eq!(Sum::bytes(&front) + Sum::bytes(&back), Sum::bytes(&whole));
        prop_assert_eq!(Sum::bytes(&whole) - Sum::bytes(&back), Sum::bytes(&front));
    }

    #[test]
    fn sums_are_numbers_modulo_65535(a: u16, b: u16) {
        let expected = (u32::from(a) + u32::from(b)) % 65_535;
        prop_assert_eq!(u32::from((Sum::word(a) + Sum::word(b)).value()), expected);
        prop_assert_eq!(Sum::word(a) + -Sum::word(a), Sum::default());
        prop_assert_eq!(-Sum::word(a), Sum::covered_by(a));
        prop_assert!((-Sum::word(a)).value() < 0xffff && Sum::word(a).value() < 0xffff);
    }

    #[test]
    fn a_pseudo_header_sums_like_its_bytes(endpoints in endpoints(), protocol: u8, length in 0_usize..4000) {
        let covered = with_pseudo_header(endpoints, protocol, &vec![0; length]);
        let length = u16::try_from(length).unwrap();
        let sum = pseudo_header(endpoints.source(), endpoints.destination(), protocol, length);
        prop_assert_eq!(sum, Sum::bytes(&covered));
        prop_assert_eq!(
            Sum::address(endpoints.source()) + Sum::address(endpoints.destination()),
            Sum::bytes(&octets(endpoints.source())) + Sum::bytes(&octets(endpoints.destination()))
        );
    }

    #[test]
    fn etherparse_sums_the_same_pseudo_header(endpoints in endpoints()) {
        // Zero ports leave the pseudo-header and the header's own length field, 8.
        let empty = UdpHeader { source_port: 0, destination_port: 0, length: 8, checksum: 0 };
        let theirs = match endpoints {
            Endpoints::V4 { source, destination } => {
                empty.calc_checksum_ipv4_raw(source.octets(), destination.octets(), &[])
            }
            Endpoints::V6 { source, destination } => {
                empty.calc_checksum_ipv6_raw(source.octets(), destination.octets(), &[])
            }
        };
        let ours = pseudo_header(endpoints.source(), endpoints.destination(), IpNumber::UDP.0, 8) + Sum::word(8);
        prop_assert_eq!(Sum::covered_by(theirs.unwrap()), ours);
    }
}
