//! What sockets are like here.

use std::io;
use std::num::NonZeroU32;
use std::os::fd::AsFd;

use socket2::{Domain, Socket, Type};
use traceroute_core::{Destination, Protocol};
use tracing::debug;

use crate::platform::unix::set_option;
pub(in crate::platform) use crate::platform::unix::{
    CONNECTING, DESCRIPTORS_EXHAUSTED, FAMILY_NOT_SUPPORTED, HOST_DOWN, MESSAGE_TOO_LONG, PORT_WITHHELD,
    descriptor_limit, interface_index,
};

/// Whether TCP ports are held by sockets that listen: the kernel drops what comes to one that is only bound (`tcp_input`,
/// `bsd/netinet/tcp_input.c` of XNU: "If the state is CLOSED"), and the target would keep what it has half opened.
pub(in crate::platform) const HELD_PORTS_LISTEN: bool = true;

/// Of netinet6/in6.h of macOS.
const IPV6_AUTOFLOWLABEL: libc::c_int = 59;

/// A socket that is routed as the probes are, and sends nothing when it is connected: routes go by no protocol.
pub(in crate::platform) fn routed_socket(_protocol: Protocol, domain: Domain) -> io::Result<Socket> {
    Socket::new(domain, Type::DGRAM, None)
}

/// Lets what a socket sends leave through the interface that was asked for.
pub(in crate::platform) fn leave_through(socket: &Socket, to: Destination) -> io::Result<()> {
    match NonZeroU32::new(to.interface) {
        None => Ok(()),
        index if to.address.is_ipv4() => socket.bind_device_by_index_v4(index),
        index => socket.bind_device_by_index_v6(index),
    }
}

/// Lets what a socket sends over IPv6 have no flow label. Otherwise each socket has one of its own, and load balancers, which hash
/// it, would send the probes of a connection elsewhere. Whether it can be told is not known of every version, and nothing else
/// depends on it.
pub(in crate::platform) fn leave_unlabelled(socket: &Socket) {
    if let Err(error) = set_option(socket.as_fd(), libc::IPPROTO_IPV6, IPV6_AUTOFLOWLABEL, [0]) {
        debug!(%error, "probes and connections over IPv6 have different flow labels");
    }
}

/// Lets what a socket sends have this traffic class.
pub(in crate::platform) fn set_traffic_class_v6(socket: &Socket, traffic_class: u8) -> io::Result<()> {
    socket.set_tclass_v6(traffic_class.into())
}
