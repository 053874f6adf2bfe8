//! What it takes to build a method's probe, and to know it and its answers again.

use std::hint::black_box;
use std::net::IpAddr;

use criterion::Criterion;
use traceroute_core::{
    Captured, Direction, Identity, MAX_PROBE_LEN, Nonce, ProbeId, ProbeProtocol, Stamp, Timestamp, Ttl,
};
use traceroute_testnet::AddressPlan;
use traceroute_testnet::sim::{IcmpError, Quote, icmp_error};

/// The local port or echo id.
pub(crate) const LOCAL: u16 = 61_000;

/// The ends of a path.
#[derive(Clone, Copy)]
pub(crate) struct Ends {
    pub(crate) client: IpAddr,
    pub(crate) target: IpAddr,
}

impl Ends {
    pub(crate) fn identity(self) -> Identity {
        let nonce = Nonce { label: 0x1234, base: 7, token: 0x0123_4567_89ab_cdef };
        Identity { local: LOCAL, remote: self.target, nonce }
    }
}

/// Measures a method over both families. `method` makes its probes, `last` the target's answer to one.
pub(crate) fn bench<P: ProbeProtocol>(
    name: &str,
    method: impl Fn(Ends) -> P,
    last: impl Fn(Ends, &[u8]) -> Vec<u8>,
) {
    let mut criterion = Criterion::default().configure_from_args();
    let [client, router, target] = [0, 1, 2].map(|link| AddressPlan::Public.left(link));
    for family in [IpAddr::from(target.v4), target.v6.into()] {
        let [client, router] = [client, router].map(|addresses| addresses.of_family(family));
        let ends = Ends { client, target: family };
        let name = format!("{name}/{}", if family.is_ipv4() { "ipv4" } else { "ipv6" });
        family_of(&mut criterion, &name, method(ends), router, |probe| last(ends, probe));
    }
    criterion.final_summary();
}

fn family_of(
    criterion: &mut Criterion,
    name: &str,
    mut probes: impl ProbeProtocol,
    router: IpAddr,
    last: impl Fn(&[u8]) -> Vec<u8>,
) {
    let probe = ProbeId::first(Ttl::FIRST.plus(6));
    let mut buffer = [0; MAX_PROBE_LEN];
    let sent = probes.encode(probe, &mut buffer).to_vec();
    criterion.bench_function(&format!("encode/{name}"), |bencher| {
        bencher.iter(|| probes.encode(black_box(probe), &mut buffer).len());
    });

    let own = captured(Direction::Sent, &sent);
    assert_eq!(probes.match_sent(&own), Some(probe));
    criterion.bench_function(&format!("match_sent/{name}"), |bencher| {
        bencher.iter(|| probes.match_sent(black_box(&own)));
    });

    let time_exceeded = |quote| icmp_error(router, 60, IcmpError::TimeExceeded, &sent, quote, None);
    let answers = [
        ("full_quote", time_exceeded(Quote::Full)),
        ("8_byte_quote", time_exceeded(Quote::Transport(8))),
        ("final", last(&sent)),
    ];
    for (case, answer) in &answers {
        let answer = captured(Direction::Received, answer);
        assert_eq!(probes.match_reply(&answer).and_then(|response| response.probe), Some(probe), "{case}");
        criterion.bench_function(&format!("match_reply/{name}/{case}"), |bencher| {
            bencher.iter(|| probes.match_reply(black_box(&answer)));
        });
    }
}

pub(crate) fn captured(direction: Direction, datagram: &[u8]) -> Captured<'_> {
    Captured { direction, stamp: Stamp::kernel(Timestamp::ZERO), interface: 1, datagram }
}
