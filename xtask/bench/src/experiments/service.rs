//! The service: many requests at one time, what becomes of those that it does not take, and of one whose client goes away.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, SystemTime};

use traceroute_core::Direction;
use traceroute_testnet::Capture;
use traceroute_testnet::sim::real_time::SimulatedLink;
use traceroute_testnet::sim::{TcpListener, TcpService, Topology};

use crate::bed::{self, Kernels};
use crate::error::Error;
use crate::experiment::{Experiment, Limit, Peer, Row, Sampler, Samples, Unit, megabytes};
use crate::load::{self, Asked, Order};
use crate::server::{ADDRESS, PROGRAM, Server};
use crate::statistics::Statistic;
use crate::tool::{Family, Method, TCP_PORT};

/// It takes as many requests as are asked for at once, and sends whenever it likes.
const UNLIMITED: [&str; 4] = ["--max-concurrent", "1000", "--probe-rate", "0"];
/// How often one request after the other is sent, to compare with.
const ALONE: usize = 200;

/// It takes ten requests, and the others do not wait.
const TEN: [&str; 6] = ["--max-concurrent", "10", "--max-queued", "0", "--probe-rate", "0"];
const TAKEN: u16 = 10;
const REFUSED: u16 = 990;
/// The host behind the routers swallows what is sent there.
const DEAD: Ipv4Addr = Ipv4Addr::new(10, 73, 0, 1);

/// Routers of which nothing is heard, and behind them a target that no probe reaches, so that every run goes on to send.
const SILENT: u8 = 30;
/// How long a client waits before it goes: runs send for 30 * 10 ms.
const STAYS: Duration = Duration::from_millis(100);
/// For how long what is sent afterwards is watched.
const WATCHED: Duration = Duration::from_millis(250);
/// How much may lie between two probes of all the runs of a request, before its client goes.
const FLOWS: Duration = Duration::from_millis(50);

pub(super) fn experiments(kernels: &Rc<Kernels>, program: &Path) -> Result<Vec<Experiment>, Error> {
    kernels.chain.target().ip(&format!("route add blackhole {DEAD}/32\n"))?;
    let mut all = Vec::new();
    for method in [Method::Udp, Method::Icmp, Method::TcpSyn] {
        all.extend([1, 10, 100, 1000].map(|requests| at_once(kernels, program, method, requests)));
    }
    all.push(second_round(kernels, program));
    all.push(refusals(kernels, program));
    let silent = Topology::chain(SILENT)
        .with_links(|link| link.set_delay(Duration::ZERO))
        .with_target(|target| target.services.tcp = TcpService::Listening(TcpListener::default()));
    let silent = (1..=SILENT.into())
        .fold(silent, |silent, router| silent.with_router(router, |router| router.answers.silent = true));
    let silent = Rc::new(SimulatedLink::veth(silent, 1)?);
    for method in [Method::Udp, Method::Icmp, Method::TcpSyn, Method::TcpSack] {
        all.push(departure(&silent, program, method));
    }
    Ok(all)
}

/// So many requests at one time, each with the whole path for an answer.
fn at_once(kernels: &Rc<Kernels>, program: &Path, method: Method, requests: u32) -> Experiment {
    let count = usize::try_from(requests).unwrap_or(usize::MAX);
    let query = query(method, bed::target(Family::V4), "&traceroute-queries=1&e2e-queries=0");
    let sampler = |requests, at_once, figures: fn(&Asked, Taken) -> Samples| -> Sampler {
        let order = Order::Ask { query: query.clone(), path: bed::path(Family::V4), requests, at_once };
        let (kernels, program) = (Rc::clone(kernels), program.to_owned());
        Box::new(move || {
            let (asked, taken) = ask(&kernels, &program, &UNLIMITED, &order)?;
            Ok(figures(&asked, taken))
        })
    };
    let row = |what, unit, statistic, limit| Row { what, unit, statistic, limit };
    let busy = requests >= 100;
    Experiment {
        name: format!("{requests} at once by the service, {method} IPv4"),
        rows: vec![
            row("right answers", Unit::Count, Statistic::Least, Limit::AtLeast(f64::from(requests))),
            row("time to all answers", Unit::Milliseconds, Statistic::Median, Limit::None),
            row("CPU time of each", Unit::Milliseconds, Statistic::Median, Limit::None),
            row("peak memory", Unit::Megabytes, Statistic::Median, Limit::None),
            row("latency, median", Unit::Milliseconds, Statistic::Median, Limit::None),
            row("latency, 99 %", Unit::Milliseconds, Statistic::Percentile99, Limit::None),
            row(
                "RTT, median",
                Unit::Microseconds,
                Statistic::Median,
                if busy { Limit::TimesPeer(1.1) } else { Limit::None },
            ),
        ],
        ours: sampler(count, count, all_figures),
        peers: vec![Peer { name: "alone", sampler: sampler(ALONE, 1, latencies_and_round_trips), one_in: 1 }],
        one_in: if busy { 4 } else { 2 },
    }
}

/// A thousand requests at one time by each method, and all of that once more.
fn second_round(kernels: &Rc<Kernels>, program: &Path) -> Experiment {
    const REQUESTS: usize = 1000;
    let orders = [Method::Udp, Method::Icmp, Method::TcpSyn].map(|method| Order::Ask {
        query: query(method, bed::target(Family::V4), "&traceroute-queries=1&e2e-queries=0"),
        path: bed::path(Family::V4),
        requests: REQUESTS,
        at_once: REQUESTS,
    });
    let (kernels, program) = (Rc::clone(kernels), program.to_owned());
    let row = |what, unit, limit| Row { what, unit, statistic: Statistic::Median, limit };
    Experiment {
        name: format!("{REQUESTS} at once by the service, two rounds of UDP, ICMP and TCP SYN IPv4"),
        rows: vec![
            row("memory after the first", Unit::Megabytes, Limit::None),
            row("more after the second", Unit::Percent, Limit::AtMost(5.0)),
        ],
        ours: Box::new(move || {
            let client = kernels.chain.client();
            let server = Server::start(client, &program, &UNLIMITED)?;
            let idle = server.descriptors()?;
            let round = || {
                for order in &orders {
                    load::run::<Asked>(client, order)?;
                }
                server.await_descriptors(idle)?;
                server.private_memory().map(megabytes)
            };
            let (first, second) = (round()?, round()?);
            server.stop()?;
            Ok(vec![vec![first], vec![(second / first - 1.0) * 100.0]])
        }),
        peers: Vec::new(),
        one_in: 3,
    }
}

/// Many requests at one time, of which few are taken, and those last.
fn refusals(kernels: &Rc<Kernels>, program: &Path) -> Experiment {
    let query = query(Method::Udp, DEAD.into(), "&traceroute-queries=1&e2e-queries=0&timeout=500");
    let requests = usize::from(TAKEN + REFUSED);
    let order = Order::Ask { query, path: bed::path(Family::V4), requests, at_once: requests };
    let (kernels, program) = (Rc::clone(kernels), program.to_owned());
    let row = |what, unit, statistic, limit| Row { what, unit, statistic, limit };
    Experiment {
        name: format!("{requests} at once, of which the service takes {TAKEN}, UDP IPv4, dead target"),
        rows: vec![
            row("refusals", Unit::Count, Statistic::Least, Limit::AtLeast(REFUSED.into())),
            row("results", Unit::Count, Statistic::Least, Limit::AtLeast(TAKEN.into())),
            row("slowest refusal", Unit::Milliseconds, Statistic::Percentile99, Limit::AtMost(50.0)),
            row("peak memory", Unit::Megabytes, Statistic::Median, Limit::None),
        ],
        ours: Box::new(move || {
            let (Asked { latencies, refusals, .. }, taken) = ask(&kernels, &program, &TEN, &order)?;
            Ok(vec![
                vec![count(refusals.len())],
                vec![count(latencies.len())],
                refusals.iter().max().map(|slowest| milliseconds(*slowest)).into_iter().collect(),
                vec![megabytes(taken.memory)],
            ])
        }),
        peers: Vec::new(),
        one_in: 4,
    }
}

/// One request whose client goes away while its runs send.
fn departure(silent: &Rc<SimulatedLink>, program: &Path, method: Method) -> Experiment {
    let target = silent.target().v4.into();
    let query = query(method, target, "&traceroute-queries=20&e2e-queries=0&send-delay=10");
    let (silent, program) = (Rc::clone(silent), program.to_owned());
    Experiment {
        name: format!("once a client of the service has gone, {method} IPv4"),
        rows: vec![Row {
            what: "time to the last probe",
            unit: Unit::Milliseconds,
            statistic: Statistic::Percentile99,
            limit: Limit::AtMost(50.0),
        }],
        ours: Box::new(move || Ok(vec![vec![last_probe(&silent, &program, &query)?]])),
        peers: Vec::new(),
        one_in: 2,
    }
}

/// How many milliseconds after the client has gone the last probe is sent.
fn last_probe(link: &SimulatedLink, program: &Path, query: &str) -> Result<f64, Error> {
    let server = Server::start(link.client(), program, &UNLIMITED)?;
    let capture = Capture::start(link.client(), link.interface())?;
    let mut client = server.connect()?;
    let head = format!("GET {query} HTTP/1.1\r\nhost: {ADDRESS}\r\n\r\n");
    client
        .write_all(head.as_bytes())
        .map_err(|source| Error::System { what: "asking the service", source })?;
    thread::sleep(STAYS);
    let gone = SystemTime::now();
    drop(client);
    thread::sleep(WATCHED);
    let packets = capture.stop()?;
    server.stop()?;
    let target = link.target().v4.into();
    let probes = packets.iter().filter(|packet| {
        packet.direction == Direction::Sent && bed::is_probe_toward(target, &packet.datagram)
    });
    let times: Vec<_> = probes.map(|packet| packet.at).collect();
    let flowed = times.iter().any(|at| gone.duration_since(*at).is_ok_and(|before| before < FLOWS));
    if !flowed {
        return Err(Error::Unexpected {
            program: PROGRAM.into(),
            reason: format!(
                "none of {} probes was sent within {FLOWS:?} before the client went",
                times.len()
            ),
            stdout: query.to_owned(),
        });
    }
    let last = times.into_iter().max().and_then(|last| last.duration_since(gone).ok());
    Ok(last.unwrap_or_default().as_secs_f64() * 1e3)
}

/// What the service has taken.
#[derive(Clone, Copy, Debug)]
struct Taken {
    cpu: Duration,
    /// Bytes.
    memory: u64,
}

/// Lets a new service answer, and says what that took.
fn ask(kernels: &Kernels, program: &Path, options: &[&str], order: &Order) -> Result<(Asked, Taken), Error> {
    let client = kernels.chain.client();
    let server = Server::start(client, program, options)?;
    let before = server.cpu_time()?;
    let (asked, _) = load::run(client, order)?;
    let taken = Taken { cpu: server.cpu_time()?.saturating_sub(before), memory: server.peak_memory()? };
    server.stop()?;
    Ok((asked, taken))
}

/// What is asked for: path and query.
fn query(method: Method, target: IpAddr, rest: &str) -> String {
    let method = match method {
        Method::Udp => "udp".to_owned(),
        Method::Icmp => "icmp".to_owned(),
        Method::TcpSyn => format!("tcp&port={TCP_PORT}"),
        Method::TcpSack => format!("tcp&tcp-method=sack&port={TCP_PORT}"),
        Method::TcpPreferSack => format!("tcp&tcp-method=prefer_sack&port={TCP_PORT}"),
    };
    format!("/traceroute?target={target}&protocol={method}{rest}")
}

fn all_figures(asked: &Asked, taken: Taken) -> Samples {
    let answers = count(asked.latencies.len() + asked.refusals.len());
    let latencies: Vec<f64> = asked.latencies.iter().copied().map(milliseconds).collect();
    vec![
        vec![count(asked.right)],
        vec![milliseconds(asked.wall)],
        vec![taken.cpu.as_secs_f64() * 1e3 / answers],
        vec![megabytes(taken.memory)],
        latencies.clone(),
        latencies,
        asked.round_trips.iter().map(|rtt| milliseconds(*rtt) * 1e3).collect(),
    ]
}

fn latencies_and_round_trips(asked: &Asked, taken: Taken) -> Samples {
    let mut figures = all_figures(asked, taken);
    figures[..4].fill(Vec::new());
    figures
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn count(number: usize) -> f64 {
    number as f64
}

/// Of nanoseconds.
#[expect(clippy::cast_precision_loss, reason = "seconds at most")]
fn milliseconds(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_method_has_its_words_and_tcp_its_port() {
        let query = |method| query(method, DEAD.into(), "&e2e-queries=0");
        let expected = "/traceroute?target=10.73.0.1&protocol=udp&e2e-queries=0";
        assert_eq!(query(Method::Udp), expected);
        assert_eq!(query(Method::Icmp), expected.replace("udp", "icmp"));
        assert_eq!(query(Method::TcpSyn), expected.replace("udp", "tcp&port=80"));
        assert_eq!(query(Method::TcpSack), expected.replace("udp", "tcp&tcp-method=sack&port=80"));
        let prefer_sack = expected.replace("udp", "tcp&tcp-method=prefer_sack&port=80");
        assert_eq!(query(Method::TcpPreferSack), prefer_sack);
    }
}
