//! Names from name servers that are well, slow, broken, lying, silent or not there.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use traceroute::{NameOptions, NameSource, Protocol, Request, Results, RunResult, Tracer};
use traceroute_testnet::kernel::Chain;
use traceroute_testnet::sim::Topology;

use crate::dns::{Answer, DnsServer, names};
use crate::lab::{Lab, one_run};
use crate::nobody::RefusingUdp;

const SECOND: Duration = Duration::from_secs(1);

fn asking(servers: &[SocketAddr]) -> NameOptions {
    NameOptions { source: NameSource::Servers(servers.to_vec()), ..NameOptions::default() }
}

fn only_run(results: &Results) -> &RunResult {
    match results.traceroute.runs.as_deref() {
        Some([run]) => run,
        runs => panic!("one run was asked for: {runs:?}"),
    }
}

/// The names of the hops of a trace through so many routers, and how long it took.
async fn hop_names(routers: u8, options: NameOptions) -> (Vec<Vec<String>>, Duration) {
    let lab = Lab::with(Topology::chain(routers), |tracer| tracer.names(options)).await;
    let (results, took) = lab.trace(one_run(routers, Protocol::Udp).reverse_dns(true)).await;
    (only_run(&results).hops.iter().map(|hop| hop.reverse_dns.clone()).collect(), took)
}

#[tokio::test]
async fn a_destination_with_two_names_shows_both() {
    let server = DnsServer::start(|name| match name {
        "2.1.71.10.in-addr.arpa." => names(&["Target.example.test.", "www.example.test."]),
        _ => names(&["r1.example.test."]),
    });
    let lab = Lab::with(Topology::chain(1), |tracer| tracer.names(asking(&[server.address]))).await;
    let (results, _) = lab.trace(one_run(1, Protocol::Udp).reverse_dns(true)).await;
    let run = only_run(&results);
    let both = ["Target.example.test.", "www.example.test."];
    assert_eq!(run.destination.reverse_dns, both);
    assert_eq!(run.hops[1].reverse_dns, both);
    assert_eq!(run.hops[0].reverse_dns, ["r1.example.test."]);
    let mut json = Vec::new();
    traceroute::write_json(&run, traceroute::Style::Compact, &mut json).expect("memory does not fail");
    let json = String::from_utf8(json).expect("JSON is UTF-8");
    let names = r#""reverse_dns":["Target.example.test.","www.example.test."]"#;
    assert!(json.contains(&format!(r#""port":33434,{names}}}"#)), "{json}");
    assert!(json.contains(&format!(r#""reachable":true,{names}"#)), "{json}");
}

#[tokio::test]
async fn ipv6_addresses_have_names_too() {
    let server = DnsServer::start(|name| {
        if name.starts_with("2.0.0.0.") && name.ends_with("1.7.0.0.0.0.d.f.ip6.arpa.") {
            names(&["six.example.test."])
        } else {
            Answer::Code(3)
        }
    });
    let lab = Lab::with(Topology::chain(1), |tracer| tracer.names(asking(&[server.address]))).await;
    let request = Request::builder("fd00:71:1::2").traceroute_queries(1).e2e_queries(0).reverse_dns(true);
    let (results, _) = lab.trace(request).await;
    assert_eq!(only_run(&results).destination.reverse_dns, ["six.example.test."]);
}

/// Each hop's server does something else, and every one but the silent is done with at once.
#[tokio::test]
async fn broken_and_lying_servers_give_no_names_and_delay_nothing() {
    let server = DnsServer::start(|name| match name {
        "2.0.71.10.in-addr.arpa." => Answer::Code(3),
        "2.1.71.10.in-addr.arpa." => Answer::Code(2),
        "2.2.71.10.in-addr.arpa." => Answer::Code(5),
        "2.3.71.10.in-addr.arpa." => Answer::Garbage,
        "2.4.71.10.in-addr.arpa." => Answer::ForSomebodyElse("lie.example."),
        "2.5.71.10.in-addr.arpa." => names(&["bell\x07.example.", "white space.example.", "good.example."]),
        "2.6.71.10.in-addr.arpa." => Answer::ForgeriesAnd("true.example."),
        "2.7.71.10.in-addr.arpa." => {
            Answer::Alias("7.0-31.71.10.in-addr.arpa.", vec!["alias.example.".into()])
        }
        "2.8.71.10.in-addr.arpa." => Answer::Names(Vec::new()),
        other => panic!("{other} is no address of the path"),
    });
    let (found, took) = hop_names(8, asking(&[server.address])).await;
    let none: Vec<String> = Vec::new();
    let one = |name: &str| vec![name.to_owned()];
    assert_eq!(found[..5], vec![none.clone(); 5]);
    assert_eq!(found[5..8], [one("good.example."), one("true.example."), one("alias.example.")]);
    assert_eq!(found[8], none);
    assert!(took < 3 * SECOND, "{took:?}");
}

/// Two thousand names do not fit into a datagram.
#[tokio::test]
async fn what_does_not_fit_is_asked_for_over_tcp() {
    let many: Vec<String> = (0..1000).map(|i| format!("name-{i}.example.test.")).collect();
    let all = many.clone();
    let server = DnsServer::start(move |name| match name {
        "2.1.71.10.in-addr.arpa." => Answer::OnlyOverTcp(all.clone()),
        _ => Answer::Code(3),
    });
    let (found, _) = hop_names(1, asking(&[server.address])).await;
    assert_eq!(found[1], many);
}

#[tokio::test]
async fn a_slow_answer_is_waited_for() {
    let server = DnsServer::start(|_| Answer::Late(2 * SECOND, "slow.example."));
    let (found, took) = hop_names(1, asking(&[server.address])).await;
    assert_eq!(found, vec![vec!["slow.example.".to_owned()]; 2]);
    assert!(took >= 2 * SECOND && took < 4 * SECOND, "{took:?}");
}

#[tokio::test]
async fn a_silent_server_is_given_its_time_and_costs_the_other_names_nothing() {
    let server = DnsServer::start(|name| match name {
        "2.1.71.10.in-addr.arpa." => Answer::Silence,
        _ => names(&["known.example."]),
    });
    let options = NameOptions { patience: SECOND, ..asking(&[server.address]) };
    let (found, took) = hop_names(2, options).await;
    let known = vec!["known.example.".to_owned()];
    assert_eq!(found, [known.clone(), Vec::new(), known]);
    assert!(took >= SECOND && took < 3 * SECOND, "{took:?}");
}

/// Of several servers one is refused, one is silent and one is well: the last gives the names at once.
#[tokio::test]
async fn one_server_that_is_well_is_enough() {
    let well = DnsServer::start(|_| names(&["known.example."]));
    let silent = DnsServer::start(|_| Answer::Silence);
    let refusing = RefusingUdp::new();
    let refused = refusing.address();
    let (found, took) = hop_names(3, asking(&[refused, silent.address, well.address])).await;
    assert_eq!(found, vec![vec!["known.example.".to_owned()]; 4]);
    assert!(took < 3 * SECOND, "{took:?}");

    let (found, took) = hop_names(3, asking(&[refused])).await;
    assert_eq!(found, vec![Vec::<String>::new(); 4]);
    assert!(took < 3 * SECOND, "{took:?}");
    let (found, took) = hop_names(3, asking(&[])).await;
    assert_eq!(found, vec![Vec::<String>::new(); 4]);
    assert!(took < 3 * SECOND, "{took:?}");
}

/// Six hundred probes at once, in real time and on one thread, lose some answers in the runs' queues, and most of them where
/// the thread loses its core.
#[tokio::test]
async fn two_hundred_hops_send_one_query_for_each_address() {
    let server = DnsServer::start(|_| names(&["known.example."]));
    let far = |topology: Topology, i| topology.with_router(i, |router| router.answers.ttl = 255);
    let topology = (1..=200).fold(Topology::chain(200), far).with_target(|target| target.answers.ttl = 255);
    let lab = Lab::with(topology, |tracer| tracer.names(asking(&[server.address]))).await;
    for _ in 0..2 {
        let request = one_run(200, Protocol::Udp).traceroute_queries(3).max_ttl(255).reverse_dns(true);
        let (results, _) = lab.trace(request).await;
        for run in results.traceroute.runs.expect("there are runs") {
            let answered: Vec<_> = run.hops.iter().filter(|hop| hop.reachable).collect();
            assert!(answered.len() > 10 && answered.iter().all(|hop| hop.reverse_dns == ["known.example."]));
        }
    }
    let (addresses, most) = server.asked();
    assert!((11..=201).contains(&addresses), "{addresses}");
    assert_eq!(most, 1);
}

/// The server can only be reached from inside of the namespace that is traced in.
#[tokio::test]
async fn a_namespace_asks_from_inside_of_it() {
    let chain = Chain::builder().routers(1).build().expect("root");
    let (udp, tcp) = chain.client().run(|| {
        let udp = UdpSocket::bind("127.0.0.1:5300").expect("nobody else is here");
        (udp, TcpListener::bind("127.0.0.1:5300").expect("nobody else is here"))
    });
    let server = DnsServer::serve(udp, tcp, |name| match name {
        "2.0.71.10.in-addr.arpa." => Answer::OnlyOverTcp(vec!["inside.example.".into()]),
        _ => names(&["inside.example."]),
    });
    let options = NameOptions { patience: 3 * SECOND, ..asking(&[server.address]) };
    let builder = Tracer::builder().network_namespace(chain.client().path()).names(options);
    let tracer = builder.build().await.expect("root");
    let target = chain.target().addresses().v4.to_string();
    let request = Request::builder(target).traceroute_queries(1).e2e_queries(0).reverse_dns(true);
    let started = Instant::now();
    let trace = tracer.start(request.build().expect("valid")).expect("room");
    let results = trace.finish().await.expect("a result");
    let run = only_run(&results);
    assert!(run.hops.iter().all(|hop| hop.reverse_dns == ["inside.example."]), "{run:?}");
    assert!(started.elapsed() < 3 * SECOND);
}

/// What is still being asked does not keep the capture of a tracer that is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_tracer_that_is_dropped_leaves_nothing_that_asks() {
    let chain = Chain::builder().routers(1).build().expect("root");
    let silent = DnsServer::start(|_| Answer::Silence);
    let builder = Tracer::builder().network_namespace(chain.client().path()).names(asking(&[silent.address]));
    let tracer = builder.build().await.expect("root");
    let target = chain.target().addresses().v4.to_string();
    let request = Request::builder(target).traceroute_queries(1).e2e_queries(0).reverse_dns(true);
    let mut trace = tracer.start(request.build().expect("valid")).expect("room");
    while !matches!(trace.next_event().await, Some(traceroute::TraceEvent::RunFinished { .. })) {}
    drop((trace, tracer));
    // The capture's task ends on another thread than this one, which blocks.
    chain.client().await_no_packet_sockets().expect("all are closed");
}
