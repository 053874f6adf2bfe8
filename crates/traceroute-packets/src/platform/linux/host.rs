//! Routes and ports, by ordinary sockets.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

use socket2::{Domain, Socket, Type};
use traceroute_core::{Destination, Operation, Protocol, TracerouteError};

use super::namespace::Namespace;
use super::{refused, sys};
use crate::host::{Host, Job, PortHold};

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
    fn source_address(&self, to: Destination) -> Result<IpAddr, TracerouteError> {
        self.namespace.run(move || route(to))?.map_err(|error| no_route(&error, to))
    }

    fn interface_index(&self, zone: &str) -> Result<Option<u32>, TracerouteError> {
        let zone = zone.to_owned();
        self.namespace.run(move || sys::interface_index(&zone))
    }

    fn spawn(&self, job: Job) -> Result<(), TracerouteError> {
        self.namespace.spawn("blocking", job)
    }

    fn hold_port(
        &self,
        protocol: Protocol,
        source: IpAddr,
        scope_id: u32,
        port: u16,
    ) -> Result<Option<PortHold>, TracerouteError> {
        let kind = match protocol {
            Protocol::Udp => Type::DGRAM,
            // Echo ids are no ports.
            Protocol::Icmp => return Ok(Some(Box::new(()))),
        };
        match self.namespace.run(move || bind(kind, socket_address(source, port, scope_id)))? {
            Ok(socket) => Ok(Some(Box::new(socket))),
            Err(error) => match error.raw_os_error() {
                Some(libc::EADDRINUSE | libc::EACCES) => Ok(None),
                _ => Err(refused(Operation::ReservePort, &error)),
            },
        }
    }
}

/// The address that the kernel would send from: what a connected datagram socket is bound to. Nothing is sent.
fn route(to: Destination) -> io::Result<IpAddr> {
    let (any, port): (IpAddr, _) = match to.address {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED.into(), 9),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED.into(), 9),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(socket_address(to.address, port, to.scope_id))?;
    Ok(socket.local_addr()?.ip())
}

fn no_route(error: &io::Error, to: Destination) -> TracerouteError {
    let target = to.address;
    let link_local = matches!(target, IpAddr::V6(address) if address.is_unicast_link_local());
    match error.raw_os_error() {
        Some(libc::EINVAL) if link_local && to.scope_id == 0 => TracerouteError::ScopeMissing { target },
        Some(libc::ENETUNREACH | libc::ENETDOWN) => TracerouteError::NetworkUnreachable { target },
        Some(libc::EHOSTUNREACH) => TracerouteError::HostUnreachable { target },
        Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT) => TracerouteError::NoSourceAddress { target },
        // A `prohibit` route.
        Some(libc::EACCES | libc::EPERM) => TracerouteError::SendRejected { target },
        _ => refused(Operation::FindRoute, error),
    }
}

fn bind(kind: Type, address: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, kind, None)?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(true)?;
    }
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn socket_address(address: IpAddr, port: u16, scope_id: u32) -> SocketAddr {
    match address {
        IpAddr::V4(address) => (address, port).into(),
        IpAddr::V6(address) => SocketAddrV6::new(address, port, 0, scope_id).into(),
    }
}
