//! The simulated network, datagram by datagram.

mod common;

use std::collections::BTreeSet;
use std::net::IpAddr;

use common::{MS, Seen, answer, answers, at, drain, echo_request, families, micros, tcp_syn, udp, with_ttl};
use traceroute_testnet::sim::{
    Balance, Extensions, Format, Interface, Malformed, MplsLabel, Network, Object, Quote, RateLimit, Refusal,
    TcpListener, TcpService, Topology, UdpService, Unreachable, describe, echo_reply,
};
use traceroute_testnet::{AddressPlan, DualStack};

const PORTS: (u16, u16) = (61000, 33434);

#[test]
fn every_hop_answers_with_what_it_received() {
    let mut network = Network::new(Topology::chain(4), 1);
    let mut start = at(0);
    for (source, target) in families(&network) {
        for ttl in 1..=7_u8 {
            let probe = udp(source, target, ttl, PORTS, b"payload");
            start = start + 100 * MS;
            let (arrival, seen) = answer(&mut network, start, &probe);
            let hop = ttl.min(5);
            assert_eq!(arrival, start + u32::from(hop) * 2 * MS);
            assert_eq!(seen.from, AddressPlan::default().right(hop - 1).of_family(source));
            assert_eq!(seen.to, source);
            // It passes the routers before the one that sent it.
            assert_eq!(seen.ttl, 64 - (hop - 1));
            // A router quotes TTL 1; the target what is left.
            assert_eq!(seen.quote(), with_ttl(&probe, if ttl < 5 { 1 } else { ttl - 4 }));
            assert!(if ttl < 5 { seen.is_time_exceeded() } else { seen.is_port_unreachable() });
        }
    }
}

#[test]
fn a_target_can_be_next_to_the_client() {
    let mut network = Network::new(Topology::chain_with(0, AddressPlan::Public), 1);
    for (source, target) in families(&network) {
        let probe = udp(source, target, 1, PORTS, b"");
        let (arrival, seen) = answer(&mut network, at(0), &probe);
        assert_eq!((arrival, seen.from), (at(2), target));
        assert!(seen.is_port_unreachable());
        assert_eq!(seen.quote(), probe);
    }
}

#[test]
fn targets_answer_as_configured() {
    let chain = || Topology::chain(1);
    let answer_to = |topology, protocol: &str| -> Vec<Vec<Seen>> {
        let mut network = Network::new(topology, 1);
        let probe = |(source, target)| match protocol {
            "udp" => udp(source, target, 9, PORTS, b"question"),
            "tcp" => tcp_syn(source, target, 9, (61000, 443), 1000),
            _ => echo_request(source, target, 9, 7, 3, b"question"),
        };
        let seen =
            |ends| answers(&mut network, at(0), &probe(ends)).iter().map(|a| Seen::parse(&a.1)).collect();
        families(&Network::new(chain(), 1)).map(seen).into()
    };
    for seen in answer_to(chain().with_target(|t| t.answers.ttl = 255), "echo").concat() {
        assert_eq!(seen.transport[4..8], [0, 7, 0, 3]);
        assert_eq!((seen.transport[0], seen.ttl), (if seen.from.is_ipv4() { 0 } else { 129 }, 254));
        assert_eq!(seen.transport[8..], *b"question");
    }
    for seen in answer_to(chain().with_target(|t| t.services.udp = UdpService::Echo), "udp").concat() {
        assert_eq!(seen.transport[..4], [33434_u16.to_be_bytes(), 61000_u16.to_be_bytes()].concat());
        assert_eq!(seen.transport[8..], *b"question");
    }
    let fixed = UdpService::Answer(b"answer".to_vec());
    for seen in answer_to(chain().with_target(|t| t.services.udp = fixed), "udp").concat() {
        assert_eq!(seen.transport[8..], *b"answer");
    }
    let prohibited = UdpService::Unreachable(Unreachable::AdminProhibited);
    let seen = answer_to(chain().with_target(|t| t.services.udp = prohibited), "udp").concat();
    assert_eq!(seen.iter().map(Seen::icmp_type_and_code).collect::<Vec<_>>(), [(3, 13), (1, 1)]);
    for seen in answer_to(
        chain().with_target(|t| t.services.tcp = TcpService::Listening(TcpListener::default())),
        "tcp",
    )
    .concat()
    {
        assert_eq!((seen.transport[13], &seen.transport[8..12]), (0x12, &1001_u32.to_be_bytes()[..]));
    }
    for seen in answer_to(chain(), "tcp").concat() {
        assert_eq!((seen.transport[13], &seen.transport[8..12]), (0x14, &1001_u32.to_be_bytes()[..]));
    }
    for protocol in ["udp", "tcp", "echo"] {
        assert!(answer_to(chain().with_target(|t| t.answers.silent = true), protocol).concat().is_empty());
        // Sent at 0, it is there at 2 ms.
        assert!(answer_to(chain().with_target(|t| t.alive = at(3)..at(9)), protocol).concat().is_empty());
        assert_eq!(answer_to(chain().with_target(|t| t.alive = at(2)..at(9)), protocol).concat().len(), 2);
    }
}

#[test]
fn a_target_answers_from_each_of_its_addresses() {
    let more: [IpAddr; 2] = ["198.51.100.7".parse().unwrap(), "2001:db8:51:100::7".parse().unwrap()];
    let stranger: [IpAddr; 2] = ["198.51.100.8".parse().unwrap(), "2001:db8:51:100::8".parse().unwrap()];
    let mut network = Network::new(Topology::chain(2).with_target(|t| t.more.extend(more)), 1);
    for (i, (source, first)) in families(&network).into_iter().enumerate() {
        for target in [more[i], first] {
            let (_, seen) = answer(&mut network, at(0), &udp(source, target, 9, PORTS, b""));
            assert_eq!(seen.from, target);
            assert!(seen.is_port_unreachable());
            let (_, seen) = answer(&mut network, at(0), &echo_request(source, target, 9, 7, 3, b""));
            assert_eq!((seen.from, seen.transport[0]), (target, if source.is_ipv4() { 0 } else { 129 }));
            // What the TTL does not let through is the routers' business.
            let (_, seen) = answer(&mut network, at(0), &udp(source, target, 2, PORTS, b""));
            assert_eq!(seen.from, AddressPlan::default().right(1).of_family(source));
        }
        assert!(answers(&mut network, at(0), &udp(source, stranger[i], 9, PORTS, b"")).is_empty());
    }
}

#[test]
fn a_target_ignores_wrong_checksums() {
    let mut network = Network::new(Topology::chain(1), 1);
    for (source, target) in families(&network) {
        let mut probe = udp(source, target, 9, PORTS, b"payload");
        *probe.last_mut().unwrap() ^= 1;
        assert!(answers(&mut network, at(0), &probe).is_empty());
        assert!(describe(&probe).ends_with("bad-checksum"), "{}", describe(&probe));
    }
}

#[test]
fn what_no_router_forwards_is_refused() {
    let mut network = Network::new(Topology::chain(1), 1);
    let [(source, target), (source6, _)] = families(&network);
    let probe = udp(source, target, 9, PORTS, b"");
    let mut wrong = probe.clone();
    wrong[10] ^= 1;
    assert_eq!(network.inject(at(0), &wrong), Err(Malformed::HeaderChecksum));
    assert_eq!(network.inject(at(0), &probe[..27]), Err(Malformed::Length));
    assert_eq!(network.inject(at(0), &probe[..19]), Err(Malformed::Header));
    assert_eq!(network.inject(at(0), &[]), Err(Malformed::Header));
    let multicast = udp(source6, "ff02::2".parse().unwrap(), 1, PORTS, b"");
    assert_eq!(network.inject(at(0), &multicast), Ok(()));
    assert!(drain(&mut network).is_empty());
}

#[test]
fn routers_refuse_in_every_way() {
    for (why, v4, v6) in [
        (Unreachable::Network, (3, 0), (1, 0)),
        (Unreachable::Host, (3, 1), (1, 3)),
        (Unreachable::Protocol, (3, 2), (4, 1)),
        (Unreachable::Port, (3, 3), (1, 4)),
        (Unreachable::AdminProhibited, (3, 13), (1, 1)),
        (Unreachable::FragmentationNeeded { mtu: 1400 }, (3, 4), (2, 0)),
        (Unreachable::Code(10), (3, 10), (1, 10)),
    ] {
        let mut network =
            Network::new(Topology::chain(3).with_router(2, |r| r.refuses = Some(Refusal::Firewall(why))), 1);
        for ((source, target), expected) in families(&network).into_iter().zip([v4, v6]) {
            let (_, at_ttl) = answer(&mut network, at(0), &udp(source, target, 2, PORTS, b""));
            assert!(at_ttl.is_time_exceeded());
            let (_, beyond) = answer(&mut network, at(100), &udp(source, target, 5, PORTS, b""));
            assert_eq!(beyond.from, at_ttl.from);
            assert_eq!(beyond.icmp_type_and_code(), expected);
            if matches!(why, Unreachable::FragmentationNeeded { .. }) {
                assert_eq!(beyond.transport[4..8], [0, 0, 5, 120]);
            }
        }
    }
}

#[test]
fn quotes_have_the_length_asked_for() {
    let payload = [7; 1400];
    for (quote, v4, v6) in [
        (Quote::Full, 548, 1232),
        (Quote::Transport(8), 28, 48),
        (Quote::Bytes(128), 128, 128),
        (Quote::Bytes(11), 11, 11),
        (Quote::Bytes(0), 0, 0),
    ] {
        let mut network = Network::new(Topology::chain(1).with_router(1, |r| r.answers.quote = quote), 1);
        for ((source, target), length) in families(&network).into_iter().zip([v4, v6]) {
            let probe = udp(source, target, 1, PORTS, &payload);
            assert_eq!(answer(&mut network, at(0), &probe).1.quote(), &probe[..length]);
        }
    }
}

#[test]
fn extensions_follow_the_padded_quote() {
    let label = MplsLabel { label: 0xabcde, exp: 5, bottom: true, ttl: 1 };
    let interface = Interface {
        index: Some(3),
        address: Some(IpAddr::from([192, 0, 2, 1])),
        name: Some("ge-0/0/1".to_owned()),
        mtu: Some(9000),
        ..Interface::default()
    };
    let objects = vec![Object::Mpls(vec![label]), Object::Interface(interface)];
    let expected = [
        &[0, 8, 1, 1, 0xab, 0xcd, 0xeb, 1][..],
        &[0, 32, 2, 0b0000_1111, 0, 0, 0, 3, 0, 1, 0, 0, 192, 0, 2, 1][..],
        &[12],
        b"ge-0/0/1",
        &[0, 0, 0, 0, 0, 0x23, 0x28],
    ]
    .concat();
    for format in [Format::Compliant, Format::Legacy] {
        let extensions = Extensions { objects: objects.clone(), format, bad_checksum: false };
        let topology = Topology::chain(1).with_router(1, |r| r.answers.extensions = Some(extensions.clone()));
        let mut network = Network::new(topology, 1);
        for (source, target) in families(&network) {
            for payload in [0, 150] {
                let probe = udp(source, target, 1, PORTS, &vec![7; payload]);
                let (_, seen) = answer(&mut network, at(0), &probe);
                let word = if source.is_ipv4() { 4 } else { 8 };
                let length = match format {
                    Format::Legacy => 128,
                    Format::Compliant => probe.len().max(128).next_multiple_of(word),
                };
                let field = seen.transport[if source.is_ipv4() { 5 } else { 4 }];
                assert_eq!(usize::from(field), if format == Format::Legacy { 0 } else { length / word });
                let (quote, extensions) = seen.quote().split_at(length);
                let quoted = probe.len().min(length);
                assert_eq!(quote[..quoted], probe[..quoted]);
                assert!(quote[quoted..].iter().all(|&b| b == 0));
                assert_eq!(extensions[..2], [0x20, 0]);
                let sum = etherparse::checksum::Sum16BitWords::new().add_slice(extensions);
                assert_eq!(sum.ones_complement(), 0);
                assert_eq!(extensions[4..], expected);
            }
        }
    }
}

#[test]
fn rate_limits_count_all_errors_of_a_node_together() {
    let topology = Topology::chain(2).with_router(1, |r| {
        r.answers.rate_limit = Some(RateLimit::LINUX);
        r.refuses = Some(Refusal::Firewall(Unreachable::Host));
    });
    let mut network = Network::new(topology, 1);
    let [(source, target), _] = families(&network);
    for probe in 0..8_u16 {
        let ttl = if probe % 2 == 0 { 1 } else { 2 };
        network.inject(at(0), &udp(source, target, ttl, (61000 + probe, 33434), b"")).unwrap();
    }
    assert_eq!(drain(&mut network).len(), 6);
    // Echo replies are free.
    let router = AddressPlan::default().right(0).v4.into();
    assert_eq!(answers(&mut network, at(10), &echo_request(source, router, 9, 1, 1, b"")).len(), 1);
    assert_eq!(answers(&mut network, at(1001), &udp(source, target, 1, PORTS, b"")).len(), 1);
    assert_eq!(answers(&mut network, at(1002), &udp(source, target, 1, PORTS, b"")).len(), 0);
}

#[test]
fn answers_can_be_late_double_and_from_elsewhere() {
    let elsewhere = AddressPlan::Public.host(9, 9);
    let topology = Topology::chain(2).with_router(1, |r| {
        r.answers.delay = 30 * MS;
        r.answers.duplicates = 2;
        r.answers.source = Some(elsewhere);
    });
    for family in 0..2 {
        let mut network = Network::new(topology.clone(), 1);
        let (source, target) = families(&network)[family];
        network.inject(at(0), &udp(source, target, 1, PORTS, b"")).unwrap();
        network.inject(at(0), &udp(source, target, 2, PORTS, b"")).unwrap();
        let seen: Vec<_> =
            drain(&mut network).iter().map(|(at, d)| (micros(*at), Seen::parse(d).from)).collect();
        let second = AddressPlan::default().right(1).of_family(source);
        let first = elsewhere.of_family(source);
        // The later answer of a slow router does not hold up those of others.
        assert_eq!(seen, [(4_000, second), (32_000, first), (32_000, first), (32_000, first)]);
    }
}

#[test]
fn links_delay_and_lose_in_each_direction_for_themselves() {
    let topology = Topology::chain(1)
        .with_link(0, |l| (l.forward.delay, l.back.delay) = (3 * MS, 5 * MS))
        .with_link(1, |l| (l.forward.delay, l.back.delay) = (7 * MS, 11 * MS))
        .with_link(1, |l| l.back.drop = [2].into());
    let mut network = Network::new(topology, 1);
    let [(source, target), _] = families(&network);
    let mut sent_at = |ttl, now| {
        let answers = answers(&mut network, at(now), &udp(source, target, ttl, PORTS, b""));
        answers.iter().map(|a| micros(a.0) - now * 1000).collect::<Vec<_>>()
    };
    assert_eq!(sent_at(1, 0), [8_000]);
    assert_eq!(sent_at(2, 100), [26_000]);
    assert_eq!(sent_at(2, 200), []);
    assert_eq!(sent_at(2, 300), [26_000]);
}

#[test]
fn faults_are_the_same_for_the_same_seed() {
    let run = |seed| {
        let topology = Topology::chain(6).with_links(|l| {
            l.set_loss(0.05);
            l.forward.jitter = 3 * MS;
            l.back.duplicate = 0.1;
            l.back.reorder = 0.1;
        });
        let mut network = Network::new(topology, seed);
        let [(source, target), _] = families(&network);
        for ttl in 1..=40 {
            network.inject(at(u64::from(ttl)), &udp(source, target, ttl, PORTS, b"")).unwrap();
        }
        drain(&mut network)
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
    assert!(run(1).is_sorted_by_key(|a| a.0));
}

/// The routers that answer the probes that `make` makes, at TTL 2.
fn spread(topology: &Topology, make: impl Fn(IpAddr, IpAddr, u16) -> Vec<u8>) -> [BTreeSet<IpAddr>; 2] {
    let mut network = Network::new(topology.clone(), 1);
    families(&network).map(|(source, target)| {
        (0..32).map(|n| answer(&mut network, at(0), &make(source, target, n)).1.from).collect()
    })
}

#[test]
fn load_balancers_keep_flows_together_and_spread_them() {
    let topology = Topology::chain(3).with_branches(2, &[1, 1, 2]);
    let constant = spread(&topology, |s, t, n| udp(s, t, 2, PORTS, &n.to_be_bytes()));
    assert_eq!(constant.map(|set| set.len()), [1, 1], "the UDP checksum and payload are not hashed");
    let ports = spread(&topology, |s, t, n| udp(s, t, 2, (61000, 33434 + n), b""));
    let branch = |b: u8| AddressPlan::default().host(1, 10 * b + 1);
    assert_eq!(ports[0], (1..=3).map(|b| branch(b).v4.into()).collect());
    assert_eq!(ports[1], (1..=3).map(|b| branch(b).v6.into()).collect());
    let echo = spread(&topology, |s, t, n| echo_request(s, t, 2, 7, n, b""));
    assert_eq!(echo.map(|set| set.len()), [3, 3], "the ICMP checksum is hashed");
    // The sequence number is not hashed where the payload makes up for it.
    let even = spread(&topology, |s, t, n| echo_request(s, t, 2, 7, n, &(!n).to_be_bytes()));
    assert_eq!(even.map(|set| set.len()), [1, 1]);
    let labels = spread(&topology, |s, t, n| {
        let mut probe = udp(s, t, 2, PORTS, b"");
        let at = if s.is_ipv6() { 3 } else { 1 };
        probe[at] = u8::try_from(n).unwrap();
        with_ttl(&probe, 2)
    });
    assert_eq!(labels.map(|set| set.len()), [3, 3], "traffic class and flow label are hashed");
    let per_packet = topology.with_balance(2, Balance::PerPacket);
    let constant = spread(&per_packet, |s, t, _| udp(s, t, 2, PORTS, b""));
    assert_eq!(constant.map(|set| set.len()), [3, 3]);
}

#[test]
fn branches_of_unequal_length_move_what_is_behind_them() {
    let mut network = Network::new(Topology::chain(2).with_branches(1, &[1, 3]), 1);
    let [(source, target), _] = families(&network);
    let mut distances = BTreeSet::new();
    for port in 0..32 {
        let reached = (1..9).find(|&ttl| {
            let probe = udp(source, target, ttl, (61000, 33434 + port), b"");
            answer(&mut network, at(0), &probe).1.is_port_unreachable()
        });
        distances.extend(reached);
    }
    assert_eq!(distances, [3, 5].into());
}

#[test]
fn destination_nat_answers_in_the_name_of_the_public_address() {
    let public = DualStack { v4: [203, 0, 113, 1].into(), v6: "2001:db8::1".parse().unwrap() };
    let mut network = Network::new(Topology::chain(3).with_destination_nat(2, public), 1);
    for (source, private) in families(&network) {
        let target = public.of_family(source);
        for ttl in 1..=5 {
            let probe = udp(source, target, ttl, PORTS, b"payload");
            let (_, seen) = answer(&mut network, at(0), &probe);
            let expected = if ttl == 1 { AddressPlan::default().right(0).of_family(source) } else { target };
            assert_eq!(seen.from, expected);
            // The quote is translated back, checksums included.
            assert_eq!(seen.quote(), with_ttl(&probe, if ttl < 5 { 1 } else { 2 }));
        }
        let (_, seen) = answer(&mut network, at(0), &echo_request(source, target, 9, 1, 1, b"x"));
        assert_eq!(seen.from, target);
        let (_, seen) = answer(&mut network, at(0), &tcp_syn(source, target, 9, PORTS, 1));
        assert_eq!(seen.from, target);
        assert_ne!(target, private);
    }
}

#[test]
fn later_forgeries_come_on_time() {
    let topology = Topology::chain(2).with_forgery_at(at(50), b"anything".to_vec()).with_forgery_after_probe(
        2,
        MS,
        |probe| echo_reply([203, 0, 113, 9].into(), 64, probe),
    );
    let mut network = Network::new(topology, 1);
    let [(source, target), _] = families(&network);
    network.inject(at(0), &udp(source, target, 1, PORTS, b"")).unwrap();
    network.inject(at(10), &echo_request(source, target, 9, 1, 2, b"x")).unwrap();
    let seen = drain(&mut network);
    assert_eq!(seen.iter().map(|s| micros(s.0)).collect::<Vec<_>>(), [2_000, 11_000, 16_000, 50_000]);
    assert_eq!(Seen::parse(&seen[1].1).from, IpAddr::from([203, 0, 113, 9]));
    assert_eq!(seen[3].1, b"anything");
}

#[test]
fn routers_answer_for_themselves() {
    for family in 0..2 {
        let mut network = Network::new(Topology::chain(3), 1);
        let (source, _) = families(&network)[family];
        let router = AddressPlan::default().right(1).of_family(source);
        let (arrival, seen) = answer(&mut network, at(0), &echo_request(source, router, 2, 1, 1, b""));
        assert_eq!((arrival, seen.from), (at(4), router));
        assert!(answer(&mut network, at(100), &udp(source, router, 9, PORTS, b"")).1.is_port_unreachable());
    }
}

#[test]
fn silent_routers_forward() {
    let mut network = Network::new(Topology::chain(2).with_router(1, |r| r.answers.silent = true), 1);
    for (source, target) in families(&network) {
        assert!(answers(&mut network, at(0), &udp(source, target, 1, PORTS, b"")).is_empty());
        assert_eq!(answers(&mut network, at(0), &udp(source, target, 2, PORTS, b"")).len(), 1);
    }
    assert_eq!(network.next_event(), None);
    assert_eq!(network.poll(at(10_000)), None);
}
