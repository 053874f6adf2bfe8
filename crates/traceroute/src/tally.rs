//! What becomes of the parts of a request: which have ended how, and the results made of them.

use std::collections::BTreeSet;
use std::time::Duration;

use traceroute_core::{
    EndReason, EndToEnd, Protocol, RequestDestination, RequestSource, Results, RunReport, RunResult,
    TcpMethod, Traceroute, TracerouteError,
};
use tracing::{debug, warn};

use crate::enrich::private::blank_if_private;
use crate::error::{Error, describe};
use crate::event::{Events, TraceEvent};
use crate::id::random_id;
use crate::request::Request;
use crate::run::Finished;

/// What has become of the parts of a request so far.
pub(crate) struct Tally<'a> {
    request: &'a Request,
    events: &'a Events,
    /// The runs that ended with a result, in the order in which they did.
    runs_ended: Vec<usize>,
    runs_failed: Failures,
    /// The runs that were done again with SYN probes.
    runs_fallen_back: BTreeSet<usize>,
    /// The round trips of the probes in the order in which they ended.
    rtts: Vec<Option<Duration>>,
    /// How many probes failed for a fault of this process: they are neither sent nor lost.
    probes_not_measured: usize,
    probes_failed: Failures,
}

/// The distinct reasons why some failed, and how many for each.
#[derive(Default)]
struct Failures(Vec<(TracerouteError, usize)>);

impl Failures {
    fn add(&mut self, error: TracerouteError) {
        match self.0.iter_mut().find(|(known, _)| *known == error) {
            Some((_, count)) => *count += 1,
            None => self.0.push((error, 1)),
        }
    }

    fn count(&self) -> usize {
        self.0.iter().map(|(_, count)| count).sum()
    }

    fn errors(self) -> Vec<TracerouteError> {
        self.0.into_iter().map(|(error, _)| error).collect()
    }

    fn warnings(&self, of: usize, what: &str) -> impl Iterator<Item = String> {
        self.0.iter().map(move |(error, count)| format!("{count} of {of} {what} failed: {}", describe(error)))
    }
}

impl<'a> Tally<'a> {
    pub(crate) fn new(request: &'a Request, events: &'a Events) -> Self {
        Self {
            request,
            events,
            runs_ended: Vec::new(),
            runs_failed: Failures::default(),
            runs_fallen_back: BTreeSet::new(),
            rtts: Vec::new(),
            probes_not_measured: 0,
            probes_failed: Failures::default(),
        }
    }

    /// How many runs there are.
    pub(crate) fn runs(&self) -> usize {
        self.request.traceroute_queries.into()
    }

    /// How many end-to-end probes there are.
    pub(crate) fn probes(&self) -> usize {
        self.request.e2e_queries.into()
    }

    /// Whether every run and every probe has ended.
    pub(crate) fn is_complete(&self) -> bool {
        self.runs_ended.len() + self.runs_failed.count() == self.runs()
            && self.probes_ended() == self.probes()
    }

    /// Whether nothing can come of the request any more.
    pub(crate) fn is_hopeless(&self) -> bool {
        let failed = self.probes_failed.count();
        match self.runs() {
            // Without runs the probes are all there is, and what the network refuses one it will refuse all.
            0 => {
                let refused = self.probes_failed.0.iter().any(|(error, _)| !error.is_own());
                failed > 0 && failed == self.probes_ended() && (refused || failed == self.probes())
            }
            runs => self.runs_failed.count() == runs,
        }
    }

    fn probes_ended(&self) -> usize {
        self.rtts.len() + self.probes_not_measured
    }

    pub(crate) fn run_ended(&mut self, run: usize, outcome: Result<Finished, TracerouteError>) {
        match outcome {
            Ok(finished) => {
                debug!(run, end_reason = ?finished.report.end_reason, "the run ended");
                self.runs_ended.push(run);
                let method = self.fell_back_to(run);
                self.events.send(|| {
                    let mut result = result(finished, method);
                    if self.request.skip_private_hops {
                        result.hops.iter_mut().for_each(blank_if_private);
                    }
                    TraceEvent::RunFinished { run, result }
                });
            }
            Err(error) => {
                warn!(run, %error, "the run failed");
                self.events.send(|| TraceEvent::RunFailed { run, reason: describe(&error) });
                self.runs_failed.add(error);
            }
        }
    }

    /// A run begins again with SYN probes.
    pub(crate) fn run_falls_back(&mut self, run: usize, error: &TracerouteError) {
        warn!(run, %error, "the run goes on with SYN probes");
        self.runs_fallen_back.insert(run);
        let method = TcpMethod::Syn;
        self.events.send(|| TraceEvent::FellBack { run, method, reason: describe(error) });
    }

    /// How a run probes after all, where that is not what was asked for.
    pub(crate) fn fell_back_to(&self, run: usize) -> Option<TcpMethod> {
        self.runs_fallen_back.contains(&run).then_some(TcpMethod::Syn)
    }

    pub(crate) fn probe_ended(&mut self, probe: usize, outcome: Result<Option<Duration>, TracerouteError>) {
        let rtt = match outcome {
            Ok(rtt) => rtt,
            Err(error) => {
                warn!(probe, %error, "the end-to-end probe failed");
                self.probes_failed.add(error.clone());
                if error.is_own() {
                    self.probes_not_measured += 1;
                    self.events.send(|| TraceEvent::EndToEndFailed { probe, reason: describe(&error) });
                    return;
                }
                // What the network refuses counts as what it loses.
                None
            }
        };
        self.rtts.push(rtt);
        self.events.send(|| TraceEvent::EndToEnd { probe, rtt });
    }

    /// Whether the target has answered some runs or end-to-end probes by ICMP errors, as far as is known, and others not at all.
    fn answers_in_part(&self, runs: &[(usize, Finished)]) -> bool {
        let reports = runs.iter().map(|(_, run)| &run.report);
        let ended = |reason| reports.clone().filter(move |run| run.end_reason == reason);
        let by_errors = |run: &RunReport| {
            let last = run.hops.last().and_then(|hop| hop.answer.as_ref());
            last.is_none_or(|answer| answer.quoted.is_some())
        };
        let refused =
            self.probes_failed.0.iter().filter(|(error, _)| !error.is_own()).map(|(_, count)| count);
        let answered = self.rtts.iter().flatten().count();
        let lost = (self.rtts.len() - answered).saturating_sub(refused.sum());
        (answered > 0 || ended(EndReason::Destination).next().is_some())
            && (lost > 0 || ended(EndReason::MaxTtl).next().is_some())
            && ended(EndReason::Destination).all(by_errors)
    }

    /// If no router was heard at all, `why_no_router` is a warning.
    pub(crate) fn results(
        self,
        finished: Vec<(usize, Finished)>,
        why_no_router: Option<&str>,
    ) -> Result<Results, Error> {
        let request = self.request;
        if self.is_hopeless() {
            let failures = if self.runs() == 0 { self.probes_failed } else { self.runs_failed };
            return Err(Error::AllRunsFailed(failures.errors()));
        }
        let place = |index: &usize| self.runs_ended.iter().position(|ended| ended == index);
        let mut finished = finished;
        finished.sort_by_key(|(index, _)| place(index));
        let speaking = finished.iter().filter(|(_, finished)| finished.report.target_speaks).count();
        let no_router =
            why_no_router.filter(|_| heard_no_router(finished.iter().map(|(_, run)| &run.report)));
        let limited = request.protocol == Protocol::Udp && self.answers_in_part(&finished);
        let runs = finished.into_iter().map(|(index, finished)| result(finished, self.fell_back_to(index)));
        let runs = runs.collect();
        let mut traceroute = Traceroute::new(runs);
        if request.skip_private_hops {
            // Hops have been counted.
            traceroute.hops_mut().for_each(blank_if_private);
        }
        let warnings = self.runs_failed.warnings(self.runs(), "runs");
        let warnings = warnings.chain(self.probes_failed.warnings(self.probes(), "end-to-end probes"));
        let warnings = warnings.chain((speaking > 0).then(|| {
            format!(
                "in {speaking} of {} runs the target sent data before it was asked for any: only its bare \
                 acknowledgements count as answers",
                self.runs()
            )
        }));
        let warnings =
            warnings.chain(no_router.map(str::to_owned)).chain(limited.then(|| LIMITED.to_owned()));
        Ok(Results {
            test_run_id: random_id(),
            protocol: request.protocol,
            source: RequestSource::default(),
            destination: RequestDestination { hostname: request.target.text.clone(), port: request.port },
            traceroute,
            e2e_probe: EndToEnd::new(&self.rtts),
            warnings: warnings.collect(),
        })
    }
}

/// What else may be why a target that answers does not answer all UDP probes (`net/ipv4/icmp.c` and `icmp_ratelimit` of Linux).
const LIMITED: &str = "the target has answered some of the UDP probes only: this need not be loss, for hosts limit the ICMP errors \
                       that they send, Linux to six at once and then one a second for each source; a target's answers to ICMP and TCP \
                       probes are not limited so";

fn result(finished: Finished, method: Option<TcpMethod>) -> RunResult {
    let Finished { id, source, destination, report, drops, mode } = finished;
    RunResult::new(id, source, destination, report, method, mode, drops)
}

/// Whether there were routers to be heard, and none was.
fn heard_no_router<'a>(runs: impl Iterator<Item = &'a RunReport>) -> bool {
    // Of a run that was stopped nobody knows whether there would have been more.
    let complete = runs.filter(|run| run.end_reason != EndReason::Interrupted);
    let mut routers = complete.flat_map(|run| {
        let all = run.hops.len();
        run.hops.iter().take(if run.reached { all.saturating_sub(1) } else { all })
    });
    let mut any = false;
    let none = routers.all(|hop| {
        any = true;
        hop.answer.is_none()
    });
    any && none
}

#[cfg(test)]
mod tests {
    use traceroute_core::{HopAnswer, HopReport, StampSource, Ttl};

    use super::*;

    /// A run whose hops have answered or not, the last of them the destination if that was reached.
    fn run(answered: &[bool], reached: bool) -> RunReport {
        let answer = HopAnswer {
            address: [192, 0, 2, 1].into(),
            rtt: Duration::from_millis(1),
            rtt_source: StampSource::User,
            unreachable: None,
            quoted: None,
        };
        let hops = (1..).filter_map(Ttl::new).zip(answered);
        RunReport {
            hops: hops
                .map(|(ttl, answered)| HopReport { ttl, answer: answered.then(|| answer.clone()) })
                .collect(),
            end_reason: if reached { EndReason::Destination } else { EndReason::MaxTtl },
            reached,
            port_state: None,
            target_speaks: false,
            late: 0,
            duplicates: 0,
            send_errors: 0,
        }
    }

    #[test]
    fn a_router_that_none_of_several_runs_hears_is_missed_and_a_neighbour_is_not() {
        for (runs, missed) in [
            (&[run(&[false, false, true], true)][..], true),
            (&[run(&[false, false], false)], true),
            (&[run(&[true], true)], false),
            (&[run(&[false, true, true], true)], false),
            (&[run(&[false, false, true], true), run(&[true, false, true], true)], false),
            (&[run(&[true], true), run(&[false, true], true)], true),
            (&[run(&[], false)], false),
            (&[], false),
        ] {
            assert_eq!(heard_no_router(runs.iter()), missed, "{runs:?}");
        }
        let stopped = RunReport { end_reason: EndReason::Interrupted, ..run(&[false, false], false) };
        assert!(!heard_no_router([stopped].iter()));
    }
}
