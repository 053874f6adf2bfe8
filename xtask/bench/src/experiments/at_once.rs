//! Many traces at one time in one process, over one target and over many, on all cores and on one.

use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use crate::bed::{self, Kernels};
use crate::error::Error;
use crate::experiment::{Experiment, Limit, Peer, Row, Sampler, Samples, Unit};
use crate::load::{self, Answer, Order};
use crate::statistics::Statistic;
use crate::tool::{Family, Method, Tool};

/// How often one trace after the other is done, to compare with.
const ALONE: usize = 200;
/// Where the many targets are: the host behind the routers has all addresses of the network.
const MANY: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 72, 0, 0), 16);
const ON_ONE_CORE: u16 = 1000;
/// A trace sends ten, and may take 1.25 ms of a core.
const PROBES_A_SECOND: f64 = 10.0 / 1.25e-3;

pub(super) fn experiments(kernels: &Rc<Kernels>) -> Result<Vec<Experiment>, Error> {
    let (network, length) = MANY;
    kernels.chain.target().ip(&format!("route add local {network}/{length} dev lo\n"))?;
    let first = Ipv4Addr::from(u32::from(network) + 1);
    let one = vec![bed::target(Family::V4)];
    let mut all = Vec::new();
    for method in [Method::Udp, Method::Icmp, Method::TcpSyn] {
        for traces in [1, 10, 100, 200, 1000] {
            all.push(experiment(kernels, method, &one, "one target", traces));
            if traces > 1 {
                let many = bed::consecutive(first, traces);
                all.push(experiment(kernels, method, &many, "as many targets", traces));
            }
        }
    }
    all.push(experiment(kernels, Method::TcpSack, &one, "one target", 200));
    all.extend([Method::Udp, Method::Icmp].map(|method| on_one_core(kernels, method)));
    Ok(all)
}

fn experiment(
    kernels: &Rc<Kernels>,
    method: Method,
    targets: &[IpAddr],
    over: &str,
    traces: u32,
) -> Experiment {
    let count = usize::try_from(traces).unwrap_or(usize::MAX);
    let order = |traces, at_once| traces_by_us(method, targets, traces, at_once);
    let sampler = |order: Order, figures: fn(&Answer, f64) -> Samples| -> Sampler {
        let kernels = Rc::clone(kernels);
        Box::new(move || {
            let (answer, usage) = load::run(kernels.chain.client(), &order)?;
            Ok(figures(&answer, usage.cpu.as_secs_f64() * 1e3))
        })
    };
    // A few traces have no tail, and what all of them take of the CPU is mostly the start of the process.
    let busy = traces >= 200;
    let row = |what, unit, statistic, limit| Row { what, unit, statistic, limit };
    let within = |times| if busy { Limit::TimesPeer(times) } else { Limit::None };
    Experiment {
        name: format!("{traces} at once, {method} IPv4, {over}"),
        rows: vec![
            row("right", Unit::Count, Statistic::Least, Limit::AtLeast(f64::from(traces))),
            row("time to all paths", Unit::Milliseconds, Statistic::Median, Limit::None),
            row(
                "CPU time of each",
                Unit::Milliseconds,
                Statistic::Median,
                if traces == 1000 { Limit::AtMost(1.25) } else { Limit::None },
            ),
            row("RTT, median", Unit::Microseconds, Statistic::Median, within(1.1)),
            row("RTT, 99 %", Unit::Microseconds, Statistic::Percentile99, within(2.0)),
        ],
        ours: sampler(order(count, count), all_figures),
        peers: vec![
            Peer { name: "alone", sampler: sampler(order(ALONE, 1), round_trips), one_in: 1 },
            Peer {
                name: "processes of traceroute",
                sampler: sampler(processes(method, count), no_round_trips),
                one_in: 3,
            },
        ],
        one_in: if busy { 4 } else { 2 },
    }
}

/// How many probes a second one core sends, with all that belongs to it: their answers, and what the routers do.
fn on_one_core(kernels: &Rc<Kernels>, method: Method) -> Experiment {
    let sampler = |order: Order| -> Sampler {
        let (kernels, order) = (Rc::clone(kernels), Order::OnOneCore(Box::new(order)));
        Box::new(move || {
            let before = kernels.sent()?;
            let (answer, _) = load::run(kernels.chain.client(), &order)?;
            Ok(right_and_rate(&answer, kernels.sent()? - before))
        })
    };
    let traces = usize::from(ON_ONE_CORE);
    let row = |what, unit, statistic, limit| Row { what, unit, statistic, limit };
    Experiment {
        name: format!("{ON_ONE_CORE} at once on one core, {method} IPv4, one target"),
        rows: vec![
            row("right", Unit::Count, Statistic::Least, Limit::AtLeast(ON_ONE_CORE.into())),
            row("probes a second", Unit::Rate, Statistic::Median, Limit::AtLeast(PROBES_A_SECOND)),
        ],
        ours: sampler(traces_by_us(method, &[bed::target(Family::V4)], traces, traces)),
        peers: vec![Peer {
            name: "processes of traceroute",
            sampler: sampler(processes(method, traces)),
            one_in: 3,
        }],
        one_in: 4,
    }
}

fn traces_by_us(method: Method, targets: &[IpAddr], traces: usize, at_once: usize) -> Order {
    Order::AtOnce { method, routers: bed::routers(Family::V4), targets: targets.to_vec(), traces, at_once }
}

/// Processes of `traceroute` toward one target.
fn processes(method: Method, processes: usize) -> Order {
    let target = bed::target(Family::V4);
    let line = words(&Tool::Traceroute.trace(method, Family::V4, target));
    Order::Processes { line, path: bed::path(Family::V4), processes }
}

fn words(line: &[std::ffi::OsString]) -> Vec<String> {
    line.iter().map(|word| word.to_string_lossy().into_owned()).collect()
}

#[expect(clippy::cast_precision_loss, reason = "counts, and nanoseconds of seconds")]
fn all_figures(answer: &Answer, cpu: f64) -> Samples {
    let mut figures = no_round_trips(answer, cpu);
    let round_trips: Vec<f64> = answer.round_trips.iter().map(|rtt| *rtt as f64 / 1e3).collect();
    figures.extend([round_trips.clone(), round_trips]);
    figures
}

fn round_trips(answer: &Answer, cpu: f64) -> Samples {
    let mut figures = all_figures(answer, cpu);
    figures[..3].fill(Vec::new());
    figures
}

#[expect(clippy::cast_precision_loss, reason = "counts, and nanoseconds of seconds")]
fn no_round_trips(answer: &Answer, cpu: f64) -> Samples {
    let traces = answer.traces as f64;
    vec![vec![answer.right as f64], vec![answer.wall as f64 / 1e6], vec![cpu / traces]]
}

#[expect(clippy::cast_precision_loss, reason = "counts, and nanoseconds of seconds")]
fn right_and_rate(answer: &Answer, sent: u64) -> Samples {
    vec![vec![answer.right as f64], vec![(sent as f64 / (answer.wall as f64 / 1e9)).round()]]
}
