//! What is measured: the rows of the table.

use std::rc::Rc;

use crate::bed::{Bed, Sent};
use crate::error::Error;
use crate::launch::{self, Usage};
use crate::row::{Limit, Row, Sampler, Unit};
use crate::tool::{Family, Method, Tool};

const METHODS: [Method; 2] = [Method::Udp, Method::Icmp];
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// Where to trace, with the name that the table has for it.
#[derive(Clone)]
struct Place {
    bed: Rc<Bed>,
    name: &'static str,
}

/// All rows, for the product at its path.
pub(crate) fn rows(ours: &Tool) -> Result<Vec<Row>, Error> {
    let kernels = Place { bed: Rc::new(Bed::kernels()?), name: "8 kernel routers, 0 ms" };
    let simulated = Place { bed: Rc::new(Bed::simulated()?), name: "8 simulated routers, 40 ms" };
    let mut rows = Vec::new();
    for (place, limit) in [(&kernels, Limit::AbovePeer(5.0)), (&simulated, Limit::AtMost(110.0))] {
        for (method, family) in cases() {
            rows.push(row(
                format!("time, {method} {family}, {}", place.name),
                Unit::Milliseconds,
                limit,
                |tool| traced(tool, place, method, family, |usage| usage.wall.as_secs_f64() * 1e3),
                ours,
            ));
        }
    }
    for place in [&kernels, &simulated] {
        for method in METHODS {
            // The eight routers', the target's own and the two beyond.
            rows.push(row(
                format!("packets sent, {method} IPv4, {}", place.name),
                Unit::Packets,
                Limit::AtMost(11.0),
                |tool| counted(tool, place, method, |sent| sent.packets),
                ours,
            ));
            rows.push(row(
                format!("packets beyond, {method} IPv4, {}", place.name),
                Unit::Packets,
                Limit::AtMost(2.0),
                |tool| counted(tool, place, method, |sent| sent.beyond),
                ours,
            ));
        }
    }
    for place in [&kernels, &simulated] {
        rows.push(row(
            format!("CPU time, UDP IPv4, {}", place.name),
            Unit::Milliseconds,
            Limit::AtMost(6.0),
            |tool| traced(tool, place, Method::Udp, Family::V4, |usage| usage.cpu.as_secs_f64() * 1e3),
            ours,
        ));
    }
    rows.push(row(
        format!("peak memory, UDP IPv4, {}", simulated.name),
        Unit::Megabytes,
        Limit::AtMost(8.0),
        |tool| traced(tool, &simulated, Method::Udp, Family::V4, megabytes),
        ours,
    ));
    rows.push(row(
        "start-up: only print the version".to_owned(),
        Unit::Milliseconds,
        Limit::AbovePeer(5.0),
        |tool| {
            let line = tool.version();
            Box::new(move || Ok(launch::run(None, &line)?.1.wall.as_secs_f64() * 1e3))
        },
        ours,
    ));
    Ok(rows)
}

fn cases() -> impl Iterator<Item = (Method, Family)> {
    METHODS.into_iter().flat_map(|method| FAMILIES.map(|family| (method, family)))
}

/// A row that measures both programs in the same way.
fn row(name: String, unit: Unit, limit: Limit, sampler: impl Fn(Tool) -> Sampler, ours: &Tool) -> Row {
    Row { name, unit, ours: sampler(ours.clone()), peer: sampler(Tool::Peer), limit }
}

/// One figure of a trace.
fn traced(tool: Tool, place: &Place, method: Method, family: Family, figure: fn(Usage) -> f64) -> Sampler {
    let bed = Rc::clone(&place.bed);
    Box::new(move || bed.trace(&tool, method, family).map(figure))
}

/// One count of what a trace sends over IPv4.
fn counted(tool: Tool, place: &Place, method: Method, figure: fn(Sent) -> u32) -> Sampler {
    let bed = Rc::clone(&place.bed);
    Box::new(move || bed.count(&tool, method, Family::V4).map(|sent| f64::from(figure(sent))))
}

/// Peak memory, which a 32-bit number of kilobytes holds.
fn megabytes(usage: Usage) -> f64 {
    f64::from(u32::try_from(usage.memory / 1000).unwrap_or(u32::MAX)) / 1000.0
}
