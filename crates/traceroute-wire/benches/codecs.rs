//! What it takes to read a packet.

#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;

use criterion::Criterion;
use support::{UDP, V4, V6, icmp, ip, object, structure, udp_segment};
use traceroute_wire::{Datagram, Endpoints, IcmpMessage};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for (family, endpoints) in [("ipv4", V4), ("ipv6", V6)] {
        for (case, packet) in packets(endpoints) {
            assert!(parse(&packet).is_some(), "{case} is a message");
            criterion.bench_function(&format!("parse/icmp/{family}/{case}"), |bencher| {
                bencher.iter(|| parse(black_box(&packet)).is_some());
            });
        }
    }
    criterion.final_summary();
}

fn parse(packet: &[u8]) -> Option<IcmpMessage<'_>> {
    // The message is used as a whole, or reading its fields would be left out.
    black_box(IcmpMessage::parse(&Datagram::parse(packet)?))
}

/// A time exceeded that quotes 128 bytes of a UDP datagram, with an MPLS label; one that quotes only 8 bytes behind the
/// IP header; and an echo reply.
fn packets(endpoints: Endpoints) -> [(&'static str, Vec<u8>); 3] {
    let (time_exceeded, echo_reply, quote_len) = match endpoints {
        Endpoints::V4 { .. } => (11, 0, [0, 128 / 4, 0, 0]),
        Endpoints::V6 { .. } => (3, 129, [128 / 8, 0, 0, 0]),
    };
    let full = ip(endpoints, UDP, &udp_segment(&[7; 120]));
    let mpls = structure(&object(1, 1, &[0, 1, 1, 1]));
    let short = ip(endpoints, UDP, &udp_segment(&[]));
    [
        ("full_quote_mpls", icmp(endpoints, time_exceeded, 0, quote_len, &[&full[..128], &mpls].concat())),
        ("8_byte_quote", icmp(endpoints, time_exceeded, 0, [0; 4], &short)),
        ("echo_reply", icmp(endpoints, echo_reply, 0, [0x10, 0x92, 0, 3], &[7; 10])),
    ]
}
