//! The simulated network as real programs see it.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "common/debian.rs"]
mod debian;

use std::net::IpAddr;
use std::time::Duration;

use debian::traceroute;
use traceroute_testnet::sim::real_time::SimulatedLink;
use traceroute_testnet::sim::{
    Extensions, MplsLabel, PortMapping, RateLimit, Refusal, SourceNat, Topology, Unreachable,
};
use traceroute_testnet::{AddressPlan, Capture, Error};

const MS: Duration = Duration::from_millis(1);

/// A path with something of everything that a tool can see.
fn topology() -> Topology {
    let outside = AddressPlan::Public.host(9, 9);
    let nat = SourceNat { addresses: outside, ports: PortMapping::From(30_000), translates_quotes: true };
    Topology::chain(5)
        .with_router(2, |r| r.source_nat = Some(nat.clone()))
        .with_router(3, |r| r.answers.silent = true)
        .with_router(4, |r| {
            let label = MplsLabel { label: 16_001, exp: 0, bottom: true, ttl: 1 };
            r.answers.extensions = Some(Extensions::mpls(&[label]));
        })
        .with_router(5, |r| r.answers.rate_limit = Some(RateLimit::LINUX))
}

fn is_traced(link: &SimulatedLink) {
    for family in [IpAddr::from(link.target().v4), link.target().v6.into()] {
        let plan = AddressPlan::default();
        let mut expected: Vec<_> = (0..6).map(|i| plan.right(i).of_family(family).to_string()).collect();
        "*".clone_into(&mut expected[2]);
        for method in ["-U", "-I", "-T"] {
            let seen = traceroute(link.client(), &[method, "-N16", "-w0.5", &family.to_string()]);
            assert_eq!(seen, expected, "{method}\n{}", link.recorder().timeline());
        }
    }
}

#[test]
fn a_network_behind_veth_is_traced_by_debians_traceroute() {
    let link = SimulatedLink::veth(topology(), 1).unwrap();
    assert_eq!(link.interface(), "eth0");
    is_traced(&link);
}

#[test]
fn a_network_behind_tun_is_traced_by_debians_traceroute() {
    let link = SimulatedLink::tun(topology(), 1).unwrap();
    assert_eq!(link.interface(), "tun0");
    is_traced(&link);
}

#[test]
fn extensions_are_understood_by_debians_traceroute() {
    let link = SimulatedLink::veth(topology(), 1).unwrap();
    for address in ["10.71.5.2", "fd00:71:5::2"] {
        let arguments = ["-n", "-e", "-q1", "-f4", "-m4", address];
        let output = link.client().command("traceroute").args(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("<MPLS:L=16001,E=0,S=1,T=1>"), "{text}");
    }
}

#[test]
fn refusals_are_understood_by_debians_traceroute() {
    let topology = Topology::chain(3)
        .with_router(1, |r| r.refuses = Some(Refusal::Firewall(Unreachable::AdminProhibited)));
    let link = SimulatedLink::veth(topology, 1).unwrap();
    assert_eq!(traceroute(link.client(), &["10.71.3.2"]), ["10.71.0.2", "10.71.0.2 !X"]);
    assert_eq!(traceroute(link.client(), &["fd00:71:3::2"]), ["fd00:71::2", "fd00:71::2 !X"]);
}

/// How far the best of some round trips is from what the topology says, by the stamps of the client's kernel. None may
/// be early; how late most are is up to what else runs on the machine.
fn delay_error(link: &SimulatedLink, expected: Duration) -> Duration {
    let capture = Capture::start(link.client(), link.interface()).unwrap();
    let ping = ["-n", "-c21", "-i0.01", "-W1", "10.71.1.2"];
    assert!(
        link.client()
            .command("ping")
            .args(ping)
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap()
            .success()
    );
    let packets = capture.stop().unwrap();
    let (sent, received): (Vec<_>, Vec<_>) = packets
        .iter()
        .filter(|p| p.datagram[0] >> 4 == 4 && p.datagram[9] == 1)
        .partition(|p| p.direction == traceroute_core::Direction::Sent);
    assert_eq!((sent.len(), received.len()), (21, 21));
    let round_trips = sent.iter().zip(&received).map(|(s, r)| r.at.duration_since(s.at).unwrap());
    round_trips.map(|r| r.checked_sub(expected).expect("never early")).min().unwrap()
}

#[test]
fn delays_are_kept() {
    let topology = || Topology::chain(1).with_links(|l| l.set_delay(3 * MS + MS / 4));
    for link in [SimulatedLink::veth(topology(), 1).unwrap(), SimulatedLink::tun(topology(), 1).unwrap()] {
        let error = delay_error(&link, 13 * MS);
        assert!(error < 3 * MS, "{}: {error:?}", link.interface());
    }
}

#[test]
fn the_recorder_shows_what_passed_and_nothing_else() {
    let link = SimulatedLink::veth(Topology::chain(1), 1).unwrap();
    assert_eq!(link.recorder().timeline(), "");
    let socket = link.client().run(|| std::net::UdpSocket::bind("10.71.0.1:0")).unwrap();
    socket.send_to(b"anyone?", "224.0.0.1:9").unwrap();
    assert_eq!(traceroute(link.client(), &["-m1", "10.71.1.2"]), ["10.71.0.2"]);
    let outline = link.recorder().outline();
    let lines: Vec<_> = outline.lines().map(|l| l.split_once(' ').unwrap().1).collect();
    assert_eq!(lines, ["> udp ttl=1", "< time-exceeded from 10.71.0.2"]);
}

#[test]
fn the_device_ends_with_the_link() -> Result<(), Error> {
    let link = SimulatedLink::tun(Topology::chain(1), 1)?;
    let namespace = link.client().clone();
    drop(link);
    let devices = namespace.command("ip").args(["-brief", "link"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&devices.stdout).contains("tun0"));
    Ok(())
}
