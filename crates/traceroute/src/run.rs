//! One run of a request: a lease, a subscription, a method and the loop of [`traceroute_core`].

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use traceroute_core::{
    Destination, Hop, Identity, Knowledge, ProbeProtocol, Protocol, Run, RunEvent, RunReport, Schedule,
    TracerouteError, linger, trace,
};
use traceroute_icmp::IcmpProbes;
use traceroute_packets::{Network, PacketDriver, SharedSink};
use traceroute_udp::UdpProbes;

use crate::budget::BudgetedSink;
use crate::id::random_id;

/// What the runs of a request have in common.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) network: Arc<Network>,
    pub(crate) sink: BudgetedSink<SharedSink>,
    pub(crate) protocol: Protocol,
    pub(crate) source: IpAddr,
    pub(crate) destination: Destination,
    pub(crate) port: u16,
    pub(crate) timeout: Duration,
    pub(crate) knowledge: watch::Sender<Knowledge>,
    pub(crate) phase: watch::Receiver<Phase>,
}

/// How far a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Runs are under way.
    Running,
    /// All have ended; those that still listen for late answers shall give their results.
    Done,
    /// Stop, and give what was learnt.
    Stopped,
}

/// A step of a run that the request passes on.
pub(crate) enum Step {
    Sent(traceroute_core::Ttl),
    Answered(Hop),
    Updated(Hop),
}

/// A run that came to its end, at least for now.
#[derive(Clone, Debug)]
pub(crate) struct Finished {
    pub(crate) id: String,
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) report: RunReport,
    pub(crate) drops: u64,
}

impl Finished {
    /// The round trip to the destination, if that answered.
    pub(crate) fn destination_rtt(&self) -> Option<Duration> {
        let last = self.report.hops.last()?.answer.as_ref()?;
        self.report.reached.then_some(last.rtt)
    }
}

/// Does a run. `on_step` hears of every step, `on_end` of its end; then, if the run is to `listen`, late answers are
/// booked until the request is done. Returns the result as it is after all; `None` if the run was stopped before it
/// began.
pub(crate) async fn run(
    context: Context,
    schedule: Schedule,
    listen: bool,
    on_step: impl FnMut(Step) + Send,
    on_end: impl FnOnce(&Finished) + Send,
) -> Result<Option<Finished>, TracerouteError> {
    let Context { ref network, protocol, source, destination, port, timeout, .. } = context;
    let lease = network.lease(protocol, source, destination, timeout);
    let mut phase = context.phase.clone();
    let Some(lease) = until(&mut phase, |phase| phase == Phase::Stopped, lease).await.transpose()? else {
        return Ok(None);
    };
    let identity = lease.identity();
    // Families differ only if the host's routing table is broken.
    let mismatch = || TracerouteError::NoSourceAddress { target: destination.address };
    let finished = match protocol {
        Protocol::Udp => {
            let probes = UdpProbes::new(source, port, identity).ok_or_else(mismatch)?;
            conduct(context, identity, port, probes, schedule, listen, on_step, on_end).await
        }
        Protocol::Icmp => {
            let probes = IcmpProbes::new(source, identity).ok_or_else(mismatch)?;
            conduct(context, identity, 0, probes, schedule, listen, on_step, on_end).await
        }
    };
    finished.map(Some)
}

#[expect(clippy::too_many_arguments, reason = "the one place where everything meets")]
async fn conduct(
    context: Context,
    identity: Identity,
    remote_port: u16,
    probes: impl ProbeProtocol,
    schedule: Schedule,
    listen: bool,
    on_step: impl FnMut(Step) + Send,
    on_end: impl FnOnce(&Finished) + Send,
) -> Result<Finished, TracerouteError> {
    let Context { network, sink, protocol, source, destination, knowledge, mut phase, .. } = context;
    let subscription = network.subscribe(probes.flows());
    let losses = subscription.losses();
    let sisters = listen.then(|| knowledge.subscribe());
    let observer = observer(knowledge, on_step);
    let mut run = Run::new(protocol, destination.address, schedule);
    let mut driver =
        PacketDriver::new(probes, subscription, sink, destination, network.clock(), sisters, observer);

    let traced = until(&mut phase, |phase| phase == Phase::Stopped, trace(&mut run, &mut driver)).await;
    match traced {
        Some(Err(error)) => return Err(error),
        Some(Ok(())) => {}
        None => run.interrupt(),
    }
    let id = random_id();
    let finished = |run: &Run| Finished {
        id: id.clone(),
        source: SocketAddr::new(source, identity.local),
        destination: SocketAddr::new(destination.address, remote_port),
        report: run.report(),
        drops: losses.count(),
    };
    on_end(&finished(&run));
    if listen {
        // If the capture fails now, the run has its result all the same.
        until(&mut phase, |phase| phase != Phase::Running, linger(&mut run, &mut driver)).await;
    }
    Ok(finished(&run))
}

/// Passes on what a run has done and learnt.
fn observer(
    knowledge: watch::Sender<Knowledge>,
    mut on_step: impl FnMut(Step) + Send,
) -> impl FnMut(&mut Run) + Send {
    move |run| {
        knowledge.send_if_modified(|shared| shared.merge(run.knowledge()));
        while let Some(event) = run.poll_event() {
            match event {
                RunEvent::Sent(probe) => on_step(Step::Sent(probe.ttl)),
                RunEvent::Answered(ttl) => {
                    if let Some(hop) = run.hop(ttl) {
                        on_step(Step::Answered(hop.into()));
                    }
                }
                RunEvent::Updated(ttl) => {
                    if let Some(hop) = run.hop(ttl) {
                        on_step(Step::Updated(hop.into()));
                    }
                }
            }
        }
    }
}

/// What `work` returns, unless the phase becomes one that ends it first.
async fn until<T>(
    phase: &mut watch::Receiver<Phase>,
    ends: impl Fn(Phase) -> bool,
    work: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        // The sender lives as long as the request.
        _ = phase.wait_for(|phase| ends(*phase)) => None,
        result = work => Some(result),
    }
}
