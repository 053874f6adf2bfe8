//! Carrying out a request: its runs, its end-to-end probes, and what becomes of them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::time::{Instant, sleep_until};
use traceroute_core::{Destination, Hop, Protocol, Results, Schedule, TcpMethod, TracerouteError};
use traceroute_packets::{Choice, Watched};
use traceroute_tcp::Numbering;
use tracing::debug;

use crate::budget::BudgetedSink;
use crate::enrich::Enrichment;
use crate::enrich::private::blank_if_private;
use crate::error::{Error, InvalidRequest};
use crate::event::{Events, TraceEvent};
use crate::networks::Wanted;
use crate::request::Request;
use crate::run::{Context, Finished, Method, Phase, Plan, Ran, Ready, Step, enter, reached, ready, run};
use crate::tally::Tally;
use crate::target::{Host, not_a_host};
use crate::tracer::Inner;

/// Does what a request asks for.
pub(crate) async fn carry_out(
    tracer: &Inner,
    request: &Request,
    events: &Events,
    phase: &Watched<Phase>,
) -> Result<Results, Error> {
    // Boxed, because a request is long done with it while it waits for answers.
    let parts = Box::pin(prepare(tracer, request, events, phase)).await?;
    let mut tally = Tally::new(request, events);
    let finished = conduct(&parts, &mut tally, tracer.ports_chosen).await;
    Box::pin(async {
        let why_no_router = parts.context.network.backend().why_no_router_is_heard();
        let mut results = tally.results(finished, why_no_router)?;
        parts.enrichment.complete(&mut results, phase).await;
        Ok(results)
    })
    .await
}

/// Finds out what is to be probed, from where and how, and whether that may be done.
async fn prepare<'a>(
    tracer: &'a Inner,
    request: &'a Request,
    events: &'a Events,
    phase: &'a Watched<Phase>,
) -> Result<Parts<'a>, Error> {
    let destination = resolve(tracer, request, phase).await?;
    let target = destination.address;
    if let Some(policy) = &tracer.policy {
        policy.check(target, request).map_err(|reason| Error::Refused { target, reason })?;
    }
    let wanted = Wanted {
        access: request.access(),
        technique: method(request).technique(),
        target,
        choices: choices(request, destination).collect(),
    };
    let network = tokio::select! {
        network = tracer.networks.of(&wanted) => network?,
        () = reached(phase, Phase::Stopped) => return Err(Error::Stopped),
    };
    for choice in wanted.choices {
        network.backend().check_choice(choice, target)?;
    }
    let enrichment = Enrichment::begin(&tracer.lookups, request, events);
    let source = network.source_address(request.protocol, destination, request.effective_port())?;
    debug!(address = %target, %source, "tracing");
    events.send(|| TraceEvent::Resolved { target, source });
    enrichment.hear_of_destination(target);
    let context = Context {
        sink: BudgetedSink::new(network.sink(), tracer.budget.clone(), Arc::clone(&tracer.sent)),
        network,
        source,
        destination,
        port: request.effective_port(),
        shape: request.shape,
        timeout: request.timeout,
        knowledge: Watched::default(),
        answered: &tracer.answered,
        phase,
    };
    Ok(Parts { request, context, enrichment, events })
}

/// What a request chooses that not every system lets it choose.
fn choices(request: &Request, to: Destination) -> impl Iterator<Item = Choice> {
    let interface = request.interface.is_some().then_some(Choice::Interface);
    let zone = (request.interface.is_none() && to.interface != 0).then_some(Choice::Zone);
    let traffic_class = (request.shape.traffic_class != 0).then_some(Choice::TrafficClass);
    [interface, zone, traffic_class].into_iter().flatten()
}

/// The address to trace, and how it is to be reached.
async fn resolve(tracer: &Inner, request: &Request, phase: &Watched<Phase>) -> Result<Destination, Error> {
    let network = tracer.networks.usual();
    let (address, zone) = match &request.target.host {
        Host::Address { address, zone } => (*address, zone.as_deref()),
        Host::Name(name) => {
            let address = tokio::select! {
                address = tracer.resolver.resolve(network, name, request.family, request.held()) => address?,
                () = reached(phase, Phase::Stopped) => return Err(Error::Stopped),
            };
            if let Some(reason) = not_a_host(address) {
                return Err(Error::ResolvedTo { name: name.clone(), address, reason });
            }
            (address, None)
        }
    };
    let index = |name: &str| network.interface_index(name);
    let of_zone = match zone {
        Some(zone) => Some(index(zone)?.ok_or_else(|| InvalidRequest::Target {
            target: request.target.text.clone(),
            reason: format!("there is no interface {zone:?}"),
        })?),
        None => None,
    };
    let asked_for = match request.interface.as_deref() {
        Some(name) => Some(index(name)?.ok_or_else(|| InvalidRequest::Interface { name: name.to_owned() })?),
        None => None,
    };
    if let (Some(of_zone), Some(asked_for)) = (of_zone, asked_for)
        && of_zone != asked_for
    {
        return Err(InvalidRequest::Contradiction {
            what: format!("interface {}", request.interface.as_deref().unwrap_or_default()),
            why: format!("{} is reached through another one", request.target.text),
        }
        .into());
    }
    let interface = asked_for.or(of_zone).unwrap_or_default();
    Ok(Destination { address, interface, source: request.source })
}

/// Starts the runs and probes, and waits until all have ended and given their results. Where ports were chosen the runs
/// have the first of them.
async fn conduct(parts: &Parts<'_>, tally: &mut Tally<'_>, ports_chosen: bool) -> Vec<(usize, Finished)> {
    let phase = parts.context.phase;
    let interval = parts.request.e2e_interval();
    let mut under_way = FuturesUnordered::new();
    let mut probes_started = 0;
    let mut next_probe = Instant::now();
    let mut runs = (0..tally.runs()).map(|index| parts.run(index, method(parts.request)));
    if ports_chosen {
        under_way.extend(runs.by_ref());
    }
    // Otherwise the first end-to-end probe is the first packet of all: it asks how far the destination is.
    if tally.probes() > 0 {
        under_way.push(parts.probe(0));
        probes_started = 1;
        next_probe += interval;
    }
    under_way.extend(runs);

    let mut finished = Vec::with_capacity(tally.runs());
    while !tally.is_complete() && !tally.is_hopeless() {
        tokio::select! {
            biased;
            () = reached(phase, Phase::Stopped) => break,
            Some(part) = under_way.next(), if !under_way.is_empty() => {
                take(parts, part, tally, &mut under_way, &mut finished);
            }
            () = sleep_until(next_probe), if probes_started < tally.probes() => {
                under_way.push(parts.probe(probes_started));
                probes_started += 1;
                // After a stall no burst makes up for what was missed.
                next_probe = (next_probe + interval).max(Instant::now());
            }
        }
    }
    if tally.is_hopeless() {
        return finished;
    }
    // Runs that listen for late answers give their results now.
    enter(phase, Phase::Done);
    while let Some(part) = under_way.next().await {
        take(parts, part, tally, &mut under_way, &mut finished);
    }
    finished
}

/// Notes what a part of the request has come to, and begins what follows.
fn take<'a>(
    parts: &'a Parts<'a>,
    part: Part<'a>,
    tally: &mut Tally<'_>,
    under_way: &mut FuturesUnordered<Work<'a>>,
    finished: &mut Vec<(usize, Finished)>,
) {
    match part {
        Part::Begun(work) => under_way.push(work),
        Part::RunEnded { index, outcome: Ok(Some(Ran { finished, listening })) } => {
            tally.run_ended(index, Ok(finished));
            let listened = move |finished| Part::Listened { index, finished };
            under_way.extend(listening.map(|listening| -> Work<'a> { Box::pin(listening.map(listened)) }));
        }
        Part::RunEnded { index, outcome: Err(error) }
            if parts.falls_back_for(&error) && tally.fell_back_to(index).is_none() =>
        {
            tally.run_falls_back(index, &error);
            under_way.push(parts.run(index, syn(parts.request)));
        }
        Part::RunEnded { index, outcome: Err(error) } => tally.run_ended(index, Err(error)),
        Part::Listened { index, finished: result } => finished.push((index, result)),
        // Nobody knows what would have become of the probe.
        Part::ProbeEnded { outcome: Ok(finished), .. } if finished.is_interrupted() => {}
        Part::ProbeEnded { index, outcome } => {
            tally.probe_ended(index, outcome.map(|finished| finished.destination_rtt()));
        }
        Part::NeverBegun | Part::RunEnded { outcome: Ok(None), .. } => {}
    }
}

/// Something of a request that is under way. Each stage is a future of its own, which is gone when the next one begins.
type Work<'a> = Pin<Box<dyn Future<Output = Part<'a>> + Send + 'a>>;

/// What became of it.
enum Part<'a> {
    /// A run or probe has its turn and its identity.
    Begun(Work<'a>),
    /// It was stopped before.
    NeverBegun,
    /// A run has ended.
    RunEnded { index: usize, outcome: Result<Option<Ran<'a>>, TracerouteError> },
    /// A run that had ended has listened until the request was done.
    Listened { index: usize, finished: Finished },
    /// An end-to-end probe was answered or lost.
    ProbeEnded { index: usize, outcome: Result<Finished, TracerouteError> },
}

/// Makes the runs and probes of a request.
struct Parts<'a> {
    request: &'a Request,
    context: Context<'a>,
    enrichment: Enrichment,
    events: &'a Events,
}

/// How a request's runs probe.
fn method(request: &Request) -> Method {
    match (request.protocol, request.tcp_method) {
        (Protocol::Udp, _) => Method::Udp,
        (Protocol::Icmp, _) => Method::Icmp,
        (Protocol::Tcp, TcpMethod::Sack | TcpMethod::PreferSack) => Method::TcpSack,
        (Protocol::Tcp, TcpMethod::Syn | TcpMethod::SynSocket) => syn(request),
    }
}

/// How they do by SYN segments.
fn syn(request: &Request) -> Method {
    Method::TcpSyn(if request.paris { Numbering::Random } else { Numbering::Ascending })
}

impl Parts<'_> {
    /// How its end-to-end probes are made: they need no connection.
    fn end_to_end_method(&self) -> Method {
        match method(self.request) {
            Method::TcpSack => syn(self.request),
            method => method,
        }
    }

    /// Whether a run that failed like this is done again with SYN probes. Other failures are not papered over.
    fn falls_back_for(&self, error: &TracerouteError) -> bool {
        self.request.tcp_method == TcpMethod::PreferSack
            && matches!(error, TracerouteError::SackNotSupported { .. } | TracerouteError::NotCapable { .. })
    }

    fn run(&self, index: usize, method: Method) -> Work<'_> {
        self.begin(
            method,
            move |ready| self.trace(index, ready),
            move |error| Part::RunEnded { index, outcome: Err(error) },
        )
    }

    fn probe(&self, index: usize) -> Work<'_> {
        self.begin(
            self.end_to_end_method(),
            move |ready| self.measure(index, ready),
            move |error| Part::ProbeEnded { index, outcome: Err(error) },
        )
    }

    /// Waits until a run may begin, with which `begun` goes on.
    fn begin<'a>(
        &'a self,
        method: Method,
        begun: impl FnOnce(Ready<'a>) -> Result<Work<'a>, TracerouteError> + Send + 'a,
        failed: impl FnOnce(TracerouteError) -> Part<'a> + Send + 'a,
    ) -> Work<'a> {
        Box::pin(ready(&self.context, method).map(move |ready| match ready.map(|ready| ready.map(begun)) {
            Ok(Some(Ok(work))) => Part::Begun(work),
            Ok(None) => Part::NeverBegun,
            Ok(Some(Err(error))) | Err(error) => failed(error),
        }))
    }

    fn trace<'a>(&'a self, index: usize, ready: Ready<'a>) -> Result<Work<'a>, TracerouteError> {
        let Request { first_ttl, max_ttl, timeout, wait, serial, .. } = *self.request;
        let mut schedule = if serial {
            Schedule::serial(first_ttl, max_ttl, timeout)
        } else {
            let usual = Schedule::parallel(first_ttl, max_ttl, timeout);
            Schedule { wait, ..usual.sending_each(self.request.send_delay()) }
        };
        schedule.sounding = index == 0 && self.request.e2e_queries == 0 && !serial;
        if index > 0 {
            schedule = schedule.following();
        }
        let on_step = move |step| {
            if let Step::Answered(hop) | Step::Updated(hop) = &step {
                self.enrichment.hear_of(hop);
            }
            self.events.send(|| match step {
                Step::Sent(ttl) => TraceEvent::ProbeSent { run: index, ttl },
                Step::Answered(hop) => TraceEvent::HopAnswered { run: index, hop: self.shown(hop) },
                Step::Updated(hop) => TraceEvent::HopUpdated { run: index, hop: self.shown(hop) },
            });
        };
        let running = run(&self.context, ready, Plan { schedule, listens: true, on_step })?;
        Ok(Box::pin(running.map(move |outcome| Part::RunEnded { index, outcome })))
    }

    /// A hop as it may be seen.
    fn shown(&self, mut hop: Hop) -> Hop {
        if self.request.skip_private_hops {
            blank_if_private(&mut hop);
        }
        hop
    }

    fn measure<'a>(&'a self, index: usize, ready: Ready<'a>) -> Result<Work<'a>, TracerouteError> {
        let schedule = Schedule::single(self.request.max_ttl, self.request.timeout);
        let running = run(&self.context, ready, Plan { schedule, listens: false, on_step: |_| {} })?;
        Ok(Box::pin(running.map(move |outcome| match outcome.transpose() {
            None => Part::NeverBegun,
            Some(outcome) => Part::ProbeEnded { index, outcome: outcome.map(|ran| ran.finished) },
        })))
    }
}
