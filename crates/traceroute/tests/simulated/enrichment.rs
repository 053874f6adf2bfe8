//! What a request says beyond what the probes have learnt, under virtual time.

use std::collections::BTreeMap;
use std::future::pending;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use traceroute::{
    Cache, LookingUp, NameOptions, NameSource, Protocol, Request, Results, ReverseLookup, TraceEvent,
};
use traceroute_testnet::AddressPlan;
use traceroute_testnet::sim::{Extensions, MplsLabel, Topology};

use crate::lab::{Lab, addresses, one_run};

const SECOND: Duration = Duration::from_secs(1);

/// Somebody who knows names after a while, and notes what he is asked.
struct Oracle {
    /// How long he takes for an address; `None` is for ever.
    takes: fn(IpAddr) -> Option<Duration>,
    /// Whether he knows it in the end.
    knows: fn(IpAddr) -> bool,
    asked: Mutex<BTreeMap<IpAddr, usize>>,
}

impl Oracle {
    fn new(takes: fn(IpAddr) -> Option<Duration>, knows: fn(IpAddr) -> bool) -> Arc<Self> {
        Arc::new(Self { takes, knows, asked: Mutex::default() })
    }

    fn options(self: &Arc<Self>) -> NameOptions {
        let source: Arc<dyn ReverseLookup> = Arc::clone(self) as _;
        NameOptions { source: NameSource::Custom(source), ..NameOptions::default() }
    }

    /// How many addresses he was asked for, and how often for one at most.
    fn asked(&self) -> (usize, usize) {
        let asked = self.asked.lock().expect("not poisoned");
        (asked.len(), asked.values().copied().max().unwrap_or_default())
    }
}

impl ReverseLookup for Oracle {
    fn names(&self, address: IpAddr) -> LookingUp<'_> {
        *self.asked.lock().expect("not poisoned").entry(address).or_default() += 1;
        Box::pin(async move {
            match (self.takes)(address) {
                Some(time) => sleep(time).await,
                None => pending().await,
            }
            if !(self.knows)(address) {
                return Err("unknown".into());
            }
            Ok(vec![format!("{address}.example."), format!("also-{address}")])
        })
    }
}

/// The first name of each hop of a run, empty without any.
fn first_names(results: &Results, run: usize) -> Vec<&str> {
    let hops = &results.traceroute.runs.as_ref().expect("there are runs")[run].hops;
    hops.iter().map(|hop| hop.reverse_dns.first().map_or("", String::as_str)).collect()
}

/// The links take 1 ms each way: what is asked last is known 6 ms after the first probe, and waited for from then.
#[tokio::test(start_paused = true)]
async fn names_are_looked_up_beside_the_probing() {
    let oracle = Oracle::new(|_| Some(SECOND), |_| true);
    let lab = Lab::with(Topology::chain(2), |tracer| tracer.names(oracle.options())).await;
    let (results, took) = lab.trace(one_run(2, Protocol::Icmp).reverse_dns(true)).await;
    assert!(took >= SECOND && took < SECOND + Duration::from_millis(50), "{took:?}");
    assert_eq!(first_names(&results, 0), ["10.71.0.2.example.", "10.71.1.2.example.", "10.71.2.2.example."]);
    let run = &results.traceroute.runs.as_ref().expect("a run")[0];
    assert_eq!(run.destination.reverse_dns, ["10.71.2.2.example.", "also-10.71.2.2"]);
    assert_eq!(oracle.asked(), (3, 1));

    // With end-to-end probes that take longer, not at all; and what is known is known.
    let (results, took) = lab.trace(one_run(2, Protocol::Icmp).e2e_queries(4).reverse_dns(true)).await;
    let (_, without) = lab.trace(one_run(2, Protocol::Icmp).e2e_queries(4)).await;
    assert_eq!(took, without);
    assert_eq!(first_names(&results, 0)[1], "10.71.1.2.example.");
    assert_eq!(oracle.asked(), (3, 1));
}

/// They are told when they are known, though the request goes on for as long as its end-to-end probes do.
#[tokio::test(start_paused = true)]
async fn names_are_told_as_soon_as_they_are_known() {
    let oracle = Oracle::new(|_| Some(SECOND), |address| address != IpAddr::from([10, 71, 1, 2]));
    let lab = Lab::with(Topology::chain(2), |tracer| tracer.names(oracle.options())).await;
    let request = one_run(2, Protocol::Icmp).traceroute_queries(3).e2e_queries(10).reverse_dns(true);
    let started = Instant::now();
    let mut trace = lab.tracer.start(request.build().expect("valid")).expect("room");
    let mut told = BTreeMap::new();
    while let Some(event) = trace.next_event().await {
        if let TraceEvent::Named { address, names } = event {
            assert!(started.elapsed() < SECOND + Duration::from_millis(50), "{:?}", started.elapsed());
            assert!(told.insert(address.to_string(), names).is_none(), "{address} is told once");
        }
    }
    assert!(started.elapsed() > 5 * SECOND);
    let names = |address: &str| vec![format!("{address}.example."), format!("also-{address}")];
    let expected = ["10.71.0.2", "10.71.2.2"].map(|address| (address.to_owned(), names(address)));
    assert_eq!(told, BTreeMap::from(expected));
}

#[tokio::test(start_paused = true)]
async fn without_being_asked_for_names_nobody_is_asked() {
    let oracle = Oracle::new(|_| Some(SECOND), |_| true);
    let lab = Lab::with(Topology::chain(2), |tracer| tracer.names(oracle.options())).await;
    let (results, _) = lab.trace(one_run(2, Protocol::Udp)).await;
    assert_eq!(first_names(&results, 0), [""; 3]);
    let (_, took) =
        lab.trace(one_run(2, Protocol::Udp).traceroute_queries(0).e2e_queries(1).reverse_dns(true)).await;
    assert!(took < SECOND);
    assert_eq!(oracle.asked(), (0, 0));
}

/// 5 s from when it was asked: what has waited since the first second of a long request is given up long before its end.
#[tokio::test(start_paused = true)]
async fn a_dead_resolver_delays_nothing_but_its_own_names() {
    let oracle =
        Oracle::new(|address| (address != IpAddr::from([10, 71, 1, 2])).then_some(Duration::ZERO), |_| true);
    let lab = Lab::with(Topology::chain(2), |tracer| tracer.names(oracle.options())).await;
    let started = Instant::now();
    let request = one_run(2, Protocol::Udp).reverse_dns(true).build().expect("valid");
    let mut trace = lab.tracer.start(request).expect("room");
    while !matches!(trace.next_event().await, Some(TraceEvent::RunFinished { .. })) {}
    assert!(started.elapsed() < Duration::from_millis(50));
    let results = trace.finish().await.expect("a result");
    assert!(started.elapsed() >= 5 * SECOND && started.elapsed() < 5 * SECOND + Duration::from_millis(50));
    assert_eq!(first_names(&results, 0), ["10.71.0.2.example.", "", "10.71.2.2.example."]);

    let (_, took) = lab.trace(one_run(2, Protocol::Udp).e2e_queries(10).reverse_dns(true)).await;
    let (_, without) = lab.trace(one_run(2, Protocol::Udp).e2e_queries(10)).await;
    assert_eq!(took, without);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_stopped_waits_for_no_names() {
    let oracle =
        Oracle::new(|address| (address == IpAddr::from([10, 71, 0, 2])).then_some(Duration::ZERO), |_| true);
    let lab = Lab::with(Topology::chain(2), |tracer| tracer.names(oracle.options())).await;
    let request = one_run(2, Protocol::Udp).reverse_dns(true).build().expect("valid");
    let trace = lab.tracer.start(request).expect("room");
    sleep(SECOND).await;
    let stopped = Instant::now();
    let results = trace.stop().await.expect("a result");
    assert_eq!(stopped.elapsed(), Duration::ZERO);
    assert_eq!(first_names(&results, 0), ["10.71.0.2.example.", "", ""]);
}

/// Of three runs, with and without an answer, and again in the next request only what had none.
#[tokio::test(start_paused = true)]
async fn two_hundred_hops_ask_at_most_once_for_each_address() {
    let oracle = Oracle::new(
        |_| Some(Duration::from_millis(1)),
        |address| matches!(address, IpAddr::V4(address) if address.octets()[2] % 2 == 0),
    );
    let far = |topology: Topology, i| topology.with_router(i, |router| router.answers.ttl = 255);
    let topology = (1..=200).fold(Topology::chain(200), far).with_target(|target| target.answers.ttl = 255);
    let lab = Lab::with(topology, |tracer| tracer.names(oracle.options())).await;
    let request = || one_run(200, Protocol::Udp).traceroute_queries(3).max_ttl(255).reverse_dns(true);
    let (results, _) = lab.trace(request()).await;
    assert_eq!(oracle.asked(), (201, 1));
    for run in 0..3 {
        assert_eq!(first_names(&results, run).iter().filter(|name| name.is_empty()).count(), 100);
    }
    lab.trace(request()).await;
    let asked = oracle.asked.lock().expect("not poisoned");
    assert_eq!(asked.values().filter(|&&count| count == 1).count(), 101);
    assert_eq!(asked.values().filter(|&&count| count == 2).count(), 100);
}

/// Requests at one time share a look-up, and go on with it when the one that began it is gone.
#[tokio::test(start_paused = true)]
async fn there_is_one_look_up_at_a_time_for_an_address() {
    let oracle = Oracle::new(|_| Some(SECOND), |_| true);
    let lab = Lab::with(Topology::chain(1), |tracer| tracer.names(oracle.options())).await;
    let start = || {
        let request = one_run(1, Protocol::Udp).reverse_dns(true).build().expect("valid");
        lab.tracer.start(request).expect("room")
    };
    let (first, second, third) = (start(), start(), start());
    sleep(SECOND / 2).await;
    assert_eq!(oracle.asked(), (2, 1));
    drop(first);
    for trace in [second, third] {
        let results = trace.finish().await.expect("a result");
        assert_eq!(first_names(&results, 0), ["10.71.0.2.example.", "10.71.1.2.example."]);
    }
    assert!(oracle.asked().1 <= 2);
}

#[tokio::test(start_paused = true)]
async fn tracers_may_share_what_they_know_and_may_keep_nothing() {
    let oracle = Oracle::new(|_| Some(Duration::ZERO), |_| true);
    let shared = oracle.options();
    for _ in 0..2 {
        let lab = Lab::with(Topology::chain(1), |tracer| tracer.names(shared.clone())).await;
        lab.trace(one_run(1, Protocol::Udp).reverse_dns(true)).await;
    }
    assert_eq!(oracle.asked(), (2, 1));
    let forgetful = NameOptions { cache: Cache::new(Duration::ZERO, 100), ..oracle.options() };
    let lab = Lab::with(Topology::chain(1), |tracer| tracer.names(forgetful)).await;
    for _ in 0..2 {
        lab.trace(one_run(1, Protocol::Udp).reverse_dns(true)).await;
    }
    assert_eq!(oracle.asked(), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn so_many_are_asked_at_one_time_and_a_source_that_panics_has_no_names() {
    let oracle = Oracle::new(
        |_| Some(SECOND),
        |address| {
            assert_ne!(address, IpAddr::from([10, 71, 1, 2]), "told to panic");
            true
        },
    );
    let options = NameOptions { at_once: 2, ..oracle.options() };
    let lab = Lab::with(Topology::chain(3), |tracer| tracer.names(options)).await;
    let (results, took) = lab.trace(one_run(3, Protocol::Udp).reverse_dns(true)).await;
    // Four addresses, two at a time.
    assert!(took >= 2 * SECOND && took < 2 * SECOND + Duration::from_millis(50), "{took:?}");
    assert_eq!(
        first_names(&results, 0),
        ["10.71.0.2.example.", "", "10.71.2.2.example.", "10.71.3.2.example."]
    );
}

/// The destination is private too, but named all the same.
#[tokio::test(start_paused = true)]
async fn nobody_is_asked_for_the_names_of_hops_that_are_skipped() {
    let oracle = Oracle::new(|_| Some(Duration::ZERO), |_| true);
    let lab = Lab::with(Topology::chain(3), |tracer| tracer.names(oracle.options())).await;
    let (results, _) = lab.trace(one_run(3, Protocol::Udp).reverse_dns(true).skip_private_hops(true)).await;
    assert_eq!(oracle.asked(), (1, 1));
    assert_eq!(first_names(&results, 0), [""; 4]);
    let run = &results.traceroute.runs.as_ref().expect("a run")[0];
    assert_eq!(run.destination.reverse_dns.len(), 2);
}

/// Of a private hop nothing is left but its TTL, neither in events nor in the result; the count of hops stays.
#[tokio::test(start_paused = true)]
async fn of_private_hops_nothing_is_left_but_the_ttl() {
    let label = MplsLabel { label: 16, exp: 0, bottom: true, ttl: 1 };
    let private: IpAddr = [10, 9, 9, 9].into();
    let topology = Topology::chain_with(3, AddressPlan::Public).with_router(2, |router| {
        router.addresses.v4 = [10, 9, 9, 9].into();
        router.answers.extensions = Some(Extensions::mpls(&[label]));
    });
    let lab = Lab::new(topology).await;
    for skip in [false, true] {
        let request = Request::builder("198.18.3.2").traceroute_queries(1).e2e_queries(0);
        let request = request.skip_private_hops(skip).build().expect("valid");
        let mut trace = lab.tracer.start(request).expect("room");
        let mut told = Vec::new();
        while let Some(event) = trace.next_event().await {
            match event {
                TraceEvent::HopAnswered { hop, .. } | TraceEvent::HopUpdated { hop, .. } => told.push(hop),
                TraceEvent::RunFinished { result, .. } => told.extend(result.hops),
                _ => {}
            }
        }
        let results = trace.finish().await.expect("a result");
        let middle = if skip { "" } else { "10.9.9.9" };
        assert_eq!(addresses(&results, 0), ["198.18.0.2", middle, "198.18.2.2", "198.18.3.2"]);
        let hop = &results.traceroute.runs.as_ref().expect("a run")[0].hops[1];
        assert_eq!((hop.reachable, hop.rtt > 0.0, hop.mpls.is_empty()), (!skip, !skip, skip));
        assert_eq!(told.iter().any(|hop| hop.ip_address == Some(private)), !skip);
        assert_eq!(results.traceroute.hop_count.max, 4.0);
    }
}
