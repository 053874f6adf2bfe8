//! The first process: plays the network, watches the wire, and prints what both processes claim.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{ChildStdout, ExitCode, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use traceroute_testnet::sim::Recorder;
use traceroute_testnet::sim::real_time::SimulatedLink;

use crate::arguments::{Arguments, USAGE};
use crate::bed;
use crate::claim::{Claim, Verdict};
use crate::error::Error;
use crate::plan::{Plan, Scenario};
use crate::wire::Wire;
use crate::worker::{WAITS, WORKER};

/// How often what was recorded is taken.
const PIECE: Duration = Duration::from_millis(100);

pub(crate) fn main(words: impl Iterator<Item = OsString>) -> ExitCode {
    match soak(words) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Plays all scenarios that are asked for; whether all claims hold.
fn soak(words: impl Iterator<Item = OsString>) -> Result<bool, Error> {
    let Some(Arguments { program, seconds, rate, scenarios }) = Arguments::parse(words)? else {
        println!("{USAGE}");
        return Ok(true);
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    println!("machine: {cores} cores, Linux {}", kernel.trim());
    let mut broken = 0;
    for scenario in scenarios {
        let plan = Plan { scenario, seconds, rate };
        println!("\n{}", describe(&plan));
        broken += play(plan, &program)?.iter().filter(|claim| claim.verdict != Verdict::Holds).count();
    }
    if broken > 0 {
        println!("\n{broken} claims do not hold");
    }
    Ok(broken == 0)
}

fn describe(plan: &Plan) -> String {
    let (name, requests) = (plan.scenario.name(), plan.requests());
    let (rate, others) = (plan.rate, plan.others());
    match plan.scenario {
        Scenario::Steady => {
            format!("{name}: {requests} requests, {rate} a second, toward {} targets", others + 1)
        }
        Scenario::Budget => format!(
            "{name}: {requests} requests, {rate} a second, with a budget of {} probes a second, a tenth of the demand",
            plan.budget()
        ),
        Scenario::Descriptors => format!("{name}: {requests} requests with fewer descriptors than runs"),
        Scenario::Service => format!("{name}: {requests} clients of all sorts, {rate} a second"),
    }
}

/// Plays a scenario, and prints each claim as soon as it is known.
fn play(plan: Plan, program: &Path) -> Result<Vec<Claim>, Error> {
    let link = SimulatedLink::veth(bed::topology(plan.others()), 1)?;
    let watcher = Watcher::start(link.recorder().clone(), Wire::new(plan))?;
    let said = work(&plan, program, &link)?;
    // The last answers are under way no longer than this.
    thread::sleep(2 * bed::round_trip(bed::HOPS as usize));
    let wire = watcher.stop();
    let seen = wire.claims(said.waits);
    for claim in &seen {
        println!("{claim}");
    }
    Ok(said.claims.into_iter().chain(seen).collect())
}

/// What the worker said.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    claims: Vec<Claim>,
    waits: u64,
}

/// Runs the worker inside the client's namespace to its end.
fn work(plan: &Plan, server: &Path, link: &SimulatedLink) -> Result<Said, Error> {
    let program = env::current_exe().map_err(Error::system("finding this program"))?;
    let numbers = [plan.seconds, plan.rate].map(|number| number.to_string());
    let mut command = link.client().command(&program.to_string_lossy());
    command.args([WORKER, plan.scenario.name()]).args(numbers).arg(server);
    // It ends when its standard input does.
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.map_err(Error::system("starting the worker"))?;
    let stdin = child.stdin.take();
    let said = child.stdout.take().map_or_else(|| Ok(Said::default()), listen);
    let killed = if said.is_err() { child.kill() } else { Ok(()) };
    let status = child.wait().map_err(Error::system("waiting for the worker"))?;
    drop((stdin, killed));
    let said = said?;
    if status.success() { Ok(said) } else { Err(Error::Worker(status)) }
}

fn listen(stdout: ChildStdout) -> Result<Said, Error> {
    let mut said = Said::default();
    for line in BufReader::new(stdout).lines() {
        said.hear(&line.map_err(Error::system("listening to the worker"))?)?;
    }
    Ok(said)
}

impl Said {
    fn hear(&mut self, line: &str) -> Result<(), Error> {
        let unknown = || Error::Line(line.to_owned());
        if let Some(waits) = line.strip_prefix(WAITS) {
            self.waits = waits.parse().map_err(|_| unknown())?;
        } else {
            let claim = Claim::parse(line).ok_or_else(unknown)?;
            println!("{claim}");
            self.claims.push(claim);
        }
        Ok(())
    }
}

/// A thread that takes what the network has recorded, piece by piece.
struct Watcher {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<Wire>,
}

impl Watcher {
    fn start(recorder: Recorder, mut wire: Wire) -> Result<Self, Error> {
        let (stop, stopped) = mpsc::channel();
        let watch = move || {
            loop {
                let goes_on = stopped.recv_timeout(PIECE) == Err(RecvTimeoutError::Timeout);
                recorder.take().iter().for_each(|record| wire.see(record));
                if !goes_on {
                    return wire;
                }
            }
        };
        let thread = thread::Builder::new().name("watcher".into()).spawn(watch);
        Ok(Self { stop, thread: thread.map_err(Error::system("starting a thread"))? })
    }

    fn stop(self) -> Wire {
        drop(self.stop);
        self.thread.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worker_is_understood() {
        let mut said = Said::default();
        let claim = Claim::new("all is well", true, "1 of 1");
        said.hear(&claim.line()).unwrap();
        said.hear(&format!("{WAITS}12")).unwrap();
        assert_eq!(said, Said { claims: vec![claim], waits: 12 });
        assert!(said.hear("thread panicked").is_err());
    }
}
