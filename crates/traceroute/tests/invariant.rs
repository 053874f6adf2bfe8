//! The invariant of the field: a quote of a probe names that probe, to its own run, and to no other.
//!
//! Probes are sent through simulated networks by every method and family, and what comes back is matched: with every
//! length of quote, with extensions, through NAT that rewrites the source.

use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;
use traceroute::{Protocol, Ttl};
use traceroute_core::{
    Captured, Direction, Identity, Nonce, PacketKeys, ProbeId, ProbeProtocol, ProbeResponse, Stamp, Timestamp,
};
use traceroute_icmp::IcmpProbes;
use traceroute_testnet::DualStack;
use traceroute_testnet::sim::{
    Extensions, Format, MplsLabel, Network, Object, PortMapping, Quote, SourceNat, Topology,
};
use traceroute_udp::UdpProbes;

const ROUTERS: u8 = 4;
const PORT: u16 = 33_434;

/// A method of a run, behind a pointer.
fn method(protocol: Protocol, source: IpAddr, identity: Identity) -> Box<dyn ProbeProtocol> {
    match protocol {
        Protocol::Udp => Box::new(UdpProbes::new(source, PORT, identity).expect("one family")),
        Protocol::Icmp => Box::new(IcmpProbes::new(source, identity).expect("one family")),
    }
}

fn captured(direction: Direction, datagram: &[u8]) -> Captured<'_> {
    Captured { direction, stamp: Stamp::kernel(Timestamp::ZERO), interface: 1, datagram }
}

fn encode(method: &mut dyn ProbeProtocol, probe: ProbeId) -> Vec<u8> {
    let mut buffer = [0xa5; traceroute_core::MAX_PROBE_LEN];
    method.encode(probe, &mut buffer).to_vec()
}

/// What comes back for a datagram.
fn answers(topology: Topology, datagram: &[u8]) -> Vec<Vec<u8>> {
    let mut network = Network::new(topology, 1);
    network.inject(Timestamp::ZERO, datagram).expect("a well-formed probe");
    let end = Timestamp::ZERO + Duration::from_secs(1);
    std::iter::from_fn(|| network.poll(end)).map(|arrival| arrival.datagram).collect()
}

fn chain(quote: Quote, extensions: Option<&Extensions>, nat: Option<&SourceNat>) -> Topology {
    let mut topology = Topology::chain(ROUTERS);
    for router in 1..=ROUTERS.into() {
        topology = topology.with_router(router, |router| {
            router.answers.quote = quote;
            router.answers.extensions = extensions.cloned();
        });
    }
    topology
        .with_target(|target| target.answers.quote = quote)
        .with_router(1, |router| router.source_nat = nat.cloned())
}

fn ends(topology: &Topology, v6: bool) -> (IpAddr, IpAddr) {
    let end = |addresses: DualStack| -> IpAddr { if v6 { addresses.v6.into() } else { addresses.v4.into() } };
    (end(topology.client), end(topology.target.addresses))
}

fn protocols() -> impl Strategy<Value = Protocol> {
    prop_oneof![Just(Protocol::Udp), Just(Protocol::Icmp)]
}

fn nonces() -> impl Strategy<Value = Nonce> {
    any::<(u64, u64)>().prop_map(|(bits, token)| Nonce::from_entropy(bits, token))
}

fn quotes() -> impl Strategy<Value = Quote> {
    prop_oneof![Just(Quote::Full), (8..160_usize).prop_map(Quote::Transport)]
}

fn extensions() -> impl Strategy<Value = Option<Extensions>> {
    let mpls = Object::Mpls(vec![MplsLabel { label: 16, ttl: 1, ..MplsLabel::default() }]);
    let with =
        move |format| Some(Extensions { objects: vec![mpls.clone()], format, ..Extensions::default() });
    prop_oneof![Just(None), Just(with(Format::Compliant)), Just(with(Format::Legacy))]
}

/// NAT whose rewriting shows in the quotes that come back.
fn nats() -> impl Strategy<Value = Option<SourceNat>> {
    let addresses =
        DualStack { v4: [203, 0, 113, 7].into(), v6: "2001:db8:7::7".parse().expect("an address") };
    prop::option::of(
        prop_oneof![Just(PortMapping::Keep), (1..=u16::MAX).prop_map(PortMapping::From)]
            .prop_map(move |ports| SourceNat { addresses, ports, translates_quotes: false }),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_answer_names_its_probe(
        protocol in protocols(), v6: bool, local in 1..=u16::MAX, nonce in nonces(), ttl in 1..=ROUTERS + 1,
        quote in quotes(), extensions in extensions(), nat in nats(),
    ) {
        let topology = chain(quote, extensions.as_ref(), nat.as_ref());
        let (source, target) = ends(&topology, v6);
        let identity = Identity { local, remote: target, nonce };
        let mut method = method(protocol, source, identity);
        let probe = ProbeId::first(Ttl::new(ttl).expect("not zero"));
        let datagram = encode(method.as_mut(), probe);
        prop_assert_eq!(method.match_sent(&captured(Direction::Sent, &datagram)), Some(probe));

        let answers = answers(topology, &datagram);
        prop_assert_eq!(answers.len(), 1);
        let packet = captured(Direction::Received, &answers[0]);
        let response = method.match_reply(&packet);
        prop_assert_eq!(response.as_ref().and_then(|response| response.probe), Some(probe));

        // The demultiplexer finds the run by one of its two indices.
        let mut index = traceroute_core::Demultiplexer::default();
        index.insert(&method.flows()[0], ());
        let keys = PacketKeys::of(&packet).expect("an answer has keys");
        prop_assert_eq!(index.candidates(&keys).count(), 1);

        let quoted = response.and_then(|response| response.quoted);
        if let Some(quoted) = quoted {
            // The first router answers from before its own translation.
            let behind_nat = nat.is_some() && ttl > 1;
            prop_assert_eq!(quoted.rewritten_source.is_some(), behind_nat);
            prop_assert_eq!(quoted.mpls.is_empty(), extensions.is_none() || ttl > ROUTERS);
            prop_assert_eq!(quoted.ttl, 1);
        }
    }

    #[test]
    fn nobody_elses_answer_is_taken(
        protocol in protocols(), v6: bool, ours in nonces(), theirs in nonces(), quote in quotes(),
        ttl in 1..=ROUTERS + 1, local in 1..=u16::MAX, same_local: bool, other_local in 1..=u16::MAX,
    ) {
        // The same target, and in the worst case the same port or echo id: a run of another process, or yesterday's.
        prop_assume!(ours.label & 0xffff != theirs.label & 0xffff);
        let their_local = if same_local { local } else { other_local };
        let topology = Topology::chain(0);
        let (source, _) = ends(&topology, v6);
        // A NAT gives their probes our source and port in the quotes.
        let nat = SourceNat { addresses: topology.client, ports: PortMapping::From(local), translates_quotes: false };
        let topology = chain(quote, None, Some(&nat));
        let (_, target) = ends(&topology, v6);

        let mut theirs = method(protocol, source, Identity { local: their_local, remote: target, nonce: theirs });
        let ours = method(protocol, source, Identity { local, remote: target, nonce: ours });
        let datagram = encode(theirs.as_mut(), ProbeId::first(Ttl::new(ttl).expect("not zero")));
        prop_assert_eq!(ours.match_sent(&captured(Direction::Sent, &datagram)), None);
        for answer in answers(topology, &datagram) {
            prop_assert_eq!(ours.match_reply(&captured(Direction::Received, &answer)), None::<ProbeResponse>);
        }
    }

    #[test]
    fn what_load_balancers_hash_is_constant(
        protocol in protocols(), v6: bool, local in 1..=u16::MAX, nonce in nonces(), a in 1u8.., b in 1u8..,
    ) {
        let (source, target) = ends(&Topology::chain(1), v6);
        let mut method = method(protocol, source, Identity { local, remote: target, nonce });
        let mut hashed = |ttl| {
            let datagram = encode(method.as_mut(), ProbeId::first(Ttl::new(ttl).expect("not zero")));
            let header = if v6 { 40 } else { 20 };
            // UDP: the ports. ICMP: type, code, checksum and id.
            let transport = match protocol {
                Protocol::Udp => datagram[header..header + 4].to_vec(),
                Protocol::Icmp => datagram[header..header + 6].to_vec(),
            };
            // IPv4: version, traffic class, protocol, addresses. IPv6: the same, and the flow label.
            let ip = if v6 {
                [&datagram[..4], &datagram[6..7], &datagram[8..40]].concat()
            } else {
                [&datagram[..2], &datagram[9..10], &datagram[12..20]].concat()
            };
            (ip, transport, datagram.len())
        };
        prop_assert_eq!(hashed(a), hashed(b));
    }

    #[test]
    fn rubbish_is_never_an_answer(
        protocol in protocols(), v6: bool, nonce in nonces(), bytes in prop::collection::vec(any::<u8>(), 0..200),
        cut in 0..200_usize, at in 0..200_usize, flip in 1u8..,
    ) {
        let topology = Topology::chain(ROUTERS);
        let (source, target) = ends(&topology, v6);
        let mut method = method(protocol, source, Identity { local: 61_000, remote: target, nonce });
        for direction in [Direction::Sent, Direction::Received] {
            prop_assert_eq!(method.match_reply(&captured(direction, &bytes)), None);
            prop_assert_eq!(method.match_sent(&captured(direction, &bytes)), None);
        }
        // A true answer with a flipped byte may still be one, but never names another probe; cut short it may be anything
        // but a panic.
        let probe = ProbeId::first(Ttl::new(2).expect("not zero"));
        let datagram = encode(method.as_mut(), probe);
        let mut answer = answers(topology, &datagram).remove(0);
        let at = at % answer.len();
        answer[at] ^= flip;
        let named = method.match_reply(&captured(Direction::Received, &answer)).and_then(|answer| answer.probe);
        prop_assert!(named.is_none_or(|named| named == probe));
        answer.truncate(cut);
        method.match_reply(&captured(Direction::Received, &answer));
    }
}
