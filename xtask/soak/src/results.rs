//! Whether what requests gave is right.

use std::net::IpAddr;
use std::time::Duration;

use traceroute::{EndReason, EndToEnd, Results, RunResult};

use crate::bed::{self, HOPS};
use crate::claim::{Claim, Examples};
use crate::plan::{DESCRIPTORS, Order};

/// What the results of all requests come to.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) requests: u32,
    /// Requests that gave no result, or none in time.
    errors: Examples,
    warnings: Examples,
    runs: u32,
    wrong: Examples,
    late: u64,
    duplicates: u64,
    drops: u64,
    send_errors: u64,
    /// Hops whose round trip is not the difference of two stamps of the kernel.
    user_stamps: u64,
    probes: u32,
    lost: Examples,
    round_trips: u64,
    too_short: Examples,
    too_long: Examples,
    longest: f64,
    refused: Refused,
    pub(crate) lost_events: u64,
    pub(crate) slowest: Duration,
}

/// What was refused for want of descriptors.
#[derive(Debug, Default)]
struct Refused {
    requests: u32,
    runs: u32,
    probes: u32,
    /// Errors and warnings that do not name the limit.
    unnamed: Examples,
    /// Requests whose results have less than was asked for, or more.
    incomplete: Examples,
    /// Probes that were refused and are counted as lost on the way.
    counted_as_lost: Examples,
}

impl Tally {
    /// Takes the outcome of a request; an error in words.
    pub(crate) fn add(&mut self, order: &Order, outcome: Result<&Results, &str>) {
        self.requests += 1;
        match outcome {
            Ok(results) => self.add_results(order, results),
            Err(error) => {
                self.errors.add(|| format!("{order:?}: {error}"));
                self.refused.requests += 1;
                self.refused.note(error);
            }
        }
    }

    fn add_results(&mut self, order: &Order, results: &Results) {
        let target = order.target.address(order.family);
        let runs = results.traceroute.runs.as_deref().unwrap_or_default();
        let paths = bed::paths(target);
        for run in runs {
            self.add_run(run, target, &paths);
        }
        let failed = self.add_warnings(order, &results.warnings);
        if runs.len() + failed.runs as usize != order.runs as usize {
            self.refused.incomplete.add(|| format!("{} of {} runs of {order:?}", runs.len(), order.runs));
        }
        self.add_probes(order, &results.e2e_probe, failed.probes);
    }

    fn add_run(&mut self, run: &RunResult, target: IpAddr, paths: &[Vec<IpAddr>]) {
        self.runs += 1;
        let hops: Vec<_> = run.hops.iter().map(|hop| hop.ip_address).collect();
        let right = run.reached
            && run.end_reason == EndReason::Destination
            && run.destination.ip_address == target
            && paths.iter().any(|path| path.iter().copied().map(Some).eq(hops.iter().copied()));
        if !right {
            self.wrong.add(|| format!("toward {target}: {hops:?}, {:?}", run.end_reason));
        }
        self.late += u64::from(run.late);
        self.duplicates += u64::from(run.duplicates);
        self.drops += run.capture_drops;
        self.send_errors += u64::from(run.send_errors);
        for (place, hop) in (1..).zip(&run.hops).filter(|(_, hop)| hop.reachable) {
            self.user_stamps += u64::from(hop.rtt_source.is_some());
            self.add_round_trip(place, hop.rtt, target);
        }
    }

    fn add_probes(&mut self, order: &Order, e2e: &EndToEnd, failed: u32) {
        self.probes += order.probes;
        let rtts = e2e.rtts.as_deref().unwrap_or_default();
        for &rtt in rtts.iter().filter(|&&rtt| rtt > 0.0) {
            self.add_round_trip(HOPS as usize, rtt, order.target.address(order.family));
        }
        let (asked, answered) = (order.probes as usize, e2e.packets_received);
        let unanswered = asked.saturating_sub(answered);
        if unanswered != failed as usize || rtts.len() > asked {
            self.lost.add(|| format!("{answered} of {asked} answered, {failed} refused, of {order:?}"));
        }
        let said_lost = e2e.packets_sent.saturating_sub(answered);
        if failed > 0 && said_lost > unanswered - (failed as usize).min(unanswered) {
            let loss = e2e.packet_loss_percentage * 100.0;
            self.refused
                .counted_as_lost
                .add(|| format!("{failed} of {asked} refused, and {loss:.0} % loss, of {order:?}"));
        }
    }

    fn add_round_trip(&mut self, hop: usize, milliseconds: f64, target: IpAddr) {
        let round_trip = Duration::from_secs_f64(milliseconds / 1e3);
        self.round_trips += 1;
        self.longest = self.longest.max(milliseconds);
        if bed::is_too_short(hop, round_trip) {
            self.too_short.add(|| format!("{milliseconds:.3} ms to hop {hop} toward {target}"));
        }
        if bed::is_too_long(round_trip) {
            self.too_long.add(|| format!("{milliseconds:.0} ms to hop {hop} toward {target}"));
        }
    }

    fn add_warnings(&mut self, order: &Order, warnings: &[String]) -> Failed {
        let mut failed = Failed::default();
        for warning in warnings {
            self.warnings.add(|| format!("{order:?}: {warning}"));
            self.refused.note(warning);
            // Each reason has a line, and each line says how many failed for any of them.
            match Failed::parse(warning) {
                Some(found) => {
                    failed =
                        Failed { runs: failed.runs.max(found.runs), probes: failed.probes.max(found.probes) }
                }
                None => self.refused.incomplete.add(|| format!("what is `{warning}`?")),
            }
        }
        self.refused.runs += failed.runs;
        self.refused.probes += failed.probes;
        failed
    }

    /// What has to be true where nothing is refused.
    pub(crate) fn claims(&self, expected: u32) -> Vec<Claim> {
        let results = Claim::new(
            "every request gives a result, without errors and warnings",
            self.requests == expected && self.errors.count == 0 && self.warnings.count == 0,
            format!("{} of {expected}; errors: {}; warnings: {}", self.requests, self.errors, self.warnings),
        );
        let probes = Claim::new(
            "every end-to-end probe is answered",
            self.lost.count == 0 && self.probes > 0,
            format!("{} probes; requests with lost ones: {}", self.probes, self.lost),
        );
        [results, self.runs_claim(), self.extras_claim(), probes]
            .into_iter()
            .chain(self.round_trip_claims())
            .collect()
    }

    fn runs_claim(&self) -> Claim {
        Claim::new(
            "every run that is there shows exactly one of the paths that there are, to its end",
            self.wrong.count == 0 && self.runs > 0,
            format!("{} runs; wrong: {}", self.runs, self.wrong),
        )
    }

    fn extras_claim(&self) -> Claim {
        let Self { late, duplicates, drops, send_errors, lost_events, .. } = self;
        Claim::new(
            "no run has late or double answers, lost packets or refused probes, and no event is lost",
            late + duplicates + drops + send_errors + lost_events == 0,
            format!(
                "late {late}, duplicates {duplicates}, capture drops {drops}, send errors {send_errors}, \
                 lost events {lost_events}; round trips by other stamps than the kernel's: {}",
                self.user_stamps
            ),
        )
    }

    fn round_trip_claims(&self) -> [Claim; 2] {
        [
            Claim::new(
                "no round trip is shorter than the network's own",
                self.too_short.count == 0 && self.round_trips > 0,
                format!("{} round trips; too short: {}", self.round_trips, self.too_short),
            ),
            Claim::new(
                format!("no round trip is longer than {:?}", bed::LONGEST_RTT),
                self.too_long.count == 0,
                format!("the longest {:.1} ms; too long: {}", self.longest, self.too_long),
            ),
        ]
    }

    /// What has to be true where descriptors run out.
    pub(crate) fn claims_of_refusals(&self, expected: u32) -> Vec<Claim> {
        let Refused { requests, runs, probes, unnamed, incomplete, counted_as_lost } = &self.refused;
        let mut claims = vec![
            Claim::new(
                "every request ends",
                self.requests == expected,
                format!("{} of {expected}, the slowest after {:.1?}", self.requests, self.slowest),
            ),
            Claim::new(
                "descriptors run out for requests, runs and end-to-end probes",
                *requests > 0 && *runs > 0 && *probes > 0,
                format!("{requests} requests, {runs} runs and {probes} probes were refused"),
            ),
            Claim::new(
                format!("every error and warning names the limit of {DESCRIPTORS}"),
                unnamed.count == 0,
                format!("that do not: {unnamed}"),
            ),
            Claim::new(
                "every run that was asked for is there, or in a warning",
                incomplete.count == 0,
                format!("missing: {incomplete}"),
            ),
            Claim::new(
                "every end-to-end probe is answered, or in a warning",
                self.lost.count == 0,
                format!("{} probes; requests with lost ones: {}", self.probes, self.lost),
            ),
            Claim::new(
                "no end-to-end probe that was refused is counted as lost on the way",
                counted_as_lost.count == 0,
                format!("requests with such: {counted_as_lost}"),
            ),
            self.runs_claim(),
            self.extras_claim(),
        ];
        claims.extend(self.round_trip_claims());
        claims
    }
}

impl Refused {
    fn note(&mut self, words: &str) {
        if !words.contains(&format!("the limit of {DESCRIPTORS} open file descriptors")) {
            self.unnamed.add(|| words.to_owned());
        }
    }
}

/// How many parts of a request failed, as its warnings say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Failed {
    runs: u32,
    probes: u32,
}

impl Failed {
    fn parse(warning: &str) -> Option<Self> {
        let (count, rest) = warning.split_once(" of ")?;
        let count = count.parse().ok()?;
        let (_, what) = rest.split_once(' ')?;
        if what.starts_with("runs failed: ") {
            Some(Self { runs: count, probes: 0 })
        } else if what.starts_with("end-to-end probes failed: ") {
            Some(Self { runs: 0, probes: count })
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use traceroute::{
        Protocol, RequestDestination, RequestSource, RunDestination, RunSource, Traceroute, Ttl,
    };

    use super::*;
    use crate::bed::{Family, Number};
    use crate::claim::Verdict;

    type Change = fn(&mut Results);

    const ORDER: Order =
        Order { protocol: Protocol::Udp, family: Family::V4, target: Number(9), runs: 1, probes: 2 };

    fn hop(ttl: u8, address: IpAddr, rtt: f64) -> traceroute::Hop {
        let hop = traceroute::Hop::unanswered(Ttl::new(ttl).unwrap());
        traceroute::Hop { ip_address: Some(address), rtt, reachable: true, ..hop }
    }

    /// A request as it should end: 16 ms to the first hop and 2 ms more to each other.
    fn right() -> Results {
        let target = ORDER.target.address(ORDER.family);
        let end: SocketAddr = (target, 33_434).into();
        let paths = bed::paths(target);
        let hops = (1_u8..).zip(&paths[2]);
        let run = RunResult {
            run_id: String::new(),
            source: RunSource { ip_address: target, port: 61_000 },
            destination: RunDestination { ip_address: end.ip(), port: end.port(), reverse_dns: Vec::new() },
            hops: hops.map(|(ttl, address)| hop(ttl, *address, 14.1 + 2.0 * f64::from(ttl))).collect(),
            reached: true,
            end_reason: EndReason::Destination,
            port_state: None,
            method: None,
            mode: None,
            late: 0,
            duplicates: 0,
            capture_drops: 0,
            send_errors: 0,
        };
        Results {
            test_run_id: String::new(),
            protocol: ORDER.protocol,
            source: RequestSource::default(),
            destination: RequestDestination { hostname: target.to_string(), port: 33_434 },
            traceroute: Traceroute::new(vec![run]),
            e2e_probe: EndToEnd::new(&[Some(Duration::from_millis(29)); 2]),
            warnings: Vec::new(),
        }
    }

    /// The claims that are false of a request that ended like this.
    fn broken(change: impl FnOnce(&mut Results)) -> Vec<String> {
        let mut results = right();
        change(&mut results);
        let mut tally = Tally::default();
        tally.add(&ORDER, Ok(&results));
        false_ones(tally.claims(1))
    }

    fn false_ones(claims: Vec<Claim>) -> Vec<String> {
        claims.into_iter().filter(|claim| claim.verdict == Verdict::False).map(|claim| claim.what).collect()
    }

    fn run(results: &mut Results) -> &mut RunResult {
        &mut results.traceroute.runs.as_mut().unwrap()[0]
    }

    #[test]
    fn what_is_right_breaks_no_claim() {
        assert_eq!(broken(|_| ()), [""; 0]);
    }

    #[test]
    fn whatever_is_wrong_breaks_its_claim() {
        let changes: [(&str, Change); 9] = [
            ("exactly one of the paths", |r| drop(run(r).hops.remove(2))),
            // The fourth hop of another branch.
            ("exactly one of the paths", |r| run(r).hops[3].ip_address = "10.71.2.12".parse().ok()),
            ("exactly one of the paths", |r| run(r).end_reason = EndReason::MaxTtl),
            ("late or double", |r| run(r).duplicates = 1),
            ("late or double", |r| run(r).capture_drops = 1),
            ("shorter than", |r| run(r).hops[6].rtt = 27.9),
            ("longer than", |r| run(r).hops[0].rtt = 501.0),
            ("probe is answered", |r| r.e2e_probe = EndToEnd::new(&[None, Some(Duration::from_millis(29))])),
            ("without errors and warnings", |r| r.warnings.push("1 of 2 runs failed: x".into())),
        ];
        for (claim, change) in changes {
            let broken = broken(change);
            assert!(broken.iter().any(|what| what.contains(claim)), "{claim}: {broken:?}");
        }
        let mut tally = Tally::default();
        tally.add(&ORDER, Err("stopped"));
        assert!(!false_ones(tally.claims(1)).is_empty());
        assert!(!false_ones(Tally::default().claims(1)).is_empty());
    }

    const LIMIT: &str = "reserving a local port: the limit of 256 open file descriptors is reached";

    /// The claims on refusals that are false of one right request, one refused, and one like this.
    fn broken_refusal(change: impl FnOnce(&mut Results)) -> Vec<String> {
        let mut tally = Tally::default();
        tally.add(&ORDER, Ok(&right()));
        tally.add(&ORDER, Err(LIMIT));
        let mut results = right();
        results.e2e_probe = EndToEnd::new(&[Some(Duration::from_millis(29))]);
        results.warnings =
            vec![format!("1 of 2 end-to-end probes failed: {LIMIT}"), format!("2 of 3 runs failed: {LIMIT}")];
        change(&mut results);
        tally.add(&Order { runs: 3, ..ORDER }, Ok(&results));
        false_ones(tally.claims_of_refusals(3))
    }

    #[test]
    fn what_is_refused_is_said() {
        assert_eq!(broken_refusal(|_| ()), [""; 0]);
        let changes: [(&str, Change); 5] = [
            ("names the limit", |r| r.warnings[0] = "1 of 2 end-to-end probes failed: no".into()),
            ("every run that was asked for", |r| r.warnings[1] = format!("1 of 3 runs failed: {LIMIT}")),
            ("every end-to-end probe is answered, or", |r| drop(r.warnings.remove(0))),
            ("counted as lost", |r| r.e2e_probe = EndToEnd::new(&[None, Some(Duration::from_millis(29))])),
            ("exactly one of the paths", |r| run(r).hops[3].ip_address = None),
        ];
        for (claim, change) in changes {
            let broken = broken_refusal(change);
            assert!(broken.iter().any(|what| what.contains(claim)), "{claim}: {broken:?}");
        }
    }

    #[test]
    fn warnings_are_read() {
        assert_eq!(Failed::parse("2 of 3 runs failed: why"), Some(Failed { runs: 2, probes: 0 }));
        assert_eq!(
            Failed::parse("7 of 50 end-to-end probes failed: why"),
            Some(Failed { runs: 0, probes: 7 })
        );
        assert_eq!(Failed::parse("something else"), None);
    }
}
