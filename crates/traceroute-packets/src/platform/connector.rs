//! Connections, by sockets that are reset when they close.

use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::time::Duration;

use socket2::{SockAddr, Socket};
use tokio::net::TcpStream;
use traceroute_core::{ConnectFailure, Destination, Operation, TracerouteError};

use super::errors::{kind, refused};
use super::imp;
use super::sockets::{socket_address, zone};
use crate::host::{ConnectError, Connecting, Connection, Connector};

/// A socket bound to its port.
#[derive(Debug)]
pub(super) struct SocketConnector(Socket);

impl SocketConnector {
    pub(super) const fn new(socket: Socket) -> Self {
        Self(socket)
    }
}

impl Connector for SocketConnector {
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
    imp::sockets::leave_through(&socket, to).map_err(here)?;
    mark(&socket, to.address, traffic_class).map_err(here)?;
    if to.address.is_ipv6() {
        imp::sockets::leave_unlabelled(&socket);
    }
    begin(&socket, to, port).map_err(|error| at_once(&error, to))?;
    let stream = TcpStream::from_std(socket.into()).map_err(here)?;
    stream.writable().await.map_err(here)?;
    match stream.take_error().map_err(here)? {
        // A connection that is reset has been made: one that is not is refused (`tcp_reset`, net/ipv4/tcp_input.c).
        Some(error) if error.kind() != ErrorKind::ConnectionReset => {
            Err(ConnectError::Network(failure(&error)))
        }
        _ => Ok(Box::new(stream)),
    }
}

/// Begins to connect without waiting for the end.
pub(super) fn begin(socket: &Socket, to: Destination, port: u16) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let address = SockAddr::from(socket_address(to.address, port, zone(to)));
    match socket.connect(&address) {
        Err(error) if error.raw_os_error() != Some(imp::sockets::CONNECTING) => Err(error),
        _ => Ok(()),
    }
}

/// Lets all segments have this type of service or traffic class, as the probes do. TCP keeps the lower two bits for itself
/// (`do_ip_setsockopt`, `net/ipv4/ip_sockglue.c`).
fn mark(socket: &Socket, to: IpAddr, traffic_class: u8) -> io::Result<()> {
    match to {
        IpAddr::V4(_) => socket.set_tos_v4(traffic_class.into()),
        IpAddr::V6(_) => imp::sockets::set_traffic_class_v6(socket, traffic_class),
    }
}

/// An error without anything having been sent is this host's.
fn at_once(error: &io::Error, to: Destination) -> ConnectError {
    let target = to.address;
    ConnectError::Host(match kind(error) {
        // Loopback answers before `connect` returns.
        ErrorKind::ConnectionRefused => return ConnectError::Network(ConnectFailure::Refused),
        ErrorKind::PermissionDenied => TracerouteError::SendRejected { target },
        ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => {
            TracerouteError::NetworkUnreachable { target }
        }
        ErrorKind::HostUnreachable => TracerouteError::HostUnreachable { target },
        _ => refused(Operation::Connect, error),
    })
}

fn failure(error: &io::Error) -> ConnectFailure {
    match kind(error) {
        ErrorKind::ConnectionRefused => ConnectFailure::Refused,
        ErrorKind::TimedOut => ConnectFailure::TimedOut,
        // Nothing of this host's: that would have been known at once (`icmpv6_err_convert`, net/ipv6/icmp.c of Linux). XNU says
        // that the target refused instead (`inetctlerrmap`, bsd/netinet/ip_input.c).
        ErrorKind::PermissionDenied => ConnectFailure::Prohibited,
        ErrorKind::HostUnreachable => ConnectFailure::HostUnreachable,
        ErrorKind::NetworkUnreachable => ConnectFailure::NetworkUnreachable,
        _ => ConnectFailure::Other(error.raw_os_error().unwrap_or_default()),
    }
}
