//! What it takes to find the runs of a packet, and to lend identities, among one and among many.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use criterion::Criterion;
use traceroute_core::{
    Captured, Demultiplexer, Direction, Identity, IdentityPool, Nonce, PacketKeys, Protocol, QUARANTINE,
    Stamp, Timestamp,
};
use traceroute_testnet::sim::{IcmpError, Quote, icmp_error};
use traceroute_wire::{Endpoints, IpHeader, protocol, udp};

const COUNTS: [u16; 2] = [1, 10_000];
/// Runs toward one target; more have another one.
const RUNS_OF_TARGET: u16 = 2500;
const FIRST_LOCAL: u16 = 40_000;
const PORT: u16 = 33_434;

#[derive(Clone, Copy)]
enum Family {
    V4,
    V6,
}

impl Family {
    /// A host by its number; those of runs' targets count from zero.
    fn host(self, number: u16) -> IpAddr {
        let [high, low] = number.to_be_bytes();
        match self {
            Self::V4 => Ipv4Addr::new(198, 18, high, low).into(),
            Self::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number).into(),
        }
    }

    fn client(self) -> IpAddr {
        self.host(u16::MAX)
    }

    fn router(self) -> IpAddr {
        self.host(u16::MAX - 1)
    }

    fn stranger(self) -> IpAddr {
        self.host(u16::MAX - 2)
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for (name, family) in [("ipv4", Family::V4), ("ipv6", Family::V6)] {
        for count in COUNTS {
            demultiplex(&mut criterion, name, family, count);
        }
    }
    for count in COUNTS {
        lease(&mut criterion, &format!("lease/one_target/{count}"), count, |_| Family::V4.host(0));
        lease(&mut criterion, &format!("lease/many_targets/{count}"), count, |run| Family::V4.host(run));
    }
    criterion.final_summary();
}

/// How the probe of a run may look where it is quoted.
type Seen = fn(Family, Identity) -> Identity;

/// As it was sent; with the source that a NAT gave it; to a target that is nobody's.
const CASES: [(&str, Seen); 3] = [
    ("flow", |_, identity| identity),
    ("label", |_, identity| Identity { local: 1024, ..identity }),
    ("stranger", |family, identity| Identity { remote: family.stranger(), ..identity }),
];

/// Packets of all runs by turns, so that no run's entry is nearer than another's: time exceeded, each quoting a probe.
fn demultiplex(criterion: &mut Criterion, name: &str, family: Family, count: u16) {
    let mut entropy = entropy();
    let identities: Vec<Identity> = (0..count)
        .map(|run| Identity {
            local: FIRST_LOCAL + run % RUNS_OF_TARGET,
            remote: family.host(run / RUNS_OF_TARGET),
            nonce: Nonce::from_entropy(entropy(), entropy()),
        })
        .collect();
    let mut index = Demultiplexer::default();
    for (run, identity) in (0..count).zip(&identities) {
        index.insert(&identity.flow_key(Protocol::Udp), run);
    }

    for (case, seen) in CASES {
        let packets: Vec<Vec<u8>> =
            identities.iter().map(|identity| time_exceeded(family, &seen(family, *identity))).collect();
        for (run, packet) in (0..count).zip(&packets) {
            let keys = PacketKeys::of(&received(packet)).expect("quotes a probe");
            assert_eq!(index.candidates(&keys).any(|candidate| *candidate == run), case != "stranger");
        }
        let mut turns = packets.iter().cycle();
        criterion.bench_function(&format!("demultiplex/{case}/{name}/{count}"), |bencher| {
            bencher.iter(|| {
                let packet = turns.next().map(Vec::as_slice).unwrap_or_default();
                let keys = PacketKeys::of(black_box(&received(packet)))?;
                index.candidates(&keys).copied().reduce(u16::max)
            });
        });
    }
}

/// What a router answers to the probe of a run, quoting 8 bytes behind the IP header.
fn time_exceeded(family: Family, identity: &Identity) -> Vec<u8> {
    let header = IpHeader {
        endpoints: Endpoints::new(family.client(), identity.remote).expect("one family"),
        ttl: 1,
        protocol: protocol::UDP,
        label: identity.nonce.label,
        dont_fragment: true,
        traffic_class: 0,
    };
    let mut buffer = [0; 128];
    let length = udp::write_datagram(&header, identity.local, PORT, &[7; 18], &mut buffer);
    let probe = &buffer[..length];
    icmp_error(family.router(), 60, IcmpError::TimeExceeded, probe, Quote::Transport(8), None)
}

fn received(datagram: &[u8]) -> Captured<'_> {
    Captured { direction: Direction::Received, stamp: Stamp::kernel(Timestamp::ZERO), interface: 1, datagram }
}

/// An identity is lent and returned while `count` others are live and as many in quarantine, and one local is free
/// toward the target of the first.
fn lease(criterion: &mut Criterion, name: &str, count: u16, remote: impl Fn(u16) -> IpAddr) {
    let mut entropy = entropy();
    let mut pool = IdentityPool::new(FIRST_LOCAL, count + 1, 0);
    let mut now = Timestamp::ZERO;
    for run in 0..count {
        pool.lease(remote(run), now, &mut entropy).expect("a local for each");
    }
    criterion.bench_function(name, |bencher| {
        bencher.iter(|| {
            now = now + QUARANTINE / u32::from(count);
            let identity = pool.lease(remote(0), now, &mut entropy);
            if let Some(identity) = &identity {
                pool.release(identity, now);
            }
            identity
        });
    });
    assert_eq!(pool.live(), usize::from(count), "one at a time was lent and returned");
}

/// Random bits that are the same each time: the generator `splitmix64`.
fn entropy() -> impl FnMut() -> u64 {
    let mut state = 0_u64;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let bits = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}
