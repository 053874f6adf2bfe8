//! Carrying out a request: its runs, its end-to-end probes, and what becomes of them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use traceroute_core::{Destination, EndReason, Knowledge, Results, Schedule, Ttl};
use tracing::debug;

use crate::budget::BudgetedSink;
use crate::error::{Error, InvalidRequest};
use crate::event::{Events, TraceEvent};
use crate::request::Request;
use crate::run::{Context, Finished, Phase, Step, run};
use crate::tally::{Ended, Tally};
use crate::target::{Host, not_a_host};
use crate::tracer::Inner;

/// Does what a request asks for.
pub(crate) async fn carry_out(
    tracer: &Inner,
    request: Request,
    events: Events,
    phase: watch::Sender<Phase>,
    mut phases: watch::Receiver<Phase>,
) -> Result<Results, Error> {
    let destination = resolve(tracer, &request, &mut phases).await?;
    let source = tracer.network.source_address(request.protocol, destination, request.effective_port())?;
    debug!(target = %destination.address, %source, "tracing");
    events.send(TraceEvent::Resolved { target: destination.address, source });

    let (knowledge, _) = watch::channel(Knowledge::default());
    let context = Context {
        network: Arc::clone(&tracer.network),
        sink: BudgetedSink::new(tracer.network.sink(), tracer.budget.clone()),
        protocol: request.protocol,
        source,
        destination,
        port: request.effective_port(),
        timeout: request.timeout,
        knowledge,
        phase: phases,
    };
    let (ended, endings) = mpsc::unbounded_channel();
    let mut tally = Tally::new(&request, events.clone(), endings);
    let parts = Parts { request: &request, context, events, ended };
    let finished = conduct(&parts, &mut tally, &phase).await;
    tally.results(&request, finished)
}

/// The address to trace.
async fn resolve(
    tracer: &Inner,
    request: &Request,
    phases: &mut watch::Receiver<Phase>,
) -> Result<Destination, Error> {
    match &request.target.host {
        Host::Address { address, zone: None } => Ok(Destination { address: *address, scope_id: 0 }),
        Host::Address { address, zone: Some(zone) } => {
            let scope_id = tracer.network.interface_index(zone)?.ok_or_else(|| InvalidRequest::Target {
                target: request.target.text.clone(),
                reason: format!("there is no interface {zone:?}"),
            })?;
            Ok(Destination { address: *address, scope_id })
        }
        Host::Name(name) => {
            let address = tokio::select! {
                address = tracer.resolver.resolve(&tracer.network, name, request.ipv6) => address?,
                _ = phases.wait_for(|phase| *phase == Phase::Stopped) => return Err(Error::Stopped),
            };
            match not_a_host(address) {
                Some(reason) => Err(Error::ResolvedTo { name: name.clone(), address, reason }),
                None => Ok(Destination { address, scope_id: 0 }),
            }
        }
    }
}

/// Starts the runs and probes, and waits until all have ended and given their results.
async fn conduct(
    parts: &Parts<'_>,
    tally: &mut Tally,
    phase: &watch::Sender<Phase>,
) -> Vec<(usize, Finished)> {
    let interval = parts.request.e2e_interval();
    let mut under_way = FuturesUnordered::new();
    let mut probes_started = 0;
    let mut next_probe = Instant::now();
    // The first end-to-end probe is the first packet of all: it asks how far the destination is.
    if tally.probes > 0 {
        under_way.push(parts.probe(0));
        probes_started = 1;
        next_probe += interval;
    }
    under_way.extend((0..tally.runs).map(|index| parts.run(index)));

    let mut finished = Vec::with_capacity(tally.runs);
    let mut stop = phase.subscribe();
    while !tally.is_complete() && !tally.is_hopeless() {
        tokio::select! {
            biased;
            _ = stop.wait_for(|phase| *phase == Phase::Stopped) => break,
            Some(ending) = tally.endings.recv() => tally.note(ending),
            Some(part) = under_way.next(), if !under_way.is_empty() => finished.extend(part),
            () = sleep_until(next_probe), if probes_started < tally.probes => {
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
    phase.send_if_modified(|phase| {
        let running = *phase == Phase::Running;
        if running {
            *phase = Phase::Done;
        }
        running
    });
    while let Some(part) = under_way.next().await {
        finished.extend(part);
    }
    while let Ok(ending) = tally.endings.try_recv() {
        tally.note(ending);
    }
    finished
}

/// A run or probe under way. A run leaves its final result behind when it is done listening.
type Part<'a> = Pin<Box<dyn Future<Output = Option<(usize, Finished)>> + Send + 'a>>;

/// Makes the runs and probes of a request.
struct Parts<'a> {
    request: &'a Request,
    context: Context,
    events: Events,
    ended: mpsc::UnboundedSender<Ended>,
}

impl Parts<'_> {
    fn run(&self, index: usize) -> Part<'_> {
        let mut schedule = Schedule::parallel(Ttl::FIRST, self.request.max_ttl, self.request.timeout);
        schedule.wait = self.request.wait;
        schedule.sounding = index == 0 && self.request.e2e_queries == 0;
        if index > 0 {
            schedule = schedule.following();
        }
        Box::pin(async move {
            let on_step = |step| {
                self.events.send(match step {
                    Step::Sent(ttl) => TraceEvent::ProbeSent { run: index, ttl },
                    Step::Answered(hop) => TraceEvent::HopAnswered { run: index, hop },
                    Step::Updated(hop) => TraceEvent::HopUpdated { run: index, hop },
                });
            };
            let on_end = |finished: &Finished| self.end(Ended::Run { index, outcome: Ok(finished.clone()) });
            match run(self.context.clone(), schedule, true, on_step, on_end).await {
                Ok(finished) => finished.map(|finished| (index, finished)),
                Err(error) => {
                    self.end(Ended::Run { index, outcome: Err(error) });
                    None
                }
            }
        })
    }

    fn probe(&self, index: usize) -> Part<'_> {
        let schedule = Schedule::single(self.request.max_ttl, self.request.timeout);
        Box::pin(async move {
            match run(self.context.clone(), schedule, false, |_| {}, |_| {}).await {
                // Nobody knows what would have become of it.
                Ok(None) => {}
                Ok(Some(finished)) if finished.report.end_reason == EndReason::Interrupted => {}
                Ok(Some(finished)) => {
                    self.end(Ended::Probe { index, outcome: Ok(finished.destination_rtt()) });
                }
                Err(error) => self.end(Ended::Probe { index, outcome: Err(error) }),
            }
            None
        })
    }

    fn end(&self, ended: Ended) {
        // The receiver is the request that polls these parts.
        self.ended.send(ended).unwrap_or_default();
    }
}
