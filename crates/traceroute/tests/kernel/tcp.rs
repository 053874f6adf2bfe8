//! TCP runs beside the TCP of the host.

use std::io::{ErrorKind, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use socket2::SockRef;
use traceroute::{Blocks, PortState, Protocol, Results, TcpMethod, TraceEvent, Tracer};
use traceroute_testnet::kernel::{Chain, TcpServer};

use crate::{addresses, hops, one_run};

const METHODS: [TcpMethod; 2] = [TcpMethod::Syn, TcpMethod::Sack];
const PORT: u16 = 80;
/// Of which each probe and each answer is one, and each handshake five or so.
const FEW: u64 = 100;

async fn tracer(chain: &Chain) -> Tracer {
    Tracer::builder().network_namespace(chain.client().path()).build().await.expect("root")
}

async fn trace(tracer: &Tracer, chain: &Chain, method: TcpMethod) -> Results {
    let request = one_run(chain.target().addresses().v4, Protocol::Tcp).tcp_method(method).port(PORT);
    tracer.start(request.build().expect("valid")).expect("room").finish().await.expect("a result")
}

#[track_caller]
fn assert_right(results: &Results, routers: usize) {
    let expected: Vec<String> = (0..=routers).map(|link| format!("10.71.{link}.2")).collect();
    assert_eq!(addresses(hops(results)), expected);
    let run = &results.traceroute.runs.as_ref().expect("there are runs")[0];
    assert_eq!((run.reached, run.port_state), (true, Some(PortState::Open)));
    assert_eq!((run.duplicates, run.late, run.capture_drops), (0, 0, 0));
}

/// Nobody else can have the port while the run is under way, and who connects to it is refused.
#[tokio::test]
async fn the_port_of_a_syn_run_is_bound_and_not_listening() {
    let chain = Chain::builder().routers(1).build().expect("root");
    chain.target().blackhole().expect("nftables");
    let blocks = Blocks { ports: 62_000..=62_000, echo_ids: 1..=1, in_order: true };
    let builder = Tracer::builder().network_namespace(chain.client().path()).blocks(blocks);
    let tracer = builder.build().await.expect("root");
    let (client, target) = (chain.client().addresses(), chain.target().addresses());
    for (source, target) in
        [(IpAddr::from(client.v4), IpAddr::from(target.v4)), (client.v6.into(), target.v6.into())]
    {
        let request = one_run(target, Protocol::Tcp).port(PORT).timeout_ms(60_000).build().expect("valid");
        let mut trace = tracer.start(request).expect("room");
        while !matches!(trace.next_event().await, Some(TraceEvent::ProbeSent { .. })) {}
        let address = (source, 62_000);
        let (bound, connected) =
            chain.client().run(|| (TcpListener::bind(address), TcpStream::connect(address)));
        assert_eq!(bound.expect_err("somebody has it").kind(), ErrorKind::AddrInUse);
        assert_eq!(connected.expect_err("nobody listens").kind(), ErrorKind::ConnectionRefused);
        trace.stop().await.expect("a result");
    }
}

/// Bulk traffic of the host, to the same port of the same target, does not pass the filter.
#[tokio::test(flavor = "multi_thread")]
async fn bulk_traffic_is_not_captured() {
    let chain = Chain::builder().routers(2).build().expect("root");
    let server = TcpServer::listen(chain.target(), PORT).expect("a free port");
    let target = chain.target().addresses().v4;
    let tracer = tracer(&chain).await;
    let (over, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut stream = chain.client().run(|| TcpStream::connect((target, PORT))).expect("it listens");
            while !over.load(Ordering::Relaxed) {
                stream.write_all(&[0; 1 << 12]).expect("connected");
                sent.fetch_add(1 << 12, Ordering::Relaxed);
            }
        });
        let runtime = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| {
            for method in METHODS {
                // So that there is traffic before, during and after the run.
                let before = sent.load(Ordering::Relaxed);
                while sent.load(Ordering::Relaxed) == before {
                    thread::yield_now();
                }
                let captured = tracer.stats().captured;
                let results = runtime.block_on(trace(&tracer, &chain, method));
                while sent.load(Ordering::Relaxed) < before + (16 << 20) {
                    thread::yield_now();
                }
                let captured = tracer.stats().captured - captured;
                assert_right(&results, 2);
                // 16 MiB are hundreds of segments, of 64 KiB at most.
                assert!(captured < FEW, "{method}: {captured} packets");
            }
            over.store(true, Ordering::Relaxed);
        });
    });
    assert!(server.counts().received >= 16 << 20, "the traffic arrives");
}

/// A busy host: its connections and what goes over them neither disturb runs nor burden the capture.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_connections_of_the_host_disturb_nothing() {
    const CONNECTIONS: usize = 10_000;
    let chain = Chain::builder().routers(2).build().expect("root");
    let target = chain.target().addresses().v4;
    let tracer = tracer(&chain).await;
    // Nobody accepts them: an established connection that waits for that takes no descriptor.
    chain.target().sysctl(&[("net.core.somaxconn", "16384")]).expect("root");
    let listener = chain.target().run(|| {
        let listener = TcpListener::bind((target, PORT)).expect("a free port");
        SockRef::from(&listener).listen(16_384).map(|()| listener).expect("a longer queue")
    });
    let mut streams: Vec<TcpStream> = chain
        .client()
        .run(|| (0..CONNECTIONS).map(|_| TcpStream::connect((target, PORT)).expect("it listens")).collect());

    let captured = tracer.stats().captured;
    let over = AtomicBool::new(false);
    let rounds = thread::scope(|scope| {
        let talking = scope.spawn(|| {
            let mut rounds = 0;
            while !over.load(Ordering::Relaxed) || rounds == 0 {
                for stream in &mut streams {
                    stream.write_all(b"x").expect("there is room");
                }
                rounds += 1;
            }
            rounds
        });
        let runtime = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| {
            for method in METHODS.into_iter().cycle().take(10) {
                assert_right(&runtime.block_on(trace(&tracer, &chain, method)), 2);
            }
            over.store(true, Ordering::Relaxed);
        });
        talking.join().expect("no panic")
    });
    let captured = tracer.stats().captured - captured;
    assert!(captured < 10 * FEW, "{captured} packets, {rounds} rounds over {CONNECTIONS} connections");
    drop(listener);
}
