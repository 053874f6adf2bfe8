//! The service under load: sends visitors, and says what became of it and of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};

use crate::claim::{Claim, Examples, megabytes};
use crate::error::Error;
use crate::plan::{Plan, Visit};
use crate::server::{Sample, Server};
use crate::visit;

const SECOND: Duration = Duration::from_secs(1);
/// When memory is looked at first: identities stay in quarantine for a minute.
const MINUTE: Duration = Duration::from_mins(1);
/// For how long it is looked at, then and in the end.
const LOOK: Duration = Duration::from_secs(10);
/// By how many percent it may have grown.
const GROWTH: u64 = 5;
/// After the last visit: a thread of the runtime that has nothing to do ends after ten seconds.
const SETTLED_WITHIN: Duration = Duration::from_secs(15);
/// What has to be nothing in the end, by the service's own count.
const AT_WORK: [&str; 3] =
    ["traceroute_requests_in_flight", "traceroute_requests_queued", "traceroute_runs_in_flight"];

/// Plays the scenario.
pub(crate) async fn soak(plan: &Plan, program: &Path) -> Result<Vec<Claim>, Error> {
    let start = Instant::now();
    let server = Server::start(program)?;
    let before = server.sample(start)?;
    let watcher = server.watch(start)?;
    let health = tokio::spawn(ask_how_it_is(plan.duration()));
    let visitors = visit(plan).await;
    let health = health.await.unwrap_or_else(|failure| std::panic::resume_unwind(failure.into_panic()));
    let samples = watcher.stop()?;
    let after = settled(&server, &before, start).await?;
    let mut claims = visitors.claims(plan);
    claims.push(health.claim());
    claims.push(is_flat(plan, &samples, &after));
    claims.push(nothing_is_left(&before, &after));
    claims.push(nothing_is_at_work().await);
    Ok(claims)
}

/// What visitors of one kind saw.
#[derive(Debug, Default)]
struct Kind {
    visits: u32,
    wrong: Examples,
    slowest: Duration,
}

#[derive(Debug, Default)]
struct Visitors(BTreeMap<&'static str, Kind>);

/// Sends all visitors of a plan, each in its time, and waits until the last has gone.
async fn visit(plan: &Plan) -> Visitors {
    let mut visitors = Visitors::default();
    let mut under_way = JoinSet::new();
    let start = tokio::time::Instant::now();
    for index in 0..plan.requests() {
        sleep_until(start + plan.start(index)).await;
        let (visit, order, patience) = (Visit::of(index), plan.order(index), plan.patience());
        under_way.spawn(async move {
            let start = Instant::now();
            let outcome = timeout(patience, visit::pay(visit, order)).await;
            let late = || Err(format!("it did not end within {patience:?}"));
            (visit, start.elapsed(), outcome.unwrap_or_else(|_| late()))
        });
        while let Some(ended) = under_way.try_join_next() {
            visitors.book(ended);
        }
    }
    while let Some(ended) = under_way.join_next().await {
        visitors.book(ended);
    }
    visitors
}

impl Visitors {
    fn book(&mut self, ended: Result<(Visit, Duration, Result<(), String>), tokio::task::JoinError>) {
        let (visit, took, outcome) =
            ended.unwrap_or_else(|failure| std::panic::resume_unwind(failure.into_panic()));
        let kind = self.0.entry(visit.claim()).or_default();
        kind.visits += 1;
        kind.slowest = kind.slowest.max(took);
        if let Err(reason) = outcome {
            kind.wrong.add(|| reason);
        }
    }

    fn claims(&self, plan: &Plan) -> Vec<Claim> {
        let claim = |(what, kind): (&&str, &Kind)| {
            let Kind { visits, wrong, slowest } = kind;
            Claim::new(
                *what,
                wrong.count == 0,
                format!("{visits} visits; wrong: {wrong}; the longest {slowest:.1?}"),
            )
        };
        let visits: u32 = self.0.values().map(|kind| kind.visits).sum();
        let all = Claim::new(
            "every visit ends",
            visits == plan.requests() && visits > 0,
            format!("{visits} of {}", plan.requests()),
        );
        [all].into_iter().chain(self.0.iter().map(claim)).collect()
    }
}

/// What `/health` said each second.
#[derive(Debug, Default)]
struct Health {
    asked: u32,
    bad: Examples,
    slowest: Duration,
}

async fn ask_how_it_is(duration: Duration) -> Health {
    let mut health = Health::default();
    let start = tokio::time::Instant::now();
    while start.elapsed() < duration {
        health.asked += 1;
        match visit::health().await {
            Ok(took) => health.slowest = health.slowest.max(took),
            Err(reason) => health.bad.add(|| reason),
        }
        sleep_until(start + SECOND * health.asked).await;
    }
    health
}

impl Health {
    fn claim(&self) -> Claim {
        let Self { asked, bad, slowest } = self;
        Claim::new(
            "/health answers throughout, each second, within a second",
            bad.count == 0 && *asked > 0,
            format!("{asked} times; not: {bad}; the slowest {slowest:.1?}"),
        )
    }
}

/// What the service holds, once that is no more than before, or in a while.
async fn settled(server: &Server, before: &Sample, start: Instant) -> Result<Sample, Error> {
    let end = Instant::now() + SETTLED_WITHIN;
    loop {
        let now = server.sample(start)?;
        let back = (now.descriptors, now.threads) == (before.descriptors, before.threads);
        if back || Instant::now() >= end {
            return Ok(now);
        }
        sleep(Duration::from_millis(10)).await;
    }
}

fn nothing_is_left(before: &Sample, after: &Sample) -> Claim {
    Claim::new(
        "afterwards descriptors and threads are as many as before",
        (after.descriptors, after.threads) == (before.descriptors, before.threads),
        format!(
            "descriptors {}, before {}; threads {}, before {}",
            after.descriptors, before.descriptors, after.threads, before.threads
        ),
    )
}

async fn nothing_is_at_work() -> Claim {
    let what = "afterwards the service carries out nothing, by its own count";
    let mut left = Examples::default();
    for name in AT_WORK {
        match visit::metric(name).await {
            Ok(0) => {}
            Ok(count) => left.add(|| format!("{count} {name}")),
            Err(reason) => left.add(|| reason),
        }
    }
    Claim::new(what, left.count == 0, format!("left: {left}"))
}

/// Whether memory has not grown since the first minute.
fn is_flat(plan: &Plan, samples: &[Sample], after: &Sample) -> Claim {
    let what = format!("resident memory is within {GROWTH} % of what it was after the first minute");
    let end = plan.duration();
    if end < 2 * MINUTE {
        return Claim::not_shown(what, format!("takes {:?} at least", 2 * MINUTE));
    }
    let (first, last) = (median(samples, MINUTE), median(samples, end.saturating_sub(LOOK)));
    Claim::new(
        what,
        first > 0 && last * 100 <= first * (100 + GROWTH),
        format!(
            "{:.2} MB, then {:.2} MB, and {:.2} MB without load",
            megabytes(first),
            megabytes(last),
            megabytes(after.resident)
        ),
    )
}

/// Of the resident memory from this time on.
fn median(samples: &[Sample], from: Duration) -> u64 {
    let looked_at = samples.iter().filter(|sample| (from..from + LOOK).contains(&sample.at));
    let mut figures: Vec<_> = looked_at.map(|sample| sample.resident).collect();
    figures.sort_unstable();
    figures.get(figures.len() / 2).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claim::Verdict::{self, False, Holds};
    use crate::plan::Scenario;

    const PLAN: Plan = Plan { scenario: Scenario::Service, seconds: 300, rate: 20 };

    /// Ten minutes, in which memory rises for one and then by so many percent in all.
    fn samples(percent: u64) -> Vec<Sample> {
        let resident = |second: u64| match second {
            ..60 => 10_000_000 + second * 100_000,
            _ => 16_000_000 + 160_000 * percent * (second - 60) / 540 + second % 7,
        };
        let sample = |second| Sample {
            at: Duration::from_secs(second),
            resident: resident(second),
            ..Sample::default()
        };
        (1..600).map(sample).collect()
    }

    #[test]
    fn memory_may_grow_by_five_percent_after_the_first_minute() {
        let verdict = |plan: &Plan, samples: &[Sample]| is_flat(plan, samples, &Sample::default()).verdict;
        assert_eq!(verdict(&PLAN, &samples(0)), Verdict::Holds);
        assert_eq!(verdict(&PLAN, &samples(5)), Verdict::Holds);
        assert_eq!(verdict(&PLAN, &samples(6)), Verdict::False);
        assert_eq!(verdict(&PLAN, &[]), Verdict::False);
        assert_eq!(verdict(&Plan { seconds: 59, ..PLAN }, &samples(0)), Verdict::NotShown);
    }

    #[test]
    fn a_descriptor_or_a_thread_that_is_left_is_found() {
        let before = Sample { descriptors: 12, threads: 3, ..Sample::default() };
        assert_eq!(nothing_is_left(&before, &before).verdict, Verdict::Holds);
        for after in [Sample { descriptors: 13, ..before }, Sample { threads: 4, ..before }] {
            assert_eq!(nothing_is_left(&before, &after).verdict, Verdict::False);
        }
    }

    #[test]
    fn one_wrong_answer_and_one_missing_visit_are_found() {
        let plan = Plan { seconds: 1, rate: 1, ..PLAN };
        let claims = |outcomes: Vec<Result<(), String>>| {
            let mut visitors = Visitors::default();
            for outcome in outcomes {
                visitors.book(Ok((Visit::Plain, SECOND, outcome)));
            }
            let claims = visitors.claims(&plan);
            claims.iter().map(|claim| claim.verdict).collect::<Vec<_>>()
        };
        assert_eq!(claims(vec![Ok(()), Ok(())]), [Holds, Holds]);
        assert_eq!(claims(vec![Ok(()), Err("no".into())]), [Holds, False]);
        assert_eq!(claims(vec![Ok(())]), [False, Holds]);
        assert_eq!(claims(vec![]), [False]);
    }
}
