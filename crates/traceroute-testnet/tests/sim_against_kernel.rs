//! The simulated network answers as real kernels do, byte for byte.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "common/debian.rs"]
mod debian;

use debian::traceroute;
use traceroute_core::Direction;
use traceroute_testnet::kernel::{Chain, Reject};
use traceroute_testnet::sim::{Network, PortMapping, Refusal, SourceNat, Topology, Unreachable, describe};
use traceroute_testnet::{AddressPlan, Capture};
use traceroute_wire::Timestamp;

const PLAN: AddressPlan = AddressPlan::Public;

/// Without what a kernel draws at random: the outer IPv4 header's id, its flags and its checksum, and the flow label.
fn comparable(mut datagram: Vec<u8>) -> Vec<u8> {
    if datagram[0] >> 4 == 4 {
        datagram[4..8].fill(0);
        datagram[10..12].fill(0);
    } else {
        datagram[1] &= 0xf0;
        datagram[2..4].fill(0);
    }
    datagram
}

/// Traces over the chain, gives the same probes to the network, and compares the answers.
fn compare(chain: &Chain, topology: &Topology, arguments: &[&str]) {
    let capture = Capture::start(chain.client(), "right").unwrap();
    traceroute(chain.client(), arguments);
    let own = chain.client().addresses();
    let (mut sent, mut received) = (Vec::new(), Vec::new());
    for packet in capture.stop().unwrap() {
        let header = etherparse::IpSlice::from_slice(&packet.datagram).unwrap();
        match packet.direction {
            // Not the talk of IPv6.
            Direction::Sent if own.contains(header.source_addr()) => sent.push(packet.datagram),
            Direction::Received if own.contains(header.destination_addr()) => received.push(packet.datagram),
            _ => {}
        }
    }
    assert!(!sent.is_empty());

    let mut network = Network::new(topology.clone(), 1);
    let mut simulated = Vec::new();
    for probe in sent {
        network.inject(Timestamp::ZERO, &probe).unwrap();
        simulated.extend(network.poll(Timestamp::from_nanos(u64::MAX)));
    }
    let describe_all = |datagrams: &[Vec<u8>]| datagrams.iter().map(|d| describe(d)).collect::<Vec<_>>();
    let simulated: Vec<_> = simulated.into_iter().map(|a| a.datagram).collect();
    assert_eq!(describe_all(&received), describe_all(&simulated));
    for (real, simulated) in received.into_iter().zip(simulated) {
        assert_eq!(comparable(real), comparable(simulated));
    }
}

#[test]
fn hops_and_targets_answer_as_linux_does() {
    let chain = Chain::builder().routers(3).addresses(PLAN).build().unwrap();
    chain.client().disable_checksum_offload("right").unwrap();
    chain.target().disable_checksum_offload("left").unwrap();
    let topology = Topology::chain_with(3, PLAN);
    for target in ["198.18.3.2", "2001:db8:3::2"] {
        for method in ["-U", "-I", "-T"] {
            compare(&chain, &topology, &[method, "-N1", target]);
        }
        // Longer than what an ICMP error may quote.
        compare(&chain, &topology, &["-N1", target, "1400"]);
    }
}

#[test]
fn routers_refuse_as_linux_does() {
    for (reject, refuses) in [
        (Reject::Network, Unreachable::Network),
        (Reject::Host, Unreachable::Host),
        (Reject::Port, Unreachable::Port),
        (Reject::AdminProhibited, Unreachable::AdminProhibited),
    ] {
        let chain = Chain::builder().routers(2).addresses(PLAN).build().unwrap();
        chain.router(1).reject(reject).unwrap();
        chain.client().disable_checksum_offload("right").unwrap();
        let topology =
            Topology::chain_with(2, PLAN).with_router(1, |r| r.refuses = Some(Refusal::Firewall(refuses)));
        for target in ["198.18.2.2", "2001:db8:2::2"] {
            compare(&chain, &topology, &["-N1", target]);
        }
    }
}

#[test]
fn routers_without_a_route_answer_as_linux_does() {
    for (route, v4, v6) in [
        ("unreachable", Unreachable::Host, Unreachable::Network),
        ("prohibit", Unreachable::AdminProhibited, Unreachable::AdminProhibited),
    ] {
        let chain = Chain::builder().routers(2).addresses(PLAN).build().unwrap();
        chain.client().disable_checksum_offload("right").unwrap();
        for (target, why) in [("198.18.2.2", v4), ("2001:db8:2::2", v6)] {
            chain.router(1).ip(&format!("route add {route} {target}")).unwrap();
            let refusal = Some(Refusal::NoRoute(why));
            let topology = Topology::chain_with(2, PLAN).with_router(1, |r| r.refuses = refusal);
            compare(&chain, &topology, &["-N1", "-m1", target]);
            compare(&chain, &topology, &["-N1", "-f2", target]);
        }
    }
}

#[test]
fn routers_before_a_narrow_link_answer_as_linux_does() {
    let chain = Chain::builder().routers(2).addresses(PLAN).build().unwrap();
    chain.client().disable_checksum_offload("right").unwrap();
    chain.router(1).ip("link set right mtu 1300").unwrap();
    let refusal = Some(Refusal::TooBig { mtu: 1300 });
    let topology = Topology::chain_with(2, PLAN).with_router(1, |r| r.refuses = refusal);
    for target in ["198.18.2.2", "2001:db8:2::2"] {
        compare(&chain, &topology, &["-F", "-N1", "-m1", target, "1400"]);
        compare(&chain, &topology, &["-F", "-N1", "-f2", "-m2", target, "1400"]);
    }
}

#[test]
fn destination_nat_answers_as_linux_does() {
    let public = PLAN.host(200, 200);
    let chain = Chain::builder().routers(3).addresses(PLAN).build().unwrap();
    let target = chain.target().addresses();
    chain.router(2).dnat(public.v4.into(), target.v4.into()).unwrap();
    chain.router(2).dnat(public.v6.into(), target.v6.into()).unwrap();
    chain.client().disable_checksum_offload("right").unwrap();
    let topology = Topology::chain_with(3, PLAN).with_destination_nat(2, public);
    for target in [public.v4.to_string(), public.v6.to_string()] {
        compare(&chain, &topology, &["-N1", "-m2", &target]);
        compare(&chain, &topology, &["-N1", "-f3", "-m3", &target]);
        compare(&chain, &topology, &["-N1", "-f4", &target]);
        compare(&chain, &topology, &["-I", "-N1", "-f4", &target]);
    }
}

#[test]
fn masquerading_answers_as_linux_does() {
    let chain = Chain::builder().routers(3).addresses(PLAN).build().unwrap();
    chain.router(1).masquerade().unwrap();
    chain.client().disable_checksum_offload("right").unwrap();
    let nat = SourceNat {
        addresses: chain.router(1).right_addresses(),
        ports: PortMapping::Keep,
        translates_quotes: true,
    };
    let topology = Topology::chain_with(3, PLAN).with_router(1, |r| r.source_nat = Some(nat.clone()));
    for target in ["198.18.3.2", "2001:db8:3::2"] {
        compare(&chain, &topology, &["-N1", target]);
        compare(&chain, &topology, &["-I", "-N1", target]);
    }
}
