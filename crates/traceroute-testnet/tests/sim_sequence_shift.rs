//! Translation of sequence numbers in the simulated network.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::tcp::{In, ack, rst, syn};
use common::{answer, at, families, with_ttl};
use traceroute_testnet::sim::{
    Network, Quote, SequenceShift, TcpApplication, TcpListener, TcpService, Topology,
};

const S: u32 = 1000;
/// So that numbers wrap.
const BY: u32 = u32::MAX - 500;

/// A path whose first router of two translates.
fn network(translates_sack: bool, translates_quotes: bool, listener: TcpListener) -> Network {
    let shift = SequenceShift { by: BY, translates_sack, translates_quotes };
    let topology = Topology::chain(2)
        .with_router(1, |r| r.sequence_shift = Some(shift))
        .with_target(|t| t.services.tcp = TcpService::Listening(listener));
    Network::new(topology, 1)
}

/// What is answered at once: the path is six milliseconds long.
fn first_answer(network: &mut Network, now: u64, datagram: &[u8]) -> Option<In> {
    network.inject(at(now), datagram).unwrap();
    network.poll(at(now + 6)).map(|arrival| In::parse(&arrival.datagram))
}

#[test]
fn connections_pass_and_blocks_are_translated_or_not() {
    for translates_sack in [false, true] {
        let application = TcpApplication::default();
        let listener = TcpListener { application: application.clone(), ..TcpListener::default() };
        let mut network = network(translates_sack, false, listener);
        for (i, (client, target)) in (1..).zip(families(&network)) {
            let (client, target) = ((client, 50_000).into(), (target, 443).into());
            let now = 100 * i;
            let offer = syn(S).sack_permitted().datagram(client, target);
            let answer = first_answer(&mut network, now, &offer).unwrap();
            assert_eq!(answer.header.acknowledgment_number, S + 1);
            let peer = answer.header.sequence_number;
            let out = ack(S + 1, peer + 1).datagram(client, target);
            assert_eq!(first_answer(&mut network, now + 10, &out), None);
            let probe = |seq: u32| ack(seq, peer + 1).data(b"x").datagram(client, target);
            first_answer(&mut network, now + 20, &probe(S + 7));
            let answer = first_answer(&mut network, now + 30, &probe(S + 4)).unwrap();
            let blocks = if translates_sack {
                "+4..+5,+7..+8".to_owned()
            } else {
                // 2³² - 501 higher, that is 501 lower.
                "-497..-496,-494..-493".to_owned()
            };
            assert_eq!(answer.line(S, peer), format!("ack seq=+1 ack=+1 sack={blocks}"));
            // A reset with the next number ends it.
            let answer = first_answer(&mut network, now + 40, &rst(S + 1).datagram(client, target));
            assert_eq!(answer, None);
            let answer = first_answer(&mut network, now + 50, &probe(S + 4)).unwrap();
            assert_eq!(answer.line(S, peer), "rst seq=+1");
            // Without ACK there is nothing to translate.
            assert_eq!(answer.header.acknowledgment_number, 0);
            assert_eq!(application.accepted(), i.try_into().unwrap());
        }
    }
}

#[test]
fn quotes_are_translated_or_not_however_long_they_are() {
    for (quote, kept) in [(Quote::Full, 20), (Quote::Transport(8), 8), (Quote::Transport(6), 6)] {
        for translates_quotes in [false, true] {
            let shift = SequenceShift { by: BY, translates_sack: false, translates_quotes };
            let topology = Topology::chain(2)
                .with_router(1, |r| r.sequence_shift = Some(shift))
                .with_router(2, |r| r.answers.quote = quote);
            let mut network = Network::new(topology, 1);
            for (client, target) in families(&network) {
                let (from, to) = ((client, 50_000).into(), (target, 443).into());
                let header = if client.is_ipv4() { 20 } else { 40 };
                // A number that is cut short is nobody's.
                let beyond = if translates_quotes && kept >= 8 { S } else { S.wrapping_add(BY) };
                for (ttl, seq, kept) in [(1, S, 20), (2, beyond, kept)] {
                    let probe = syn(S).ttl(ttl).datagram(from, to);
                    let (_, seen) = answer(&mut network, at(0), &probe);
                    assert!(seen.is_time_exceeded());
                    // Checksums included, where they are there.
                    let expected = with_ttl(&syn(seq).ttl(ttl).datagram(from, to), 1);
                    assert_eq!(seen.quote(), &expected[..header + kept], "{quote:?} {ttl}");
                }
            }
        }
    }
}

#[test]
fn nothing_but_tcp_is_touched() {
    let shift = SequenceShift { by: BY, translates_sack: true, translates_quotes: true };
    let topology = Topology::chain(2).with_router(1, |r| r.sequence_shift = Some(shift));
    let mut network = Network::new(topology, 1);
    for (client, target) in families(&network) {
        let probe = common::udp(client, target, 2, (50_000, 33_434), b"payload");
        let (_, seen) = answer(&mut network, at(0), &probe);
        assert_eq!(seen.quote(), with_ttl(&probe, 1));
        let probe = common::echo_request(client, target, 9, 7, 3, b"question");
        let (_, seen) = answer(&mut network, at(0), &probe);
        assert_eq!(seen.transport[4..], [&[0, 7, 0, 3], &b"question"[..]].concat());
    }
}
