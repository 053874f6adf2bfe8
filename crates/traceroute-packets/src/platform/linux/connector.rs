//! Connections, by sockets that are reset when they close.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use socket2::{SockAddr, SockRef, Socket};
use tokio::io::Interest;
use traceroute_core::{ConnectFailure, Destination, Operation, TracerouteError};

use super::host::{leave_through, socket_address, zone};
use super::{refused, sys};
use crate::host::{ConnectError, Connecting, Connection, Connector};

/// A socket bound to its port.
#[derive(Debug)]
pub(super) struct LinuxConnector(Socket);

impl LinuxConnector {
    pub(super) const fn new(socket: Socket) -> Self {
        Self(socket)
    }
}

impl Connector for LinuxConnector {
    fn connect(self: Box<Self>, to: Destination, port: u16, traffic_class: u8) -> Connecting {
        Box::pin(connect(self.0, to, port, traffic_class))
    }
}

async fn connect(
    socket: Socket,
    to: Destination,
    port: u16,
    traffic_class: u8,
) -> Result<Connection, ConnectError> {
    let here = |error: io::Error| ConnectError::Host(refused(Operation::Connect, &error));
    // Whoever closes it, and be it the kernel at the end of a killed process, resets the connection (socket(7)).
    socket.set_linger(Some(Duration::ZERO)).map_err(here)?;
    socket.set_nonblocking(true).map_err(here)?;
    leave_through(&socket, to).map_err(here)?;
    mark(&socket, to.address, traffic_class).map_err(here)?;
    let address = SockAddr::from(socket_address(to.address, port, zone(to)));
    match socket.connect(&address) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(at_once(&error, to)),
        _ => {}
    }
    let socket = sys::register(OwnedFd::from(socket), Interest::WRITABLE).map_err(here)?;
    let _ready = socket.writable().await.map_err(here)?;
    match SockRef::from(socket.get_ref()).take_error().map_err(here)? {
        // A connection that is reset has been made: one that is not is refused (`tcp_reset`, net/ipv4/tcp_input.c).
        Some(error) if error.raw_os_error() != Some(libc::ECONNRESET) => {
            Err(ConnectError::Network(failure(&error)))
        }
        _ => Ok(Box::new(socket)),
    }
}

/// Lets all segments have this type of service or traffic class, as the probes do. TCP keeps the lower two bits for itself
/// (`do_ip_setsockopt`, `net/ipv4/ip_sockglue.c`).
fn mark(socket: &Socket, to: IpAddr, traffic_class: u8) -> io::Result<()> {
    match to {
        IpAddr::V4(_) => socket.set_tos_v4(traffic_class.into()),
        IpAddr::V6(_) => socket.set_tclass_v6(traffic_class.into()),
    }
}

/// An error without anything having been sent is this host's.
fn at_once(error: &io::Error, to: Destination) -> ConnectError {
    let target = to.address;
    ConnectError::Host(match error.raw_os_error() {
        // Loopback answers before `connect` returns.
        Some(libc::ECONNREFUSED) => return ConnectError::Network(ConnectFailure::Refused),
        Some(libc::EACCES | libc::EPERM) => TracerouteError::SendRejected { target },
        Some(libc::ENETUNREACH | libc::ENETDOWN) => TracerouteError::NetworkUnreachable { target },
        Some(libc::EHOSTUNREACH | libc::EHOSTDOWN) => TracerouteError::HostUnreachable { target },
        _ => refused(Operation::Connect, error),
    })
}

fn failure(error: &io::Error) -> ConnectFailure {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => ConnectFailure::Refused,
        Some(libc::ETIMEDOUT) => ConnectFailure::TimedOut,
        // Nothing of this host's: that would have been known at once (`icmpv6_err_convert`, net/ipv6/icmp.c).
        Some(libc::EACCES | libc::EPERM) => ConnectFailure::Prohibited,
        Some(libc::EHOSTUNREACH | libc::EHOSTDOWN) => ConnectFailure::HostUnreachable,
        Some(libc::ENETUNREACH) => ConnectFailure::NetworkUnreachable,
        errno => ConnectFailure::Other(errno.unwrap_or_default()),
    }
}
