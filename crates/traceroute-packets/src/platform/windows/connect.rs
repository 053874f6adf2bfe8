//! Connections with a limited TTL, whose ICMP errors Windows tells to everybody (`TCP_FAIL_CONNECT_ON_ICMP_ERROR`): version 2004
//! of Windows 10, Windows Server 2022, and later.
//!
//! Each probe is a connection of its own from the port of its run. Since one port can have only one connection to a target at a
//! time, what the next probe finds of the one before ends; so a run sends one probe at a time. Windows is asked to send each SYN once
//! (`SIO_TCP_INITIAL_RTO`): otherwise it would ask a closed port again and again, and measure what was lost together with what
//! was not. A version that does not know how sends them again, and the first answer counts.

mod attempts;

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::windows::io::AsSocket;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use traceroute_core::{Destination, Family, Operation, Sink, Stamp, TracerouteError};
use traceroute_wire::{Datagram, TcpFlags, TcpSegment, protocol};
use tracing::debug;
use windows_sys::Win32::Networking::WinSock::{
    ICMP_ERROR_INFO, IPPROTO_TCP, TCP_FAIL_CONNECT_ON_ICMP_ERROR, TCP_ICMP_ERROR_INFO, WSAENOPROTOOPT,
};

use self::attempts::Attempts;
use super::sockets::leave_through;
use super::sys::sockets::{option, send_syns_once, set_option};
use crate::clock::Clock;
use crate::inbox::Inbox;
use crate::platform::connector::begin;
use crate::platform::errors::{not_sent, refused};

/// Connects, and puts what that comes to into an inbox.
pub(super) struct ConnectSink {
    clock: Clock,
    system: System,
    attempts: Attempts,
}

/// What of the system's is asked of sockets that connect.
#[derive(Clone, Copy)]
struct System {
    /// Lets the next ICMP error end the attempt.
    fail_on_icmp_error: fn(&Socket) -> io::Result<()>,
    /// How it has ended.
    end: fn(&TcpStream) -> io::Result<End>,
    /// The bytes of the ICMP error that has ended it, or Winsock's number of why there are none.
    icmp_error: fn(&TcpStream) -> Result<Vec<u8>, i32>,
}

/// How an attempt to connect has ended. A socket tells an error once only.
#[derive(Debug)]
enum End {
    NotYet,
    Connected,
    Failed(io::Error),
}

impl System {
    const WINDOWS: Self = Self {
        fail_on_icmp_error: |socket| {
            set_option(socket.as_socket(), IPPROTO_TCP, TCP_FAIL_CONNECT_ON_ICMP_ERROR, 1)
        },
        end: |stream| {
            Ok(match stream.take_error()? {
                Some(error) => End::Failed(error),
                None if stream.peer_addr().is_ok() => End::Connected,
                None => End::NotYet,
            })
        },
        icmp_error: |stream| {
            option::<{ size_of::<ICMP_ERROR_INFO>() }>(stream.as_socket(), IPPROTO_TCP, TCP_ICMP_ERROR_INFO)
                .map_err(|error| number(&error))
        },
    };
}

impl ConnectSink {
    pub(super) fn new(clock: Clock, inbox: Inbox) -> Self {
        Self::with(System::WINDOWS, clock, inbox)
    }

    fn with(system: System, clock: Clock, inbox: Inbox) -> Self {
        Self { clock, system, attempts: Attempts::new(system, clock, inbox) }
    }

    /// Lets an inbox be told when all is in it that connections have come to by then.
    pub(super) fn catch_up(&self) -> impl FnMut(&Inbox) + Send + use<> {
        let attempts = self.attempts.watcher();
        move |inbox| {
            attempts.look();
            inbox.up_to_date();
        }
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
        // The next socket wants the port.
        self.attempts.end(probe.flow()).await;
        let begun = connect(self.system, self.clock, &probe, to).await;
        let (stamp, stream) = begun.map_err(|error| rejected(&error, to.address, datagram.len()))?;
        self.attempts.begun(probe, stream);
        Ok(stamp)
    }
}

/// Both ends of a connection, ours first.
type Flow = (SocketAddr, SocketAddr);

/// A SYN that is to be made a connection.
struct Probe {
    local: SocketAddr,
    remote: SocketAddr,
    ttl: u8,
    datagram: Vec<u8>,
}

impl Probe {
    fn flow(&self) -> Flow {
        (self.local, self.remote)
    }

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
        // Somebody else has taken it, which says nothing of the target.
        _ if error.kind() == ErrorKind::AddrInUse => refused(Operation::ReservePort, error),
        _ => not_sent(error, target, length),
    }
}

#[cfg(test)]
mod tests;
