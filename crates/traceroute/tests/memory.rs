//! What live runs cost in memory: allocated bytes, counted.

#[path = "common/client.rs"]
mod client;

use std::collections::VecDeque;
use std::net::Ipv6Addr;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tokio::time::Instant;
use traceroute::{Blocks, Protocol, Request, Trace, TraceEvent, Tracer};
use traceroute_core::{Captured, Destination, Direction, Sink, Source, Stamp, Timestamp, TracerouteError};
use traceroute_packets::{Clock, Network, Parts};
use traceroute_testnet::DualStack;
use traceroute_testnet::heap::{Counting, of_thread};

use client::Client;

const KIB: usize = 1024;
const RUNS: usize = 500;
const CLIENT: [u8; 4] = [192, 0, 2, 1];

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A network in which a router at each of the first TTLs answers, and nobody else.
#[derive(Clone)]
struct Routers {
    count: u8,
    answers: Arc<Mutex<VecDeque<Vec<u8>>>>,
    news: Arc<Notify>,
}

impl Sink for Routers {
    async fn send(&self, datagram: &[u8], _to: Destination) -> Result<Stamp, TracerouteError> {
        let ttl = datagram[8];
        if ttl <= self.count {
            self.answers.lock().expect("not poisoned").push_back(time_exceeded(ttl, datagram));
            self.news.notify_one();
        }
        Ok(Stamp::kernel(Timestamp::ZERO))
    }
}

/// A time exceeded of the router at `ttl` that quotes all of `probe` (RFC 791, RFC 792).
fn time_exceeded(ttl: u8, probe: &[u8]) -> Vec<u8> {
    let length = u16::try_from(28 + probe.len()).expect("probes are short").to_be_bytes();
    let mut packet = vec![0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, 1, 0, 0, 10, 71, ttl, 2];
    packet.extend(CLIENT);
    packet.extend([11, 0, 0, 0, 0, 0, 0, 0]);
    packet.extend(probe);
    packet[28 + 8] = 1;
    packet
}

/// Where the answers of [`Routers`] are captured.
struct Answers {
    routers: Routers,
    current: Vec<u8>,
    catching_up: bool,
}

impl Source for Answers {
    async fn recv(&mut self) -> Result<Option<Captured<'_>>, TracerouteError> {
        loop {
            let answer = self.routers.answers.lock().expect("not poisoned").pop_front();
            if let Some(answer) = answer {
                self.current = answer;
                return Ok(Some(Captured {
                    direction: Direction::Received,
                    stamp: Stamp::kernel(Timestamp::ZERO),
                    interface: 1,
                    datagram: &self.current,
                }));
            }
            if std::mem::take(&mut self.catching_up) {
                return Ok(None);
            }
            self.routers.news.notified().await;
        }
    }

    fn catch_up(&mut self) {
        self.catching_up = true;
    }
}

async fn tracer(routers: u8) -> Tracer {
    let routers = Routers { count: routers, answers: Arc::default(), news: Arc::default() };
    let mut bits = 0_u64;
    let network = Network::assemble(Parts {
        clock: Clock::since(Instant::now()),
        source: Answers { routers: routers.clone(), current: Vec::new(), catching_up: false },
        sink: routers,
        host: Client::without_connections(DualStack { v4: CLIENT.into(), v6: Ipv6Addr::LOCALHOST }),
        blocks: Blocks { ports: 60_000..=64_095, echo_ids: 1..=4096, in_order: false },
        entropy: Box::new(move || {
            bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
            bits.wrapping_mul(0xbf58_476d_1ce4_e5b9)
        }),
    });
    Tracer::builder().network(network).build().await.expect("nothing to open")
}

/// Reads events until so many probes are sent and answered.
async fn await_events(trace: &mut Trace, mut sent: usize, mut answered: usize) {
    while sent > 0 || answered > 0 {
        match trace.next_event().await.expect("the run waits for the target") {
            TraceEvent::ProbeSent { .. } => sent -= 1,
            TraceEvent::HopAnswered { .. } => answered -= 1,
            _ => {}
        }
    }
}

/// Bytes that each of many requests of one run takes when it has sent to all TTLs and the routers have answered.
fn each(protocol: Protocol, routers: u8, ttls: u8) -> usize {
    // A runtime of its own, which leaves nothing behind that the next measurement would see end.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let tracer = tracer(routers).await;
        let mut under_way = Vec::with_capacity(RUNS);
        // Of this thread only, in which the runtime runs.
        let before = of_thread().live;
        for _ in 0..RUNS {
            let request = Request::builder("198.51.100.9").protocol(protocol).traceroute_queries(1);
            let request = request.e2e_queries(0).max_ttl(ttls).timeout_ms(600_000).build().expect("valid");
            under_way.push(tracer.start(request).expect("room"));
        }
        for trace in &mut under_way {
            await_events(trace, ttls.into(), routers.into()).await;
        }
        of_thread().live.wrapping_sub(before) / RUNS
    })
}

#[test]
fn a_run_that_waits_takes_less_than_four_kibibytes() {
    for protocol in [Protocol::Udp, Protocol::Icmp, Protocol::Tcp] {
        let each = each(protocol, 0, 1);
        assert!(each < 4 * KIB, "{protocol}: {each}");
    }
}

#[test]
fn a_run_that_knows_a_long_path_takes_less_than_sixteen() {
    for protocol in [Protocol::Udp, Protocol::Icmp, Protocol::Tcp] {
        let each = each(protocol, 29, 30);
        assert!((KIB..16 * KIB).contains(&each), "{protocol}: {each}");
    }
}
