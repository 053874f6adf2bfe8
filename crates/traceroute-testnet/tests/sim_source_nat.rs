//! Source NAT in the simulated network.

mod common;

use std::net::IpAddr;

use common::{Seen, answer, at, echo_request, families, tcp_syn, udp, with_ttl};
use traceroute_testnet::DualStack;
use traceroute_testnet::sim::{Network, PortMapping, Quote, SourceNat, Topology, UdpService};

const OUTSIDE: DualStack = DualStack {
    v4: std::net::Ipv4Addr::new(203, 0, 113, 7),
    v6: std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7),
};

/// A path whose first router translates.
fn topology(ports: PortMapping, translates_quotes: bool) -> Topology {
    let nat = SourceNat { addresses: OUTSIDE, ports, translates_quotes };
    Topology::chain(3).with_router(1, |r| r.source_nat = Some(nat.clone()))
}

fn probes(source: IpAddr, target: IpAddr, ttl: u8) -> [Vec<u8>; 3] {
    [
        udp(source, target, ttl, (61000, 33434), b"payload"),
        tcp_syn(source, target, ttl, (61001, 443), 77),
        echo_request(source, target, ttl, 4242, u16::from(ttl), b"payload"),
    ]
}

#[test]
fn translated_quotes_are_the_probe_again() {
    for ports in [PortMapping::Keep, PortMapping::From(30_000)] {
        let mut network = Network::new(topology(ports, true), 1);
        for (source, target) in families(&network) {
            for ttl in 1..=3 {
                for probe in probes(source, target, ttl) {
                    let (_, seen) = answer(&mut network, at(0), &probe);
                    assert_eq!(seen.to, source);
                    assert!(seen.is_time_exceeded());
                    // Byte for byte: every checksum came back to what it was.
                    assert_eq!(seen.quote(), with_ttl(&probe, 1));
                }
            }
        }
    }
}

#[test]
fn untranslated_quotes_show_what_those_beyond_saw() {
    let mut network = Network::new(topology(PortMapping::From(30_000), false), 1);
    for (source, target) in families(&network) {
        let outside = OUTSIDE.of_family(source);
        let mut ids = Vec::new();
        for probe in probes(source, target, 2) {
            let (_, seen) = answer(&mut network, at(0), &probe);
            assert_eq!(seen.to, source);
            // The quote is a whole, valid datagram from the outside address.
            let quoted = Seen::parse(seen.quote());
            assert_eq!((quoted.from, quoted.to), (outside, target));
            let id = if quoted.protocol.0 == 17 || quoted.protocol.0 == 6 { 0 } else { 4 };
            ids.push(u16::from_be_bytes([quoted.transport[id], quoted.transport[id + 1]]));
        }
        assert_eq!(ids, if source.is_ipv4() { [30_000, 30_001, 30_002] } else { [30_003, 30_004, 30_005] });
        // At the router that translates the quote is still ours.
        let [probe, ..] = probes(source, target, 1);
        assert_eq!(answer(&mut network, at(0), &probe).1.quote(), probe);
    }
}

#[test]
fn flows_keep_their_mapping_and_answers_find_back() {
    let topology =
        topology(PortMapping::From(30_000), true).with_target(|t| t.services.udp = UdpService::Echo);
    let mut network = Network::new(topology, 1);
    for (source, target) in families(&network) {
        for _ in 0..2 {
            let [udp, tcp, echo] = probes(source, target, 9).map(|p| answer(&mut network, at(0), &p).1);
            assert_eq!([udp.to, tcp.to, echo.to], [source; 3]);
            assert_eq!(udp.transport[2..4], 61000_u16.to_be_bytes());
            assert_eq!(tcp.transport[2..4], 61001_u16.to_be_bytes());
            assert_eq!(echo.transport[4..6], 4242_u16.to_be_bytes());
        }
    }
}

#[test]
fn short_quotes_are_translated_as_far_as_they_go() {
    for (quote, kept) in [(Quote::Transport(8), 8), (Quote::Transport(4), 4), (Quote::Transport(0), 0)] {
        let topology = topology(PortMapping::Keep, true).with_router(2, |r| r.answers.quote = quote);
        let mut network = Network::new(topology, 1);
        for (source, target) in families(&network) {
            let [probe, ..] = probes(source, target, 2);
            let (_, seen) = answer(&mut network, at(0), &probe);
            let header = if source.is_ipv4() { 20 } else { 40 };
            assert_eq!(seen.to, source);
            assert_eq!(seen.quote(), &with_ttl(&probe, 1)[..header + kept]);
        }
    }
    let topology = topology(PortMapping::Keep, true).with_router(2, |r| r.answers.quote = Quote::Bytes(11));
    let mut network = Network::new(topology, 1);
    let [(source, target), _] = families(&network);
    let [probe, ..] = probes(source, target, 2);
    assert_eq!(answer(&mut network, at(0), &probe).1.to, source);
}
