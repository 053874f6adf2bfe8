//! What it takes to build a UDP probe, and to know it and its answers again.

use std::hint::black_box;
use std::net::IpAddr;

use criterion::Criterion;
use traceroute_core::{
    Captured, Direction, Identity, MAX_PROBE_LEN, Nonce, ProbeId, ProbeProtocol, Stamp, Timestamp, Ttl,
};
use traceroute_testnet::AddressPlan;
use traceroute_testnet::sim::{IcmpError, Quote, Unreachable, icmp_error};
use traceroute_udp::UdpProbes;

const NONCE: Nonce = Nonce { label: 0x1234, base: 7, token: 0x0123_4567_89ab_cdef };

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let [client, router, target] = [0, 1, 2].map(|link| AddressPlan::Public.left(link));
    bench(&mut criterion, "ipv4", [client.v4.into(), router.v4.into(), target.v4.into()]);
    bench(&mut criterion, "ipv6", [client.v6.into(), router.v6.into(), target.v6.into()]);
    criterion.final_summary();
}

fn bench(criterion: &mut Criterion, family: &str, [client, router, target]: [IpAddr; 3]) {
    let identity = Identity { local: 61_000, remote: target, nonce: NONCE };
    let mut probes = UdpProbes::new(client, 33_434, identity).expect("one family");
    let probe = ProbeId::first(Ttl::FIRST.plus(6));
    let mut buffer = [0; MAX_PROBE_LEN];
    let sent = probes.encode(probe, &mut buffer).to_vec();
    criterion.bench_function(&format!("encode/udp/{family}"), |bencher| {
        bencher.iter(|| probes.encode(black_box(probe), &mut buffer).len());
    });

    let own = captured(Direction::Sent, &sent);
    assert_eq!(probes.match_sent(&own), Some(probe));
    criterion.bench_function(&format!("match_sent/udp/{family}"), |bencher| {
        bencher.iter(|| probes.match_sent(black_box(&own)));
    });

    let error = |from, error, quote| icmp_error(from, 60, error, &sent, quote, None);
    let answers = [
        ("full_quote", error(router, IcmpError::TimeExceeded, Quote::Full)),
        ("8_byte_quote", error(router, IcmpError::TimeExceeded, Quote::Transport(8))),
        ("final", error(target, IcmpError::Unreachable(Unreachable::Port), Quote::Full)),
    ];
    for (case, answer) in &answers {
        let answer = captured(Direction::Received, answer);
        assert_eq!(probes.match_reply(&answer).and_then(|response| response.probe), Some(probe), "{case}");
        criterion.bench_function(&format!("match_reply/udp/{family}/{case}"), |bencher| {
            bencher.iter(|| probes.match_reply(black_box(&answer)));
        });
    }
}

fn captured(direction: Direction, datagram: &[u8]) -> Captured<'_> {
    Captured { direction, stamp: Stamp::kernel(Timestamp::ZERO), interface: 1, datagram }
}
