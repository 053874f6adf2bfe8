//! TCP segments, written and read.

mod support;

use etherparse::{TcpHeader, TcpOptionElement, TcpSlice};
use proptest::prelude::*;
use support::{TCP, V4, V6, build, header};
use traceroute_wire::tcp::{sequence_before, write_segment};
use traceroute_wire::{
    Datagram, Endpoints, IpHeader, Quoted, QuotedTcp, SackBlock, TcpFlags, TcpOption, TcpSegment,
    TcpTimestamps,
};

/// Every field another, so that none can be taken for its neighbour.
const SEGMENT: TcpSegment<'static> = TcpSegment {
    source_port: 0x0102,
    destination_port: 0x0304,
    sequence: 0x0506_0708,
    acknowledgement: 0x090a_0b0c,
    flags: TcpFlags::SYN,
    window: 0x0d0e,
    options: &[],
    payload: &[],
};

fn written(ip: &IpHeader, segment: &TcpSegment<'_>) -> Vec<u8> {
    build(|buffer| write_segment(ip, segment, buffer))
}

fn with_options(options: &[u8]) -> TcpSegment<'_> {
    TcpSegment { options, ..SEGMENT }
}

/// The checksum field that etherparse computes.
fn expected_checksum(endpoints: Endpoints, segment: &[u8]) -> u16 {
    let theirs = TcpSlice::from_slice(segment).expect("a whole segment");
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

fn options_of(bytes: &[u8]) -> Vec<TcpOption<'_>> {
    with_options(bytes).options().collect()
}

#[test]
fn a_segment_is_there_once_the_last_byte_of_its_options_is() {
    let options = [1, 1, 4, 2];
    for endpoints in [V4, V6] {
        let segment = TcpSegment { payload: b"data", ..with_options(&options) };
        let datagram = written(&header(endpoints, TCP), &segment);
        let bytes = Datagram::parse(&datagram).expect("an IP datagram").payload;
        assert_eq!(bytes.len(), 20 + 4 + 4);
        for length in 0..=bytes.len() {
            let expected =
                (length >= 24).then(|| TcpSegment { payload: &segment.payload[..length - 24], ..segment });
            assert_eq!(TcpSegment::parse(&bytes[..length]), expected, "{length} bytes");
        }
    }
}

/// Zero means nothing special here, unlike in UDP: the complement is sent as it is.
#[test]
fn a_sum_of_all_ones_is_sent_as_zero() {
    for endpoints in [V4, V6] {
        let segment = |window| {
            let datagram = written(&header(endpoints, TCP), &TcpSegment { window, ..SEGMENT });
            Datagram::parse(&datagram).expect("an IP datagram").payload.to_vec()
        };
        let checksum = |segment: &[u8]| u16::from_be_bytes([segment[16], segment[17]]);
        // What the other words lack to all ones.
        let segment = segment(checksum(&segment(0)));
        assert_eq!((checksum(&segment), expected_checksum(endpoints, &segment)), (0, 0));
    }
}

#[test]
fn a_quote_has_ports_number_and_control_bits_as_they_come() {
    let datagram = written(&header(V4, TCP), &SEGMENT);
    let bytes = Datagram::parse(&datagram).expect("an IP datagram").payload;
    for length in 0..=bytes.len() {
        let expected = (length >= 4).then(|| QuotedTcp {
            source_port: 0x0102,
            destination_port: 0x0304,
            sequence: (length >= 8).then_some(0x0506_0708),
            flags: (length >= 14).then_some(TcpFlags::SYN),
        });
        assert_eq!(QuotedTcp::parse(&bytes[..length]), expected, "{length} bytes");
    }
    assert_eq!(Quoted::parse(&datagram).and_then(|quoted| quoted.tcp()), QuotedTcp::parse(bytes));
    let udp = written(&header(V4, 17), &SEGMENT);
    assert_eq!(Quoted::parse(&udp).expect("a quote").tcp(), None, "another protocol");
}

#[test]
fn a_header_shorter_than_itself_is_none() {
    let datagram = written(&header(V4, TCP), &SEGMENT);
    let mut bytes = Datagram::parse(&datagram).expect("an IP datagram").payload.to_vec();
    for words in 0..5 {
        bytes[12] = words << 4;
        assert_eq!(TcpSegment::parse(&bytes), None, "{words} words");
    }
}

#[test]
fn options_are_read_in_their_order_and_padding_is_none() {
    let bytes = [
        &[2, 4, 5, 0xb4, 1, 4, 2][..],
        &[8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
        &[5, 10, 0, 0, 0, 3, 0, 0, 0, 4],
        &[0, 4, 2],
    ]
    .concat();
    let options = options_of(&bytes);
    assert_eq!(options[..2], [TcpOption::Other(2), TcpOption::SackPermitted]);
    assert_eq!(options[2], TcpOption::Timestamps(TcpTimestamps { value: 1, echo: 2 }));
    assert!(matches!(options[3], TcpOption::Sack(_)));
    assert_eq!(options.len(), 4, "nothing behind the end");
    let segment = with_options(&bytes);
    assert!(segment.permits_sack());
    assert_eq!(segment.timestamps(), Some(TcpTimestamps { value: 1, echo: 2 }));
    assert_eq!(segment.sack_blocks().collect::<Vec<_>>(), [SackBlock { left: 3, right: 4 }]);
}

#[test]
fn what_follows_a_malformed_option_is_not_read() {
    for malformed in [
        &[8][..],
        &[8, 1],
        &[8, 0],
        &[8, 9, 0, 0, 0, 1, 0, 0, 0],
        &[8, 10, 0, 0, 0, 1],
        &[4, 3, 0],
        &[5, 9, 0, 0, 0, 3, 0, 0, 0],
        &[77, 200],
    ] {
        let bytes = [&[77, 2][..], malformed, &[4, 2]].concat();
        assert_eq!(options_of(&bytes), [TcpOption::Other(77)], "{malformed:?}");
    }
}

#[test]
fn sequence_numbers_go_round() {
    for (number, other) in [(0, 1), (u32::MAX, 0), (u32::MAX - 5, 5), (7, 7 + (1 << 31) - 1)] {
        assert!(sequence_before(number, other), "{number} {other}");
        assert!(!sequence_before(other, number), "{number} {other}");
    }
    assert!(!sequence_before(7, 7));
}

#[test]
#[should_panic(expected = "options of 3 bytes")]
fn options_are_whole_words() {
    written(&header(V4, TCP), &with_options(&[1, 1, 1]));
}

fn flags() -> impl Strategy<Value = TcpFlags> {
    let all = [TcpFlags::FIN, TcpFlags::SYN, TcpFlags::RST, TcpFlags::PSH, TcpFlags::ACK];
    prop::collection::vec(prop::sample::select(all.to_vec()), 0..5)
        .prop_map(|flags| flags.into_iter().fold(TcpFlags::default(), |all, flag| all | flag))
}

proptest! {
    #[test]
    fn etherparse_reads_what_is_written(
        v6: bool, ports: (u16, u16), numbers: (u32, u32), flags in flags(), window: u16,
        timestamps: Option<(u32, u32)>, payload in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let endpoints = if v6 { V6 } else { V4 };
        let options = timestamps.map(|(value, echo)| TcpTimestamps { value, echo }.to_bytes());
        let segment = TcpSegment {
            source_port: ports.0,
            destination_port: ports.1,
            sequence: numbers.0,
            acknowledgement: numbers.1,
            flags,
            window,
            options: options.as_ref().map(<[u8; 12]>::as_slice).unwrap_or_default(),
            payload: &payload,
        };
        let datagram = written(&header(endpoints, TCP), &segment);
        let bytes = Datagram::parse(&datagram).expect("an IP datagram").payload;
        prop_assert_eq!(TcpSegment::parse(bytes), Some(segment));

        let (theirs, rest) = TcpHeader::from_slice(bytes).expect("a TCP header");
        prop_assert_eq!((theirs.source_port, theirs.destination_port), ports);
        prop_assert_eq!((theirs.sequence_number, theirs.acknowledgment_number), numbers);
        prop_assert_eq!((theirs.window_size, rest), (window, &payload[..]));
        let bits = [theirs.fin, theirs.syn, theirs.rst, theirs.psh, theirs.ack, theirs.urg, theirs.ns];
        let ours = [TcpFlags::FIN, TcpFlags::SYN, TcpFlags::RST, TcpFlags::PSH, TcpFlags::ACK];
        prop_assert_eq!(&bits[..5], &ours.map(|flag| flags.contains(flag))[..]);
        prop_assert_eq!(&bits[5..], &[false; 2][..]);
        let read: Vec<_> = theirs.options_iterator().map(|option| option.expect("well-formed")).collect();
        let expected = timestamps.map_or_else(Vec::new, |(value, echo)| {
            vec![TcpOptionElement::Noop, TcpOptionElement::Noop, TcpOptionElement::Timestamp(value, echo)]
        });
        prop_assert_eq!(read, expected);
        prop_assert_eq!(theirs.checksum, expected_checksum(endpoints, bytes));
    }

    #[test]
    fn whatever_options_there_are_reading_them_ends(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        prop_assert!(options_of(&bytes).len() <= bytes.len());
        with_options(&bytes).sack_blocks().for_each(drop);
    }
}
