//! The sinks: raw sockets, for IPv4 with the header included, for IPv6 one a protocol.
//!
//! Raw IPv4 sockets of XNU take no `IP_PKTINFO` (`rip_output`, `bsd/netinet/raw_ip.c`), and `IP_BOUND_IF` is an option of a
//! socket, so each interface that is asked for has a socket of its own. A source address needs none: it is in the header, by
//! which the kernel chooses the interface. Options of an IPv4 header are sent as they are.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, ErrorKind, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use socket2::{Domain, MsgHdr, Protocol, SockAddr, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::sleep;
use traceroute_core::{Destination, Operation, Sink, Stamp, TracerouteError};
use traceroute_wire::protocol;

use super::control::{CONTROL_LEN, control};
use super::datagrams::{V6Datagram, with_host_order};
use super::interfaces::{Interfaces, told_to_leave_through};
use super::sockets::{leave_through, leave_unlabelled};
use crate::clock::Clock;
use crate::platform::errors::{not_sent, refused};
use crate::platform::sockets::zone;
use crate::platform::unix;

/// The least that systems give: what arrives is read from the capture.
const RECEIVE_BUFFER: usize = 1;
/// A datagram, with what it is sent with, must fit: the kernel's own choice is 8 KiB (`rip_sendspace`, `bsd/netinet/raw_ip.c`).
const SEND_BUFFER: usize = u16::MAX as usize + CONTROL_LEN;
/// How long the queue of an interface may be full, which nothing tells the end of.
const PATIENCE: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_millis(1);

// netinet/icmp6.h of macOS: a bit for each type that passes.
const ICMP6_FILTER: libc::c_int = 18;
const NOTHING_PASSES: [libc::c_int; 8] = [0; 8];

type Registered = Arc<AsyncFd<OwnedFd>>;

/// Raw sockets.
#[derive(Debug)]
pub(super) struct DarwinSink {
    clock: Clock,
    interfaces: Interfaces,
    v4: Registered,
    /// Those that are bound to an interface, by its index.
    bound: Mutex<HashMap<u32, Registered>>,
    /// `None` where the kernel has no IPv6.
    v6: Option<V6Sockets>,
}

/// The kernel writes the next header of what a socket sends.
#[derive(Debug)]
struct V6Sockets {
    udp: Registered,
    tcp: Registered,
    icmp: Registered,
}

/// A datagram as it is handed to the kernel.
struct Message<'a> {
    address: SockAddr,
    bytes: Cow<'a, [u8]>,
    /// Of IPv6.
    control: Vec<u8>,
}

impl DarwinSink {
    /// Opens the sockets; `interfaces` are those that routes were looked for with. Needs a tokio runtime.
    pub(super) fn open(clock: Clock, interfaces: Interfaces) -> Result<Self, TracerouteError> {
        let refusal = |error: io::Error| refused(Operation::OpenRawSocket, &error);
        let v4 = open_v4(Destination::routed(Ipv4Addr::UNSPECIFIED.into())).map_err(refusal)?;
        let v6 = V6Sockets::open().map(Some).or_else(|error| match error.raw_os_error() {
            Some(unix::FAMILY_NOT_SUPPORTED) => Ok(None),
            _ => Err(refusal(error)),
        });
        Ok(Self { clock, interfaces, v4, bound: Mutex::default(), v6: v6? })
    }

    fn bound(&self) -> MutexGuard<'_, HashMap<u32, Registered>> {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn v4_socket(&self, to: Destination) -> io::Result<Registered> {
        if to.interface == 0 {
            return Ok(Arc::clone(&self.v4));
        }
        let mut bound = self.bound();
        if let Some(socket) = bound.get(&to.interface) {
            return Ok(Arc::clone(socket));
        }
        let socket = open_v4(to)?;
        bound.insert(to.interface, Arc::clone(&socket));
        Ok(socket)
    }

    /// The socket that a datagram goes through, and what it is handed.
    fn prepare<'a>(
        &self,
        datagram: &'a [u8],
        to: Destination,
    ) -> Result<(Registered, Message<'a>), TracerouteError> {
        let target = to.address;
        let malformed = TracerouteError::System { operation: Operation::SendProbe, errno: libc::EINVAL };
        match target {
            IpAddr::V4(address) => {
                let bytes = with_host_order(datagram).ok_or(malformed)?;
                let socket = self.v4_socket(to).map_err(|error| not_sent(&error, target, datagram.len()))?;
                // The port of a raw socket's address means nothing, and IPv6 insists on zero.
                let address = SocketAddrV4::new(address, 0).into();
                Ok((socket, Message { address, bytes: bytes.into(), control: Vec::new() }))
            }
            IpAddr::V6(address) => {
                let sockets = self.v6.as_ref().ok_or(TracerouteError::NoSourceAddress { target })?;
                let parts = V6Datagram::parse(datagram).ok_or_else(|| malformed.clone())?;
                let socket = sockets.of(parts.next_header).ok_or(malformed)?;
                let through = told_to_leave_through(&self.interfaces.now(), parts.source.into(), to);
                Ok((Arc::clone(socket), Message::v6(&parts, address, to, through)))
            }
        }
    }
}

impl V6Sockets {
    fn open() -> io::Result<Self> {
        let icmp = raw_socket(Domain::IPV6, Protocol::ICMPV6)?;
        // It would get a copy of every ICMPv6 packet.
        unix::set_option(icmp.as_fd(), libc::IPPROTO_ICMPV6, ICMP6_FILTER, NOTHING_PASSES)?;
        let tcp = raw_socket(Domain::IPV6, Protocol::TCP)?;
        leave_unlabelled(&tcp);
        Ok(Self {
            udp: register(raw_socket(Domain::IPV6, Protocol::UDP)?)?,
            tcp: register(tcp)?,
            icmp: register(icmp)?,
        })
    }

    const fn of(&self, next_header: u8) -> Option<&Registered> {
        match next_header {
            protocol::UDP => Some(&self.udp),
            protocol::TCP => Some(&self.tcp),
            protocol::ICMPV6 => Some(&self.icmp),
            _ => None,
        }
    }
}

impl<'a> Message<'a> {
    fn v6(parts: &V6Datagram<'a>, address: Ipv6Addr, to: Destination, through: u32) -> Self {
        Self {
            address: SocketAddrV6::new(address, 0, 0, zone(to)).into(),
            bytes: parts.payload.into(),
            control: control(parts.hop_limit, parts.traffic_class, parts.source, through),
        }
    }

    /// Sends it without waiting.
    fn send(&self, socket: &OwnedFd) -> io::Result<usize> {
        let socket = SockRef::from(socket);
        // The kernel refuses control messages of no length (`sendit`, bsd/kern/uipc_syscalls.c).
        if self.control.is_empty() {
            return socket.send_to(&self.bytes, &self.address);
        }
        let buffers = [IoSlice::new(&self.bytes)];
        let message =
            MsgHdr::new().with_addr(&self.address).with_buffers(&buffers).with_control(&self.control);
        socket.sendmsg(&message, 0)
    }
}

impl Sink for DarwinSink {
    async fn send(&self, datagram: &[u8], to: Destination) -> Result<Stamp, TracerouteError> {
        let (socket, message) = self.prepare(datagram, to)?;
        let mut waited = Duration::ZERO;
        loop {
            let stamp = Stamp::user(self.clock.now());
            match message.send(socket.get_ref()) {
                Ok(_) => return Ok(stamp),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let writable = socket.writable().await;
                    writable.map_err(|error| refused(Operation::SendProbe, &error))?.clear_ready();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) && waited < PATIENCE => {
                    sleep(PAUSE).await;
                    waited += PAUSE;
                }
                Err(error) => {
                    // An interface that is gone leaves a socket that is good for nothing.
                    if to.interface != 0 {
                        self.bound().remove(&to.interface);
                    }
                    return Err(not_sent(&error, to.address, datagram.len()));
                }
            }
        }
    }
}

/// A socket for datagrams with their header, through the interface that was asked for. `IPPROTO_RAW` receives nothing.
fn open_v4(to: Destination) -> io::Result<Registered> {
    let socket = raw_socket(Domain::IPV4, Protocol::from(libc::IPPROTO_RAW))?;
    socket.set_header_included_v4(true)?;
    leave_through(&socket, to)?;
    register(socket)
}

fn raw_socket(domain: Domain, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    Ok(socket)
}

fn register(socket: Socket) -> io::Result<Registered> {
    Ok(Arc::new(unix::register(socket.into(), Interest::WRITABLE)?))
}
