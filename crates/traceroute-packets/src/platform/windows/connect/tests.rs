use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::task::yield_now;
use tokio::time::timeout;
use traceroute_core::Source;
use traceroute_wire::{IcmpErrorKind, IcmpMessage};

use super::super::testing::{self, SOON, loopback, loopback_header, told};
use super::*;

/// Without what Wine does not know, and loopback does not need.
const WITHOUT_THE_OPTION: System = System {
    fail_on_icmp_error: |_| Ok(()),
    end: System::WINDOWS.end,
    icmp_error: |_| panic!("no attempt ends with an ICMP error"),
};

/// As after a time exceeded of 203.0.113.3, whose `ICMP_ERROR_INFO` this is.
const EXPIRED: System = System {
    fail_on_icmp_error: |_| Ok(()),
    end: |_| Ok(End::Failed(io::Error::from_raw_os_error(10_065))),
    icmp_error: |_| {
        let mut information = vec![0; 36];
        information[0] = 2;
        information[4..8].copy_from_slice(&[203, 0, 113, 3]);
        (information[28], information[32]) = (1, 11);
        Ok(information)
    },
};

/// The SYN of a run, from a port that is free.
fn syn(local: u16, remote: u16, sequence: u32) -> Vec<u8> {
    testing::syn(&loopback_header(protocol::TCP), local, remote, sequence)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("it is bound").port()
}

/// The flags and the acknowledgement of the next answer.
async fn next(source: &mut impl Source) -> (TcpFlags, u32) {
    let captured = told(source).await.expect("a packet");
    let datagram = Datagram::parse(captured.datagram).expect("a datagram");
    let segment = TcpSegment::parse(datagram.payload).expect("a segment");
    (segment.flags, segment.acknowledgement)
}

#[tokio::test]
async fn an_open_port_and_a_closed_one_answer_the_probe_that_asked() {
    let inbox = Inbox::new();
    let mut source = inbox.source(Inbox::up_to_date);
    let sink = ConnectSink::with(WITHOUT_THE_OPTION, Clock::since(Instant::now()), inbox);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let open = listener.local_addr().expect("it is bound").port();
    sink.send(&syn(free_port(), open, 40), loopback()).await.expect("sent");
    assert_eq!(next(&mut source).await, (TcpFlags::SYN | TcpFlags::ACK, 41));
    sink.send(&syn(free_port(), free_port(), 50), loopback()).await.expect("sent");
    assert_eq!(next(&mut source).await, (TcpFlags::RST | TcpFlags::ACK, 51));
}

#[tokio::test]
async fn the_next_probe_of_a_run_has_its_port() {
    let inbox = Inbox::new();
    let mut source = inbox.source(Inbox::up_to_date);
    let sink = ConnectSink::with(WITHOUT_THE_OPTION, Clock::since(Instant::now()), inbox);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (local, open) = (free_port(), listener.local_addr().expect("it is bound").port());
    for sequence in 60..63 {
        sink.send(&syn(local, open, sequence), loopback()).await.expect("the port is free again");
        assert_eq!(next(&mut source).await, (TcpFlags::SYN | TcpFlags::ACK, sequence + 1));
    }
}

#[tokio::test]
async fn the_router_that_ended_an_attempt_is_a_hop_of_its_probe() {
    let inbox = Inbox::new();
    let mut source = inbox.source(Inbox::up_to_date);
    let sink = ConnectSink::with(EXPIRED, Clock::since(Instant::now()), inbox);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let open = listener.local_addr().expect("it is bound").port();
    let probe = syn(free_port(), open, 80);
    sink.send(&probe, loopback()).await.expect("sent");
    let captured = told(&mut source).await.expect("a packet");
    let datagram = Datagram::parse(captured.datagram).expect("a datagram");
    assert_eq!(datagram.source(), IpAddr::from([203, 0, 113, 3]));
    let Some(IcmpMessage::Error(error)) = IcmpMessage::parse(&datagram) else { panic!("no error") };
    assert_eq!(error.kind, IcmpErrorKind::TimeExceeded);
    let sent = Datagram::parse(&probe).expect("the probe");
    assert!(captured.datagram.ends_with(sent.payload), "it quotes the probe");
}

/// A system whose sockets tell of no end when they are asked for the first time: as where a task has not been woken yet.
macro_rules! slow_system {
    ($asked:ident) => {
        System {
            end: |stream| match $asked.fetch_add(1, Ordering::SeqCst) {
                0 => Ok(End::NotYet),
                _ => (System::WINDOWS.end)(stream),
            },
            ..WITHOUT_THE_OPTION
        }
    };
}

async fn await_asked(asked: &AtomicUsize) {
    let asked = async {
        while asked.load(Ordering::SeqCst) == 0 {
            yield_now().await;
        }
    };
    timeout(SOON, asked).await.expect("soon");
}

#[tokio::test]
async fn an_attempt_that_has_ended_when_the_next_probe_wants_its_port_counts() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let inbox = Inbox::new();
    let mut source = inbox.source(Inbox::up_to_date);
    let sink = ConnectSink::with(slow_system!(ASKED), Clock::since(Instant::now()), inbox);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (local, open) = (free_port(), listener.local_addr().expect("it is bound").port());
    sink.send(&syn(local, open, 80), loopback()).await.expect("sent");
    await_asked(&ASKED).await;
    sink.send(&syn(local, open, 81), loopback()).await.expect("the port is free again");
    assert_eq!(next(&mut source).await, (TcpFlags::SYN | TcpFlags::ACK, 81));
    assert_eq!(next(&mut source).await, (TcpFlags::SYN | TcpFlags::ACK, 82));
}

#[tokio::test]
async fn an_attempt_that_has_ended_when_the_source_catches_up_counts() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let inbox = Inbox::new();
    let sink = ConnectSink::with(slow_system!(ASKED), Clock::since(Instant::now()), inbox.clone());
    let mut source = inbox.source(sink.catch_up());
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let open = listener.local_addr().expect("it is bound").port();
    sink.send(&syn(free_port(), open, 90), loopback()).await.expect("sent");
    await_asked(&ASKED).await;
    source.catch_up();
    assert_eq!(next(&mut source).await, (TcpFlags::SYN | TcpFlags::ACK, 91));
    assert!(told(&mut source).await.is_none());
}

/// An attempt that nobody answers is under way when the next one wants its port.
#[tokio::test]
async fn the_probe_behind_a_silent_one_has_its_port() {
    static ANSWERED: AtomicBool = AtomicBool::new(false);
    let system = System {
        end: |stream| {
            if ANSWERED.load(Ordering::SeqCst) { (System::WINDOWS.end)(stream) } else { Ok(End::NotYet) }
        },
        ..WITHOUT_THE_OPTION
    };
    let inbox = Inbox::new();
    let mut source = inbox.source(Inbox::up_to_date);
    let sink = ConnectSink::with(system, Clock::since(Instant::now()), inbox);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (local, open) = (free_port(), listener.local_addr().expect("it is bound").port());
    let probe = syn(local, open, 70);
    sink.send(&probe, loopback()).await.expect("sent");
    sink.attempts.end(Probe::of(&probe).expect("a SYN").flow()).await;
    ANSWERED.store(true, Ordering::SeqCst);
    sink.send(&syn(local, open, 71), loopback()).await.expect("the port is free again");
    assert_eq!(next(&mut source).await, (TcpFlags::SYN | TcpFlags::ACK, 72));
}

#[test]
fn a_port_that_somebody_else_has_says_nothing_of_the_target() {
    let taken = io::Error::from_raw_os_error(10_048);
    assert!(rejected(&taken, Ipv4Addr::LOCALHOST.into(), 40).is_own());
}

#[test]
fn a_system_that_is_too_old_is_told_so() {
    let old = io::Error::from_raw_os_error(WSAENOPROTOOPT);
    let error = rejected(&old, Ipv4Addr::LOCALHOST.into(), 40).to_string();
    assert!(error.contains("syn_socket") && error.contains("version 2004"), "{error}");
}
