//! Connections with a limited TTL, whose ICMP errors Windows tells to everybody (`TCP_FAIL_CONNECT_ON_ICMP_ERROR`): version 2004
//! of Windows 10, Windows Server 2022, and later.
//!
//! Each probe is a connection of its own from the port of its run. Since one port can have only one connection to a target at a
//! time, what the next probe finds of the one before ends; so a run sends one probe at a time. Windows sends the SYN of a connection
//! again when nothing answers, as it does for all; the first answer counts.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::windows::io::AsSocket;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use traceroute_core::{Destination, Direction, Sink, Stamp, TracerouteError};
use traceroute_wire::{Datagram, TcpFlags, TcpSegment, protocol};
use tracing::debug;
use windows_sys::Win32::Networking::WinSock::{
    ICMP_ERROR_INFO, IPPROTO_TCP, TCP_FAIL_CONNECT_ON_ICMP_ERROR, TCP_ICMP_ERROR_INFO, WSAENOPROTOOPT,
};

use super::answers;
use super::conclusion::{Conclusion, conclude};
use super::leave_through;
use super::sys::sockets::{option, set_option};
use crate::clock::Clock;
use crate::inbox::{Inbox, Packet};
use crate::platform::connector::begin;
use crate::platform::errors::not_sent;

/// Connects, and puts what that comes to into an inbox.
pub(super) struct ConnectSink {
    clock: Clock,
    inbox: Inbox,
    attempts: Arc<Mutex<Attempts>>,
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
    task: AbortHandle,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ConnectSink {
    pub(super) fn new(clock: Clock, inbox: Inbox) -> Self {
        Self { clock, inbox, attempts: Arc::default() }
    }
}

impl Sink for ConnectSink {
    async fn send(&self, datagram: &[u8], to: Destination) -> Result<Stamp, TracerouteError> {
        let not_possible = TracerouteError::NotCapable {
            technique: "a probe that is no TCP SYN",
            family: if to.address.is_ipv4() { "IPv4" } else { "IPv6" },
            remedy: "use another method",
        };
        let probe = Probe::of(datagram).ok_or(not_possible)?;
        let flow = (probe.local, probe.remote);
        let number = {
            let mut attempts = lock(&self.attempts);
            // The port is free again before the next socket asks for it.
            attempts.under_way.remove(&flow);
            attempts.number += 1;
            attempts.number
        };
        let stamp = Stamp::user(self.clock.now());
        let stream = connect(&probe, to).map_err(|error| rejected(&error, to.address, datagram.len()))?;
        let (clock, inbox, attempts) = (self.clock, self.inbox.clone(), Arc::downgrade(&self.attempts));
        let task = tokio::spawn(async move {
            let conclusion = conclusion(&stream, probe.remote.ip()).await;
            let stamp = Stamp::user(clock.now());
            match conclusion {
                Conclusion::Answered(answer) => {
                    if let Some(datagram) = answers::packet(&probe.datagram, &answer) {
                        inbox.put(Packet {
                            direction: Direction::Received,
                            stamp,
                            datagram: datagram.into(),
                        });
                    }
                }
                Conclusion::Silent => {}
                Conclusion::Failed(errno) => debug!(errno, remote = %probe.remote, "a connection failed"),
            }
            if let Some(attempts) = attempts.upgrade() {
                let mut attempts = lock(&attempts);
                if attempts.under_way.get(&flow).is_some_and(|attempt| attempt.number == number) {
                    attempts.under_way.remove(&flow);
                }
            }
        });
        lock(&self.attempts).under_way.insert(flow, Attempt { number, task: task.abort_handle() });
        Ok(stamp)
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
    traffic_class: u8,
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
            traffic_class: parsed.header.traffic_class,
            datagram: datagram.to_vec(),
        })
    }
}

/// Begins to connect.
fn connect(probe: &Probe, to: Destination) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    set_option(socket.as_socket(), IPPROTO_TCP, TCP_FAIL_CONNECT_ON_ICMP_ERROR, 1)?;
    // Neither end is to be kept busy by a connection that nobody wants.
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_ttl_v4(probe.ttl.into())?;
    socket.set_tos_v4(probe.traffic_class.into())?;
    leave_through(&socket, to)?;
    socket.bind(&probe.local.into())?;
    begin(&socket, to, probe.remote.port())?;
    TcpStream::from_std(socket.into())
}

/// Waits for the end of the attempt, and asks the socket, which outlives it, what it was.
async fn conclusion(stream: &TcpStream, target: IpAddr) -> Conclusion {
    let number = |error: io::Error| error.raw_os_error().unwrap_or_default();
    let ended = match stream.writable().await {
        Ok(()) => stream.take_error(),
        Err(error) => Err(error),
    };
    match ended {
        Ok(error) => conclude(target, error.map(number), || {
            option::<{ size_of::<ICMP_ERROR_INFO>() }>(stream.as_socket(), IPPROTO_TCP, TCP_ICMP_ERROR_INFO)
                .map_err(number)
        }),
        Err(error) => Conclusion::Failed(number(error)),
    }
}

fn rejected(error: &io::Error, target: IpAddr, length: usize) -> TracerouteError {
    match error.raw_os_error() {
        Some(WSAENOPROTOOPT) => TracerouteError::NotCapable {
            technique: "syn_socket",
            family: "IPv4",
            remedy: "it needs version 2004 of Windows 10, Windows Server 2022, or later: use another method",
        },
        _ => not_sent(error, target, length),
    }
}
