//! The invariant of the field: a quote of a probe names that probe, to its own run, and to no other.
//!
//! Probes are sent through simulated networks by every method and family, and what comes back is matched: with every
//! length of quote, with extensions, through NAT that rewrites the source.

use std::net::IpAddr;
use std::time::Duration;

use etherparse::{IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, TcpHeader, TcpOptionElement};
use proptest::prelude::*;
use traceroute::Ttl;
use traceroute_core::{
    Captured, Direction, Identity, Nonce, PacketKeys, ProbeId, ProbeProtocol, ProbeResponse, Shape, Stamp,
    Timestamp,
};
use traceroute_icmp::IcmpProbes;
use traceroute_sack::{Handshake, SackProbes};
use traceroute_tcp::{Numbering, TcpProbes};
use traceroute_testnet::DualStack;
use traceroute_testnet::sim::{
    Extensions, Format, MplsLabel, Network, Object, PortMapping, Quote, SourceNat, TcpListener, TcpService,
    Topology,
};
use traceroute_udp::UdpProbes;

const ROUTERS: u8 = 4;
const PORT: u16 = 33_434;

/// How a run probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Udp,
    Icmp,
    Syn(Numbering),
    Sack,
}

/// A method of a run in a network, behind a pointer. A connection is made first, where it takes one.
fn method(
    kind: Kind,
    source: IpAddr,
    identity: Identity,
    shape: Shape,
    network: &mut Network,
) -> Box<dyn ProbeProtocol> {
    match kind {
        Kind::Udp => Box::new(UdpProbes::new(source, PORT, identity).expect("one family").shaped(shape)),
        Kind::Icmp => Box::new(IcmpProbes::new(source, identity).expect("one family").shaped(shape)),
        Kind::Syn(numbering) => {
            Box::new(TcpProbes::new(source, PORT, identity, numbering).expect("one family").shaped(shape))
        }
        Kind::Sack => Box::new(connect(source, &identity, network).shaped(shape)),
    }
}

/// Makes a connection as a kernel does, whose initial sequence number is as random as the run's nonce.
fn connect(source: IpAddr, identity: &Identity, network: &mut Network) -> SackProbes {
    let mut handshake = Handshake::new(source, PORT, identity).expect("one family");
    let initial = first_number(&identity.nonce);
    let mut syn = TcpHeader::new(identity.local, PORT, initial, 65_535);
    syn.syn = true;
    syn.set_options(&[TcpOptionElement::SelectiveAcknowledgementPermitted]).expect("they fit");
    let syn = kernels_segment(source, identity, &syn);
    handshake.observe(&captured(Direction::Sent, &syn));
    for syn_ack in answers(network, &syn) {
        handshake.observe(&captured(Direction::Received, &syn_ack));
        let (theirs, _) = TcpHeader::from_slice(transport(&syn_ack)).expect("a SYN-ACK");
        let mut ack = TcpHeader::new(identity.local, PORT, initial.wrapping_add(1), 65_535);
        (ack.ack, ack.acknowledgment_number) = (true, theirs.sequence_number.wrapping_add(1));
        assert!(answers(network, &kernels_segment(source, identity, &ack)).is_empty());
    }
    handshake.complete().expect("the target permits SACK")
}

fn first_number(nonce: &Nonce) -> u32 {
    let [.., a, b, c, d] = nonce.token.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// A segment of this host's kernel. In IPv6 it has the nonce's label, which stands here for the kernel's own.
fn kernels_segment(source: IpAddr, identity: &Identity, segment: &TcpHeader) -> Vec<u8> {
    let mut segment = segment.clone();
    let length = u16::try_from(segment.header_len()).expect("short");
    let (mut datagram, checksum) = match (source, identity.remote) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut ip =
                Ipv4Header::new(length, 64, IpNumber::TCP, from.octets(), to.octets()).expect("short");
            ip.header_checksum = ip.calc_header_checksum();
            (ip.to_bytes().to_vec(), segment.calc_checksum_ipv4_raw(from.octets(), to.octets(), &[]))
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let ip = Ipv6Header {
                flow_label: Ipv6FlowLabel::try_new(identity.nonce.label).expect("20 bits"),
                payload_length: length,
                next_header: IpNumber::TCP,
                hop_limit: 64,
                source: from.octets(),
                destination: to.octets(),
                ..Ipv6Header::default()
            };
            (ip.to_bytes().to_vec(), segment.calc_checksum_ipv6_raw(from.octets(), to.octets(), &[]))
        }
        (from, to) => panic!("{from} to {to}"),
    };
    segment.checksum = checksum.expect("short");
    datagram.extend(segment.to_bytes());
    datagram
}

fn transport(datagram: &[u8]) -> &[u8] {
    &datagram[if datagram[0] >> 4 == 4 { 20 } else { 40 }..]
}

fn captured(direction: Direction, datagram: &[u8]) -> Captured<'_> {
    Captured { direction, stamp: Stamp::kernel(Timestamp::ZERO), interface: 1, datagram }
}

fn encode(method: &mut dyn ProbeProtocol, probe: ProbeId) -> Vec<u8> {
    let mut buffer = vec![0xa5; method.buffer_len()];
    method.encode(probe, &mut buffer).to_vec()
}

/// What comes back for a datagram within half a second.
fn answers(network: &mut Network, datagram: &[u8]) -> Vec<Vec<u8>> {
    network.inject(Timestamp::ZERO, datagram).expect("a well-formed datagram");
    let end = Timestamp::ZERO + Duration::from_millis(500);
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
        .with_target(|target| {
            target.answers.quote = quote;
            target.services.tcp = TcpService::Listening(TcpListener::default());
        })
        .with_router(1, |router| router.source_nat = nat.cloned())
}

fn ends(topology: &Topology, v6: bool) -> (IpAddr, IpAddr) {
    let end = |addresses: DualStack| -> IpAddr { if v6 { addresses.v6.into() } else { addresses.v4.into() } };
    (end(topology.client), end(topology.target.addresses))
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Udp),
        Just(Kind::Icmp),
        Just(Kind::Syn(Numbering::Ascending)),
        Just(Kind::Syn(Numbering::Random)),
        Just(Kind::Sack)
    ]
}

fn shapes() -> impl Strategy<Value = Shape> {
    let sizes = prop_oneof![Just(0), 1..2000_u16];
    (any::<u8>(), sizes).prop_map(|(traffic_class, size)| Shape { traffic_class, size })
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
        kind in kinds(), shape in shapes(), v6: bool, local in 1..=u16::MAX, nonce in nonces(), ttl in 1..=ROUTERS + 1,
        quote in quotes(), extensions in extensions(), nat in nats(),
    ) {
        let topology = chain(quote, extensions.as_ref(), nat.as_ref());
        let (source, target) = ends(&topology, v6);
        let identity = Identity { local, remote: target, nonce };
        let mut network = Network::new(topology, 1);
        let mut method = method(kind, source, identity, shape, &mut network);
        let probe = ProbeId::first(Ttl::new(ttl).expect("not zero"));
        let datagram = encode(method.as_mut(), probe);
        prop_assert_eq!(method.match_sent(&captured(Direction::Sent, &datagram)), Some(probe));

        let answers = answers(&mut network, &datagram);
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
        kind in kinds(), shape in shapes(), v6: bool, ours in nonces(), theirs in nonces(), quote in quotes(),
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

        let identity = |local, nonce| Identity { local, remote: target, nonce };
        let ours = method(kind, source, identity(local, ours), shape, &mut Network::new(topology.clone(), 1));
        let mut network = Network::new(topology, 1);
        let mut theirs = method(kind, source, identity(their_local, theirs), shape, &mut network);
        let datagram = encode(theirs.as_mut(), ProbeId::first(Ttl::new(ttl).expect("not zero")));
        prop_assert_eq!(ours.match_sent(&captured(Direction::Sent, &datagram)), None);
        for answer in answers(&mut network, &datagram) {
            prop_assert_eq!(ours.match_reply(&captured(Direction::Received, &answer)), None::<ProbeResponse>);
        }
    }

    #[test]
    fn what_load_balancers_hash_is_constant(
        kind in kinds(), shape in shapes(), v6: bool, local in 1..=u16::MAX, nonce in nonces(), a in 1u8.., b in 1u8..,
    ) {
        let topology = chain(Quote::Full, None, None);
        let (source, target) = ends(&topology, v6);
        let identity = Identity { local, remote: target, nonce };
        let mut method = method(kind, source, identity, shape, &mut Network::new(topology, 1));
        let mut hashed = |ttl| {
            let datagram = encode(method.as_mut(), ProbeId::first(Ttl::new(ttl).expect("not zero")));
            let header = if v6 { 40 } else { 20 };
            // UDP and TCP: the ports. ICMP: type, code, checksum and id.
            let hashed = if kind == Kind::Icmp { 6 } else { 4 };
            let transport = datagram[header..header + hashed].to_vec();
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
        kind in kinds(), shape in shapes(), v6: bool, nonce in nonces(), bytes in prop::collection::vec(any::<u8>(), 0..200),
        cut in 0..200_usize, at in 0..200_usize, flip in 1u8..,
    ) {
        let topology = chain(Quote::Full, None, None);
        let (source, target) = ends(&topology, v6);
        let mut network = Network::new(topology, 1);
        let mut method = method(kind, source, Identity { local: 61_000, remote: target, nonce }, shape, &mut network);
        for direction in [Direction::Sent, Direction::Received] {
            prop_assert_eq!(method.match_reply(&captured(direction, &bytes)), None);
            prop_assert_eq!(method.match_sent(&captured(direction, &bytes)), None);
        }
        // A true answer with a flipped byte may still be one, but never names another probe; cut short it may be anything
        // but a panic.
        let probe = ProbeId::first(Ttl::new(2).expect("not zero"));
        let datagram = encode(method.as_mut(), probe);
        let mut answer = answers(&mut network, &datagram).remove(0);
        let at = at % answer.len();
        answer[at] ^= flip;
        let named = method.match_reply(&captured(Direction::Received, &answer)).and_then(|answer| answer.probe);
        prop_assert!(named.is_none_or(|named| named == probe));
        answer.truncate(cut);
        method.match_reply(&captured(Direction::Received, &answer));
    }
}
