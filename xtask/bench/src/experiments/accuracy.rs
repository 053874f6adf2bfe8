//! How far the round trips that a program prints are from the true ones.
//!
//! The truth is what a capture at the first router's end of the client's link saw: the time from a probe's arrival to
//! the departure of its answer, by that kernel's own stamps. It lacks the way over the link and back, which for a veth pair
//! is the time from one tap to the next.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::thread;
use std::time::SystemTime;

use traceroute_core::Direction;
use traceroute_testnet::{Capture, CapturedPacket};
use traceroute_wire::{Datagram, IcmpMessage, Udp, protocol};

use crate::bed::{self, Bed, Kernels};
use crate::error::Error;
use crate::experiment::{Experiment, Limit, Peer, Row, Sampler, Unit};
use crate::hops;
use crate::statistics::Statistic;
use crate::tool::{Family, Method, Tool};

/// Busy processes for each core, where the machine is to be busy.
const BUSY: usize = 2;

pub(super) fn experiments(ours: &Tool, bed: &Rc<Bed>, kernels: &Rc<Kernels>) -> Vec<Experiment> {
    let mut all = Vec::new();
    for (busy, state) in [(0, "idle"), (BUSY, "two busy processes a core")] {
        for method in [Method::Udp, Method::Icmp] {
            let sampler = |tool: Tool| -> Sampler {
                let (bed, kernels) = (Rc::clone(bed), Rc::clone(kernels));
                Box::new(move || {
                    let errors = errors(&bed, &kernels, &tool, method, busy)?;
                    Ok(vec![errors.clone(), errors])
                })
            };
            let row = |what, statistic, limit| Row {
                what,
                unit: Unit::Microseconds,
                statistic,
                limit: Limit::AtMost(limit),
            };
            all.push(Experiment {
                name: format!("{method} IPv4, 8 kernel routers, {state}"),
                rows: vec![
                    row("RTT error, median", Statistic::Median, 2.0),
                    row("RTT error, 99 %", Statistic::Percentile99, 30.0),
                ],
                ours: sampler(ours.clone()),
                peers: vec![Peer { name: "traceroute", sampler: sampler(Tool::Traceroute), one_in: 1 }],
                one_in: 1,
            });
        }
    }
    all
}

/// Traces once and returns how many microseconds each printed round trip is off.
fn errors(bed: &Bed, kernels: &Kernels, tool: &Tool, method: Method, busy: usize) -> Result<Vec<f64>, Error> {
    let capture = Capture::start_unread(kernels.chain.router(1), "left")?;
    let load = Load::start(busy)?;
    let outcome = bed.trace(tool, method, Family::V4);
    drop(load);
    let truth = round_trips(&capture.stop()?);
    let stdout = outcome?.stdout;
    let unreadable = |reason: &str| Error::Unexpected {
        program: format!("{tool:?}"),
        reason: reason.to_owned(),
        stdout: stdout.clone(),
    };
    let printed = match tool {
        Tool::Ours(_) => of_json(&stdout),
        _ => of_text(&stdout),
    };
    let printed = printed.ok_or_else(|| unreadable("no round trips"))?;
    if printed.len() != bed::path(Family::V4).len() {
        return Err(unreadable("round trips are missing"));
    }
    let difference = |(ttl, microseconds): &(u8, f64)| Some((microseconds - truth.get(ttl)?).abs());
    let errors: Option<Vec<f64>> = printed.iter().map(difference).collect();
    errors.ok_or_else(|| unreadable("a round trip that the router did not see"))
}

/// Processes that do nothing but keep the cores busy, as long as this lives.
struct Load(Vec<Child>);

impl Load {
    fn start(a_core: usize) -> Result<Self, Error> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let mut load = Self(Vec::new());
        for _ in 0..a_core * cores {
            let child = Command::new("sh").args(["-c", "while :; do :; done"]).stdin(Stdio::null()).spawn();
            load.0.push(child.map_err(|source| Error::CannotStart { program: "sh".into(), source })?);
        }
        Ok(load)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It cannot end by itself, and a killed child can be waited for.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What tells a probe from all others, in itself, in its quote and in its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Udp { source: u16, destination: u16, checksum: u16 },
    Echo { id: u16, sequence: u16 },
}

/// The true round trips in microseconds, by the TTL of their probes.
fn round_trips(packets: &[CapturedPacket]) -> BTreeMap<u8, f64> {
    let mut probes: BTreeMap<Key, (u8, SystemTime)> = BTreeMap::new();
    let mut truth = BTreeMap::new();
    for packet in packets {
        let Some(datagram) = Datagram::parse(&packet.datagram) else { continue };
        match packet.direction {
            Direction::Received => {
                if let Some(key) = of_probe(&datagram) {
                    probes.insert(key, (datagram.header.ttl, packet.at));
                }
            }
            Direction::Sent => {
                let probe = of_answer(&datagram).and_then(|key| probes.get(&key));
                if let Some((ttl, arrived)) = probe
                    && let Ok(round_trip) = packet.at.duration_since(*arrived)
                {
                    truth.entry(*ttl).or_insert(round_trip.as_secs_f64() * 1e6);
                }
            }
        }
    }
    truth
}

fn of_probe(datagram: &Datagram<'_>) -> Option<Key> {
    if datagram.header.protocol == protocol::UDP {
        return of_udp(&Udp::parse(datagram.payload)?);
    }
    match IcmpMessage::parse(datagram)? {
        IcmpMessage::EchoRequest(echo) => Some(Key::Echo { id: echo.id, sequence: echo.sequence }),
        _ => None,
    }
}

fn of_answer(datagram: &Datagram<'_>) -> Option<Key> {
    match IcmpMessage::parse(datagram)? {
        IcmpMessage::EchoReply(echo) => Some(Key::Echo { id: echo.id, sequence: echo.sequence }),
        IcmpMessage::Error(error) => {
            if let Some(udp) = error.quoted.udp() {
                return of_udp(&udp);
            }
            let echo = error.quoted.echo_request()?;
            Some(Key::Echo { id: echo.id?, sequence: echo.sequence? })
        }
        IcmpMessage::EchoRequest(_) => None,
    }
}

fn of_udp(udp: &Udp<'_>) -> Option<Key> {
    Some(Key::Udp { source: udp.source_port, destination: udp.destination_port, checksum: udp.checksum? })
}

/// The round trips in microseconds that our JSON has, by TTL.
fn of_json(stdout: &str) -> Option<Vec<(u8, f64)>> {
    let hops = hops::of_runs(stdout)?.into_iter().next()?;
    Some(hops.into_iter().map(|hop| (hop.ttl, hop.rtt * 1e3)).collect())
}

/// The round trips in microseconds that `traceroute` prints: ` 1  10.71.0.2  0.034 ms`.
fn of_text(stdout: &str) -> Option<Vec<(u8, f64)>> {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let ttl = words.next()?.parse().ok()?;
        let milliseconds: f64 = words.nth(1)?.parse().ok()?;
        Some((ttl, milliseconds * 1e3))
    };
    // The first line is the heading.
    stdout.lines().skip(1).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_programs_round_trips_are_read() {
        let text = "traceroute to 10.71.8.2 (10.71.8.2), 30 hops max\n 1  10.71.0.2  0.034 ms\n 2  10.71.1.2  1.5 ms\n";
        let rounded = |read: Option<Vec<(u8, f64)>>| -> Vec<(u8, String)> {
            read.unwrap().into_iter().map(|(ttl, rtt)| (ttl, format!("{rtt:.3}"))).collect()
        };
        assert_eq!(rounded(of_text(text)), [(1, "34.000".to_owned()), (2, "1500.000".to_owned())]);
        assert_eq!(of_text("heading\n 1  *\n"), None);
        let json = r#"{"traceroute":{"runs":[{"hops":[{"ttl":1,"ip_address":"10.71.0.2","rtt":0.0345}]}]}}"#;
        assert_eq!(rounded(of_json(json)), [(1, "34.500".to_owned())]);
    }
}
