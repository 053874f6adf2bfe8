//! This program as a load: many traces in one namespace, by the library in one process, by a process each, or by the
//! service.

mod asking;
mod at_once;
mod live;
mod processes;

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::mem;
use std::net::IpAddr;
use std::process::{Child, ExitCode, Stdio};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use traceroute::{Limits, Protocol, Request, RequestBuilder, TcpMethod};
use traceroute_testnet::kernel::Namespace;

use crate::error::Error;
use crate::launch::{self, Outcome, Usage};
use crate::tool::{Method, TCP_PORT};

/// The first argument that makes this program a load; the second is an [`Order`].
pub(crate) const LOAD: &str = "load";

/// What a load is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Trace so many times with the library, so many `at_once`, toward the targets in turn, which are behind these
    /// routers; the answer is an [`Answer`].
    AtOnce { method: Method, routers: Vec<IpAddr>, targets: Vec<IpAddr>, traces: usize, at_once: usize },
    /// Run this command line so many times at once, each to find this path; the answer is an [`Answer`].
    Processes { line: Vec<String>, path: Vec<IpAddr>, processes: usize },
    /// Start so many requests of one run each, wait until each has sent its probes to so many TTLs and so many are
    /// answered, and look at them; the answer is a [`Cost`]. Then wait until the standard input ends.
    Live { method: Method, targets: Vec<IpAddr>, runs: usize, ttls: u8, answered: u8 },
    /// Ask the service so many times, so many `at_once`, for what has this path; the answer is an [`Asked`].
    Ask { query: String, path: Vec<IpAddr>, requests: usize, at_once: usize },
    /// Carry out this order on one core, and so all processes that it starts.
    OnOneCore(Box<Order>),
}

/// What came of many traces.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) traces: usize,
    /// How many found all routers and the target, each in its place.
    pub(crate) right: usize,
    /// Nanoseconds from the first start to the last result.
    pub(crate) wall: u64,
    /// The round trips of all hops of all traces that were right, in nanoseconds.
    pub(crate) round_trips: Vec<u64>,
}

/// What the service answered. Times are in nanoseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Asked {
    /// How many results showed all of the path.
    pub(crate) right: usize,
    /// From the sending of the first request to the end of the last answer; several batches together.
    pub(crate) wall: u64,
    /// From the sending of each request that was carried out to the end of its answer.
    pub(crate) latencies: Vec<u64>,
    /// From the sending of each request that was refused to the end of its answer.
    pub(crate) refusals: Vec<u64>,
    /// The round trips of all hops of all results that were right.
    pub(crate) round_trips: Vec<u64>,
}

/// What is there because of live runs, for all of them together.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// Allocated bytes.
    pub(crate) heap: usize,
    /// Open descriptors.
    pub(crate) descriptors: usize,
    /// Tasks of the runtime.
    pub(crate) tasks: usize,
}

/// Lets this program carry out an order in a namespace, and returns its answer and what that took.
pub(crate) fn run<T: DeserializeOwned>(namespace: &Namespace, order: &Order) -> Result<(T, Usage), Error> {
    let program = std::env::current_exe().map_err(cannot_start)?;
    let Outcome { stdout, usage } =
        launch::run(Some(namespace), &[program.into(), LOAD.into(), written(order)?.into()])?;
    Ok((read(&stdout)?, usage))
}

/// Lets this program carry out an order in a namespace and returns it as soon as it has answered, still alive.
pub(crate) fn hold(namespace: &Namespace, order: &Order) -> Result<Child, Error> {
    let program = std::env::current_exe().map_err(cannot_start)?;
    let mut command = namespace.command(&program.to_string_lossy());
    command.arg(LOAD).arg(written(order)?).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(cannot_start)?;
    let mut answer = String::new();
    if let Some(stdout) = &mut child.stdout {
        BufReader::new(stdout).read_line(&mut answer).map_err(cannot_start)?;
    }
    read::<Cost>(&answer).map(|_| child)
}

fn cannot_start(source: io::Error) -> Error {
    Error::CannotStart { program: LOAD.into(), source }
}

fn written(order: &Order) -> Result<String, Error> {
    serde_json::to_string(order).map_err(|error| unreadable(&error, String::new()))
}

fn read<T: DeserializeOwned>(answer: &str) -> Result<T, Error> {
    serde_json::from_str(answer).map_err(|error| unreadable(&error, answer.to_owned()))
}

fn unreadable(error: &serde_json::Error, stdout: String) -> Error {
    Error::Unexpected { program: LOAD.into(), reason: error.to_string(), stdout }
}

/// Why a load could not be carried out.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("an order was expected")]
    NoOrder,
    #[error("not an order: {0}")]
    Order(#[from] serde_json::Error),
    #[error(transparent)]
    System(#[from] io::Error),
    #[error(transparent)]
    Request(#[from] traceroute::InvalidRequest),
    #[error(transparent)]
    Trace(#[from] traceroute::Error),
    #[error("a trace ended before it had sent its probes and got its answers")]
    Ended,
    #[error("a run did not send its probes and get its answers in {0:?}")]
    Late(std::time::Duration),
    #[error("the service answered what it should not: {0}")]
    Answer(String),
}

/// The load: carries out the order and prints the answer.
pub(crate) fn main(words: impl Iterator<Item = OsString>) -> ExitCode {
    match carry_out(words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(mut words: impl Iterator<Item = OsString>) -> Result<(), Failure> {
    let order = words.next().and_then(|word| word.into_string().ok()).ok_or(Failure::NoOrder)?;
    obey(serde_json::from_str(&order)?)
}

fn obey(order: Order) -> Result<(), Failure> {
    match order {
        Order::AtOnce { method, routers, targets, traces, at_once } => {
            let measured = at_once::measure(method, &routers, &targets, traces, at_once);
            print(&runtime()?.block_on(measured)?)
        }
        Order::Processes { line, path, processes } => print(&processes::measure(&line, &path, processes)?),
        Order::Ask { query, path, requests, at_once } => {
            // Each has a connection.
            raise_descriptor_limit()?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            print(&runtime.block_on(asking::measure(&query, &path, requests, at_once))?)
        }
        Order::Live { method, targets, runs, ttls, answered } => runtime()?.block_on(async {
            let live = live::start(method, &targets, runs, ttls, answered).await?;
            print(&live.cost)?;
            io::stdin().read_to_end(&mut Vec::new())?;
            Ok(())
        }),
        Order::OnOneCore(order) => {
            stay_on_one_core()?;
            obey(*order)
        }
    }
}

fn print(answer: &impl Serialize) -> Result<(), Failure> {
    let mut stdout = io::stdout();
    writeln!(stdout, "{}", serde_json::to_string(answer)?)?;
    Ok(stdout.flush()?)
}

/// The runtime that `#[tokio::main]` gives a program.
fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

/// Lets this thread, and the threads and processes that it starts, use no other core than the one it is on.
fn stay_on_one_core() -> io::Result<()> {
    // SAFETY: it takes nothing.
    let core = unsafe { libc::sched_getcpu() };
    let core = usize::try_from(core).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: a `cpu_set_t` consists of integers, for which zeros are values.
    let mut cores = unsafe { mem::zeroed::<libc::cpu_set_t>() };
    // SAFETY: it changes a bit of the set, and panics if that has no such bit.
    unsafe { libc::CPU_SET(core, &mut cores) };
    // SAFETY: the pointer is to a live set of that size.
    if unsafe { libc::sched_setaffinity(0, size_of_val(&cores), &raw const cores) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn raise_descriptor_limit() -> io::Result<()> {
    let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live rlimit.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limits) } != 0 {
        return Err(io::Error::last_os_error());
    }
    limits.rlim_cur = limits.rlim_max;
    // SAFETY: the pointer is to a live rlimit.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limits) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

const fn unlimited() -> Limits {
    Limits { probes_per_second: None, requests: usize::MAX }
}

/// A request of one run and no end-to-end probes.
fn request(method: Method, target: IpAddr) -> RequestBuilder {
    let request = Request::builder(target.to_string()).traceroute_queries(1).e2e_queries(0);
    let tcp = |request: RequestBuilder| request.protocol(Protocol::Tcp).port(TCP_PORT);
    match method {
        Method::Udp => request.protocol(Protocol::Udp),
        Method::Icmp => request.protocol(Protocol::Icmp),
        Method::TcpSyn => tcp(request).tcp_method(TcpMethod::Syn),
        Method::TcpSack => tcp(request).tcp_method(TcpMethod::Sack),
        Method::TcpPreferSack => tcp(request).tcp_method(TcpMethod::PreferSack),
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn one_core_is_all_that_is_left() {
        let cores = || thread::available_parallelism().unwrap().get();
        let left = thread::spawn(move || {
            stay_on_one_core().unwrap();
            (cores(), thread::spawn(cores).join().unwrap())
        });
        assert_eq!(left.join().unwrap(), (1, 1));
    }
}
