//! Tracing in a namespace that is not the caller's, and what the capture does under load.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use traceroute::{Blocks, Protocol, TcpMethod, TraceEvent, Tracer};
use traceroute_testnet::kernel::{Chain, Namespace, TcpServer};

use crate::{addresses, hops, one_run};

#[tokio::test]
async fn a_tracer_traces_in_the_namespace_it_is_given() {
    let chain = Chain::builder().routers(3).build().expect("root");
    let tracer = Tracer::builder().network_namespace(chain.client().path()).build().await.expect("root");
    for protocol in [Protocol::Udp, Protocol::Icmp, Protocol::Tcp] {
        let request = one_run(chain.target().addresses().v4, protocol).build().expect("valid");
        let results = tracer.start(request).expect("room").finish().await.expect("a result");
        let expected: Vec<String> = (0..=3).map(|link| format!("10.71.{link}.2")).collect();
        assert_eq!(addresses(hops(&results)), expected);
        assert!(hops(&results).iter().all(|hop| hop.rtt_source.is_none()), "from the very first probe on");
    }
}

#[tokio::test]
async fn a_namespace_that_is_none_is_an_error() {
    for path in ["/nonexistent", "/proc/self/ns/mnt", "/dev/null"] {
        let error = Tracer::builder().network_namespace(path).build().await.expect_err(path).to_string();
        let start = format!("{path}: entering the network namespace failed: ");
        assert!(error.starts_with(&start), "{error}");
    }
}

#[tokio::test]
async fn a_namespace_without_loopback_still_traces() {
    let chain = Chain::builder().routers(1).build().expect("root");
    chain.client().ip("link set lo down").expect("there is a loopback");
    let tracer = Tracer::builder().network_namespace(chain.client().path()).build().await.expect("root");
    let request = one_run(chain.target().addresses().v4, Protocol::Udp).build().expect("valid");
    let results = tracer.start(request).expect("room").finish().await.expect("a result");
    assert_eq!(addresses(hops(&results)), ["10.71.0.2", "10.71.1.2"]);
}

/// A tracer with ports from 62,000 on in a namespace in which 127.0.0.9 is dead.
async fn beside_a_dead_target() -> (Namespace, Tracer) {
    let namespace = Namespace::new().expect("root");
    let blocks = Blocks { ports: 62_000..=62_099, echo_ids: 1..=100, in_order: false };
    let builder = Tracer::builder().network_namespace(namespace.path()).blocks(blocks);
    let tracer = builder.build().await.expect("root");
    namespace
        .nft("table ip t { chain c { type filter hook input priority 0; ip daddr 127.0.0.9 drop; }; }")
        .expect("nftables");
    (namespace, tracer)
}

#[tokio::test]
async fn lost_packets_are_counted_in_the_result() {
    let (namespace, tracer) = beside_a_dead_target().await;
    let request = one_run("127.0.0.9", Protocol::Icmp).max_ttl(3).timeout_ms(300).build().expect("valid");
    let mut trace = tracer.start(request).expect("room");
    while !matches!(trace.next_event().await, Some(TraceEvent::ProbeSent { .. })) {}
    // Nothing reads the capture while this thread floods a port of the block: loopback shows every datagram twice, and
    // the buffer holds some ten thousand.
    namespace.run(|| {
        let socket = UdpSocket::bind("127.0.0.1:62050").expect("a free port");
        for _ in 0..100_000 {
            socket.send_to(&[0; 64], "127.0.0.1:62051").expect("loopback takes all");
        }
    });
    let results = trace.finish().await.expect("a result");
    let run = &results.traceroute.runs.as_ref().expect("there are runs")[0];
    assert!(run.capture_drops > 10_000, "{run:?}");
    assert_eq!(tracer.stats().capture_drops, run.capture_drops);
}

/// Two threads keep the capture's buffer full of packets that pass its filter, for as long as the request lasts.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_packets_does_not_keep_a_request_from_ending() {
    let (namespace, tracer) = beside_a_dead_target().await;
    let over = AtomicBool::new(false);
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                namespace.run(|| {
                    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
                    while !over.load(Ordering::Relaxed) {
                        socket.send_to(&[0; 64], "127.0.0.1:62051").expect("loopback takes all");
                    }
                });
            });
        }
        let request = one_run("127.0.0.9", Protocol::Icmp).max_ttl(3).timeout_ms(300).build().expect("valid");
        let results = tracer.start(request).expect("room").finish();
        let runtime = tokio::runtime::Handle::current();
        let results = tokio::task::block_in_place(|| {
            runtime.block_on(tokio::time::timeout(Duration::from_secs(30), results))
        });
        over.store(true, Ordering::Relaxed);
        results.expect("it ends").expect("a result");
    });
    // Three probes within 100 ms, and 300 ms for the last one.
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

/// Of every method, while they are under way: nothing that comes from the target is heard.
#[tokio::test]
async fn all_runs_share_one_capture() {
    let chain = Chain::builder().routers(1).build().expect("root");
    let _server = TcpServer::listen(chain.target(), 80).expect("a free port");
    let tracer = Tracer::builder().network_namespace(chain.client().path()).build().await.expect("root");
    // What answers a SACK run's probes, but not what makes its connection: only the segments with blocks have no SYN.
    let rules =
        "table inet t { chain c { type filter hook output priority 0; tcp option sack exists drop; }; }";
    for (protocol, method) in [
        (Protocol::Tcp, TcpMethod::Sack),
        (Protocol::Tcp, TcpMethod::Syn),
        (Protocol::Icmp, TcpMethod::Syn),
        (Protocol::Udp, TcpMethod::Syn),
    ] {
        match method {
            TcpMethod::Sack => chain.target().nft(rules).expect("nftables"),
            _ => chain.target().blackhole().expect("nftables"),
        }
        let request = one_run(chain.target().addresses().v4, protocol).tcp_method(method).port(80);
        let request = request
            .traceroute_queries(50)
            .e2e_queries(1)
            .timeout_ms(60_000)
            .max_ttl(4)
            .build()
            .expect("valid");
        let mut trace = tracer.start(request).expect("room");
        let mut started = std::collections::BTreeSet::new();
        while started.len() < 50 {
            match trace.next_event().await.expect("the runs are under way") {
                TraceEvent::ProbeSent { run, .. } => drop(started.insert(run)),
                TraceEvent::RunFinished { run, result } => panic!("run {run} is over: {result:?}"),
                TraceEvent::RunFailed { run, reason } => panic!("run {run} failed: {reason}"),
                _ => {}
            }
        }
        assert_eq!(chain.client().packet_sockets(), 1, "{protocol} {method}");
        trace.stop().await.expect("a result");
    }
}

/// The kernel takes its time to close a capture, and nobody waits for it unless many are left.
#[tokio::test]
async fn tracers_one_after_the_other_leave_few_captures_and_none_for_long() {
    let namespace = Namespace::new().expect("root");
    for _ in 0..60 {
        let builder = Tracer::builder().network_namespace(namespace.path());
        drop(builder.build().await.expect("root"));
        // The task that reads the capture has been told to end, and does when it is scheduled.
        tokio::task::yield_now().await;
        assert!(namespace.packet_sockets() <= 17);
    }
    namespace.await_no_packet_sockets().expect("all are closed");
}

/// The answers have come when the request is stopped, and none has been read: the only thread has had no time for it.
#[tokio::test]
async fn what_had_arrived_counts_when_a_request_is_stopped() {
    let chain = Chain::builder().routers(2).build().expect("root");
    let tracer = Tracer::builder().network_namespace(chain.client().path()).build().await.expect("root");
    let request =
        one_run(chain.target().addresses().v4, Protocol::Udp).e2e_queries(1).build().expect("valid");
    let mut trace = tracer.start(request).expect("room");
    while !matches!(trace.next_event().await, Some(TraceEvent::ProbeSent { .. })) {}
    let results = trace.stop().await.expect("a result");
    // The sounding and the first probe were on their way, and the kernels here answer before a call returns.
    assert_eq!(addresses(hops(&results))[0], "10.71.0.2");
    assert_eq!(results.e2e_probe.packets_received, 1);
}
