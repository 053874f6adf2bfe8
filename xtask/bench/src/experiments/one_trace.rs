//! One trace of one process: its time, CPU time, memory and packets.

use std::rc::Rc;

use crate::bed::{Bed, Sent};
use crate::error::Error;
use crate::experiment::{Experiment, Limit, Peer, Row, Sampler, Unit, megabytes};
use crate::launch::{self, Usage};
use crate::statistics::Statistic;
use crate::tool::{Family, Method, Tool};

/// The kernels answer at once; then only what the program itself does takes time.
const KERNELS: &str = "8 kernel routers, 0 ms";
const SIMULATED: &str = "8 simulated routers, 40 ms";
const SILENT: &str = "8 kernel routers of which 2 are silent";
const CLOSED: &str = "8 kernel routers, closed port";

/// `mtr` and `scamper` are run in so few of the turns: the former takes a second.
const ONE_IN: u32 = 10;

const METHODS: [Method; 4] = [Method::Udp, Method::Icmp, Method::TcpSyn, Method::TcpSack];

pub(super) fn experiments(
    ours: &Tool,
    kernels: &Rc<Bed>,
    simulated: &Rc<Bed>,
    silent: &Rc<Bed>,
    closed: &Rc<Bed>,
) -> Vec<Experiment> {
    let mut all = Vec::new();
    // With SACK, a handshake takes a third round trip; no peer has it to compare with.
    for (bed, place, time, time_with_sack) in [
        (kernels, KERNELS, Limit::AbovePeer(5.0), Limit::AtMost(100.0)),
        (simulated, SIMULATED, Limit::AtMost(110.0), Limit::AtMost(150.0)),
    ] {
        for method in METHODS {
            let time = if method == Method::TcpSack { time_with_sack } else { time };
            all.extend([Family::V4, Family::V6].map(|family| whole(ours, bed, place, time, method, family)));
        }
        for method in METHODS {
            all.extend([Family::V4, Family::V6].map(|family| packets(ours, bed, place, method, family)));
        }
    }
    for (bed, place, method) in [
        (kernels, KERNELS, Method::TcpPreferSack),
        (closed, CLOSED, Method::TcpPreferSack),
        (closed, CLOSED, Method::TcpSyn),
    ] {
        let time = Limit::AtMost(100.0);
        all.extend([Family::V4, Family::V6].map(|family| whole(ours, bed, place, time, method, family)));
    }
    all.extend([Method::TcpSyn, Method::TcpSack].map(|method| past_silence(ours, silent, method)));
    all.push(start_up(ours));
    all
}

/// A trace from before the fork to after the exit.
fn whole(ours: &Tool, bed: &Rc<Bed>, place: &str, time: Limit, method: Method, family: Family) -> Experiment {
    let sampler = |tool: Tool| -> Sampler {
        let bed = Rc::clone(bed);
        Box::new(move || {
            let Usage { wall, cpu, memory } = bed.trace(&tool, method, family)?.usage;
            Ok(vec![vec![wall.as_secs_f64() * 1e3], vec![cpu.as_secs_f64() * 1e3], vec![megabytes(memory)]])
        })
    };
    let row = |what, unit, limit| Row { what, unit, statistic: Statistic::Median, limit };
    Experiment {
        name: format!("{method} {family}, {place}"),
        rows: vec![
            row("time", Unit::Milliseconds, time),
            row("CPU time", Unit::Milliseconds, Limit::AtMost(6.0)),
            row("peak memory", Unit::Megabytes, Limit::AtMost(8.0)),
        ],
        ours: sampler(ours.clone()),
        peers: peers(method, family, sampler),
        one_in: 1,
    }
}

/// What a trace sends.
fn packets(ours: &Tool, bed: &Rc<Bed>, place: &str, method: Method, family: Family) -> Experiment {
    let sampler = |tool: Tool| -> Sampler {
        let bed = Rc::clone(bed);
        Box::new(move || {
            let Sent { packets, beyond } = bed.count(&tool, method, family)?;
            Ok(vec![vec![f64::from(packets)], vec![f64::from(beyond)]])
        })
    };
    let row = |what, limit| Row {
        what,
        unit: Unit::Count,
        statistic: Statistic::Median,
        limit: Limit::AtMost(limit),
    };
    // The SYN, the ACK and the RST of the connection go to the target with the TTL of all that the kernel sends.
    let handshake = if method == Method::TcpSack { 3.0 } else { 0.0 };
    Experiment {
        name: format!("{method} {family}, {place}"),
        rows: vec![
            // The eight routers', the target's own and the two beyond.
            row("packets sent", 11.0 + handshake),
            row("packets beyond", 2.0 + handshake),
        ],
        ours: sampler(ours.clone()),
        peers: peers(method, family, sampler),
        one_in: 2,
    }
}

/// A trace past two routers of which nothing is heard.
fn past_silence(ours: &Tool, bed: &Rc<Bed>, method: Method) -> Experiment {
    let sampler = |tool: Tool| -> Sampler {
        let bed = Rc::clone(bed);
        Box::new(move || Ok(vec![vec![bed.trace(&tool, method, Family::V4)?.usage.wall.as_secs_f64() * 1e3]]))
    };
    Experiment {
        name: format!("{method} IPv4, {SILENT}"),
        rows: vec![Row {
            what: "time",
            unit: Unit::Milliseconds,
            statistic: Statistic::Median,
            limit: Limit::AtMost(1000.0),
        }],
        ours: sampler(ours.clone()),
        peers: vec![Peer { name: "traceroute", sampler: sampler(Tool::Traceroute), one_in: 1 }],
        one_in: 2,
    }
}

/// `traceroute`, and over IPv4 the others, if they have the method.
fn peers(method: Method, family: Family, sampler: impl Fn(Tool) -> Sampler) -> Vec<Peer> {
    let mut peers = vec![Peer { name: "traceroute", sampler: sampler(Tool::Traceroute), one_in: 1 }];
    if family == Family::V4 && !matches!(method, Method::TcpSack | Method::TcpPreferSack) {
        peers.push(Peer { name: "scamper", sampler: sampler(Tool::Scamper), one_in: ONE_IN });
        peers.push(Peer { name: "mtr", sampler: sampler(Tool::Mtr), one_in: ONE_IN });
    }
    peers
}

fn start_up(ours: &Tool) -> Experiment {
    let sampler = |tool: &Tool| -> Sampler {
        let line = tool.version();
        Box::new(move || Ok(vec![vec![version(&line)?.wall.as_secs_f64() * 1e3]]))
    };
    Experiment {
        name: "only print the version".to_owned(),
        rows: vec![Row {
            what: "start-up",
            unit: Unit::Milliseconds,
            statistic: Statistic::Median,
            limit: Limit::AbovePeer(5.0),
        }],
        ours: sampler(ours),
        peers: vec![Peer { name: "traceroute", sampler: sampler(&Tool::Traceroute), one_in: 1 }],
        one_in: 1,
    }
}

fn version(line: &[std::ffi::OsString]) -> Result<Usage, Error> {
    Ok(launch::run(None, line)?.usage)
}
