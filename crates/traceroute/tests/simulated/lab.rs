//! A tracer in a simulated network under virtual time.

use std::time::Duration;

use tokio::time::Instant;
use traceroute::{Blocks, Limits, Protocol, Request, RequestBuilder, Results, Tracer, TracerBuilder};
use traceroute_packets::{Backend, Clock, Host, Network, Parts};
use traceroute_testnet::sim::virtual_time::{Attachment, SimTcp};
use traceroute_testnet::sim::{self, Recorder, Topology};

use crate::client::Client;

/// A tracer, and what goes over the wire.
pub(crate) struct Lab {
    pub(crate) tracer: Tracer,
    pub(crate) recorder: Recorder,
}

impl Lab {
    /// A tracer in the network that `topology` describes.
    pub(crate) async fn new(topology: Topology) -> Self {
        Self::attached(topology, |attachment| attachment).await
    }

    /// A tracer whose packets pass through an attachment of one's own.
    pub(crate) async fn attached(topology: Topology, change: impl FnOnce(Attachment) -> Attachment) -> Self {
        Self::connecting(topology, change, |tcp| tcp).await
    }

    /// The same, with other sockets of the client's.
    pub(crate) async fn connecting(
        topology: Topology,
        change: impl FnOnce(Attachment) -> Attachment,
        sockets: impl FnOnce(SimTcp) -> SimTcp,
    ) -> Self {
        let addresses = topology.client;
        let client = |tcp| Client { addresses, tcp: Some(sockets(tcp)) };
        Self::assembled(topology, change, client, 1000, Backend::Assembled, |tracer| tracer).await
    }

    /// A tracer that can do no more than `backend`.
    pub(crate) async fn of(backend: Backend, topology: Topology) -> Self {
        let host = Client::without_connections(topology.client);
        Self::assembled(topology, |attachment| attachment, |_| host, 1000, backend, |tracer| tracer).await
    }

    /// A tracer that looks things up in a way of one's own.
    pub(crate) async fn with(
        topology: Topology,
        tracer: impl FnOnce(TracerBuilder) -> TracerBuilder,
    ) -> Self {
        let host = Client::without_connections(topology.client);
        Self::assembled(topology, |attachment| attachment, |_| host, 1000, Backend::Assembled, tracer).await
    }

    /// A tracer on a host of one's own, with so many ports and such limits.
    pub(crate) async fn limited(
        topology: Topology,
        host: impl Host + 'static,
        ports: u16,
        limits: Limits,
    ) -> Self {
        let limited = |tracer: TracerBuilder| tracer.limits(limits);
        Self::assembled(topology, |attachment| attachment, |_| host, ports, Backend::Assembled, limited).await
    }

    async fn assembled<H: Host + 'static>(
        topology: Topology,
        change: impl FnOnce(Attachment) -> Attachment,
        host: impl FnOnce(SimTcp) -> H,
        ports: u16,
        backend: Backend,
        change_tracer: impl FnOnce(TracerBuilder) -> TracerBuilder,
    ) -> Self {
        let started = Instant::now();
        let attachment = change(Attachment::new(sim::Network::new(topology, 1)));
        let (source, sink, recorder) = attachment.attach(started);
        let network = Network::assemble(Parts {
            clock: Clock::since(started),
            source,
            host: host(sink.tcp()),
            sink,
            blocks: Blocks {
                ports: 61_000..=60_999 + ports,
                echo_ids: 7_000..=6_999 + ports,
                in_order: false,
            },
            entropy: entropy(1),
        });
        let tracer = change_tracer(Tracer::builder().network(network.of(backend)));
        let tracer = tracer.build().await.expect("nothing to open");
        Self { tracer, recorder }
    }

    /// Traces to the end, and says how long that took.
    pub(crate) async fn trace(&self, request: RequestBuilder) -> (Results, Duration) {
        let before = Instant::now();
        let trace = self.tracer.start(request.build().expect("a valid request")).expect("room for a request");
        let results = trace.finish().await.expect("a result");
        (results, before.elapsed())
    }
}

/// One run without end-to-end probes toward the target of the usual plan, `10.71.N.2`, for `routers` routers.
pub(crate) fn one_run(routers: u8, protocol: Protocol) -> RequestBuilder {
    Request::builder(format!("10.71.{routers}.2")).protocol(protocol).traceroute_queries(1).e2e_queries(0)
}

/// Repeatable pseudo-random bits (the `SplitMix64` generator).
pub(crate) fn entropy(seed: u64) -> traceroute::Entropy {
    let mut state = seed;
    Box::new(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    })
}

/// The addresses of a run's hops, empty for silence.
pub(crate) fn addresses(results: &Results, run: usize) -> Vec<String> {
    let runs = results.traceroute.runs.as_ref().expect("there are runs");
    runs[run]
        .hops
        .iter()
        .map(|hop| hop.ip_address.map_or_else(String::new, |address| address.to_string()))
        .collect()
}
