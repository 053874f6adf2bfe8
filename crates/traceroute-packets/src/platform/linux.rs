//! Linux: an `AF_PACKET` capture, raw sockets with the header included, routes and ports by ordinary sockets.

mod capture;
mod closing;
mod ephemeral;
mod namespace;
mod sink;
mod sys;

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use socket2::{Domain, Socket, Type};
use tokio::time::Instant;
use traceroute_core::{Destination, Operation, Protocol, TracerouteError};

use crate::backend::Backend;
use crate::clock::Clock;
use crate::filter::{Base, FilterSpec, SnapLengths, capture_filter};
use crate::network::{Access, Network, NetworkOptions, Parts};

use super::blocks;
use super::errors::refused;
use super::sockets::{Place, SocketHost};
pub(super) use super::unix::{
    CONNECTING, DESCRIPTORS_EXHAUSTED, FAMILY_NOT_SUPPORTED, HOST_DOWN, MESSAGE_TOO_LONG, PORT_WITHHELD,
    descriptor_limit, interface_index,
};
use super::unix::{raise_descriptor_limit, set_option};

use self::capture::LinuxCapture;
use self::namespace::Namespace;
use self::sink::LinuxSink;

/// What there is.
pub(crate) const OFFERED: [Access; 1] = [Access::Usual];

/// Whether TCP ports are held by sockets that listen: the kernel resets what comes to one that is only bound.
pub(super) const HELD_PORTS_LISTEN: bool = false;

/// A capture's socket that has its buffer, and captures nothing yet.
pub(crate) type Prepared = Socket;

/// Makes the socket of a capture.
pub(crate) fn prepare(namespace: Option<&Path>) -> Result<Prepared, TracerouteError> {
    let prepared = Namespace::enter(namespace)?.run(capture::prepare_socket)?;
    prepared.map_err(|error| refused(Operation::Capture, &error))
}

/// Opens the capture and the sinks of a network namespace.
pub(crate) async fn open(options: NetworkOptions) -> Result<Network, TracerouteError> {
    if options.access != Access::Usual {
        return Err(TracerouteError::Unsupported { operation: Operation::Capture });
    }
    raise_descriptor_limit();
    let clock = Clock::since(Instant::now());
    let namespace = Namespace::enter(options.namespace.as_deref())?;
    let mut entropy = options.entropy.unwrap_or_else(|| Box::new(blocks::random_bits));
    let blocks = match options.blocks {
        Some(blocks) => blocks,
        None => namespace.run({
            let random = entropy();
            let first_port = options.first_port;
            move || blocks::choose(random, first_port, &ephemeral::ports())
        })?,
    };
    let filter = capture_filter(&FilterSpec {
        base: Base::LinuxDatagram,
        ports: blocks.ports.clone(),
        echo_ids: blocks.echo_ids.clone(),
        snap_lengths: SnapLengths::default(),
    });
    // Sinks first: where raw sockets are not permitted, so is the capture, and the error is about sending.
    let sink = LinuxSink::open(clock, &namespace)?;
    let mut source = LinuxCapture::open(clock, &namespace, &filter, options.prepared)?;
    source.await_stamps(&namespace, &blocks.ports).await;
    let host = SocketHost::new(namespace, |socket| Box::new(socket));
    Ok(Network::assemble(Parts { clock, source, sink, host, blocks, entropy }).of(Backend::PacketSocket))
}

/// A socket that is routed as the probes are, which rules may go by, and sends nothing when it is connected.
pub(super) fn routed_socket(protocol: Protocol, domain: Domain) -> io::Result<Socket> {
    match (protocol, domain) {
        (Protocol::Udp, _) => Socket::new(domain, Type::DGRAM, None),
        (Protocol::Icmp, Domain::IPV4) => Socket::new(domain, Type::RAW, Some(socket2::Protocol::ICMPV4)),
        (Protocol::Icmp, _) => Socket::new(domain, Type::RAW, Some(socket2::Protocol::ICMPV6)),
        (Protocol::Tcp, _) => Socket::new(domain, Type::RAW, Some(socket2::Protocol::TCP)),
    }
}

/// Lets what a socket sends leave through the interface that was asked for.
pub(super) fn leave_through(socket: &Socket, to: Destination) -> io::Result<()> {
    match libc::c_int::try_from(to.interface) {
        Ok(0) => Ok(()),
        Ok(index) => set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX, [index]),
        Err(_) => Err(io::Error::from_raw_os_error(libc::ENODEV)),
    }
}

/// Nothing is to be done: raw sockets send the flow label of a connection as they are told it.
pub(super) const fn leave_unlabelled(_: &Socket) {}

/// Lets what a socket sends have this traffic class.
pub(super) fn set_traffic_class_v6(socket: &Socket, traffic_class: u8) -> io::Result<()> {
    socket.set_tclass_v6(traffic_class.into())
}
