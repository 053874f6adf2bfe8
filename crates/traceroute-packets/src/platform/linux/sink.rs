//! The sinks: one raw socket a family, with the IP header included.

use std::io;
use std::net::{IpAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, OwnedFd};

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use traceroute_core::{Destination, Operation, Sink, Stamp, TracerouteError};

use super::namespace::Namespace;
use super::sys;
use crate::clock::Clock;
use crate::platform::errors::{not_sent, refused};
use crate::platform::sockets::{Place, zone};
use crate::platform::unix;

/// Raw sockets of a network namespace.
#[derive(Debug)]
pub(super) struct LinuxSink {
    clock: Clock,
    v4: AsyncFd<OwnedFd>,
    /// `None` where the kernel has no IPv6.
    v6: Option<AsyncFd<OwnedFd>>,
}

impl LinuxSink {
    pub(super) fn open(clock: Clock, namespace: &Namespace) -> Result<Self, TracerouteError> {
        let open = |domain| {
            let socket = namespace.run(move || open_socket(domain))?;
            let socket = socket.and_then(|socket| unix::register(socket, Interest::WRITABLE));
            socket.map(Some).or_else(|error| match error.raw_os_error() {
                Some(libc::EAFNOSUPPORT) => Ok(None),
                _ => Err(refused(Operation::OpenRawSocket, &error)),
            })
        };
        let v4 = open(Domain::IPV4)?.ok_or(TracerouteError::System {
            operation: Operation::OpenRawSocket,
            errno: libc::EAFNOSUPPORT,
        })?;
        Ok(Self { clock, v4, v6: open(Domain::IPV6)? })
    }
}

impl Sink for LinuxSink {
    async fn send(&self, datagram: &[u8], to: Destination) -> Result<Stamp, TracerouteError> {
        let target = to.address;
        let (socket, address) = match target {
            // The port of a raw socket's address means nothing, and IPv6 insists on zero.
            IpAddr::V4(address) => (&self.v4, SockAddr::from(SocketAddrV4::new(address, 0))),
            IpAddr::V6(address) => (
                self.v6.as_ref().ok_or(TracerouteError::NoSourceAddress { target })?,
                SockAddr::from(SocketAddrV6::new(address, 0, 0, zone(to))),
            ),
        };
        loop {
            let stamp = Stamp::user(self.clock.now());
            let sent = if is_routed(to) {
                SockRef::from(socket.get_ref()).send_to(datagram, &address)
            } else {
                sys::send_via(socket.as_fd(), datagram, &address, to)
            };
            match sent {
                Ok(_) => return Ok(stamp),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let writable = socket.writable().await;
                    writable.map_err(|error| refused(Operation::SendProbe, &error))?.clear_ready();
                }
                Err(error) => return Err(not_sent(&error, target, datagram.len())),
            }
        }
    }
}

/// Whether it is for the routing table to say how the datagram leaves.
const fn is_routed(to: Destination) -> bool {
    to.interface == 0 && to.source.is_none()
}

fn open_socket(domain: Domain) -> io::Result<OwnedFd> {
    // IPPROTO_RAW: the header is included, and nothing is received (raw(7), ipv6(7)).
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)))?;
    socket.set_nonblocking(true)?;
    // What the kernel has learnt of the path's MTU must not keep a longer probe from the router that says so (ip(7)).
    if domain == Domain::IPV6 {
        unix::set_option(socket.as_fd(), libc::SOL_IPV6, libc::IPV6_HDRINCL, [1])?;
        unix::set_option(
            socket.as_fd(),
            libc::SOL_IPV6,
            libc::IPV6_MTU_DISCOVER,
            [libc::IPV6_PMTUDISC_PROBE],
        )?;
    } else {
        unix::set_option(socket.as_fd(), libc::SOL_IP, libc::IP_MTU_DISCOVER, [libc::IP_PMTUDISC_PROBE])?;
    }
    Ok(socket.into())
}
