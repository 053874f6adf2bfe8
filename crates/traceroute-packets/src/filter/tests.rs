//! The capture filter, run over packets of every class.

use std::fmt::Debug;

use etherparse::{
    IpFragOffset, IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, Ipv6Extensions, Ipv6Header, PacketBuilder,
};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use traceroute_wire::bpf::Ancillary;

use super::*;

#[cfg(target_os = "linux")]
mod kernel;

const PORTS: RangeInclusive<u16> = 40_000..=40_255;
const OTHER_PORT: u16 = 443;
const IDS: RangeInclusive<u16> = 0x1200..=0x12ff;

const HOST: u8 = 0;
const OUTGOING: u8 = 4;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

const ERRORS: u32 = 2048;
const OTHERS: u32 = 256;

const PAYLOAD: [u8; 24] = [0x5a; 24];

fn spec() -> FilterSpec {
    FilterSpec {
        base: Base::LinuxDatagram,
        ports: PORTS,
        echo_ids: IDS,
        snap_lengths: SnapLengths::default(),
    }
}

/// A packet and what the filter should do with it.
#[derive(Clone, Debug)]
struct Case {
    name: String,
    packet: Vec<u8>,
    ancillary: Ancillary,
    /// What is kept of the packet when it has at least [`Self::decided_at`] bytes; of a shorter one nothing.
    kept: u32,
    decided_at: usize,
}

/// The IP headers that transport headers come behind: without and with options, whole and the first of fragments.
fn ip_headers() -> Vec<(&'static str, IpHeaders)> {
    let v4 = Ipv4Header { source: [192, 0, 2, 1], destination: [192, 0, 2, 2], ..Ipv4Header::default() };
    // "No operation", RFC 791.
    let no_operations = [1; 40];
    let v6 =
        Ipv6Header { hop_limit: 64, source: [0x20; 16], destination: [0x20; 16], ..Ipv6Header::default() };
    vec![
        ("IPv4", ip(v4.clone())),
        ("IPv4 with options", ip(Ipv4Header { options: no_operations.into(), ..v4.clone() })),
        ("first fragment", ip(Ipv4Header { more_fragments: true, ..v4 })),
        ("IPv6", IpHeaders::Ipv6(v6, Ipv6Extensions::default())),
    ]
}

fn ip(header: Ipv4Header) -> IpHeaders {
    IpHeaders::Ipv4(header, Ipv4Extensions::default())
}

fn built<E: Debug>(write: impl FnOnce(&mut [u8]) -> Result<usize, E>) -> Vec<u8> {
    let mut bytes = vec![0xa5; 256];
    let length = write(&mut bytes).unwrap();
    bytes.truncate(length);
    bytes
}

fn udp(headers: &IpHeaders, source: u16, destination: u16) -> Vec<u8> {
    let udp = PacketBuilder::ip(headers.clone()).udp(source, destination);
    built(|bytes| udp.write_to_slice(bytes, &PAYLOAD))
}

fn tcp(headers: &IpHeaders, source: u16, destination: u16) -> Vec<u8> {
    let tcp = PacketBuilder::ip(headers.clone()).tcp(source, destination, 1, 1024).syn();
    built(|bytes| tcp.write_to_slice(bytes, &PAYLOAD))
}

fn icmp(headers: &IpHeaders, number: u8, second_word: [u8; 4]) -> Vec<u8> {
    let packet = PacketBuilder::ip(headers.clone());
    match headers {
        IpHeaders::Ipv4(..) => {
            built(|bytes| packet.icmpv4_raw(number, 0, second_word).write_to_slice(bytes, &PAYLOAD))
        }
        IpHeaders::Ipv6(..) => {
            built(|bytes| packet.icmpv6_raw(number, 0, second_word).write_to_slice(bytes, &PAYLOAD))
        }
    }
}

fn echo(headers: &IpHeaders, number: u8, id: u16) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    icmp(headers, number, [high, low, 0, 1])
}

/// A packet whose protocol or next header is `number`, with something in place of a transport header.
fn other(headers: &IpHeaders, number: u8, payload: &[u8]) -> Vec<u8> {
    // The builder refuses the numbers of extension headers that it has not written itself.
    let for_experiments = IpNumber(253);
    let packet = PacketBuilder::ip(headers.clone());
    let mut packet = built(|bytes| packet.write_to_slice(bytes, for_experiments, payload));
    packet[if headers.ipv4().is_some() { 9 } else { 6 }] = number;
    packet
}

fn ancillary(headers: &IpHeaders) -> Ancillary {
    let protocol = if headers.ipv4().is_some() { IPV4 } else { IPV6 };
    Ancillary { protocol, packet_type: HOST }
}

/// The types of errors, the types of echo messages.
fn icmp_types(headers: &IpHeaders) -> (&'static [u8], [u8; 2]) {
    if headers.ipv4().is_some() { (&[3, 11, 12], [0, 8]) } else { (&[1, 2, 3, 4], [128, 129]) }
}

fn admitted() -> Vec<Case> {
    let mut cases = Vec::new();
    for (ip_name, headers) in ip_headers() {
        let mut add = |name: &str, packet: Vec<u8>, kept, decided_at| {
            for packet_type in [HOST, OUTGOING] {
                let ancillary = Ancillary { packet_type, ..ancillary(&headers) };
                let name = format!("{ip_name}, {name}, type {packet_type}");
                cases.push(Case { name, packet: packet.clone(), ancillary, kept, decided_at });
            }
        };
        let transport = headers.header_len();
        let (errors, echoes) = icmp_types(&headers);
        for &number in errors {
            add(&format!("ICMP error {number}"), icmp(&headers, number, [0; 4]), ERRORS, transport + 1);
        }
        for (number, id) in [(echoes[0], *IDS.start()), (echoes[1], 0x1234), (echoes[1], *IDS.end())] {
            add(&format!("echo {number} {id:#x}"), echo(&headers, number, id), OTHERS, transport + 6);
        }
        for port in [*PORTS.start(), 40_100, *PORTS.end()] {
            add(&format!("UDP from {port}"), udp(&headers, port, OTHER_PORT), OTHERS, transport + 2);
            add(&format!("UDP to {port}"), udp(&headers, OTHER_PORT, port), OTHERS, transport + 4);
            add(&format!("TCP from {port}"), tcp(&headers, port, OTHER_PORT), OTHERS, transport + 2);
            add(&format!("TCP to {port}"), tcp(&headers, OTHER_PORT, port), OTHERS, transport + 4);
        }
        if headers.ipv6().is_some() {
            for extension in [0, 43, 60] {
                // An option header of 8 bytes (RFC 8200) that padding fills, then a time exceeded.
                let payload = [58, 0, 1, 4, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0];
                add(&format!("extension {extension}"), other(&headers, extension, &payload), ERRORS, 7);
            }
        }
    }
    cases
}

fn refused() -> Vec<Case> {
    let mut cases = Vec::new();
    for (ip_name, headers) in ip_headers() {
        let mut add = |name: String, packet: Vec<u8>, ancillary| {
            cases.push(Case {
                name: format!("{ip_name}, {name}"),
                packet,
                ancillary,
                kept: 0,
                decided_at: 0,
            });
        };
        let own = ancillary(&headers);
        let (errors, echoes) = icmp_types(&headers);

        for number in (0..=u8::MAX).filter(|number| !errors.contains(number) && !echoes.contains(number)) {
            add(format!("ICMP {number}"), echo(&headers, number, *IDS.start()), own);
        }
        for id in [0, IDS.start() - 1, IDS.end() + 1, u16::MAX] {
            add(format!("echo {id:#x}"), echo(&headers, echoes[0], id), own);
        }
        for port in [0, OTHER_PORT, PORTS.start() - 1, PORTS.end() + 1, u16::MAX] {
            add(format!("UDP {port}"), udp(&headers, port, OTHER_PORT), own);
            add(format!("TCP {port}"), tcp(&headers, OTHER_PORT, port), own);
        }

        let known: &[u8] = if headers.ipv4().is_some() { &[1, 6, 17] } else { &[58, 6, 17, 0, 43, 60] };
        let [high, low] = PORTS.start().to_be_bytes();
        for number in (0..=u8::MAX).filter(|number| !known.contains(number)) {
            add(format!("protocol {number}"), other(&headers, number, &[high, low, high, low]), own);
        }

        let good = udp(&headers, *PORTS.start(), *PORTS.start());
        let other_family = if own.protocol == IPV4 { IPV6 } else { IPV4 };
        for protocol in [0, 4, 0x0806, 0x8100, 0x0008, other_family] {
            add(format!("EtherType {protocol:#x}"), good.clone(), Ancillary { protocol, ..own });
        }
        for packet_type in (0..=u8::MAX).filter(|&number| number != HOST && number != OUTGOING) {
            add(format!("packet type {packet_type}"), good.clone(), Ancillary { packet_type, ..own });
        }
        for first in (0..=u8::MAX).filter(|first| first >> 4 != good[0] >> 4) {
            let mut packet = good.clone();
            packet[0] = first;
            add(format!("first byte {first:#x}"), packet, own);
        }
    }
    cases.extend(refused_ipv4());
    cases
}

fn refused_ipv4() -> Vec<Case> {
    let mut cases = Vec::new();
    let (_, whole) = ip_headers().swap_remove(0);
    let IpHeaders::Ipv4(header, _) = &whole else { panic!("not IPv4") };
    let mut add = |name: String, packet| {
        cases.push(Case { name, packet, ancillary: ancillary(&whole), kept: 0, decided_at: 0 });
    };
    for offset in [1, 0x100, 0x1000, 0x1fff] {
        for more_fragments in [false, true] {
            let fragment_offset = IpFragOffset::try_new(offset).unwrap();
            let later = ip(Ipv4Header { fragment_offset, more_fragments, ..header.clone() });
            add(format!("fragment at {offset}"), udp(&later, *PORTS.start(), *PORTS.start()));
            add(format!("fragment at {offset}"), icmp(&later, 11, [0; 4]));
        }
    }
    for words in 0..5 {
        let mut packet = icmp(&whole, 11, [0; 4]);
        packet[0] = 0x40 | words;
        // What a header so short would make of the bytes must not count.
        packet[usize::from(words) * 4] = if words == 0 { 0x40 } else { 11 };
        add(format!("a header of {words} words"), packet);
    }
    cases
}

#[test]
fn decides_every_class_at_every_length() {
    let program = capture_filter(&spec());
    for case in admitted().into_iter().chain(refused()) {
        for length in 0..=case.packet.len() {
            let expected = if length >= case.decided_at { case.kept } else { 0 };
            let kept = program.run(&case.packet[..length], case.ancillary);
            assert_eq!(kept, expected, "{} cut to {length} bytes", case.name);
        }
    }
}

#[test]
fn classes_have_packets_long_enough_to_decide() {
    for case in admitted() {
        assert!(case.decided_at <= case.packet.len(), "{}", case.name);
    }
}

#[test]
fn snap_lengths_are_those_of_the_spec() {
    let spec = FilterSpec { snap_lengths: SnapLengths { errors: 3000, others: 90 }, ..spec() };
    let program = capture_filter(&spec);
    for case in admitted() {
        let expected = if case.kept == ERRORS { 3000 } else { 90 };
        assert_eq!(program.run(&case.packet, case.ancillary), expected, "{}", case.name);
    }
}

#[test]
fn an_empty_block_admits_nothing_and_a_full_one_everything() {
    #[expect(clippy::reversed_empty_ranges, reason = "that is what an empty block looks like")]
    let empty = FilterSpec { ports: 5..=4, echo_ids: 5..=4, ..spec() };
    let full = FilterSpec { ports: 0..=u16::MAX, echo_ids: 0..=u16::MAX, ..spec() };
    let (empty, full) = (capture_filter(&empty), capture_filter(&full));
    for (_, headers) in ip_headers() {
        let own = ancillary(&headers);
        for number in [0, 4, 5, u16::MAX] {
            let echo = echo(&headers, icmp_types(&headers).1[0], number);
            for packet in [udp(&headers, number, number), tcp(&headers, number, number), echo] {
                assert_eq!((empty.run(&packet, own), full.run(&packet, own)), (0, OTHERS), "{number}");
            }
        }
    }
}

/// What the filter should do, said once more without a program.
fn model(packet: &[u8], ancillary: Ancillary) -> Option<u32> {
    const FRAGMENT_OFFSET: u16 = 0x1fff;
    let byte = |at: usize| packet.get(at).copied();
    let half = |at: usize| Some(u16::from_be_bytes([byte(at)?, byte(at + 1)?]));
    if ![HOST, OUTGOING].contains(&ancillary.packet_type) {
        return None;
    }
    let (transport, protocol) = match (ancillary.protocol, byte(0)?) {
        (IPV4, first @ 0x45..=0x4f) if half(6)? & FRAGMENT_OFFSET == 0 => {
            (usize::from(first & 0xf) * 4, byte(9)?)
        }
        (IPV6, 0x60..=0x6f) if [0, 43, 60].contains(&byte(6)?) => return Some(ERRORS),
        (IPV6, 0x60..=0x6f) => (40, byte(6)?),
        _ => return None,
    };
    match (ancillary.protocol, protocol) {
        (IPV4, 1) if [3, 11, 12].contains(&byte(transport)?) => Some(ERRORS),
        (IPV6, 58) if (1..=4).contains(&byte(transport)?) => Some(ERRORS),
        (IPV4, 1) if ![0, 8].contains(&byte(transport)?) => None,
        (IPV6, 58) if ![128, 129].contains(&byte(transport)?) => None,
        (IPV4, 1) | (IPV6, 58) => IDS.contains(&half(transport + 4)?).then_some(OTHERS),
        (_, 6 | 17) => {
            let within = PORTS.contains(&half(transport)?) || PORTS.contains(&half(transport + 2)?);
            within.then_some(OTHERS)
        }
        _ => None,
    }
}

/// The link header before an IP header, by the `EtherType` of that.
type LinkHeader = fn(u16) -> Vec<u8>;

/// A link of BSD: the filter's base, and what stands before an IP header there.
const BSD_LINKS: [(Base, LinkHeader); 3] = [
    (Base::Ethernet, |ethertype| [&[0x45; 12][..], &ethertype.to_be_bytes()].concat()),
    (Base::Loopback, |ethertype| if ethertype == IPV4 { vec![2, 0, 0, 0] } else { vec![30, 0, 0, 0] }),
    (Base::Raw, |_| Vec::new()),
];

/// Their packets have no type: all that an interface shows which is not promiscuous are ours.
#[test]
fn decides_alike_behind_the_link_headers_of_bsd() {
    for (base, header) in BSD_LINKS {
        let program = capture_filter(&FilterSpec { base, ..spec() });
        for case in admitted().into_iter().chain(refused()) {
            let family = if case.packet[0] >> 4 == 4 { IPV4 } else { IPV6 };
            let Case { name, packet, ancillary, kept, decided_at } = case;
            if ancillary.protocol != family || ![HOST, OUTGOING].contains(&ancillary.packet_type) {
                continue;
            }
            let framed = [header(family), packet].concat();
            let decided_at = decided_at + usize::try_from(base.ip_header()).unwrap();
            for length in 0..=framed.len() {
                let expected = if length >= decided_at { kept } else { 0 };
                let kept = program.run(&framed[..length], Ancillary::default());
                assert_eq!(kept, expected, "{base:?}, {name} cut to {length} bytes");
            }
        }
    }
}

#[test]
fn other_families_are_refused_behind_the_link_headers_of_bsd() {
    let (_, v4) = ip_headers().swap_remove(0);
    let good = udp(&v4, *PORTS.start(), OTHER_PORT);
    let passes = |base, header: &[u8]| {
        capture_filter(&FilterSpec { base, ..spec() })
            .run(&[header, &good[..]].concat(), Ancillary::default())
    };
    for (base, header) in BSD_LINKS {
        assert_eq!(passes(base, &header(IPV4)), OTHERS, "{base:?}");
    }
    for ethertype in [0, 4, 0x0806, 0x8100, 0x0008, IPV6] {
        let frame = [&[0x45; 12][..], &ethertype.to_be_bytes()].concat();
        assert_eq!(passes(Base::Ethernet, &frame), 0, "{ethertype:#x}");
    }
    // OSI, Linux's AF_INET6, that of FreeBSD, and AF_INET in network order.
    for family in [[7, 0, 0, 0], [10, 0, 0, 0], [28, 0, 0, 0], [0, 0, 0, 2], [30, 0, 0, 0]] {
        assert_eq!(passes(Base::Loopback, &family), 0, "{family:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_its_description_on_any_packet(
        case in select(admitted()),
        changes in proptest::collection::vec(
            (any::<Index>(), prop_oneof![any::<u8>(), select(&[0, 1, 6, 17, 43, 58, 60, 0x12, 0x9c, 0x45, 0x60][..])]),
            0..4,
        ),
        length in any::<Index>(),
    ) {
        let mut packet = case.packet;
        for (at, byte) in changes {
            // The bytes that decide are in front.
            let at = at.index(packet.len().min(48));
            packet[at] = byte;
        }
        packet.truncate(length.index(packet.len()) + 1);
        let kept = capture_filter(&spec()).run(&packet, case.ancillary);
        prop_assert_eq!(kept, model(&packet, case.ancillary).unwrap_or(0));
    }
}

#[test]
fn reads_well() {
    let listing = "\
(000) ld       #pkttype
(001) jeq      #0x0             jt 3	jf 2
(002) jeq      #0x4             jt 3	jf 47
(003) ld       #proto
(004) jeq      #0x800           jt 6	jf 5
(005) jeq      #0x86dd          jt 16	jf 47
(006) ldb      [0]
(007) jge      #0x45            jt 8	jf 47
(008) jgt      #0x4f            jt 47	jf 9
(009) ldh      [6]
(010) jset     #0x1fff          jt 47	jf 11
(011) ldxb     4*([0]&0xf)
(012) ldb      [9]
(013) jeq      #0x1             jt 27	jf 14
(014) jeq      #0x11            jt 41	jf 15
(015) jeq      #0x6             jt 41	jf 47
(016) ldb      [0]
(017) and      #0xf0
(018) jeq      #0x60            jt 19	jf 47
(019) ldx      #0x28
(020) ldb      [6]
(021) jeq      #0x3a            jt 33	jf 22
(022) jeq      #0x11            jt 41	jf 23
(023) jeq      #0x6             jt 41	jf 24
(024) jeq      #0x0             jt 48	jf 25
(025) jeq      #0x2b            jt 48	jf 26
(026) jeq      #0x3c            jt 48	jf 47
(027) ldb      [x + 0]
(028) jeq      #0xb             jt 48	jf 29
(029) jeq      #0x3             jt 48	jf 30
(030) jeq      #0xc             jt 48	jf 31
(031) jeq      #0x0             jt 38	jf 32
(032) jeq      #0x8             jt 38	jf 47
(033) ldb      [x + 0]
(034) jge      #0x1             jt 35	jf 36
(035) jgt      #0x4             jt 36	jf 48
(036) jeq      #0x81            jt 38	jf 37
(037) jeq      #0x80            jt 38	jf 47
(038) ldh      [x + 4]
(039) jge      #0x1200          jt 40	jf 47
(040) jgt      #0x12ff          jt 47	jf 49
(041) ldh      [x + 0]
(042) jge      #0x9c40          jt 43	jf 44
(043) jgt      #0x9d3f          jt 44	jf 49
(044) ldh      [x + 2]
(045) jge      #0x9c40          jt 46	jf 47
(046) jgt      #0x9d3f          jt 47	jf 49
(047) ret      #0
(048) ret      #2048
(049) ret      #256";
    assert_eq!(capture_filter(&spec()).to_string(), listing);
}
