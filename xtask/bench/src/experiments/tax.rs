//! What a process with a thousand live runs costs the packets of everybody else on the host.

use std::io::{self, BufRead, BufReader};
use std::net::UdpSocket;
use std::process::{Child, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use traceroute_testnet::kernel::Namespace;

use super::live::Hole;
use crate::error::Error;
use crate::experiment::{Experiment, Limit, Peer, Row, Sampler, Unit};
use crate::load::{self, Order};
use crate::statistics::Statistic;
use crate::tool::Method;

const RUNS: usize = 1000;
/// Packets are timed so many at once, and read before the receiver's buffer is full.
const BATCH: u32 = 64;
const BATCHES: u32 = 1000;

pub(super) fn experiment() -> Result<Experiment, Error> {
    let hole = Rc::new(Hole::new()?);
    let sampler = |start: fn(&Namespace) -> Result<Option<Child>, Error>| -> Sampler {
        let hole = Rc::clone(&hole);
        Box::new(move || {
            let other = start(&hole.client)?.map(EndOnDrop);
            let costs = hole.client.run(costs).map_err(system("sending over loopback"))?;
            drop(other);
            hole.client.await_no_packet_sockets()?;
            Ok(vec![costs])
        })
    };
    Ok(Experiment {
        name: format!("of bulk traffic beside {RUNS} live runs"),
        rows: vec![Row {
            what: "time of each packet",
            unit: Unit::Nanoseconds,
            statistic: Statistic::Median,
            limit: Limit::TimesPeer(1.1),
        }],
        ours: sampler(|client| load::hold(client, &live()).map(Some)),
        peers: vec![
            Peer {
                name: "beside one tap of tcpdump",
                sampler: sampler(|client| tap(client).map(Some)),
                one_in: 1,
            },
            Peer { name: "beside nothing", sampler: sampler(|_| Ok(None)), one_in: 1 },
        ],
        one_in: 4,
    })
}

fn live() -> Order {
    Order::Live { method: Method::Udp, targets: vec![Hole::target()], runs: RUNS, ttls: 1, answered: 0 }
}

/// A capture of packets that do not come.
fn tap(client: &Namespace) -> Result<Child, Error> {
    let cannot_start = |source| Error::CannotStart { program: "tcpdump".into(), source };
    let mut command = client.command("tcpdump");
    command.args(["-n", "-i", "any", "-w", "/dev/null", "udp", "port", "9"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut tap = command.spawn().map_err(cannot_start)?;
    // It captures from the moment it says so.
    let said = tap.stderr.as_mut().map(|stderr| BufReader::new(stderr).lines());
    for line in said.into_iter().flatten() {
        if line.map_err(cannot_start)?.contains("listening on") {
            return Ok(tap);
        }
    }
    Err(cannot_start(io::ErrorKind::UnexpectedEof.into()))
}

struct EndOnDrop(Child);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        // A child that has ended already is none to kill, and can be waited for all the same.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How many nanoseconds it takes to send a datagram over loopback, batch by batch.
fn costs() -> io::Result<Vec<f64>> {
    let (sender, receiver) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    sender.connect(receiver.local_addr()?)?;
    receiver.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut costs = Vec::new();
    for _ in 0..BATCHES {
        let started = Instant::now();
        for _ in 0..BATCH {
            sender.send(&[0; 64])?;
        }
        costs.push(started.elapsed().as_secs_f64() * 1e9 / f64::from(BATCH));
        for _ in 0..BATCH {
            receiver.recv(&mut [0; 64])?;
        }
    }
    Ok(costs)
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::System { what, source }
}
