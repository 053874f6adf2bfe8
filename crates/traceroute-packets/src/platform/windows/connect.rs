//! Connections with a limited TTL, whose ICMP errors Windows tells to everybody (`TCP_FAIL_CONNECT_ON_ICMP_ERROR`): version 2004
//! of Windows 10, Windows Server 2022, and later.
//!
//! Each probe is a connection of its own from the port of its run. Since one port can have only one connection to a target at a
//! time, what the next probe finds of the one before ends; so a run sends one probe at a time. Windows is asked to send each SYN once
//! (`SIO_TCP_INITIAL_RTO`): otherwise it would ask a closed port again and again, and measure what was lost together with what
//! was not. A version that does not know how sends them again, and the first answer counts.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::windows::io::AsSocket;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use traceroute_core::{Destination, Direction, Family, Sink, Stamp, TracerouteError};
use traceroute_wire::{Datagram, TcpFlags, TcpSegment, protocol};
use tracing::{debug, warn};
use windows_sys::Win32::Networking::WinSock::{
    ICMP_ERROR_INFO, IPPROTO_TCP, TCP_FAIL_CONNECT_ON_ICMP_ERROR, TCP_ICMP_ERROR_INFO, WSAENOPROTOOPT,
};

use super::answers;
use super::conclusion::{Conclusion, conclude};
use super::sockets::leave_through;
use super::sys::sockets::{option, send_syns_once, set_option};
use crate::clock::Clock;
use crate::inbox::{Inbox, Packet};
use crate::platform::connector::begin;
use crate::platform::errors::not_sent;

/// Connects, and puts what that comes to into an inbox.
pub(super) struct ConnectSink {
    clock: Clock,
    inbox: Inbox,
    system: System,
    attempts: Arc<Mutex<Attempts>>,
}

/// What of the system's is asked of sockets that connect.
#[derive(Clone, Copy)]
struct System {
    /// Lets the next ICMP error end the attempt.
    fail_on_icmp_error: fn(&Socket) -> io::Result<()>,
    /// What has ended it, if that is an error.
    end: fn(&TcpStream) -> io::Result<Option<io::Error>>,
    /// The bytes of the ICMP error that has ended it, or Winsock's number of why there are none.
    icmp_error: fn(&TcpStream) -> Result<Vec<u8>, i32>,
}

impl System {
    const WINDOWS: Self = Self {
        fail_on_icmp_error: |socket| {
            set_option(socket.as_socket(), IPPROTO_TCP, TCP_FAIL_CONNECT_ON_ICMP_ERROR, 1)
        },
        end: TcpStream::take_error,
        icmp_error: |stream| {
            option::<{ size_of::<ICMP_ERROR_INFO>() }>(stream.as_socket(), IPPROTO_TCP, TCP_ICMP_ERROR_INFO)
                .map_err(|error| number(&error))
        },
    };
}

/// The connections that are being made, by both ends.
#[derive(Default)]
struct Attempts {
    number: u64,
    under_way: HashMap<Flow, Attempt>,
}

type Flow = (SocketAddr, SocketAddr);

/// A connection being made, given up when this is dropped.
struct Attempt {
    number: u64,
    task: JoinHandle<()>,
}

impl Attempt {
    /// Gives it up. When this returns its socket is closed.
    async fn end(mut self) {
        self.task.abort();
        // However it has ended.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ConnectSink {
    pub(super) fn new(clock: Clock, inbox: Inbox) -> Self {
        Self::with(System::WINDOWS, clock, inbox)
    }

    fn with(system: System, clock: Clock, inbox: Inbox) -> Self {
        Self { clock, inbox, system, attempts: Arc::default() }
    }
}

impl Sink for ConnectSink {
    async fn send(&self, datagram: &[u8], to: Destination) -> Result<Stamp, TracerouteError> {
        let not_possible = TracerouteError::NotCapable {
            technique: "a probe that is no TCP SYN",
            family: Family::of(to.address),
            remedy: &"use another method",
        };
        let probe = Probe::of(datagram).ok_or(not_possible)?;
        let flow = (probe.local, probe.remote);
        let before = lock(&self.attempts).under_way.remove(&flow);
        if let Some(attempt) = before {
            // The next socket wants the port.
            attempt.end().await;
        }
        let begun = connect(self.system, self.clock, &probe, to).await;
        let (stamp, stream) = begun.map_err(|error| rejected(&error, to.address, datagram.len()))?;
        let waiting = Waiting {
            system: self.system,
            clock: self.clock,
            inbox: self.inbox.clone(),
            attempts: Arc::downgrade(&self.attempts),
        };
        // Its end is not to be noted before its beginning.
        let mut attempts = lock(&self.attempts);
        attempts.number += 1;
        let number = attempts.number;
        let task = tokio::spawn(waiting.wait(number, probe, stream));
        attempts.under_way.insert(flow, Attempt { number, task });
        Ok(stamp)
    }
}

/// What waits for the end of an attempt needs.
struct Waiting {
    system: System,
    clock: Clock,
    inbox: Inbox,
    attempts: Weak<Mutex<Attempts>>,
}

impl Waiting {
    async fn wait(self, number: u64, probe: Probe, stream: TcpStream) {
        let conclusion = conclusion(self.system, &stream, probe.remote.ip()).await;
        let stamp = Stamp::user(self.clock.now());
        // Before the answer lets the next probe ask for the port.
        drop(stream);
        if let Some(attempts) = self.attempts.upgrade() {
            let mut attempts = lock(&attempts);
            let flow = (probe.local, probe.remote);
            if attempts.under_way.get(&flow).is_some_and(|attempt| attempt.number == number) {
                attempts.under_way.remove(&flow);
            }
        }
        match conclusion {
            Conclusion::Answered(answer) => {
                if let Some(datagram) = answers::packet(&probe.datagram, &answer) {
                    let (direction, datagram) = (Direction::Received, datagram.into());
                    self.inbox.put(Packet { direction, stamp, datagram });
                }
            }
            Conclusion::Silent => {}
            Conclusion::Failed(errno) => warn!(errno, remote = %probe.remote, "a connection failed"),
        }
    }
}

fn lock(attempts: &Mutex<Attempts>) -> MutexGuard<'_, Attempts> {
    attempts.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A SYN that is to be made a connection.
struct Probe {
    local: SocketAddr,
    remote: SocketAddr,
    ttl: u8,
    datagram: Vec<u8>,
}

impl Probe {
    fn of(datagram: &[u8]) -> Option<Self> {
        let parsed = Datagram::parse(datagram)?;
        let segment = TcpSegment::parse(parsed.payload)?;
        let is_syn = parsed.header.protocol == protocol::TCP && segment.flags == TcpFlags::SYN;
        (is_syn && parsed.source().is_ipv4()).then(|| Self {
            local: (parsed.source(), segment.source_port).into(),
            remote: (parsed.destination(), segment.destination_port).into(),
            ttl: parsed.header.ttl,
            datagram: datagram.to_vec(),
        })
    }
}

/// Begins to connect; when that was. The system may not have the port back yet from the attempt before.
async fn connect(
    system: System,
    clock: Clock,
    probe: &Probe,
    to: Destination,
) -> io::Result<(Stamp, TcpStream)> {
    let started = Instant::now();
    loop {
        match try_to_connect(system, clock, probe, to) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && started.elapsed() < PORT_PATIENCE => {
                sleep(PORT_INTERVAL).await;
            }
            begun => return begun,
        }
    }
}

/// How long the port of a socket that has been closed is waited for, and how often it is asked for.
const PORT_PATIENCE: Duration = Duration::from_millis(100);
const PORT_INTERVAL: Duration = Duration::from_millis(2);

fn try_to_connect(
    system: System,
    clock: Clock,
    probe: &Probe,
    to: Destination,
) -> io::Result<(Stamp, TcpStream)> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    (system.fail_on_icmp_error)(&socket)?;
    if let Err(error) = send_syns_once(socket.as_socket()) {
        debug!(%error, "SYNs that nothing answers are sent again");
    }
    // Neither end is to be kept busy by a connection that nobody wants.
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_ttl_v4(probe.ttl.into())?;
    leave_through(&socket, to)?;
    socket.bind(&probe.local.into())?;
    let stamp = Stamp::user(clock.now());
    begin(&socket, to, probe.remote.port())?;
    Ok((stamp, TcpStream::from_std(socket.into())?))
}

/// Waits for the end of the attempt, and asks the socket, which outlives it, what it was.
async fn conclusion(system: System, stream: &TcpStream, target: IpAddr) -> Conclusion {
    let ended = match stream.writable().await {
        Ok(()) => (system.end)(stream),
        Err(error) => Err(error),
    };
    match ended {
        Ok(error) => conclude(target, error.as_ref().map(number), || (system.icmp_error)(stream)),
        Err(error) => Conclusion::Failed(number(&error)),
    }
}

/// Winsock's.
fn number(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or_default()
}

fn rejected(error: &io::Error, target: IpAddr, length: usize) -> TracerouteError {
    match error.raw_os_error() {
        Some(WSAENOPROTOOPT) => TracerouteError::NotCapable {
            technique: "syn_socket",
            family: Family::V4,
            remedy: &"it needs version 2004 of Windows 10, Windows Server 2022, or later: use another method",
        },
        _ => not_sent(error, target, length),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use traceroute_core::Source;
    use traceroute_wire::{IcmpErrorKind, IcmpMessage};

    use super::super::testing::{self, loopback, loopback_header, told};
    use super::*;

    /// Without what Wine does not know, and loopback does not need.
    const WITHOUT_THE_OPTION: System = System {
        fail_on_icmp_error: |_| Ok(()),
        end: TcpStream::take_error,
        icmp_error: |_| panic!("no attempt ends with an ICMP error"),
    };

    /// As after a time exceeded of 203.0.113.3, whose `ICMP_ERROR_INFO` this is.
    const EXPIRED: System = System {
        fail_on_icmp_error: |_| Ok(()),
        end: |_| Ok(Some(io::Error::from_raw_os_error(10_065))),
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

    /// An attempt that nobody answers is under way when the next one wants its port.
    #[tokio::test]
    async fn the_probe_behind_a_silent_one_has_its_port() {
        let inbox = Inbox::new();
        let mut source = inbox.source(Inbox::up_to_date);
        let clock = Clock::since(Instant::now());
        let sink = ConnectSink::with(WITHOUT_THE_OPTION, clock, inbox.clone());
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let (local, open) = (free_port(), listener.local_addr().expect("it is bound").port());
        let datagram = syn(local, open, 70);
        let probe = Probe::of(&datagram).expect("a SYN");
        let flow = (probe.local, probe.remote);
        let (_, stream) = connect(sink.system, clock, &probe, loopback()).await.expect("begun");
        let silent = tokio::spawn(async move {
            std::future::pending::<()>().await;
            drop(stream);
        });
        lock(&sink.attempts).under_way.insert(flow, Attempt { number: 0, task: silent });
        sink.send(&syn(local, open, 71), loopback()).await.expect("the port is free again");
        assert_eq!(next(&mut source).await, (TcpFlags::SYN | TcpFlags::ACK, 72));
    }

    #[test]
    fn a_system_that_is_too_old_is_told_so() {
        let old = io::Error::from_raw_os_error(WSAENOPROTOOPT);
        let error = rejected(&old, Ipv4Addr::LOCALHOST.into(), 40).to_string();
        assert!(error.contains("syn_socket") && error.contains("version 2004"), "{error}");
    }
}
