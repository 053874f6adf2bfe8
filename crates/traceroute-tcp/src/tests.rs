//! Probes and answers, byte by byte.

use core::net::Ipv4Addr;

use traceroute_core::{Direction, Nonce, Stamp, Timestamp, Ttl};
use traceroute_wire::{Endpoints, IpHeader, protocol, tcp};

use super::*;

const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const TARGET: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 9));
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 5));
const LOCAL: u16 = 61_000;
const PORT: u16 = 443;
/// Three probes' numbers go round the end of the sequence space.
const INITIAL: u32 = 0xffff_fffe;

fn probe(ttl: u8) -> ProbeId {
    ProbeId::first(Ttl::new(ttl).expect("not zero"))
}

fn probes(numbering: Numbering) -> TcpProbes {
    let nonce = Nonce { label: 0x1234, base: 7, token: 0x0123_4567_0000_0000 | u64::from(INITIAL) };
    let identity = Identity { local: LOCAL, remote: TARGET, nonce };
    TcpProbes::new(SOURCE, PORT, identity, numbering).expect("one family")
}

/// Probes with the TTLs 30, 1 and 2, sent in this order.
fn three_sent() -> TcpProbes {
    let mut probes = probes(Numbering::Ascending);
    for ttl in [30, 1, 2] {
        probes.encode(probe(ttl), &mut [0; 128]);
    }
    probes
}

fn captured(direction: Direction, datagram: &[u8]) -> Captured<'_> {
    Captured { direction, stamp: Stamp::kernel(Timestamp::ZERO), interface: 1, datagram }
}

const SEGMENT: TcpSegment<'static> = TcpSegment {
    source_port: PORT,
    destination_port: LOCAL,
    sequence: 0,
    acknowledgement: 0,
    flags: TcpFlags::SYN,
    window: 0,
    options: &[],
    payload: &[],
};

/// What a segment that comes from there is taken for.
fn answer(from: IpAddr, segment: &TcpSegment<'_>) -> Option<(Option<u8>, ReplyKind)> {
    let header = IpHeader {
        endpoints: Endpoints::new(from, SOURCE)?,
        ttl: 60,
        protocol: protocol::TCP,
        label: 0,
        dont_fragment: true,
        traffic_class: 0,
    };
    let mut buffer = [0; 128];
    let length = tcp::write_segment(&header, segment, &mut buffer);
    let response = three_sent().match_reply(&captured(Direction::Received, &buffer[..length]))?;
    Some((response.probe.map(|probe| probe.ttl.get()), response.kind))
}

fn flagged(flags: TcpFlags, sequence: u32, acknowledgement: u32) -> Option<(Option<u8>, ReplyKind)> {
    answer(TARGET, &TcpSegment { flags, sequence, acknowledgement, ..SEGMENT })
}

const ACK: TcpFlags = TcpFlags::ACK;
const RST: TcpFlags = TcpFlags::RST;

#[test]
fn a_probe_is_a_bare_syn_numbered_in_the_order_of_sending() {
    let mut probes = probes(Numbering::Ascending);
    let mut buffer = [0xa5; 128];
    for (ttl, sequence) in [(30, INITIAL), (1, INITIAL + 1), (2, 0), (3, 1), (1, INITIAL + 1)] {
        let datagram = probes.encode(probe(ttl), &mut buffer);
        // RFC 791, 9293: 40 bytes, TTL, no DF; ports, number, no acknowledgement, SYN, window 1024, no options.
        assert_eq!((datagram.len(), datagram[8], datagram[6]), (40, ttl, 0));
        assert_eq!(datagram[4..6], [0x12, 0x34]);
        let mut header = [0; 16];
        header[..4].copy_from_slice(&[0xee, 0x48, 0x01, 0xbb]);
        header[4..8].copy_from_slice(&u32::to_be_bytes(sequence));
        header[12..].copy_from_slice(&[0x50, 0x02, 0x04, 0x00]);
        assert_eq!(datagram[20..36], header, "the probe with TTL {ttl}");
    }
}

#[test]
fn the_acknowledgement_number_names_the_probe() {
    for (ttl, acknowledgement) in [(30, INITIAL + 1), (1, 0), (2, 1)] {
        assert_eq!(flagged(TcpFlags::SYN | ACK, 5, acknowledgement), Some((Some(ttl), ReplyKind::SynAck)));
        assert_eq!(flagged(RST | ACK, 0, acknowledgement), Some((Some(ttl), ReplyKind::Reset)));
    }
    for strange in [INITIAL, 2, 77] {
        assert_eq!(flagged(TcpFlags::SYN | ACK, 5, strange), None, "{strange} acknowledges none of ours");
        assert_eq!(flagged(RST | ACK, 0, strange), None, "{strange} acknowledges none of ours");
    }
}

#[test]
fn of_a_reset_without_acknowledgement_the_sequence_number_counts() {
    for (ttl, sequence) in [(30, INITIAL), (1, INITIAL + 1)] {
        assert_eq!(flagged(RST, sequence, 1), Some((Some(ttl), ReplyKind::Reset)), "mirrored");
    }
    assert_eq!(flagged(RST, 77, 1), None, "no number of ours");
    // The third probe's own number is zero: a mirror of it, and not what all probes have as acknowledgement number.
    assert_eq!(flagged(RST, 0, 1), Some((Some(2), ReplyKind::Reset)));
    let mut others = probes(Numbering::Ascending);
    others.seed = 5;
    others.encode(probe(1), &mut [0; 128]);
    let unnamed = others.answered_by(&TcpSegment { flags: RST, ..SEGMENT });
    assert_eq!(unnamed, Some((None, ReplyKind::Reset)), "by RFC 9293 section 3.10.7.1");
}

#[test]
fn bare_acknowledgements_and_other_segments_never_count() {
    for flags in [ACK, TcpFlags::SYN, TcpFlags::FIN | ACK, TcpFlags::PSH | ACK, TcpFlags::default()] {
        assert_eq!(flagged(flags, INITIAL, INITIAL + 1), None, "{flags:?}");
    }
}

#[test]
fn only_the_probed_port_of_the_target_answers() {
    let answered = TcpSegment { flags: RST | ACK, acknowledgement: INITIAL + 1, ..SEGMENT };
    assert!(answer(TARGET, &answered).is_some());
    assert_eq!(answer(STRANGER, &answered), None, "another sender");
    assert_eq!(answer(TARGET, &TcpSegment { source_port: 444, ..answered }), None, "another port");
    assert_eq!(answer(TARGET, &TcpSegment { destination_port: 61_001, ..answered }), None, "for another");
}

/// A time exceeded of a router about a datagram of which so many bytes behind the IP header are quoted.
fn quoted(datagram: &[u8], length: usize) -> Vec<u8> {
    let mut error = alloc::vec![
        0x45, 0, 0, 0, 0, 0, 0, 0, 60, 1, 0, 0, 203, 0, 113, 5, 192, 0, 2, 1, 11, 0, 0, 0, 0, 0, 0, 0
    ];
    error.extend(&datagram[..20 + length]);
    let total = u16::try_from(error.len()).expect("short");
    error[2..4].copy_from_slice(&total.to_be_bytes());
    error
}

#[test]
fn the_kernels_own_reset_is_neither_a_probe_nor_quoted_as_one() {
    let mut probes = three_sent();
    let mut buffer = [0; 128];
    // The kernel resets what the answer to the first probe has opened: with the number of the second.
    let mut reset = probes.encode(probe(1), &mut buffer).to_vec();
    reset[33] = 0x04;
    assert_eq!(probes.match_sent(&captured(Direction::Sent, &reset)), None);
    // It has an identification of its own. Where only eight bytes are quoted, that is all there is.
    reset[4..6].copy_from_slice(&[0, 0]);
    for length in [8, 14, 20] {
        let error = quoted(&reset, length);
        assert_eq!(probes.match_reply(&captured(Direction::Received, &error)), None, "{length} bytes quoted");
    }
    // The probe itself is known by as much, and with a rewritten identification by its control bits.
    let mut own = probes.encode(probe(1), &mut buffer).to_vec();
    let named = |datagram: &[u8], length| {
        let error = quoted(datagram, length);
        let response = probes.match_reply(&captured(Direction::Received, &error));
        response.and_then(|response| response.probe)
    };
    assert_eq!([8, 14, 20].map(|length| named(&own, length)), [Some(probe(1)); 3]);
    own[4..6].copy_from_slice(&[0, 0]);
    assert_eq!([8, 14, 20].map(|length| named(&own, length)), [None, Some(probe(1)), Some(probe(1))]);
}

#[test]
fn random_numbers_name_their_probes_and_have_the_references_identification() {
    let mut probes = probes(Numbering::Random);
    let mut buffer = [0; 128];
    let mut numbers = Vec::new();
    for ttl in 1..=20 {
        let datagram = probes.encode(probe(ttl), &mut buffer).to_vec();
        assert_eq!(datagram[4..6], 41_821_u16.to_be_bytes());
        assert_eq!(probes.match_sent(&captured(Direction::Sent, &datagram)), Some(probe(ttl)));
        let error = quoted(&datagram, 8);
        let response = probes.match_reply(&captured(Direction::Received, &error));
        assert_eq!(response.and_then(|response| response.probe), Some(probe(ttl)));
        numbers.push(u32::from_be_bytes([datagram[24], datagram[25], datagram[26], datagram[27]]));
    }
    numbers.sort_unstable();
    let near = numbers.windows(2).filter(|pair| pair[1] - pair[0] < 1000).count();
    assert_eq!(near, 0, "nothing ascends: {numbers:?}");
}

/// What becomes of the probe with TTL 1 if some of its bytes are other ones: as a copy of what left, and as a quote.
fn changed(changes: &[usize]) -> (Option<ProbeId>, Option<ProbeId>) {
    let mut probes = three_sent();
    let mut datagram = probes.encode(probe(1), &mut [0; 128]).to_vec();
    for at in changes {
        datagram[*at] ^= 1;
    }
    let error = quoted(&datagram, 20);
    let response = probes.match_reply(&captured(Direction::Received, &error));
    let named = response.and_then(|response| response.probe);
    (probes.match_sent(&captured(Direction::Sent, &datagram)), named)
}

#[test]
fn copies_and_quotes_are_of_the_targets_port_and_have_the_label_or_the_source() {
    const LABEL: usize = 5;
    const SOURCE_ADDRESS: usize = 15;
    const TARGET_ADDRESS: usize = 19;
    const SOURCE_PORT: usize = 21;
    const TARGET_PORT: usize = 23;
    const FLAGS: usize = 33;
    let ours = (Some(probe(1)), Some(probe(1)));
    assert_eq!(changed(&[]), ours);
    for rewritten in [&[LABEL][..], &[SOURCE_ADDRESS], &[SOURCE_PORT], &[SOURCE_ADDRESS, SOURCE_PORT]] {
        assert_eq!(changed(rewritten), ours, "{rewritten:?}");
    }
    for other in
        [&[TARGET_ADDRESS][..], &[TARGET_PORT], &[FLAGS], &[LABEL, SOURCE_ADDRESS], &[LABEL, SOURCE_PORT]]
    {
        assert_eq!(changed(other), (None, None), "{other:?}");
    }
}

#[test]
fn what_goes_the_other_way_is_neither() {
    let mut probes = three_sent();
    let datagram = probes.encode(probe(1), &mut [0; 128]).to_vec();
    assert_eq!(probes.match_sent(&captured(Direction::Received, &datagram)), None);
    let error = quoted(&datagram, 20);
    assert_eq!(probes.match_reply(&captured(Direction::Sent, &error)), None);
}
