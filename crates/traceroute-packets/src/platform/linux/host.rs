//! Routes and ports, by ordinary sockets.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::AsFd;

use socket2::{Domain, Socket, Type};
use traceroute_core::{Destination, Operation, Protocol, TracerouteError};

use super::connector::LinuxConnector;
use super::namespace::Namespace;
use super::{refused, sys};
use crate::host::{Connector, Host, Job, PortHold};

/// The least receive buffer the kernel gives: what arrives at a held port is read from the capture.
const RECEIVE_BUFFER: usize = 1;

#[derive(Debug)]
pub(super) struct LinuxHost {
    namespace: Namespace,
}

impl LinuxHost {
    pub(super) const fn new(namespace: Namespace) -> Self {
        Self { namespace }
    }
}

impl Host for LinuxHost {
    fn source_address(
        &self,
        protocol: Protocol,
        to: Destination,
        port: u16,
    ) -> Result<IpAddr, TracerouteError> {
        self.namespace.run(move || {
            route(protocol, to, port, false).map_err(|error| {
                let forbidden = error.raw_os_error() == Some(libc::EACCES);
                if forbidden && route(protocol, to, port, true).is_ok() {
                    return TracerouteError::Broadcast { target: to.address };
                }
                no_route(&error, to)
            })
        })?
    }

    fn interface_index(&self, zone: &str) -> Result<Option<u32>, TracerouteError> {
        let zone = zone.to_owned();
        self.namespace.run(move || sys::interface_index(&zone))
    }

    fn spawn(&self, job: Job) -> Result<(), TracerouteError> {
        self.namespace.spawn("blocking", job)
    }

    fn inside(&self, job: Job) -> Result<(), TracerouteError> {
        self.namespace.run(job)
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
            // Bound, but not listening: the kernel resets what the target half opens.
            Protocol::Tcp => Type::STREAM,
            // Echo ids are no ports.
            Protocol::Icmp => return Ok(Some(Box::new(()))),
        };
        let socket = self.bind(kind, source, to, port)?;
        Ok(socket.map(|socket| -> PortHold { Box::new(socket) }))
    }

    fn open_connector(
        &self,
        source: IpAddr,
        to: Destination,
        port: u16,
    ) -> Result<Option<Box<dyn Connector>>, TracerouteError> {
        let socket = self.bind(Type::STREAM, source, to, port)?;
        Ok(socket.map(|socket| -> Box<dyn Connector> { Box::new(LinuxConnector::new(socket)) }))
    }
}

impl LinuxHost {
    /// A socket with this port of `source`; `None` if somebody else has it.
    fn bind(
        &self,
        kind: Type,
        source: IpAddr,
        to: Destination,
        port: u16,
    ) -> Result<Option<Socket>, TracerouteError> {
        match self.namespace.run(move || bind(kind, source, port, to))? {
            Ok(socket) => Ok(Some(socket)),
            Err(error) => match error.raw_os_error() {
                Some(libc::EADDRINUSE) => Ok(None),
                Some(libc::EADDRNOTAVAIL) => {
                    Err(TracerouteError::SourceAddressGone { source_address: source, target: to.address })
                }
                _ => Err(refused(Operation::ReservePort, &error)),
            },
        }
    }
}

/// The address that the kernel would send from, to a broadcast address too if asked for: what a connected socket of the
/// protocol is bound to, since routing rules may go by protocol and port. Nothing is sent.
fn route(protocol: Protocol, to: Destination, port: u16, broadcast: bool) -> io::Result<IpAddr> {
    let address = socket_address(to.address, port, zone(to));
    let domain = Domain::for_address(address);
    let socket = match (protocol, domain) {
        (Protocol::Udp, _) => Socket::new(domain, Type::DGRAM, None)?,
        (Protocol::Icmp, Domain::IPV4) => Socket::new(domain, Type::RAW, Some(socket2::Protocol::ICMPV4))?,
        (Protocol::Icmp, _) => Socket::new(domain, Type::RAW, Some(socket2::Protocol::ICMPV6))?,
        // A connected TCP socket would have sent something.
        (Protocol::Tcp, _) => Socket::new(domain, Type::RAW, Some(socket2::Protocol::TCP))?,
    };
    socket.set_broadcast(broadcast)?;
    leave_through(&socket, to)?;
    if let Some(source) = to.source {
        socket.bind(&socket_address(source, 0, to.interface).into())?;
    }
    socket.connect(&address.into())?;
    if let Some(source) = to.source
        && is_broadcast(source)?
    {
        return Err(io::Error::from_raw_os_error(libc::EADDRNOTAVAIL));
    }
    let local = socket.local_addr()?.as_socket();
    local.map(|local| local.ip()).ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

/// Whether an address is that of all hosts of a network, which the kernel lets sockets be bound to, but not connect to unless
/// they say that they mean it (`ip4_datagram_connect`, net/ipv4/datagram.c).
fn is_broadcast(address: IpAddr) -> io::Result<bool> {
    if address.is_ipv6() {
        return Ok(false);
    }
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    let connected = socket.connect(&socket_address(address, 9, 0).into());
    Ok(connected.is_err_and(|error| error.raw_os_error() == Some(libc::EACCES)))
}

fn no_route(error: &io::Error, to: Destination) -> TracerouteError {
    let target = to.address;
    let link_local = matches!(target, IpAddr::V6(address) if address.is_unicast_link_local());
    if let (Some(libc::EADDRNOTAVAIL), Some(source_address)) = (error.raw_os_error(), to.source) {
        return TracerouteError::ForeignSource { source_address };
    }
    match error.raw_os_error() {
        Some(libc::EINVAL) if link_local && to.interface == 0 => TracerouteError::ScopeMissing { target },
        // A `blackhole` route is EINVAL.
        Some(libc::ENETUNREACH | libc::ENETDOWN | libc::EINVAL) => {
            TracerouteError::NetworkUnreachable { target }
        }
        Some(libc::EHOSTUNREACH) => TracerouteError::HostUnreachable { target },
        Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT) => TracerouteError::NoSourceAddress { target },
        // A `prohibit` route.
        Some(libc::EACCES | libc::EPERM) => TracerouteError::SendRejected { target },
        _ => refused(Operation::FindRoute, error),
    }
}

/// Lets what a socket sends leave through the interface that was asked for.
pub(super) fn leave_through(socket: &Socket, to: Destination) -> io::Result<()> {
    match libc::c_int::try_from(to.interface) {
        Ok(0) => Ok(()),
        Ok(index) => sys::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX, index),
        Err(_) => Err(io::Error::from_raw_os_error(libc::ENODEV)),
    }
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
