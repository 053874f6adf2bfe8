//! What it takes to read a packet.

#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;

use criterion::Criterion;
use support::{TCP, UDP, V4, V6, icmp, ip, object, structure, udp_segment};
use traceroute_wire::{Datagram, Endpoints, IcmpMessage, TcpSegment};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for (family, endpoints) in [("ipv4", V4), ("ipv6", V6)] {
        for (case, packet) in packets(endpoints) {
            assert!(parse(&packet).is_some(), "{case} is a message");
            criterion.bench_function(&format!("parse/icmp/{family}/{case}"), |bencher| {
                bencher.iter(|| parse(black_box(&packet)).is_some());
            });
        }
        let packet = ip(endpoints, TCP, &syn_ack());
        assert_eq!(parse_tcp(&packet), Some((true, true)), "it permits SACK and has time stamps");
        criterion.bench_function(&format!("parse/tcp/{family}/syn_ack"), |bencher| {
            bencher.iter(|| parse_tcp(black_box(&packet)));
        });
    }
    criterion.final_summary();
}

fn parse(packet: &[u8]) -> Option<IcmpMessage<'_>> {
    // The message is used as a whole, or reading its fields would be left out.
    black_box(IcmpMessage::parse(&Datagram::parse(packet)?))
}

/// What a SYN-ACK's options say: whether selective acknowledgements are welcome, and whether there are time stamps.
fn parse_tcp(packet: &[u8]) -> Option<(bool, bool)> {
    let segment = black_box(TcpSegment::parse(Datagram::parse(packet)?.payload)?);
    Some((segment.permits_sack(), segment.timestamps().is_some()))
}

/// A time exceeded that quotes 128 bytes of a UDP datagram, with an MPLS label; two that quote only 8 bytes behind the
/// IP header, of UDP and of TCP; and an echo reply.
fn packets(endpoints: Endpoints) -> [(&'static str, Vec<u8>); 4] {
    let (time_exceeded, echo_reply, quote_len) = match endpoints {
        Endpoints::V4 { .. } => (11, 0, [0, 128 / 4, 0, 0]),
        Endpoints::V6 { .. } => (3, 129, [128 / 8, 0, 0, 0]),
    };
    let full = ip(endpoints, UDP, &udp_segment(&[7; 120]));
    let mpls = structure(&object(1, 1, &[0, 1, 1, 1]));
    let short = ip(endpoints, UDP, &udp_segment(&[]));
    let short_tcp = ip(endpoints, TCP, &syn_ack()[..8]);
    [
        ("full_quote_mpls", icmp(endpoints, time_exceeded, 0, quote_len, &[&full[..128], &mpls].concat())),
        ("8_byte_quote", icmp(endpoints, time_exceeded, 0, [0; 4], &short)),
        ("8_byte_quote_tcp", icmp(endpoints, time_exceeded, 0, [0; 4], &short_tcp)),
        ("echo_reply", icmp(endpoints, echo_reply, 0, [0x10, 0x92, 0, 3], &[7; 10])),
    ]
}

/// A SYN-ACK (RFC 9293, section 3.1) with the options in the order that Linux writes them: maximum segment size, SACK
/// permitted, time stamps, padding, window scale.
fn syn_ack() -> Vec<u8> {
    let numbers = [0x00, 0x50, 0xee, 0x48, 1, 2, 3, 4, 5, 6, 7, 8];
    let rest = [0xa0, 0x12, 0xfe, 0x88, 0, 0, 0, 0];
    let options = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 3, 3, 7];
    [&numbers[..], &rest, &options].concat()
}
