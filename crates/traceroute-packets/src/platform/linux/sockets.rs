//! What sockets are like here.

use std::io;
use std::os::fd::AsFd;

use socket2::{Domain, Socket, Type};
use traceroute_core::{Destination, Protocol};

use crate::platform::unix::set_option;
pub(in crate::platform) use crate::platform::unix::{
    CONNECTING, DESCRIPTORS_EXHAUSTED, FAMILY_NOT_SUPPORTED, HOST_DOWN, MESSAGE_TOO_LONG, PORT_WITHHELD,
    descriptor_limit, interface_index,
};

/// Whether TCP ports are held by sockets that listen: the kernel resets what comes to one that is only bound.
pub(in crate::platform) const HELD_PORTS_LISTEN: bool = false;

/// A socket that is routed as the probes are, which rules may go by, and sends nothing when it is connected.
pub(in crate::platform) fn routed_socket(protocol: Protocol, domain: Domain) -> io::Result<Socket> {
    match (protocol, domain) {
        (Protocol::Udp, _) => Socket::new(domain, Type::DGRAM, None),
        (Protocol::Icmp, Domain::IPV4) => Socket::new(domain, Type::RAW, Some(socket2::Protocol::ICMPV4)),
        (Protocol::Icmp, _) => Socket::new(domain, Type::RAW, Some(socket2::Protocol::ICMPV6)),
        (Protocol::Tcp, _) => Socket::new(domain, Type::RAW, Some(socket2::Protocol::TCP)),
    }
}

/// Lets what a socket sends leave through the interface that was asked for.
pub(in crate::platform) fn leave_through(socket: &Socket, to: Destination) -> io::Result<()> {
    match libc::c_int::try_from(to.interface) {
        Ok(0) => Ok(()),
        Ok(index) => set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX, [index]),
        Err(_) => Err(io::Error::from_raw_os_error(libc::ENODEV)),
    }
}

/// Nothing is to be done: raw sockets send the flow label of a connection as they are told it.
pub(in crate::platform) const fn leave_unlabelled(_: &Socket) {}

/// Lets what a socket sends have this traffic class.
pub(in crate::platform) fn set_traffic_class_v6(socket: &Socket, traffic_class: u8) -> io::Result<()> {
    socket.set_tclass_v6(traffic_class.into())
}
