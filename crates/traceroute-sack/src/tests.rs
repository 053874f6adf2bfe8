//! Handshakes, probes and answers, byte by byte.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use traceroute_core::{Direction, Identity, Nonce, Stamp, Timestamp, Ttl};
use traceroute_wire::{Endpoints, IpHeader, protocol, tcp};

use super::*;

const LOCAL: u16 = 61_000;
const PORT: u16 = 443;
/// This host's first number: the probes' go round the end of the sequence space.
const OURS: u32 = 0xffff_fff0;
const THEIRS: u32 = 7_000;
const LABEL: u32 = 0x1234;
/// The flow label that this host's kernel has chosen.
const KERNELS_LABEL: u32 = 0xabcde;

const SACK_PERMITTED: [u8; 4] = [1, 1, 4, 2];

const V4: (IpAddr, IpAddr) =
    (IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V4(Ipv4Addr::new(198, 51, 100, 9)));
const V6: (IpAddr, IpAddr) = (
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 9)),
);

fn probe(ttl: u8) -> ProbeId {
    ProbeId::first(Ttl::new(ttl).expect("not zero"))
}

fn captured(direction: Direction, datagram: &[u8]) -> Captured<'_> {
    Captured { direction, stamp: Stamp::kernel(Timestamp::ZERO), interface: 1, datagram }
}

const SEGMENT: TcpSegment<'static> = TcpSegment {
    source_port: 0,
    destination_port: 0,
    sequence: 0,
    acknowledgement: 0,
    flags: TcpFlags::ACK,
    window: 65_535,
    options: &[],
    payload: &[],
};

fn datagram(from: IpAddr, to: IpAddr, label: u32, segment: &TcpSegment<'_>) -> Vec<u8> {
    let header = IpHeader {
        endpoints: Endpoints::new(from, to).expect("one family"),
        ttl: 60,
        protocol: protocol::TCP,
        label,
        dont_fragment: true,
        traffic_class: 0,
    };
    let mut buffer = [0; 256];
    let length = tcp::write_segment(&header, segment, &mut buffer);
    buffer[..length].to_vec()
}

/// A segment of this host's kernel.
fn ours((source, target): (IpAddr, IpAddr), segment: &TcpSegment<'_>) -> Vec<u8> {
    let segment = TcpSegment { source_port: LOCAL, destination_port: PORT, ..*segment };
    datagram(source, target, KERNELS_LABEL, &segment)
}

/// A segment of the target's.
fn theirs((source, target): (IpAddr, IpAddr), segment: &TcpSegment<'_>) -> Vec<u8> {
    let segment = TcpSegment { source_port: PORT, destination_port: LOCAL, ..*segment };
    datagram(target, source, 0, &segment)
}

/// Options of a SYN or SYN-ACK.
fn options(sack: bool, timestamps: Option<(u32, u32)>) -> Vec<u8> {
    let sack = if sack { &SACK_PERMITTED[..] } else { &[] };
    let timestamps = timestamps.map(|(value, echo)| TcpTimestamps { value, echo }.to_bytes());
    [sack, timestamps.as_ref().map_or(&[], <[u8; 12]>::as_slice)].concat()
}

fn handshake((source, target): (IpAddr, IpAddr)) -> Handshake {
    let nonce = Nonce { label: LABEL, base: 7, token: 1 };
    Handshake::new(source, PORT, &Identity { local: LOCAL, remote: target, nonce }).expect("one family")
}

/// What follows from a handshake in which the two offer this.
fn agreed(
    ends: (IpAddr, IpAddr),
    asks: bool,
    offers: bool,
    timestamps: bool,
) -> Result<SackProbes, Incomplete> {
    let mut handshake = handshake(ends);
    let stamps = |value, echo| timestamps.then_some((value, echo));
    let syn = options(asks, stamps(1_000, 0));
    let syn = TcpSegment { sequence: OURS, flags: TcpFlags::SYN, options: &syn, ..SEGMENT };
    handshake.observe(&captured(Direction::Sent, &ours(ends, &syn)));
    let syn_ack = options(offers, stamps(50, 1_000));
    let syn_ack = TcpSegment {
        sequence: THEIRS,
        acknowledgement: OURS + 1,
        flags: TcpFlags::SYN | TcpFlags::ACK,
        options: &syn_ack,
        ..SEGMENT
    };
    handshake.observe(&captured(Direction::Received, &theirs(ends, &syn_ack)));
    // Two seconds later by this host's clock: a long way.
    let ack = options(false, stamps(3_000, 50));
    let ack = TcpSegment { sequence: OURS + 1, acknowledgement: THEIRS + 1, options: &ack, ..SEGMENT };
    handshake.observe(&captured(Direction::Sent, &ours(ends, &ack)));
    handshake.complete()
}

/// Of the probes, that with TTL 30 has been sent.
fn sent(ends: (IpAddr, IpAddr)) -> SackProbes {
    let mut probes = agreed(ends, true, true, true).expect("both want it");
    probes.encode(probe(30), &mut [0; 128]);
    probes
}

/// The option of a selective acknowledgement.
fn blocks(blocks: &[(u32, u32)]) -> Vec<u8> {
    let length = u8::try_from(2 + 8 * blocks.len()).expect("few");
    let numbers = blocks.iter().flat_map(|(left, right)| [left.to_be_bytes(), right.to_be_bytes()]);
    [1, 1, 5, length].into_iter().chain(numbers.flatten()).collect()
}

#[test]
fn a_probe_leaves_a_gap_and_carries_what_was_agreed_on() {
    let mut probes = agreed(V4, true, true, true).expect("both want it");
    let mut buffer = [0xa5; 128];
    let datagram = probes.encode(probe(9), &mut buffer);
    assert_eq!((datagram.len(), datagram[8], datagram[6]), (20 + 32 + 1, 9, 0));
    assert_eq!(datagram[4..6], [0x12, 0x34]);
    let sequence = OURS.wrapping_add(1 + 16 + 2 * 9);
    let expected = [
        &[0xee, 0x48, 0x01, 0xbb][..],
        &sequence.to_be_bytes(),
        &(THEIRS + 1).to_be_bytes(),
        // Eight words of header, PSH and ACK, a window of 1024.
        &[0x80, 0x18, 0x04, 0x00],
    ];
    assert_eq!(datagram[20..36], expected.concat());
    // Two NOPs, and stamps later than those of the handshake's last segment, by which the target judges them.
    let stamps = [&[1, 1, 8, 10][..], &23_000_u32.to_be_bytes(), &50_u32.to_be_bytes()].concat();
    assert_eq!(datagram[40..52], stamps);
    assert_eq!(datagram[52], 9);

    let mut probes = agreed(V4, true, true, false).expect("both want it");
    assert_eq!(
        probes.encode(probe(9), &mut buffer).len(),
        20 + 20 + 1,
        "no stamps where none were agreed on"
    );
}

#[test]
fn no_two_probes_touch_and_none_is_the_byte_that_comes_next() {
    let mut probes = sent(V4);
    for ttl in 1..=255 {
        assert_eq!(probes.probe_with(probes.sequence(probe(ttl))).is_some(), ttl == 30, "once it is sent");
    }
    for ttl in 1..=255 {
        probes.encode(probe(ttl), &mut [0; 128]);
        let ahead = probes.sequence(probe(ttl)).wrapping_sub(OURS + 1);
        assert_eq!(ahead, 16 + 2 * u32::from(ttl));
        assert_eq!(probes.probe_with(probes.sequence(probe(ttl))), Some(probe(ttl)));
        assert_eq!(probes.probe_with(probes.sequence(probe(ttl)).wrapping_add(1)), None);
    }
    assert_eq!(probes.probe_with(OURS + 1), None);
}

#[test]
fn a_load_balancer_sees_the_connections_flow_label_in_ipv6() {
    let mut probes = sent(V6);
    let mut buffer = [0; 128];
    let datagram = probes.encode(probe(3), &mut buffer);
    assert_eq!(datagram[..4], (0x6000_0000 | KERNELS_LABEL).to_be_bytes());
    assert_eq!(probes.flow().label, KERNELS_LABEL);
}

#[test]
fn what_the_kernel_sends_for_other_connections_is_not_taken_for_this_ones() {
    let mut handshake = handshake(V4);
    let syn_ack = [&SACK_PERMITTED[..], &TcpTimestamps { value: 50, echo: 1_000 }.to_bytes()].concat();
    let syn_ack = TcpSegment { flags: TcpFlags::SYN | TcpFlags::ACK, options: &syn_ack, ..SEGMENT };
    handshake.observe(&captured(Direction::Received, &theirs(V4, &syn_ack)));
    // A segment of another port to the same target, which happens to have the run's label.
    let options = TcpTimestamps { value: 0x8000_0000, echo: 50 }.to_bytes();
    let other = TcpSegment { source_port: LOCAL + 1, destination_port: PORT, options: &options, ..SEGMENT };
    handshake.observe(&captured(Direction::Sent, &datagram(V4.0, V4.1, LABEL, &other)));
    let probes = handshake.complete().expect("the target permits SACK");
    // The kernel's own was not seen: the host masquerades itself.
    assert_eq!(probes.timestamps, Some(TcpTimestamps { value: 21_000, echo: 50 }));
}

#[test]
fn what_is_not_offered_is_refused() {
    let refused = |asks, offers| agreed(V4, asks, offers, true).map(drop);
    assert_eq!(refused(true, false), Err(Incomplete::Refused(SackRefusal::NotOffered)));
    assert_eq!(refused(false, false), Err(Incomplete::Refused(SackRefusal::NotAsked)));
    assert_eq!(handshake(V4).complete().map(drop), Err(Incomplete::NotSeen));
}

#[test]
fn data_that_comes_with_the_handshake_is_remembered() {
    for (payload, expected) in [(&b""[..], None), (b"220 ready", Some(SackRefusal::SpeaksFirst))] {
        let mut handshake = handshake(V4);
        let syn_ack =
            TcpSegment { flags: TcpFlags::SYN | TcpFlags::ACK, options: &SACK_PERMITTED, ..SEGMENT };
        handshake.observe(&captured(Direction::Received, &theirs(V4, &syn_ack)));
        handshake.observe(&captured(Direction::Received, &theirs(V4, &TcpSegment { payload, ..SEGMENT })));
        assert_eq!(handshake.complete().expect("the target permits SACK").refusal(), expected);
    }
}

#[test]
fn only_a_syn_ack_of_the_target_is_one() {
    let segment = TcpSegment {
        sequence: THEIRS,
        acknowledgement: OURS + 1,
        flags: TcpFlags::SYN | TcpFlags::ACK,
        options: &SACK_PERMITTED,
        ..SEGMENT
    };
    let seen = |direction, datagram: &[u8]| {
        let mut handshake = handshake(V4);
        handshake.observe(&captured(direction, datagram));
        handshake.complete().is_ok()
    };
    assert!(seen(Direction::Received, &theirs(V4, &segment)));
    assert!(!seen(Direction::Sent, &theirs(V4, &segment)));
    assert!(!seen(Direction::Received, &ours(V4, &segment)));
    assert!(!seen(Direction::Received, &theirs(V4, &TcpSegment { flags: TcpFlags::ACK, ..segment })));
}

/// What a segment of the target's is taken for.
fn taken(segment: &TcpSegment<'_>) -> Result<Option<u8>, Option<SackRefusal>> {
    let mut probes = sent(V4);
    probes.encode(probe(9), &mut [0; 128]);
    let segment = TcpSegment { acknowledgement: OURS + 1, ..*segment };
    let datagram = theirs(V4, &segment);
    let packet = captured(Direction::Received, &datagram);
    match probes.match_reply(&packet) {
        Some(response) => Ok(response.probe.map(|probe| probe.ttl.get())),
        None => Err(probes.match_refusal(&packet)),
    }
}

fn acknowledging(list: &[(u32, u32)]) -> Result<Option<u8>, Option<SackRefusal>> {
    taken(&TcpSegment { options: &blocks(list), ..SEGMENT })
}

#[test]
fn the_first_block_names_the_probe() {
    let block = |ttl: u32| (OURS.wrapping_add(17 + 2 * ttl), OURS.wrapping_add(18 + 2 * ttl));
    assert_eq!(acknowledging(&[block(30)]), Ok(Some(30)));
    assert_eq!(acknowledging(&[block(9), block(30), block(12)]), Ok(Some(9)));
    // A duplicate: it came twice, and is part of what was there already (RFC 2883 section 4).
    assert_eq!(acknowledging(&[block(30), block(30)]), Ok(Some(30)));
}

#[test]
fn acknowledgements_that_name_no_probe_are_told_apart() {
    assert_eq!(acknowledging(&[]), Err(Some(SackRefusal::NotUsed)));
    assert_eq!(taken(&SEGMENT), Err(Some(SackRefusal::NotUsed)));
    let elsewhere = OURS.wrapping_add(1_000_000);
    assert_eq!(
        acknowledging(&[(elsewhere, elsewhere.wrapping_add(1))]),
        Err(Some(SackRefusal::SequenceShifted))
    );
    // A duplicate of what is acknowledged already.
    assert_eq!(acknowledging(&[(OURS, OURS + 1)]), Err(None));
}

#[test]
fn before_the_first_probe_an_acknowledgement_says_nothing() {
    let probes = agreed(V4, true, true, true).expect("both want it");
    let datagram = theirs(V4, &TcpSegment { acknowledgement: OURS + 1, ..SEGMENT });
    assert_eq!(probes.match_refusal(&captured(Direction::Received, &datagram)), None);
}

#[test]
fn data_of_the_targets_own_is_a_refusal_and_its_end_is_none() {
    let block = blocks(&[(OURS.wrapping_add(17 + 18), OURS.wrapping_add(18 + 18))]);
    let banner = TcpSegment { payload: b"220 ready", flags: TcpFlags::PSH | TcpFlags::ACK, ..SEGMENT };
    assert_eq!(taken(&banner), Err(Some(SackRefusal::SpeaksFirst)));
    assert_eq!(taken(&TcpSegment { options: &block, ..banner }), Err(Some(SackRefusal::SpeaksFirst)));
    assert_eq!(taken(&TcpSegment { flags: TcpFlags::FIN | TcpFlags::ACK, ..SEGMENT }), Err(None));
    // With or without data, neither a handshake nor an abort is the target's word on the method.
    for flags in [TcpFlags::SYN | TcpFlags::ACK, TcpFlags::RST | TcpFlags::ACK] {
        for payload in [&b""[..], b"data"] {
            assert_eq!(taken(&TcpSegment { flags, payload, ..SEGMENT }), Err(None), "{flags:?}");
        }
    }
}

#[test]
fn a_reset_answers_some_probe_only_if_it_refuses_a_segment() {
    let reset = TcpSegment { flags: TcpFlags::RST, sequence: THEIRS + 1, ..SEGMENT };
    assert_eq!(taken(&reset), Ok(None));
    assert_eq!(taken(&TcpSegment { sequence: THEIRS, ..reset }), Err(None), "a number of another connection");
    assert_eq!(taken(&TcpSegment { flags: TcpFlags::RST | TcpFlags::ACK, ..reset }), Err(None), "an abort");
}

/// A time exceeded about a datagram of which 8 bytes are quoted, in IPv4.
fn time_exceeded(datagram: &[u8]) -> Vec<u8> {
    let mut error = alloc::vec![
        0x45, 0, 0, 56, 0, 0, 0, 0, 60, 1, 0, 0, 203, 0, 113, 5, 192, 0, 2, 1, 11, 0, 0, 0, 0, 0, 0, 0
    ];
    error.extend(&datagram[..28]);
    error
}

#[test]
fn a_quoted_number_that_is_not_ours_shows_that_they_are_shifted() {
    let mut probes = sent(V4);
    let mut buffer = [0; 128];
    let own = probes.encode(probe(9), &mut buffer).to_vec();
    let refused = |change: fn(&mut [u8])| {
        let mut quote = own.clone();
        change(&mut quote);
        let error = time_exceeded(&quote);
        let packet = captured(Direction::Received, &error);
        let named = probes.match_reply(&packet).and_then(|response| response.probe);
        let refusal = probes.match_refusal(&packet);
        assert!(refusal.is_none_or(|reason| reason == SackRefusal::SequenceShifted), "{refusal:?}");
        (named, refusal.is_some())
    };
    assert_eq!(refused(|_| ()), (Some(probe(9)), false));
    assert_eq!(refused(|quote| quote[24] ^= 0x40), (None, true));
    // Behind a NAT that rewrites the source address, too, and the port.
    let rewritten = |quote: &mut [u8]| quote[12..16].copy_from_slice(&[203, 0, 113, 7]);
    assert_eq!(refused(rewritten), (Some(probe(9)), false));
    assert_eq!(
        refused(|quote| {
            quote[12..16].copy_from_slice(&[203, 0, 113, 7]);
            quote[21] ^= 1;
            quote[24] ^= 0x40;
        }),
        (None, true)
    );
    // From this host, but from another port: a sister run, whatever its label.
    assert_eq!(
        refused(|quote| {
            quote[21] ^= 1;
            quote[24] ^= 0x40;
        }),
        (None, false)
    );
}

#[test]
fn in_ipv6_a_label_proves_nothing_for_it_is_the_kernels() {
    let mut probes = sent(V6);
    let mut buffer = [0; 128];
    let mut own = probes.encode(probe(9), &mut buffer).to_vec();
    let refused = |quote: &[u8]| {
        // RFC 8200, RFC 4443: time exceeded of 8 bytes, and header and 8 bytes of the probe.
        let mut error = alloc::vec![0x60, 0, 0, 0, 0, 56, 58, 60];
        let (IpAddr::V6(router), IpAddr::V6(source)) = (V6.1, V6.0) else { panic!("IPv6") };
        error.extend(router.octets());
        error.extend(source.octets());
        error.extend([3, 0, 0, 0, 0, 0, 0, 0]);
        error.extend(&quote[..48]);
        probes.match_refusal(&captured(Direction::Received, &error)).is_some()
    };
    assert!(!refused(&own), "our own");
    own[44] ^= 0x40;
    assert!(refused(&own), "our ports with another number");
    own[41] ^= 1;
    assert!(!refused(&own), "a sister's ports");
    own[23] ^= 1;
    assert!(!refused(&own), "somebody else's address");
}
