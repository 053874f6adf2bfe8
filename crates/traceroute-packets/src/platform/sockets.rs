//! Routes and ports, by ordinary sockets.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use socket2::{Domain, Socket, Type};
use traceroute_core::{Destination, Operation, Protocol, TracerouteError};

use super::connector::SocketConnector;
use super::errors::{no_route, refused};
use super::imp;
use crate::host::{Connector, Host, Job, PortHold};

/// The least receive buffer that systems give: what arrives at a held port is read from the capture.
const RECEIVE_BUFFER: usize = 1;

/// Where sockets are made.
pub(super) trait Place: Send + Sync {
    /// Runs `job` there and waits for what it returns. It does not block.
    fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, TracerouteError>;

    /// Runs a job that may block there, on a thread of its own.
    fn spawn(&self, name: &str, job: Job) -> Result<(), TracerouteError>;
}

/// The routes and ports that sockets in a place get.
#[derive(Debug)]
pub(super) struct SocketHost<P> {
    place: P,
    /// Keeps the port of a run's probes by the socket that has it.
    keep: fn(Socket) -> PortHold,
}

impl<P: Place> SocketHost<P> {
    pub(super) const fn new(place: P, keep: fn(Socket) -> PortHold) -> Self {
        Self { place, keep }
    }

    /// A socket with this port of `source`; `None` if somebody else has it.
    fn bind(
        &self,
        kind: Type,
        source: IpAddr,
        to: Destination,
        port: u16,
    ) -> Result<Option<Socket>, TracerouteError> {
        match self.place.run(move || bind(kind, source, port, to))? {
            Ok(socket) => Ok(Some(socket)),
            Err(error)
                if imp::sockets::PORT_WITHHELD.is_some_and(|errno| error.raw_os_error() == Some(errno)) =>
            {
                Ok(None)
            }
            Err(error) => match error.kind() {
                ErrorKind::AddrInUse => Ok(None),
                ErrorKind::AddrNotAvailable => {
                    Err(TracerouteError::SourceAddressGone { source_address: source, target: to.address })
                }
                _ => Err(refused(Operation::ReservePort, &error)),
            },
        }
    }
}

impl<P: Place> Host for SocketHost<P> {
    fn source_address(
        &self,
        protocol: Protocol,
        to: Destination,
        port: u16,
    ) -> Result<IpAddr, TracerouteError> {
        self.place.run(move || {
            route(protocol, to, port, false).map_err(|error| {
                if error.kind() == ErrorKind::PermissionDenied && route(protocol, to, port, true).is_ok() {
                    return TracerouteError::Broadcast { target: to.address };
                }
                no_route(&error, to)
            })
        })?
    }

    fn interface_index(&self, zone: &str) -> Result<Option<u32>, TracerouteError> {
        let zone = zone.to_owned();
        self.place.run(move || imp::sockets::interface_index(&zone))
    }

    fn spawn(&self, job: Job) -> Result<(), TracerouteError> {
        self.place.spawn("blocking", job)
    }

    fn inside(&self, job: Job) -> Result<(), TracerouteError> {
        self.place.run(job)
    }

    fn hold_port(
        &self,
        protocol: Protocol,
        source: IpAddr,
        to: Destination,
        port: u16,
    ) -> Result<Option<PortHold>, TracerouteError> {
        let kind = match protocol {
            Protocol::Udp => Type::DGRAM,
            Protocol::Tcp => Type::STREAM,
            // Echo ids are no ports.
            Protocol::Icmp => return Ok(Some(Box::new(()))),
        };
        let Some(socket) = self.bind(kind, source, to, port)? else { return Ok(None) };
        let begun = listen_if(imp::sockets::HELD_PORTS_LISTEN && protocol == Protocol::Tcp, &socket);
        begun.map_err(|error| refused(Operation::ReservePort, &error))?;
        Ok(Some((self.keep)(socket)))
    }

    fn open_connector(
        &self,
        source: IpAddr,
        to: Destination,
        port: u16,
    ) -> Result<Option<Box<dyn Connector>>, TracerouteError> {
        let socket = self.bind(Type::STREAM, source, to, port)?;
        Ok(socket.map(|socket| -> Box<dyn Connector> { Box::new(SocketConnector::new(socket)) }))
    }
}

/// Lets a socket listen, where nothing else makes the kernel reset what a target half opens toward its port: an acknowledgement
/// of what a listener has not sent is reset (RFC 9293 section 3.10.7.2).
fn listen_if(needed: bool, socket: &Socket) -> io::Result<()> {
    if needed { socket.listen(1) } else { Ok(()) }
}

/// The address that the kernel would send from, to a broadcast address too if asked for: what a connected socket of the
/// protocol is bound to, since routing rules may go by protocol and port. Nothing is sent.
fn route(protocol: Protocol, to: Destination, port: u16, broadcast: bool) -> io::Result<IpAddr> {
    let address = socket_address(to.address, port, zone(to));
    let socket = imp::sockets::routed_socket(protocol, Domain::for_address(address))?;
    socket.set_broadcast(broadcast)?;
    imp::sockets::leave_through(&socket, to)?;
    if let Some(source) = to.source {
        socket.bind(&socket_address(source, 0, to.interface).into())?;
    }
    socket.connect(&address.into())?;
    if let Some(source) = to.source
        && is_broadcast(source)?
    {
        return Err(ErrorKind::AddrNotAvailable.into());
    }
    let local = socket.local_addr()?.as_socket();
    local.map(|local| local.ip()).ok_or_else(|| ErrorKind::AddrNotAvailable.into())
}

/// Whether an address is that of all hosts of a network, which the kernel lets sockets be bound to, but not connect to unless
/// they say that they mean it (`ip4_datagram_connect`, net/ipv4/datagram.c).
fn is_broadcast(address: IpAddr) -> io::Result<bool> {
    if address.is_ipv6() {
        return Ok(false);
    }
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    let connected = socket.connect(&socket_address(address, 9, 0).into());
    Ok(connected.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied))
}

fn bind(kind: Type, source: IpAddr, port: u16, to: Destination) -> io::Result<Socket> {
    let address = socket_address(source, port, to.interface);
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, kind, None)?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(true)?;
    }
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// The zone that an IPv6 address needs: only a link-local one may have one.
pub(super) fn zone(to: Destination) -> u32 {
    match to.address {
        IpAddr::V6(address) if address.is_unicast_link_local() => to.interface,
        _ => 0,
    }
}

pub(super) fn socket_address(address: IpAddr, port: u16, scope_id: u32) -> SocketAddr {
    match address {
        IpAddr::V4(address) => (address, port).into(),
        IpAddr::V6(address) => SocketAddrV6::new(address, port, 0, scope_id).into(),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn a_held_port_listens_where_that_is_needed_alone() {
        for needed in [false, true] {
            let socket = bind(Type::STREAM, LOOPBACK, 0, Destination::routed(LOOPBACK)).expect("a port");
            listen_if(needed, &socket).expect("a bound socket may listen");
            assert_eq!(socket.is_listener().expect("an option of every socket"), needed);
        }
    }
}
