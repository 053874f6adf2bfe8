//! Paths of real kernels: what is found, how fast, and with which packets.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;
#[path = "common/wire.rs"]
mod wire;

use std::collections::HashMap;
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use common::{METHODS, cases, hops, path, targets, trace};
use traceroute_core::Direction;
use traceroute_testnet::kernel::Chain;
use traceroute_testnet::{Capture, CapturedPacket};
use wire::{Probe, probes};

const DEFAULT_MAX_TTL: u8 = 30;

/// Traces while the client's link is captured.
fn captured(chain: &Chain, arguments: &[&str]) -> (common::Report, Vec<CapturedPacket>) {
    let capture = Capture::start(chain.client(), "right").unwrap();
    let outcome = trace(chain.client(), arguments);
    (outcome.report(), capture.stop().unwrap())
}

#[test]
fn eight_routers_are_found_by_every_method_in_both_families() {
    let chain = Chain::builder().build().unwrap();
    for (method, target) in cases(&chain) {
        let outcome = trace(chain.client(), &["-P", method, "-q3", "-Q1", &target.to_string()]);
        let report = outcome.report();
        report.assert_reached(3, &path(&chain, target));
        report.assert_end_to_end(1, 1);
        for run in report.runs() {
            assert_eq!(run["source"]["ip_address"], chain.client().addresses().of_family(target).to_string());
            assert_eq!(run["destination"]["ip_address"], target.to_string());
        }
    }
}

#[test]
fn without_end_to_end_probes_the_program_ends_as_soon_as_the_path_is_known() {
    let chain = Chain::builder().build().unwrap();
    for (method, target) in cases(&chain) {
        let outcome = trace(chain.client(), &["-P", method, "-q1", "-Q0", &target.to_string()]);
        outcome.report().assert_reached(1, &path(&chain, target));
        assert!(outcome.took < Duration::from_secs(1), "{method} to {target}: {:?}", outcome.took);
    }
}

#[test]
fn the_sounding_comes_first_and_at_most_one_more_probe_goes_beyond_the_destination() {
    let chain = Chain::builder().build().unwrap();
    let distance = u8::try_from(chain.routers()).unwrap() + 1;
    for (method, target) in cases(&chain) {
        let (report, packets) = captured(&chain, &["-P", method, "-q1", "-Q0", &target.to_string()]);
        report.assert_reached(1, &path(&chain, target));
        let ttls: Vec<u8> = probes(&packets, target).iter().map(|probe| probe.ttl).collect();
        assert_eq!(ttls.first(), Some(&DEFAULT_MAX_TTL), "{method} to {target}: {ttls:?}");
        let beyond = ttls.iter().filter(|ttl| **ttl > distance).count();
        assert!(beyond <= 2, "{method} to {target}: {ttls:?}");
        let below: Vec<u8> = ttls.into_iter().filter(|ttl| *ttl <= distance).collect();
        assert_eq!(
            below,
            (1..=distance).collect::<Vec<_>>(),
            "{method} to {target}: each TTL once, in order"
        );
    }
}

#[test]
fn with_end_to_end_probes_the_first_of_them_is_the_sounding() {
    let chain = Chain::builder().build().unwrap();
    for (method, target) in cases(&chain) {
        let (_, packets) = captured(&chain, &["-P", method, "-q2", "-Q1", &target.to_string()]);
        let probes = probes(&packets, target);
        let [first, runs @ ..] = probes.as_slice() else { panic!("no probe") };
        assert_eq!(first.ttl, DEFAULT_MAX_TTL);
        assert!(runs.iter().all(|probe| probe.flow != first.flow), "on a flow of its own");
    }
}

#[test]
fn the_probes_of_a_run_are_equal_in_all_that_load_balancers_hash() {
    let chain = Chain::builder().build().unwrap();
    for (method, target) in cases(&chain) {
        let (_, packets) = captured(&chain, &["-P", method, "-q3", "-Q0", &target.to_string()]);
        let mut flows: HashMap<_, Vec<Probe>> = HashMap::new();
        for probe in probes(&packets, target) {
            flows.entry(probe.flow.clone()).or_default().push(probe);
        }
        assert_eq!(flows.len(), 3, "{method} to {target}: a flow a run, however many probes: {flows:?}");
        for probes in flows.values() {
            assert!(probes.len() > chain.routers(), "{method} to {target}: {probes:?}");
            let mut signatures: Vec<_> = probes.iter().map(|probe| probe.signature).collect();
            signatures.sort_unstable();
            signatures.dedup();
            assert_eq!(signatures.len(), probes.len(), "a quote of 8 bytes tells which probe it is of");
        }
    }
}

#[test]
fn udp_probes_carry_their_mark_and_must_not_be_fragmented() {
    let chain = Chain::builder().build().unwrap();
    for target in targets(&chain) {
        let (_, packets) = captured(&chain, &["-q1", "-Q1", &target.to_string()]);
        let probes = probes(&packets, target);
        assert!(probes.len() > chain.routers());
        for probe in probes {
            assert!(probe.payload.starts_with(b"NSMNC"), "{probe:?}");
            assert!(probe.ipv4.is_none_or(|(_, dont_fragment)| dont_fragment), "{probe:?}");
            assert_eq!(probe.flow.first_bytes[2..4], 33434_u16.to_be_bytes());
        }
    }
}

#[test]
fn a_run_has_one_ipv4_identification_or_flow_label_and_each_run_another() {
    let chain = Chain::builder().build().unwrap();
    for (method, target) in cases(&chain) {
        let (_, packets) = captured(&chain, &["-P", method, "-q3", "-Q0", &target.to_string()]);
        let mut labels = HashMap::new();
        for probe in probes(&packets, target) {
            let label = probe.ipv4.map_or(probe.flow.label, |(id, _)| id.into());
            assert_ne!(label, 0, "the kernel would fill in a label of its own");
            assert_eq!(*labels.entry(probe.flow.clone()).or_insert(label), label, "{method} to {target}");
        }
        let mut labels: Vec<u32> = labels.into_values().collect();
        labels.sort_unstable();
        labels.dedup();
        // Random bits: that two of three are alike happens once in 20,000 times.
        assert!(labels.len() >= 2, "{method} to {target}: {labels:?}");
    }
}

#[test]
fn round_trips_are_those_of_the_wire() {
    let chain = Chain::builder().routers(3).build().unwrap();
    for target in targets(&chain) {
        let (report, packets) = captured(&chain, &["-q1", "-Q0", &target.to_string()]);
        let sent = probes(&packets, target);
        for hop in hops(report.run()) {
            let sent = sent.iter().find(|probe| hop["ttl"] == probe.ttl).unwrap();
            // Every answer here quotes the first 8 bytes of its probe's transport.
            let quotes = |packet: &&CapturedPacket| {
                packet.direction == Direction::Received
                    && packet.datagram.windows(8).any(|bytes| bytes == sent.signature)
            };
            let answer = packets.iter().find(quotes).unwrap();
            let truth = answer.at.duration_since(sent.at).unwrap().as_secs_f64() * 1e3;
            let shown = hop["rtt"].as_f64().unwrap();
            assert!((shown - truth).abs() < 0.005, "{target}: {shown} ms shown, {truth} ms on the wire");
        }
    }
}

/// Default limits, each case in a network of its own, for what one spends another would miss.
fn with_kernel_limits(routers: u8) {
    let case = |method: &str, pick: fn(&Chain) -> IpAddr| {
        let chain = Chain::builder().routers(routers).kernel_rate_limits().build().unwrap();
        let target = pick(&chain);
        let report = trace(chain.client(), &["-P", method, "-q3", "-Q5", &target.to_string()]).report();
        report.assert_end_to_end(5, 5);
        report.assert_reached(3, &path(&chain, target));
    };
    thread::scope(|scope| {
        for method in METHODS {
            scope.spawn(move || case(method, |chain| targets(chain)[0]));
            scope.spawn(move || case(method, |chain| targets(chain)[1]));
        }
    });
}

#[test]
fn with_the_kernels_rate_limits_on_all_of_a_long_path_nothing_is_missing() {
    with_kernel_limits(8);
}

#[test]
fn with_the_kernels_rate_limits_a_neighbour_loses_nothing() {
    with_kernel_limits(0);
}
