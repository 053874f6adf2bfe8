//! The second process: it holds the library, loads it, and says what became of it, a claim a line.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::time::sleep;
use traceroute::{Protocol, Tracer};

use crate::arguments::number;
use crate::bed::{Family, Number};
use crate::claim::{Claim, Verdict};
use crate::endurance::{flat, heap_is_back, nothing_is_left};
use crate::error::Error;
use crate::load;
use crate::plan::{DESCRIPTORS, Order, Plan, Scenario};
use crate::results::Tally;
use crate::sample::{Sample, Sampler};
use crate::service;
use crate::system;

/// The first argument that makes this program a worker.
pub(crate) const WORKER: &str = "work";
/// Before a line with how often a probe waited for the budget.
pub(crate) const WAITS: &str = "waits ";

/// How long what ends by being dropped may take: the runtime drops it soon, the kernel closes it a grace period later.
const SOON: Duration = Duration::from_secs(2);
/// A minute and a little.
const QUARANTINE: Duration = Duration::from_secs(61);

/// Plays the scenario that the arguments name, with its seconds, its rate, and the service's program.
pub(crate) fn main(words: impl Iterator<Item = OsString>) -> ExitCode {
    match parse(words).and_then(|(plan, program)| play(&plan, &program)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(words: impl Iterator<Item = OsString>) -> Result<(Plan, PathBuf), Error> {
    let words: Vec<_> = words.filter_map(|word| word.into_string().ok()).collect();
    let plan = match &words[..] {
        [name, seconds, rate, program] => {
            Scenario::named(name).map(|scenario| (scenario, seconds, rate, program))
        }
        _ => None,
    };
    let (scenario, seconds, rate, program) =
        plan.ok_or_else(|| Error::Arguments("this is no worker's work".into()))?;
    let plan = Plan { scenario, seconds: number(seconds, u32::MAX)?, rate: number(rate, u32::MAX)? };
    Ok((plan, program.into()))
}

fn play(plan: &Plan, program: &Path) -> Result<(), Error> {
    end_with_the_parent();
    end_at_last(plan);
    if plan.scenario == Scenario::Descriptors {
        system::limit_descriptors(DESCRIPTORS)?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(Error::system("starting the runtime"))?;
    if plan.scenario == Scenario::Service {
        say(&runtime.block_on(service::soak(plan, program))?);
        return Ok(());
    }
    runtime.block_on(soak(plan))
}

/// Without the network that the parent plays there is nothing to do.
fn end_with_the_parent() {
    thread::spawn(|| {
        io::copy(&mut io::stdin(), &mut io::sink()).unwrap_or_default();
        std::process::exit(1);
    });
}

/// A library that blocks the runtime's threads would stop its timers too, and so all time-outs of this program.
fn end_at_last(plan: &Plan) {
    let last = plan.start(plan.requests()) + plan.patience() + QUARANTINE + Duration::from_mins(2);
    thread::spawn(move || {
        thread::sleep(last);
        eprintln!("soak: the worker has not ended within {last:.0?}");
        std::process::exit(1);
    });
}

async fn soak(plan: &Plan) -> Result<(), Error> {
    let start = Instant::now();
    let runtime = Handle::current();
    let captures_before = system::captures()?;
    let tracer = Tracer::builder().limits(plan.limits()).build().await?;
    let captures = system::captures()? - captures_before;
    // While descriptors run out none is left to count them with.
    let endures = plan.scenario == Scenario::Steady;
    let sampler = endures.then(|| Sampler::start(start, plan.seconds)).transpose()?;
    let before = Sample::take(start, &runtime)?;

    let tally = load::offer(&tracer, plan).await;
    let claims = if plan.scenario == Scenario::Descriptors {
        tally.claims_of_refusals(plan.requests())
    } else {
        tally.claims(plan.requests())
    };
    say(&claims);
    if plan.scenario == Scenario::Budget {
        say(&[ends_in_time(plan, start.elapsed(), tally.slowest)]);
    }
    drop((tally, claims));
    println!("{WAITS}{}", tracer.stats().probe_waits);

    let after = settled(&tracer, &before, start, &runtime).await?;
    say(&[nothing_is_left(tracer.is_idle(), &before, &after)]);
    if let Some(sampler) = sampler {
        say(&flat(plan, &sampler.stop()?));
        sleep(QUARANTINE).await;
    }
    // The next identity of each kind ends the quarantine of those before.
    say(&[works_afterwards(&tracer).await]);
    let after = settled(&tracer, &before, start, &runtime).await?;
    if endures {
        say(&[heap_is_back(plan, &before, &after)]);
    }
    drop(tracer);
    say(&[capture_ends(captures_before, captures).await?]);
    Ok(())
}

fn say(claims: &[Claim]) {
    for claim in claims {
        println!("{}", claim.line());
    }
}

/// What the process holds, once that is no more than before, or in a while.
async fn settled(
    tracer: &Tracer,
    before: &Sample,
    start: Instant,
    runtime: &Handle,
) -> Result<Sample, Error> {
    let end = Instant::now() + SOON;
    loop {
        let now = Sample::take(start, runtime)?;
        let back = tracer.is_idle() && now.tasks == before.tasks && now.descriptors == before.descriptors;
        if back || Instant::now() >= end {
            return Ok(now);
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// Probes that wait for the budget delay their request, but only as long as the budget takes for all probes.
fn ends_in_time(plan: &Plan, all: Duration, slowest: Duration) -> Claim {
    let allowed = plan.served_within();
    Claim::new(
        format!("all requests end within {allowed:.1?}, which the budget takes for all of their probes"),
        all <= allowed,
        format!("after {all:.1?}, the slowest took {slowest:.1?}"),
    )
}

async fn works_afterwards(tracer: &Tracer) -> Claim {
    let mut tally = Tally::default();
    let orders = [Protocol::Udp, Protocol::Icmp].map(|protocol| Order {
        protocol,
        family: Family::V4,
        target: Number::POPULAR,
        runs: 3,
        probes: 2,
    });
    for order in orders {
        load::one(tracer, order, &mut tally).await;
    }
    let broken: Vec<_> =
        tally.claims(2).into_iter().filter(|claim| claim.verdict != Verdict::Holds).collect();
    let broken: Vec<_> = broken.iter().map(|claim| format!("{}: {}", claim.what, claim.figures)).collect();
    let figures = if broken.is_empty() { "2 of 2".to_owned() } else { broken.join("; ") };
    Claim::new("a new request of each protocol gives what is right", broken.is_empty(), figures)
}

/// The tracer has been dropped.
async fn capture_ends(before: usize, opened: usize) -> Result<Claim, Error> {
    let start = Instant::now();
    while system::captures()? > before && start.elapsed() < SOON {
        sleep(Duration::from_millis(1)).await;
    }
    let left = system::captures()?.saturating_sub(before);
    Ok(Claim::new(
        format!("the tracer has one capture, which ends within {SOON:?} of its drop"),
        (opened, left) == (1, 0),
        format!("{opened} opened, {left} left after {:.1?}", start.elapsed()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_survives_the_command_line() {
        let words = ["budget", "60", "5", "/bin/server"].map(OsString::from);
        let plan = Plan { scenario: Scenario::Budget, seconds: 60, rate: 5 };
        assert_eq!(parse(words.into_iter()).unwrap(), (plan, "/bin/server".into()));
        for words in [&["budget", "60", "5"][..], &["calm", "60", "5", "p"], &["budget", "0", "5", "p"]] {
            assert!(parse(words.iter().map(OsString::from)).is_err(), "{words:?}");
        }
    }
}
