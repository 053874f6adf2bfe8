//! One run of a request: a lease, a subscription, a method and the loop of [`traceroute_core`].

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use traceroute_core::{
    Destination, EndReason, Hop, Knowledge, Mode, ProbeProtocol, Protocol, Run, RunEvent, RunReport,
    SackRefusal, Schedule, Shape, TracerouteError, linger, settle, trace,
};
use traceroute_icmp::IcmpProbes;
use traceroute_packets::{
    Connection, Lease, Network, PacketDriver, SharedSink, Subscription, Technique, Use, Watched,
};
use traceroute_tcp::{Numbering, TcpProbes};
use traceroute_udp::UdpProbes;

use crate::budget::{BegunSink, BudgetedSink};
use crate::connect::{Connected, connect};
use crate::id::random_id;

/// What the runs of a request have in common.
pub(crate) struct Context<'a> {
    pub(crate) network: Arc<Network>,
    pub(crate) sink: BudgetedSink<SharedSink>,
    pub(crate) source: IpAddr,
    pub(crate) destination: Destination,
    pub(crate) port: u16,
    pub(crate) shape: Shape,
    pub(crate) timeout: Duration,
    pub(crate) knowledge: Watched<Knowledge>,
    /// How many probes of all requests have been answered.
    pub(crate) answered: &'a AtomicU64,
    pub(crate) phase: &'a Watched<Phase>,
}

/// How a run probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Udp,
    Icmp,
    TcpSyn(Numbering),
    TcpSack,
}

impl Method {
    const fn protocol(self) -> Protocol {
        match self {
            Self::Udp => Protocol::Udp,
            Self::Icmp => Protocol::Icmp,
            Self::TcpSyn(_) | Self::TcpSack => Protocol::Tcp,
        }
    }

    /// What the packet I/O has to know.
    pub(crate) const fn technique(self) -> Technique {
        match self {
            Self::Udp => Technique::Udp,
            Self::Icmp => Technique::Icmp,
            Self::TcpSyn(_) => Technique::Syn,
            Self::TcpSack => Technique::Sack,
        }
    }

    /// What its identity is for.
    const fn wants(self) -> Use {
        match self {
            Self::TcpSack => Use::Connection,
            other => Use::Probes(other.protocol()),
        }
    }
}

/// How far a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Runs are under way.
    Running,
    /// All have ended; those that still listen for late answers shall give their results.
    Done,
    /// Stop, and give what was learnt.
    Stopped,
}

/// Enters a phase, unless the request is farther already.
pub(crate) fn enter(phase: &Watched<Phase>, next: Phase) {
    phase.change(|phase| {
        let news = *phase < next;
        *phase = next.max(*phase);
        news
    });
}

/// Waits for a phase, or a later one.
pub(crate) async fn reached(phase: &Watched<Phase>, wanted: Phase) {
    phase.wait(|phase| (*phase >= wanted).then_some(())).await;
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
    pub(crate) mode: Option<Mode>,
}

impl Finished {
    /// Whether the run was stopped before its end.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.report.end_reason == EndReason::Interrupted
    }

    /// The round trip to the destination, if that answered.
    pub(crate) fn destination_rtt(&self) -> Option<Duration> {
        let last = self.report.hops.last()?.answer.as_ref()?;
        self.report.reached.then_some(last.rtt)
    }
}

/// A run that has ended, and its result as it is after all, for one that listens: late answers are booked until the
/// request is done, or until somebody else waits for the run's identity.
pub(crate) struct Ran<'a> {
    pub(crate) finished: Finished,
    pub(crate) listening: Option<Listening<'a>>,
}

/// A run that books late answers.
pub(crate) type Listening<'a> = Pin<Box<dyn Future<Output = Finished> + Send + 'a>>;

/// What a run begins with.
pub(crate) struct Ready<'a> {
    method: Method,
    /// Its turn to send.
    sink: BegunSink<'a, SharedSink>,
    lease: Lease,
}

/// Waits until a run may begin: first for its turn, then for an identity, lest runs that wait hold ports. `None` if the
/// request is stopped before.
pub(crate) async fn ready<'a>(
    context: &'a Context<'a>,
    method: Method,
) -> Result<Option<Ready<'a>>, TracerouteError> {
    let &Context { ref network, source, destination, timeout, phase, .. } = context;
    network.backend().check(method.technique(), destination.address)?;
    let ready = pin!(async {
        let sink = context.sink.begin().await;
        let mut lease = pin!(network.lease(method.wants(), source, destination, timeout));
        if let Some(lease) = (&mut lease).now_or_never() {
            return Ok(Ready { method, sink, lease: lease? });
        }
        // Turns of runs that wait here would add up, and all be used at once.
        sink.forgo_turn();
        Ok(Ready { method, sink, lease: lease.await? })
    });
    until(phase, Phase::Stopped, ready).await.transpose()
}

/// What a run is to do.
pub(crate) struct Plan<S> {
    pub(crate) schedule: Schedule,
    /// Whether it is told what its sisters learn, and listens for late answers afterwards.
    pub(crate) listens: bool,
    /// Hears of every step.
    pub(crate) on_step: S,
}

/// A run under way.
pub(crate) fn run<'a>(
    context: &'a Context<'a>,
    ready: Ready<'a>,
    plan: Plan<impl FnMut(Step) + Send + 'a>,
) -> Result<Running<'a>, TracerouteError> {
    let &Context { ref network, source, port, shape, .. } = context;
    let identity = ready.lease.identity();
    // Families differ only if the host's routing table is broken.
    let mismatch = TracerouteError::NoSourceAddress { target: identity.remote };
    Ok(match ready.method {
        Method::Udp => {
            let probes = UdpProbes::new(source, port, identity).ok_or(mismatch)?.shaped(shape);
            conduct(context, ready, Probing::of(network, probes, port), plan)
        }
        Method::Icmp => {
            let probes = IcmpProbes::new(source, identity).ok_or(mismatch)?.shaped(shape);
            conduct(context, ready, Probing::of(network, probes, 0), plan)
        }
        Method::TcpSyn(numbering) => {
            let probes = TcpProbes::new(source, port, identity, numbering).ok_or(mismatch)?.shaped(shape);
            conduct(context, ready, Probing::of(network, probes, port), plan)
        }
        Method::TcpSack => Box::pin(connect_and_conduct(context, ready, plan)),
    })
}

/// A run that has not ended yet; `None` if the request is stopped before it has begun.
pub(crate) type Running<'a> =
    Pin<Box<dyn Future<Output = Result<Option<Ran<'a>>, TracerouteError>> + Send + 'a>>;

/// A method at work: its probes, what is captured of them, and what they depend on.
struct Probing<P> {
    probes: P,
    remote_port: u16,
    subscription: Subscription,
    /// The connection that the probes are part of.
    connection: Option<Connection>,
    before: Before,
}

/// What is known before the first probe.
#[derive(Default)]
struct Before {
    knowledge: Knowledge,
    round_trip: Duration,
    /// What was said against the method.
    refusal: Option<SackRefusal>,
}

impl<P: ProbeProtocol> Probing<P> {
    fn of(network: &Network, probes: P, remote_port: u16) -> Self {
        let subscription = network.subscribe(probes.flows());
        Self { probes, remote_port, subscription, connection: None, before: Before::default() }
    }
}

/// Makes a run's connection first.
async fn connect_and_conduct<'a>(
    context: &'a Context<'a>,
    mut ready: Ready<'a>,
    plan: Plan<impl FnMut(Step) + Send + 'a>,
) -> Result<Option<Ran<'a>>, TracerouteError> {
    // Boxed, because it is over before the run begins.
    let connected = Box::pin(connect(context, &mut ready.lease));
    let Some(connected) = until(context.phase, Phase::Stopped, connected).await else { return Ok(None) };
    let Connected { probes, subscription, connection } = connected?;
    let probes = probes.shaped(context.shape);
    let before = Before {
        knowledge: Knowledge { distance: probes.distance(), ..Knowledge::default() },
        round_trip: probes.round_trip().unwrap_or_default(),
        refusal: probes.refusal(),
    };
    let (remote_port, connection) = (context.port, Some(connection));
    let probing = Probing { probes, remote_port, subscription, connection, before };
    conduct(context, ready, probing, plan).await
}

/// Makes all that a run needs, and the future that does it.
fn conduct<'a>(
    context: &'a Context<'a>,
    Ready { method, sink, lease }: Ready<'a>,
    probing: Probing<impl ProbeProtocol + 'a>,
    Plan { schedule, listens, on_step }: Plan<impl FnMut(Step) + Send + 'a>,
) -> Running<'a> {
    let &Context { ref network, destination, phase, .. } = context;
    let Probing { probes, remote_port, subscription, connection, before } = probing;
    let losses = subscription.losses();
    let sisters = listens.then_some(&context.knowledge);
    let observer = observer(context, on_step);
    let mut run = Run::new(method.protocol(), destination.address, schedule);
    if connection.is_some() {
        run.handle_port_open();
    }
    run.handle_learnt(before.knowledge);
    run.handle_round_trip(before.round_trip);
    if let Some(reason) = before.refusal {
        run.handle_refusal(reason, network.clock().now());
    }
    let mut driver =
        PacketDriver::new(probes, subscription, sink, destination, network.clock(), sisters, observer);

    let local_port = lease.identity().local;
    let target = move || SocketAddr::new(context.destination.address, remote_port);
    let finished = move |run: &Run, id: String| Finished {
        id,
        source: SocketAddr::new(context.source, local_port),
        destination: target(),
        report: run.report(),
        drops: losses.count(),
        mode: network.backend().mode(),
    };
    Box::pin(async move {
        let traced = until(phase, Phase::Stopped, pin!(trace(&mut run, &mut driver))).await;
        // The target is not to keep a connection for as long as late answers are listened for.
        drop(connection);
        match traced {
            Some(Err(error)) => return Err(error),
            Some(Ok(())) => {
                if let Some(reason) = run.refusal() {
                    return Err(TracerouteError::SackNotSupported { target: target(), reason });
                }
            }
            None => {
                settle(&mut run, &mut driver).await;
                run.interrupt();
            }
        }
        let id = random_id();
        let ended = finished(&run, id.clone());
        let listen = async move {
            tokio::select! {
                biased;
                () = reached(phase, Phase::Done) => {}
                // Nobody is to wait for an identity whose run is over.
                () = lease.wanted() => {}
                // If the capture fails now, the run has its result all the same.
                _ = linger(&mut run, &mut driver) => {}
            }
            settle(&mut run, &mut driver).await;
            finished(&run, id)
        };
        let listening = listens.then(|| Box::pin(listen) as Listening<'a>);
        Ok(Some(Ran { finished: ended, listening }))
    })
}

/// Passes on what a run has done and learnt.
fn observer<'a>(
    context: &'a Context<'a>,
    mut on_step: impl FnMut(Step) + Send,
) -> impl FnMut(&mut Run) + Send {
    move |run| {
        context.knowledge.change(|shared| shared.merge(run.knowledge()));
        while let Some(event) = run.poll_event() {
            match event {
                RunEvent::Sent(probe) => on_step(Step::Sent(probe.ttl)),
                RunEvent::Answered(ttl) => {
                    context.answered.fetch_add(1, Ordering::Relaxed);
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

/// What `work` returns, unless the request enters `end` first. `work` is pinned elsewhere: a future that takes another
/// keeps it twice.
async fn until<T>(phase: &Watched<Phase>, end: Phase, work: impl Future<Output = T> + Unpin) -> Option<T> {
    tokio::select! {
        biased;
        () = reached(phase, end) => None,
        result = work => Some(result),
    }
}
