//! What becomes of a request where ports, descriptors or the budget of probes do not suffice.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use traceroute::{Error, ErrorCode, Limits, Operation, Protocol, Refusal, Request, TargetPolicy, TraceEvent};
use traceroute_core::{Destination, TracerouteError};
use traceroute_packets::{Connector, Host, Job, PortHold};
use traceroute_testnet::DualStack;
use traceroute_testnet::sim::Topology;

use crate::client::Client;
use crate::lab::{Lab, one_run};

/// A client that may open so many ports at one time.
struct Frugal {
    client: Client,
    left: Arc<AtomicUsize>,
}

impl Frugal {
    fn new(client: DualStack, descriptors: usize) -> Self {
        Self { client: Client::without_connections(client), left: Arc::new(AtomicUsize::new(descriptors)) }
    }
}

/// A port, which counts as left again when it is let go.
struct Port(Arc<AtomicUsize>);

impl Drop for Port {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Host for Frugal {
    fn source_address(
        &self,
        protocol: Protocol,
        to: Destination,
        port: u16,
    ) -> Result<IpAddr, TracerouteError> {
        self.client.source_address(protocol, to, port)
    }

    fn interface_index(&self, zone: &str) -> Result<Option<u32>, TracerouteError> {
        self.client.interface_index(zone)
    }

    fn spawn(&self, job: Job) -> Result<(), TracerouteError> {
        self.client.spawn(job)
    }

    fn hold_port(
        &self,
        _: Protocol,
        _: IpAddr,
        _: Destination,
        _: u16,
    ) -> Result<Option<PortHold>, TracerouteError> {
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        match taken {
            Ok(_) => Ok(Some(Box::new(Port(Arc::clone(&self.left))))),
            Err(_) => {
                Err(TracerouteError::DescriptorsExhausted { operation: Operation::ReservePort, limit: 9 })
            }
        }
    }

    fn open_connector(
        &self,
        source: IpAddr,
        to: Destination,
        port: u16,
    ) -> Result<Option<Box<dyn Connector>>, TracerouteError> {
        self.client.open_connector(source, to, port)
    }
}

/// One probe a second toward a silent target, each of which keeps its port for 2.5 s; the run has the only other one.
#[tokio::test(start_paused = true)]
async fn end_to_end_probes_that_never_were_are_neither_sent_nor_lost() {
    let topology = Topology::chain(3).with_target(|target| target.answers.silent = true);
    let host = Frugal::new(topology.client, 2);
    let lab = Lab::limited(topology, host, 100, Limits::default()).await;
    let request = one_run(3, Protocol::Udp).e2e_queries(10).timeout_ms(2500).build().expect("valid");
    let mut trace = lab.tracer.start(request).expect("room");
    let (mut lost, mut failed) = (Vec::new(), Vec::new());
    while let Some(event) = trace.next_event().await {
        match event {
            TraceEvent::EndToEnd { probe, rtt } => {
                assert_eq!(rtt, None);
                lost.push(probe);
            }
            TraceEvent::EndToEndFailed { probe, reason } => {
                assert!(reason.contains("the limit of 9 open file descriptors"), "{reason}");
                failed.push(probe);
            }
            _ => {}
        }
    }
    assert_eq!((lost, failed), (vec![0, 3, 6, 9], vec![1, 2, 4, 5, 7, 8]));
    let results = trace.finish().await.expect("a result");
    let e2e = &results.e2e_probe;
    assert_eq!((e2e.packets_sent, e2e.packets_received, e2e.packet_loss_percentage), (4, 0, 1.0));
    let warnings = &results.warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].starts_with("6 of 10 end-to-end probes failed: reserving a local port: the limit of 9")
    );
}

/// Two requests share what one could use up, so each has ever more end-to-end probes due that wait. They hold no ports
/// meanwhile.
#[tokio::test(start_paused = true)]
async fn probes_that_wait_for_the_budget_hold_no_ports() {
    let limits = Limits { probes_per_second: NonZeroU32::new(1), ..Limits::default() };
    let topology = Topology::chain(1);
    let host = Client::without_connections(topology.client);
    let lab = Lab::limited(topology, host, 2, limits).await;
    let start = || {
        let request = one_run(1, Protocol::Udp).traceroute_queries(0).e2e_queries(20).build().expect("valid");
        lab.tracer.start(request).expect("room")
    };
    let (first, second) = (start(), start());
    for trace in [first, second] {
        let results = trace.finish().await.expect("a result");
        assert_eq!(results.warnings, [""; 0]);
        assert_eq!((results.e2e_probe.packets_sent, results.e2e_probe.packets_received), (20, 20));
    }
    assert!(lab.tracer.stats().probe_waits >= 39, "{:?}", lab.tracer.stats());
}

/// More runs than ports: those that have ended make room, instead of listening for late answers of a silent hop.
#[tokio::test(start_paused = true)]
async fn runs_that_have_ended_make_room_for_those_that_wait() {
    let topology = Topology::chain(3).with_router(2, |router| router.answers.silent = true);
    let host = Client::without_connections(topology.client);
    let lab = Lab::limited(topology, host, 5, Limits::default()).await;
    for protocol in [Protocol::Udp, Protocol::Icmp, Protocol::Tcp] {
        let (results, _) = lab.trace(one_run(3, protocol).traceroute_queries(50).e2e_queries(5)).await;
        assert_eq!(results.warnings, [""; 0]);
        let runs = results.traceroute.runs.expect("there are runs");
        assert_eq!((runs.len(), runs.iter().filter(|run| run.reached).count()), (50, 50));
        assert_eq!(results.e2e_probe.packets_received, 5);
    }
}

/// Without runs, a shortage that passes does not end the request; the network's refusal would.
#[tokio::test(start_paused = true)]
async fn a_shortage_that_passes_does_not_end_a_request_without_runs() {
    let topology = Topology::chain(1);
    let host = Frugal::new(topology.client, 0);
    let left = Arc::clone(&host.left);
    let lab = Lab::limited(topology, host, 100, Limits::default()).await;
    let request = one_run(1, Protocol::Udp).traceroute_queries(0).e2e_queries(5).build().expect("valid");
    let mut trace = lab.tracer.start(request).expect("room");
    while !matches!(trace.next_event().await, Some(TraceEvent::EndToEndFailed { .. })) {}
    left.store(1, Ordering::Relaxed);
    let results = trace.finish().await.expect("a result");
    assert_eq!((results.e2e_probe.packets_sent, results.e2e_probe.packets_received), (4, 4));

    left.store(0, Ordering::Relaxed);
    let request = one_run(1, Protocol::Udp).traceroute_queries(0).e2e_queries(2).build().expect("valid");
    let error = lab.tracer.start(request).expect("room").finish().await.expect_err("nothing came of it");
    assert!(error.to_string().contains("the limit of 9 open file descriptors"), "{error}");
}

/// A request that waits for the budget is stopped: it ends at once, though its turn would come in minutes.
#[tokio::test(start_paused = true)]
async fn a_request_that_waits_for_the_budget_can_be_stopped() {
    let limits = Limits { probes_per_second: NonZeroU32::new(1), ..Limits::default() };
    let topology = Topology::chain(1);
    let lab = Lab::limited(topology.clone(), Client::without_connections(topology.client), 100, limits).await;
    let start = || {
        let request = one_run(1, Protocol::Udp).traceroute_queries(100).build().expect("valid");
        lab.tracer.start(request).expect("room")
    };
    let (first, second) = (start(), start());
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    let stopped = tokio::time::Instant::now();
    for trace in [first, second] {
        trace.stop().await.expect("a result");
    }
    assert_eq!(stopped.elapsed(), std::time::Duration::ZERO);
    // The first probe at once, and one each second; of those that waited two had begun to.
    assert_eq!(lab.recorder.sent_per_ttl().values().sum::<usize>(), 3);
    tokio::task::yield_now().await;
    assert!(lab.tracer.is_idle());
}

/// Lets everything be traced but one address, whatever it is called.
struct AllBut(IpAddr);

/// Why not.
#[derive(Debug, thiserror::Error)]
#[error("it is not for you")]
struct NotForYou;

impl TargetPolicy for AllBut {
    fn check(&self, target: IpAddr, _: &Request) -> Result<(), Refusal> {
        if target == self.0 { Err(Arc::new(NotForYou)) } else { Ok(()) }
    }
}

/// Nothing is sent and nothing looked up, by whichever method, and the reason is handed over as it is.
#[tokio::test(start_paused = true)]
async fn what_the_policy_forbids_is_refused_before_anything_is_sent() {
    let forbidden = IpAddr::from([10, 71, 2, 2]);
    let lab = Lab::with(Topology::chain(2), |tracer| tracer.target_policy(AllBut(forbidden))).await;
    for protocol in [Protocol::Udp, Protocol::Icmp, Protocol::Tcp] {
        let request = one_run(2, protocol).e2e_queries(2).reverse_dns(true).source_public_ip(true);
        let mut trace = lab.tracer.start(request.build().expect("valid")).expect("room");
        assert!(trace.next_event().await.is_none(), "there is nothing to tell");
        let error = trace.finish().await.expect_err("forbidden");
        assert_eq!(error.code(), ErrorCode::Forbidden);
        assert_eq!(error.to_string(), "10.71.2.2 may not be traced: it is not for you");
        let Error::Refused { target, reason } = error else { panic!("{error}") };
        assert_eq!((target, reason.is::<NotForYou>()), (forbidden, true));
    }
    assert_eq!(lab.recorder.sent().len(), 0);
    assert_eq!(lab.tracer.stats().probes_sent, 0);
}

#[tokio::test(start_paused = true)]
async fn what_was_done_is_counted() {
    let lab = Lab::new(Topology::chain(2)).await;
    let request = one_run(2, Protocol::Udp).traceroute_queries(2).e2e_queries(3);
    let mut trace = lab.tracer.start(request.build().expect("valid")).expect("room");
    while !matches!(trace.next_event().await, Some(TraceEvent::EndToEnd { probe: 1, .. })) {}
    let stats = lab.tracer.stats();
    // Both runs listen for late answers.
    assert_eq!((stats.requests, stats.runs), (1, 2), "{stats:?}");
    trace.finish().await.expect("a result");
    let stats = lab.tracer.stats();
    let sent = lab.recorder.sent().len();
    assert_eq!(stats.probes_sent, u64::try_from(sent).expect("few"));
    // Three hops of each run and three probes; of what went beyond the destination nothing counts.
    assert_eq!(stats.probes_answered, 9, "{stats:?}");
    assert_eq!((stats.requests, stats.runs, stats.probe_backlog.as_nanos()), (0, 0, 0));
}

/// Ten a second: of five requests at once each has a probe every half second, and so would one that comes.
#[tokio::test(start_paused = true)]
async fn the_backlog_of_the_budget_is_known() {
    let limits = Limits { probes_per_second: NonZeroU32::new(10), ..Limits::default() };
    let lab = Lab::with(Topology::chain(5), |tracer| tracer.limits(limits)).await;
    assert_eq!(lab.tracer.stats().probe_backlog.as_millis(), 0);
    let start = || lab.tracer.start(one_run(5, Protocol::Udp).build().expect("valid")).expect("room");
    let mut traces: Vec<_> = (0..5).map(|_| start()).collect();
    traces[4].next_event().await;
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert_eq!(lab.tracer.stats().probe_backlog.as_millis(), 500);
    drop(traces);
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert_eq!(lab.tracer.stats().probe_backlog.as_millis(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stopper_ends_a_request_while_its_results_are_waited_for() {
    let lab = Lab::new(Topology::chain(2)).await;
    let trace = lab.tracer.start(one_run(2, Protocol::Udp).e2e_queries(50).build().expect("valid"));
    let trace = trace.expect("room");
    let stopper = trace.stopper();
    let (results, ()) = tokio::join!(trace.finish(), async {
        tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
        stopper.stop();
    });
    let results = results.expect("what was learnt");
    assert_eq!(
        (results.traceroute.runs.map(|runs| runs.len()), results.e2e_probe.packets_sent),
        (Some(1), 3)
    );
}
