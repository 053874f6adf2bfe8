//! What is known of a request: by its events while it goes on, by its results in the end.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use traceroute::{EndToEnd, Hop, Protocol, Request, Results, RunResult, Spread, TraceEvent, Ttl};

/// What is known of a request.
#[derive(Clone, Debug)]
pub(crate) struct Picture {
    /// As it was given.
    pub(crate) target: String,
    pub(crate) protocol: Protocol,
    /// The port probed.
    pub(crate) port: u16,
    /// The target's address and the own one.
    pub(crate) ends: Option<(IpAddr, IpAddr)>,
    pub(crate) public_ip: String,
    /// The names of addresses, as far as the runs do not have them.
    names: BTreeMap<IpAddr, Vec<String>>,
    pub(crate) runs: Vec<RunPicture>,
    /// Whether there were to be runs, and the request ended before one of them had a result.
    pub(crate) none_begun: bool,
    /// Whether names are looked up, and the public address.
    looks_up: (bool, bool),
    /// Whether hops with private addresses are hidden.
    pub(crate) hides_private: bool,
    /// How many end-to-end probes there are to be.
    pub(crate) probes: usize,
    /// Their round trips, in the order in which they ended.
    rtts: Vec<Option<Duration>>,
    /// How many could not be made.
    probes_failed: usize,
    pub(crate) warnings: Vec<String>,
    results: Option<Statistics>,
}

/// What is computed in the end.
#[derive(Clone, Debug)]
struct Statistics {
    hop_count: Spread,
    e2e: EndToEnd,
}

/// What is known of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunPicture {
    /// Counted from 1 in the order of starting.
    pub(crate) number: usize,
    /// The TTLs that probes were sent with.
    sent: Vec<Ttl>,
    hops: BTreeMap<Ttl, Hop>,
    pub(crate) end: Option<RunEnd>,
}

#[derive(Clone, Debug)]
pub(crate) enum RunEnd {
    Finished(Box<RunResult>),
    Failed(String),
}

/// What became of an end-to-end probe.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LastProbe {
    Answered(Duration),
    Lost,
}

/// What is known of a run at a TTL.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Spot<'a> {
    /// Nothing, and perhaps nothing ever.
    Blank,
    /// A probe is on its way.
    Pending,
    /// No answer came.
    Silent,
    Answered(&'a Hop),
}

impl Picture {
    /// Nothing is known yet but what is asked for.
    pub(crate) fn new(request: &Request) -> Self {
        let run = |number| RunPicture { number, ..RunPicture::default() };
        Self {
            target: request.target().to_owned(),
            protocol: request.protocol(),
            port: request.port(),
            ends: None,
            public_ip: String::new(),
            names: BTreeMap::new(),
            runs: (1..=request.traceroute_queries().into()).map(run).collect(),
            none_begun: false,
            looks_up: (request.reverse_dns(), request.source_public_ip()),
            hides_private: request.skip_private_hops(),
            probes: request.e2e_queries().into(),
            rtts: Vec::new(),
            probes_failed: 0,
            warnings: Vec::new(),
            results: None,
        }
    }

    /// Takes an event in.
    pub(crate) fn take(&mut self, event: &TraceEvent) {
        match event {
            TraceEvent::Resolved { target, source } => self.ends = Some((*target, *source)),
            TraceEvent::ProbeSent { run, ttl } => self.change(*run, |run| run.sent.push(*ttl)),
            TraceEvent::HopAnswered { run, hop } | TraceEvent::HopUpdated { run, hop } => {
                self.change(*run, |run| run.note(hop));
            }
            TraceEvent::FellBack { run, .. } => self.change(*run, |run| {
                run.sent.clear();
                run.hops.clear();
            }),
            TraceEvent::RunFinished { run, result } => {
                self.change(*run, |run| run.end = Some(RunEnd::Finished(Box::new(result.clone()))));
            }
            TraceEvent::RunFailed { run, reason } => {
                self.change(*run, |run| run.end = Some(RunEnd::Failed(reason.clone())));
            }
            TraceEvent::Named { address, names } => {
                self.names.insert(*address, names.clone());
            }
            TraceEvent::PublicIp { address } => self.public_ip = address.to_string(),
            TraceEvent::EndToEnd { rtt, .. } => self.rtts.push(*rtt),
            TraceEvent::EndToEndFailed { .. } => self.probes_failed += 1,
            _ => {}
        }
    }

    fn change(&mut self, run: usize, change: impl FnOnce(&mut RunPicture)) {
        if let Some(run) = self.runs.get_mut(run) {
            change(run);
        }
    }

    /// Replaces what the events told by the results. The runs stay in the order in which they started.
    pub(crate) fn complete(&mut self, results: &Results) {
        let mut unknown = self.runs.len();
        let mut runs: Vec<RunPicture> = Vec::new();
        for result in results.traceroute.runs.iter().flatten() {
            let number = self.runs.iter().find(|run| run.is(result)).map(|run| run.number);
            let number = number.unwrap_or_else(|| {
                unknown += 1;
                unknown
            });
            self.ends = Some((result.destination.ip_address, result.source.ip_address));
            let end = Some(RunEnd::Finished(Box::new(result.clone())));
            runs.push(RunPicture { number, end, ..RunPicture::default() });
        }
        runs.sort_by_key(|run| run.number);
        // Of those that nothing was told of there remains only that they are there.
        if runs.iter().any(|run| run.number > self.runs.len()) {
            runs.iter_mut().zip(1..).for_each(|(run, number)| run.number = number);
        }
        self.none_begun = runs.is_empty() && !self.runs.is_empty();
        self.runs = runs;
        self.public_ip.clone_from(&results.source.public_ip);
        self.warnings.clone_from(&results.warnings);
        self.results =
            Some(Statistics { hop_count: results.traceroute.hop_count, e2e: results.e2e_probe.clone() });
    }

    /// The names of an address, where what is known of it in a run is `known`.
    pub(crate) fn names_of<'a>(&'a self, address: IpAddr, known: &'a [String]) -> &'a [String] {
        if known.is_empty() { self.names.get(&address).map_or(known, Vec::as_slice) } else { known }
    }

    pub(crate) fn results_of_runs(&self) -> impl Iterator<Item = (usize, &RunResult)> {
        self.runs.iter().filter_map(|run| match &run.end {
            Some(RunEnd::Finished(result)) => Some((run.number, &**result)),
            _ => None,
        })
    }

    pub(crate) fn runs_ended(&self) -> usize {
        self.runs.iter().filter(|run| run.end.is_some()).count()
    }

    /// Over the runs that have ended; `None` when there are none.
    #[expect(clippy::cast_precision_loss, reason = "at most 255 hops")]
    pub(crate) fn hop_count(&self) -> Option<Spread> {
        self.results_of_runs().next()?;
        let counts = self.results_of_runs().map(|(_, run)| run.hop_count() as f64);
        Some(self.results.as_ref().map_or_else(|| Spread::of(counts), |results| results.hop_count))
    }

    /// Whether some hop of those runs has answered.
    pub(crate) fn has_answers(&self) -> bool {
        self.results_of_runs().any(|(_, run)| run.hops.iter().any(|hop| hop.reachable))
    }

    /// Of the probes that have ended.
    pub(crate) fn end_to_end(&self) -> EndToEnd {
        self.results.as_ref().map_or_else(|| EndToEnd::new(&self.rtts), |results| results.e2e.clone())
    }

    pub(crate) fn probes_ended(&self) -> usize {
        self.rtts.len() + self.probes_failed
    }

    /// What all that is left is to wait for, if so it is.
    pub(crate) fn waits_for(&self) -> Option<&'static str> {
        let traced =
            self.ends.is_some() && self.runs_ended() == self.runs.len() && self.probes_ended() == self.probes;
        let (names, public_ip) = self.looks_up;
        match (names, public_ip && self.public_ip.is_empty()) {
            (_, true) if traced => Some("looking up the public address"),
            (true, _) if traced => Some("looking up names"),
            _ => None,
        }
    }

    pub(crate) fn last_probe(&self) -> Option<LastProbe> {
        self.rtts.last().map(|rtt| rtt.map_or(LastProbe::Lost, LastProbe::Answered))
    }

    /// The first and the last TTL that there is something to show of.
    pub(crate) fn ttls(&self) -> Option<(Ttl, Ttl)> {
        let target = self.ends.map(|(target, _)| target);
        // Where one has found the target, another's probes beyond are of no interest.
        let found = self.runs.iter().filter_map(|run| run.reaches(target)).min();
        let first = self.runs.iter().filter_map(RunPicture::first).min()?;
        let last = self.runs.iter().filter_map(|run| run.last(target, found)).max()?;
        Some((first, last.max(first)))
    }
}

impl RunPicture {
    /// Whether this is the run that `result` is of.
    fn is(&self, result: &RunResult) -> bool {
        matches!(&self.end, Some(RunEnd::Finished(own)) if own.run_id == result.run_id)
    }

    /// A run that has ended has as many hops as it has.
    fn note(&mut self, hop: &Hop) {
        match &mut self.end {
            Some(RunEnd::Finished(result)) => {
                if let Some(known) = result.hops.iter_mut().find(|known| known.ttl == hop.ttl) {
                    known.clone_from(hop);
                }
            }
            _ => {
                self.hops.insert(hop.ttl, hop.clone());
            }
        }
    }

    pub(crate) fn at(&self, ttl: Ttl) -> Spot<'_> {
        if let Some(RunEnd::Finished(result)) = &self.end {
            return match result.hops.iter().find(|hop| hop.ttl == ttl) {
                Some(hop) if hop.reachable => Spot::Answered(hop),
                Some(_) => Spot::Silent,
                None => Spot::Blank,
            };
        }
        match self.hops.get(&ttl) {
            Some(hop) => Spot::Answered(hop),
            None if self.sent.contains(&ttl) && self.end.is_none() => Spot::Pending,
            None => Spot::Blank,
        }
    }

    fn first(&self) -> Option<Ttl> {
        match &self.end {
            Some(RunEnd::Finished(result)) => result.hops.first().map(|hop| hop.ttl),
            _ => self.sent.iter().min().copied(),
        }
    }

    /// The end of its path; of a run under way, how far it has probed without a gap: the probe that asks how far the
    /// destination is goes beyond.
    fn last(&self, target: Option<IpAddr>, found: Option<Ttl>) -> Option<Ttl> {
        if let Some(RunEnd::Finished(result)) = &self.end {
            return result.hops.last().map(|hop| hop.ttl);
        }
        let probed = self.probed()?;
        let found = self.reaches(target).or(found);
        Some(found.map_or(probed, |found| found.min(probed)))
    }

    /// The last TTL before the first that no probe was sent with.
    fn probed(&self) -> Option<Ttl> {
        let mut sent = self.sent.clone();
        sent.sort_unstable();
        sent.dedup();
        sent.iter()
            .zip(sent.iter().skip(1).map(Some).chain([None]))
            .find_map(|(ttl, next)| (next.is_none_or(|next| *next != ttl.plus(1))).then_some(*ttl))
    }

    /// The TTL at which the target answers, among those probed without a gap.
    fn reaches(&self, target: Option<IpAddr>) -> Option<Ttl> {
        if let Some(RunEnd::Finished(result)) = &self.end {
            return result.hops.last().filter(|_| result.reached).map(|hop| hop.ttl);
        }
        let (target, probed) = (target?, self.probed()?);
        let hop = self.hops.values().find(|hop| hop.ip_address == Some(target))?;
        (hop.ttl <= probed).then_some(hop.ttl)
    }
}
