//! Reading a packet allocates nothing.

mod support;

use std::hint::black_box;

use support::{ICMP, ICMPV6, UDP, V4, V6, icmp, ip, ipv6, object, structure, udp_segment};
use traceroute_testnet::heap::{Counting, allocations};
use traceroute_wire::icmp::{echo_request_sum, write_echo_request};
use traceroute_wire::{
    Datagram, Endpoints, IcmpMessage, Quoted, Sum, TcpFlags, TcpSegment, TcpTimestamps, Udp, tcp, udp,
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn read(bytes: &[u8]) {
    let Some(datagram) = Datagram::parse(bytes) else { return };
    let endpoints = datagram.header.endpoints;
    if let Some(udp) = Udp::parse(datagram.payload) {
        black_box(udp.payload_sum(endpoints));
    }
    if let Some(segment) = TcpSegment::parse(datagram.payload) {
        black_box(segment.options().last());
        black_box(segment.sack_blocks().last());
    }
    if let Some(IcmpMessage::Error(error)) = black_box(IcmpMessage::parse(&datagram)) {
        read_quote(error.quoted);
        if let Some(extensions) = error.extensions {
            black_box(extensions.mpls_labels().last());
            black_box(extensions.interfaces().last());
        }
    }
}

fn read_quote(quoted: Quoted<'_>) {
    let endpoints = quoted.header.endpoints;
    black_box(quoted.tcp());
    black_box(quoted.udp().and_then(|udp| udp.payload_sum(endpoints)));
    if let Some(echo) = quoted.echo_request() {
        black_box(echo_request_sum(endpoints, 1, 2, echo.payload.len(), Sum::bytes(echo.payload)));
    }
}

fn errors(endpoints: Endpoints) -> Vec<Vec<u8>> {
    let (protocol, request, time_exceeded, length) = match endpoints {
        Endpoints::V4 { .. } => (ICMP, 8, 11, [0, 32, 0, 0]),
        Endpoints::V6 { .. } => (ICMPV6, 128, 3, [16, 0, 0, 0]),
    };
    let probe = ip(endpoints, UDP, &udp_segment(&[7; 120]));
    let ping = ip(endpoints, protocol, &[request, 0, 1, 2, 3, 4, 5, 6, 7]);
    let interface = [0, 0, 0, 1, 0, 1, 0, 0, 192, 0, 2, 1, 8, b'e', b't', b'h', b'0', 0, 0, 0, 0, 0, 5, 220];
    let extensions = structure(&[object(1, 1, &[0, 1, 1, 1]), object(2, 0x0f, &interface)].concat());
    let body = [&probe[..128], &extensions].concat();
    vec![
        icmp(endpoints, time_exceeded, 0, length, &body),
        icmp(endpoints, time_exceeded, 0, [0; 4], &ping),
        probe,
        ping,
    ]
}

#[test]
fn reading_and_writing_packets_allocates_nothing() {
    assert_eq!(allocations(|| drop(black_box(Box::new(1)))), 1, "the counter works");

    let chain = [&[44, 0, 1, 4, 0, 0, 0, 0][..], &[UDP, 0, 0x10, 0, 1, 2, 3, 4]].concat();
    let fragment = ipv6(0, &[&chain[..], &udp_segment(b"data")].concat());
    // Every option there is, and a byte of data.
    let options =
        [&[1, 1, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2][..], &[5, 10, 0, 0, 0, 3, 0, 0, 0, 4]].concat();
    let acknowledgement =
        [&[0, 1, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0xb0, 0x10, 0, 5, 0, 0, 0, 0][..], &options, &[9]].concat();
    let acknowledgement = ip(V4, support::TCP, &acknowledgement);
    let packets = [errors(V4), errors(V6), vec![fragment, acknowledgement]].concat();
    for packet in &packets {
        for length in 0..=packet.len() {
            assert_eq!(allocations(|| read(&packet[..length])), 0, "{length} bytes of {packet:x?}");
        }
    }

    let mut buffer = [0; 1500];
    let options = TcpTimestamps { value: 1, echo: 2 }.to_bytes();
    let segment = TcpSegment {
        source_port: 1,
        destination_port: 2,
        sequence: 3,
        acknowledgement: 4,
        flags: TcpFlags::ACK,
        window: 5,
        options: &options,
        payload: &[6],
    };
    for endpoints in [V4, V6] {
        let header = support::header(endpoints, UDP);
        let work = || {
            black_box(udp::write_datagram(&header, 1, 2, &[3; 32], &mut buffer));
            black_box(tcp::write_segment(&header, &segment, &mut buffer));
            black_box(write_echo_request(&header, 1, 2, &[3; 32], &mut buffer));
        };
        assert_eq!(allocations(work), 0, "writing in {endpoints:?}");
    }
}
