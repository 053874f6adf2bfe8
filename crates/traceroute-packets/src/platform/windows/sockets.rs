//! What sockets are like here.

use std::io;
use std::os::windows::io::AsSocket;

use socket2::{Domain, Socket, Type};
use traceroute_core::{Destination, Protocol};
use tracing::debug;
use windows_sys::Win32::Networking::WinSock::{
    IP_UNICAST_IF, IPPROTO_IP, IPPROTO_IPV6, IPV6_TCLASS, IPV6_UNICAST_IF, WSAEACCES, WSAEAFNOSUPPORT,
    WSAEHOSTDOWN, WSAEMFILE, WSAEMSGSIZE, WSAENOBUFS, WSAEWOULDBLOCK,
};

pub(in crate::platform) use super::sys::interfaces::interface_index;
use super::sys::sockets::set_option;

pub(in crate::platform) const CONNECTING: i32 = WSAEWOULDBLOCK;
pub(in crate::platform) const HOST_DOWN: i32 = WSAEHOSTDOWN;
pub(in crate::platform) const FAMILY_NOT_SUPPORTED: i32 = WSAEAFNOSUPPORT;
pub(in crate::platform) const MESSAGE_TOO_LONG: i32 = WSAEMSGSIZE;
/// A port that nobody may have: kept for others (`netsh interface ipv4 show excludedportrange protocol=tcp`), or somebody's alone.
pub(in crate::platform) const PORT_WITHHELD: Option<i32> = Some(WSAEACCES);
pub(in crate::platform) const DESCRIPTORS_EXHAUSTED: [i32; 2] = [WSAEMFILE, WSAENOBUFS];

/// Whether TCP ports are held by sockets that listen: no answer to a probe reaches a socket that holds its port.
pub(in crate::platform) const HELD_PORTS_LISTEN: bool = false;

/// Nothing is to be done: the flow labels of what a program sends are its own.
pub(in crate::platform) const fn leave_unlabelled(_: &Socket) {}

/// A socket that is routed as probes are, and sends nothing when it is connected.
pub(in crate::platform) fn routed_socket(_: Protocol, domain: Domain) -> io::Result<Socket> {
    Socket::new(domain, Type::DGRAM, None)
}

/// Lets what a socket sends leave through the interface that was asked for.
pub(in crate::platform) fn leave_through(socket: &Socket, to: Destination) -> io::Result<()> {
    match (to.interface, to.address.is_ipv4()) {
        (0, _) => Ok(()),
        // Of IPv4 in network order, of IPv6 in the host's.
        (index, true) => set_option(socket.as_socket(), IPPROTO_IP, IP_UNICAST_IF, index.to_be()),
        (index, false) => set_option(socket.as_socket(), IPPROTO_IPV6, IPV6_UNICAST_IF, index),
    }
}

/// Lets what a socket sends have this traffic class, where this Windows knows how: not every version does.
#[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
pub(in crate::platform) fn set_traffic_class_v6(socket: &Socket, traffic_class: u8) -> io::Result<()> {
    if traffic_class > 0
        && let Err(error) = set_option(socket.as_socket(), IPPROTO_IPV6, IPV6_TCLASS, traffic_class.into())
    {
        debug!(%error, "the connection does not have the traffic class of its probes");
    }
    Ok(())
}

/// There is no limit of descriptors to tell.
pub(in crate::platform) const fn descriptor_limit() -> u64 {
    0
}
