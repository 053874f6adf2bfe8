//! Finding the runs of a packet allocates nothing, and a run in the index costs no allocation of its own.

use std::hint::black_box;
use std::net::IpAddr;

use traceroute_core::{Captured, Demultiplexer, Direction, FlowKey, PacketKeys, Protocol, Stamp, Timestamp};
use traceroute_testnet::heap::{Counting, allocations};
use traceroute_wire::{Endpoints, IpHeader, protocol, udp};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const TARGET: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 9));
const RUNS: u16 = 10_000;

fn flow(run: u16) -> FlowKey {
    FlowKey { protocol: Protocol::Udp, local: 50_000 + run, remote: TARGET, label: 1 + u32::from(run) }
}

#[test]
fn the_index_allocates_only_to_grow() {
    assert_eq!(allocations(|| drop(black_box(Box::new(1)))), 1, "the counter works");

    let mut index = Demultiplexer::default();
    let growth = allocations(|| (0..RUNS).for_each(|run| index.insert(&flow(run), run)));
    // Two tables that double: 10,000 entries are reached in less than 14 steps from one on.
    assert!(growth <= 2 * 14, "{growth} allocations for {RUNS} runs");

    let mut buffer = [0; 64];
    for run in 0..RUNS {
        let FlowKey { local, label, .. } = flow(run);
        let endpoints = Endpoints::new(SOURCE, TARGET).expect("one family");
        let header = IpHeader {
            endpoints,
            traffic_class: 0,
            ttl: 1,
            protocol: protocol::UDP,
            label,
            dont_fragment: true,
        };
        let length = udp::write_datagram(&header, local, 33_434, b"probe", &mut buffer);
        let packet = Captured {
            direction: Direction::Sent,
            stamp: Stamp::kernel(Timestamp::ZERO),
            interface: 1,
            datagram: &buffer[..length],
        };
        let find = || {
            let keys = PacketKeys::of(&packet).expect("a probe");
            assert!(index.candidates(&keys).eq([&run]));
        };
        assert_eq!(allocations(find), 0, "finding run {run}");
    }

    assert_eq!(allocations(|| (0..RUNS).for_each(|run| index.remove(&flow(run), &run))), 0);
}
