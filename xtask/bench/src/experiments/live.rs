//! What a run costs while it waits.

use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::Duration;

use traceroute_testnet::kernel::Namespace;
use traceroute_testnet::sim::real_time::SimulatedLink;
use traceroute_testnet::sim::{TcpListener, TcpService, Topology};

use crate::bed;
use crate::error::Error;
use crate::experiment::{Experiment, Limit, Row, Sampler, Samples, Unit};
use crate::load::{self, Cost, Order};
use crate::statistics::Statistic;
use crate::tool::Method;

const RUNS: usize = 1000;
/// More than there are ports to lend.
const MORE_RUNS: usize = 6000;
const TARGETS: u32 = 10;
/// Runs toward different targets share ports: 600 do, of the 4,096 there are.
const PORTS: f64 = 700.0;
const TTLS: u8 = 30;
const CONNECTIONS: usize = 200;
/// Each has one, and their tracer its capture and what that needs.
const SOCKETS: f64 = 210.0;

pub(super) fn experiments() -> Result<Vec<Experiment>, Error> {
    let hole = Rc::new(Hole::new()?);
    // All routers answer, and the target does not, so that runs wait for it with all that they have learnt.
    let silent = Topology::chain(TTLS - 1)
        .with_links(|link| link.set_delay(Duration::ZERO))
        .with_target(|target| target.answers.silent = true);
    let target = silent.target.addresses.v4;
    let silent = Rc::new(SimulatedLink::veth(silent, 1)?);
    let order = |ttls, answered| Order::Live {
        method: Method::Udp,
        targets: vec![Hole::TARGET.into()],
        runs: RUNS,
        ttls,
        answered,
    };
    let answered = Order::Live {
        method: Method::Udp,
        targets: vec![target.into()],
        runs: RUNS,
        ttls: TTLS,
        answered: TTLS - 1,
    };
    let many = Order::Live {
        method: Method::Udp,
        targets: bed::consecutive(Hole::TARGET, TARGETS),
        runs: MORE_RUNS,
        ttls: 1,
        answered: 0,
    };
    // The target takes connections, and the only probe of each is for a router that does not answer.
    let listening = Topology::chain(1)
        .with_links(|link| link.set_delay(Duration::ZERO))
        .with_router(1, |router| router.answers.silent = true)
        .with_target(|target| target.services.tcp = TcpService::Listening(TcpListener::default()));
    let connections = Order::Live {
        method: Method::TcpSack,
        targets: vec![listening.target.addresses.v4.into()],
        runs: CONNECTIONS,
        ttls: 1,
        answered: 0,
    };
    let listening = Rc::new(SimulatedLink::veth(listening, 1)?);
    let in_hole = |hole: &Hole| hole.client.clone();
    let on_link = |link: &SimulatedLink| link.client().clone();
    Ok(vec![
        memory("1 probe out", 4.0, sampler(&hole, in_hole, order(1, 0), each)),
        memory("30 probes out", 16.0, sampler(&hole, in_hole, order(TTLS, 0), each)),
        memory("29 of 30 answered", 16.0, sampler(&silent, on_link, answered, each)),
        shared(
            format!("{MORE_RUNS} live UDP runs over {TARGETS} targets"),
            PORTS,
            sampler(&hole, in_hole, many, |cost| {
                vec![vec![count(cost.descriptors)], vec![count(cost.tasks) / count(MORE_RUNS)]]
            }),
        ),
        shared(
            format!("{CONNECTIONS} live TCP SACK runs over one target"),
            SOCKETS,
            sampler(&listening, on_link, connections, |cost| {
                vec![vec![count(cost.descriptors)], vec![count(cost.tasks) / count(CONNECTIONS)]]
            }),
        ),
    ])
}

/// What many runs need of what a process has only so many of.
fn shared(name: String, descriptors: f64, ours: Sampler) -> Experiment {
    Experiment {
        name,
        rows: vec![
            row("descriptors", Unit::Count, Limit::AtMost(descriptors)),
            row("tasks a run", Unit::Count, Limit::AtMost(1.0)),
        ],
        ours,
        peers: Vec::new(),
        one_in: 10,
    }
}

fn memory(state: &str, limit: f64, ours: Sampler) -> Experiment {
    Experiment {
        name: format!("each of {RUNS} live UDP requests of one run, {state}"),
        rows: vec![row("memory", Unit::Kibibytes, Limit::AtMost(limit))],
        ours,
        peers: Vec::new(),
        one_in: 10,
    }
}

fn row(what: &'static str, unit: Unit, limit: Limit) -> Row {
    Row { what, unit, statistic: Statistic::Median, limit }
}

fn sampler<B: 'static>(
    bed: &Rc<B>,
    client: fn(&B) -> Namespace,
    order: Order,
    figures: fn(&Cost) -> Samples,
) -> Sampler {
    let bed = Rc::clone(bed);
    Box::new(move || Ok(figures(&load::run(&client(&bed), &order)?.0)))
}

fn each(cost: &Cost) -> Samples {
    vec![vec![count(cost.heap) / 1024.0 / count(RUNS)]]
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn count(number: usize) -> f64 {
    number as f64
}

/// A client whose packets nobody receives.
#[derive(Debug)]
pub(super) struct Hole {
    pub(super) client: Namespace,
    _other_end: Namespace,
}

impl Hole {
    /// An address that packets leave for.
    pub(super) const TARGET: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

    pub(super) fn new() -> Result<Self, Error> {
        let (client, other_end) = (Namespace::new()?, Namespace::new()?);
        client.ip(&format!(
            "link add name out type veth peer name in netns {}\n\
             address add 198.51.100.1/24 dev out\n\
             link set out up\n\
             neighbour replace 198.51.100.2 lladdr 02:00:00:00:00:02 nud permanent dev out\n\
             route add default via 198.51.100.2\n",
            other_end.path().display()
        ))?;
        other_end.ip("link set in up\n")?;
        Ok(Self { client, _other_end: other_end })
    }

    /// The addresses that the client's packets leave for.
    pub(super) fn target() -> IpAddr {
        Self::TARGET.into()
    }
}
