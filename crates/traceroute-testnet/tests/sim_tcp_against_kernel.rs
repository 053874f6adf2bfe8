//! The simulated TCP answers as a real kernel's does, and a real kernel talks with it.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener as Listener, TcpStream};
use std::time::{Duration, Instant};

use common::MS;
use common::raw::Raw;
use common::talk::{S, Talk};
use common::tcp::{In, Out, ack, rst, segment, syn};
use traceroute_testnet::kernel::Chain;
use traceroute_testnet::sim::real_time::SimulatedLink;
use traceroute_testnet::sim::{Closing, TcpApplication, TcpListener, TcpService, Topology};

const PORT: u16 = 443;
/// How long an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// A client that speaks with a real kernel and with the simulated one, and compares what they say.
struct Both {
    real: Raw,
    /// The number of the real kernel's latest SYN-ACK.
    peer: u32,
    sim: Talk,
    client: SocketAddr,
    target: SocketAddr,
    listener: Listener,
    _chain: Chain,
}

impl Both {
    fn new(listener: TcpListener) -> Self {
        let chain = Chain::builder().routers(0).build().unwrap();
        // The client's kernel knows nothing of all this, and must not say so.
        let drop_resets = "type filter hook output priority 0\ntcp flags & rst == rst ip ttl 64 drop";
        chain.client().nft(&format!("table inet t {{\nchain c {{\n{drop_resets}\n}}\n}}\n")).unwrap();
        chain.target().disable_checksum_offload("left").unwrap();
        // Half a second could pass on a busy machine.
        chain.target().sysctl(&[("net.ipv4.tcp_invalid_ratelimit", "60000")]).unwrap();
        let client = SocketAddr::new(chain.client().addresses().v4.into(), 50_000);
        let target = SocketAddr::new(chain.target().addresses().v4.into(), PORT);
        let real = chain.target().run(|| Listener::bind(target)).unwrap();
        let sim = Talk::new(TcpService::Listening(listener));
        assert_eq!((sim.client, sim.target), (client, target));
        Self {
            real: Raw::open(chain.client(), target),
            peer: 0,
            sim,
            client,
            target,
            listener: real,
            _chain: chain,
        }
    }

    /// Sends to both and compares: the simulation says whether an answer is to be waited for, and what a real kernel
    /// says besides shows instead of its next answer.
    fn send(&mut self, out: &Out) -> Option<In> {
        self.acknowledging(0, |_| out.clone())
    }

    /// The same with segments made from what acknowledges each one's SYN and `number` bytes.
    fn acknowledging(&mut self, number: u32, make: impl Fn(u32) -> Out) -> Option<In> {
        let [real, sim] = [self.peer, self.sim.peer].map(|peer| peer.wrapping_add(1 + number));
        let simulated = self.sim.send(&make(sim));
        // Resets of ours have another TTL than those of the client's kernel.
        self.real.send(&make(real).ttl(63).datagram(self.client, self.target));
        assert!(simulated.len() <= 1);
        let simulated = simulated.into_iter().next()?.line(S, self.sim.peer);
        let answer = loop {
            let before = self.peer;
            let answer = self.receive();
            let line = self.line(&answer);
            // On a busy machine a kernel may find the time to repeat what nobody has acknowledged.
            let is_repetition = answer.header.syn && self.peer == before || answer.header.fin;
            if !is_repetition || line == simulated {
                assert_eq!(line, simulated, "{:?}", make(0));
                break answer;
            }
        };
        Some(answer)
    }

    /// What the real kernel says next.
    fn receive(&mut self) -> In {
        let real = self.real.receive(PATIENCE).expect("an answer of the real kernel");
        if real.header.syn {
            self.peer = real.header.sequence_number;
        }
        real
    }

    fn line(&self, real: &In) -> String {
        real.line(S, self.peer)
    }

    /// Connects both.
    fn connect(&mut self, syn: &Out, ack: impl Fn(u32) -> Out) -> TcpStream {
        assert!(self.send(syn).is_some());
        assert!(self.acknowledging(0, ack).is_none());
        self.listener.accept().unwrap().0
    }
}

fn both() -> Both {
    Both::new(TcpListener::default())
}

#[test]
fn half_open_connections_answer_as_linux_does() {
    let mut both = both();
    for i in 0..3 {
        assert!(both.send(&syn(S + i)).is_some());
    }
    // Too old for the third, once in half a second.
    assert!(both.send(&syn(S - 5)).is_some());
    assert!(both.send(&syn(S - 6)).is_none());
    assert!(both.send(&syn(S + 2)).is_none(), "the same limit");
    // Beyond the window, which is smaller in Linux: silence, for the same reason.
    assert!(both.send(&syn(S + 70_000)).is_none());
    assert!(both.acknowledging(1, |a| ack(S + 3, a)).is_some(), "acknowledges what was not sent");
    assert!(both.send(&rst(S)).is_none());
    assert!(both.send(&rst(S + 3)).is_none());
    assert!(both.acknowledging(0, |a| ack(S + 3, a)).is_some(), "the connection is gone");
    assert!(both.send(&syn(S + 9).fin()).is_none());
    assert!(both.send(&segment(S + 9).data(b"x")).is_none());
    assert!(both.acknowledging(77, |a| syn(S + 9).with_ack(a)).is_some());
    assert!(both.send(&syn(S + 9).sack_permitted().stamps(70, 0).window_scale()).is_some());
    assert!(both.acknowledging(0, |a| ack(S + 10, a).stamps(69, 0)).is_some(), "too old a stamp");
    assert!(both.send(&syn(S + 10).stamps(71, 0)).is_some());
}

#[test]
fn the_same_syn_is_answered_as_by_linux() {
    let mut both = both();
    let first = both.send(&syn(S)).unwrap();
    let again = both.send(&syn(S)).unwrap();
    assert_eq!(first.header.sequence_number, again.header.sequence_number);
    assert!(both.send(&syn(S)).is_none());
    assert!(both.send(&syn(S + 1)).is_some());
}

#[test]
fn unanswered_syn_acks_are_repeated_as_by_linux() {
    let mut both = both();
    let start = Instant::now();
    both.send(&syn(S));
    let simulated = both.sim.wait(1_000);
    let real = both.receive();
    assert_eq!(both.line(&real), simulated[0].1.line(S, both.sim.peer));
    assert!(start.elapsed() > 900 * MS, "{:?}", start.elapsed());
}

#[test]
fn connections_answer_as_linux_does() {
    let mut both = both();
    let _stream = both.connect(&syn(S).sack_permitted(), |a| ack(S + 1, a));
    let mut data = |seq: u32, bytes: &[u8]| both.acknowledging(0, |a| ack(seq, a).data(bytes)).is_some();
    // Two out of order, as probes are; repetitions; and gaps that are filled.
    for (seq, bytes) in [
        (S + 4, &b"x"[..]),
        (S + 3, b"x"),
        (S + 7, b"x"),
        (S + 4, b"x"),
        (S + 1, b"x"),
        (S + 1, b"x"),
        (S + 2, b"xxxx"),
        (S + 10, b"x"),
        (S + 12, b"x"),
    ] {
        assert!(data(seq, bytes));
    }
    assert!(both.acknowledging(1, |a| ack(S + 20, a).data(b"x")).is_none(), "acknowledges what was not sent");
    assert!(both.send(&segment(S + 20).data(b"x")).is_none(), "acknowledges nothing");
    assert!(both.send(&syn(S + 30)).is_some(), "challenged");
    assert!(both.send(&syn(S + 31)).is_none(), "one each half second");
    assert!(both.send(&rst(S + 9)).is_none(), "challenged no more");
    assert!(both.send(&rst(S + 7)).is_none(), "outside of the window");
    // Linux heeds the end of the farthest block as well as the next number.
    assert!(both.send(&rst(S + 13)).is_none());
    assert!(both.acknowledging(0, |a| ack(S + 8, a)).is_some(), "the connection is gone");
}

#[test]
fn more_gaps_than_blocks_are_told_as_by_linux() {
    for (stamps, room) in [(false, 4), (true, 3)] {
        let mut both = both();
        let stamped = |out: Out, value| if stamps { out.stamps(value, 0) } else { out };
        let offer = stamped(syn(S).sack_permitted(), 70);
        let _stream = both.connect(&offer, |a| stamped(ack(S + 1, a), 70));
        // Beyond a few, Linux tells of them together, a millisecond later at most; the last is answered at once again.
        for i in [3, 5, 7] {
            assert!(both.acknowledging(0, |a| stamped(ack(S + i, a), 70).data(b"x")).is_some());
        }
        let answer = both.acknowledging(0, |a| stamped(ack(S + 9, a), 70).data(b"x")).unwrap();
        assert_eq!(answer.blocks.len(), room);
        let answer = both.acknowledging(0, |a| stamped(ack(S + 11, a), 70).data(b"x")).unwrap();
        assert_eq!(answer.blocks.len(), room);
    }
}

#[test]
fn timestamps_are_compared_as_by_linux() {
    let mut both = both();
    let offer = syn(S).sack_permitted().stamps(1_000, 0);
    let _stream = both.connect(&offer, |a| ack(S + 1, a).stamps(1_000, 0));
    for (seq, stamp) in [
        (S + 4, 1_000),
        (S + 6, 900),
        (S + 8, 2_000),
        (S + 10, 1_000),
        (S + 1, 900),
        (S + 1, 1_500),
        (S + 2, 1_000),
    ] {
        assert!(
            both.acknowledging(0, |a| ack(seq, a).stamps(stamp, 0).data(b"x")).is_some(),
            "{seq} {stamp}"
        );
    }
}

#[test]
fn the_stream_ends_as_in_linux() {
    let mut both = both();
    let _stream = both.connect(&syn(S).sack_permitted(), |a| ack(S + 1, a));
    assert!(both.acknowledging(0, |a| ack(S + 4, a).data(b"x")).is_some());
    assert!(both.acknowledging(0, |a| ack(S + 1, a).fin()).is_some());
    assert!(both.acknowledging(0, |a| ack(S + 4, a).data(b"x")).is_none());
    assert!(both.acknowledging(0, |a| ack(S + 1, a).fin()).is_some());
}

#[test]
fn applications_close_as_in_linux() {
    let closes = |closing| TcpListener { closes: Some((100 * MS, closing)), ..TcpListener::default() };
    let mut both = Both::new(closes(Closing::Fin));
    drop(both.connect(&syn(S).sack_permitted(), |a| ack(S + 1, a)));
    let [real, sim] = [both.receive(), both.sim.wait(100).remove(0).1];
    assert_eq!(both.line(&real), sim.line(S, both.sim.peer));
    assert!(both.acknowledging(0, |a| ack(S + 4, a).data(b"x")).is_some());
    assert!(both.acknowledging(0, |a| ack(S + 4, a).data(b"x")).is_some());

    // Closing with something unread is an abort.
    let mut both = Both::new(closes(Closing::Reset));
    let stream = both.connect(&syn(S).sack_permitted(), |a| ack(S + 1, a));
    assert!(both.acknowledging(0, |a| ack(S + 1, a).data(b"x")).is_some());
    drop(stream);
    let [real, sim] = [both.receive(), both.sim.wait(100).remove(0).1];
    assert_eq!(both.line(&real), sim.line(S, both.sim.peer));
    assert!(both.acknowledging(0, |a| ack(S + 4, a).data(b"x")).is_some());
}

#[test]
fn a_real_kernel_talks_with_the_simulated_one() {
    is_talked_with(false);
}

#[test]
fn a_real_kernel_talks_with_one_that_keeps_no_state() {
    is_talked_with(true);
}

fn is_talked_with(syn_cookies: bool) {
    let application = TcpApplication::default();
    let listener = TcpListener {
        syn_cookies,
        banner: Some((5 * MS, b"220 ready\r\n".to_vec())),
        // Time enough to write before.
        closes: Some((1_000 * MS, Closing::Fin)),
        application: application.clone(),
        ..TcpListener::default()
    };
    let topology = Topology::chain(2).with_target(|t| t.services.tcp = TcpService::Listening(listener));
    let link = SimulatedLink::veth(topology, 1).unwrap();
    let streams = ["10.71.2.2:25", "[fd00:71:2::2]:25"].map(|target| {
        let mut stream = link.client().run(|| TcpStream::connect(target)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"EHLO\r\n").unwrap();
        stream
    });
    for mut stream in streams {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert_eq!(text, "220 ready\r\n", "{}", link.recorder().timeline());
    }
    assert_eq!((application.accepted(), application.received()), (2, 12));
}
