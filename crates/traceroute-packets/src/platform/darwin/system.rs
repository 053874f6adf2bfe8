//! What every system offers, here of macOS.

use std::io;
use std::num::NonZeroU32;
use std::os::fd::AsFd;
use std::path::Path;

use socket2::{Domain, Socket, Type};
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::Instant;
use traceroute_core::{Destination, Operation, Protocol, TracerouteError};
use tracing::debug;

use super::capture::DarwinCapture;
use super::host::DarwinHost;
use super::interfaces::Interfaces;
use super::sink::DarwinSink;
use super::{ephemeral, sys};
use crate::backend::Backend;
use crate::clock::Clock;
use crate::filter::{Base, FilterSpec, SnapLengths};
use crate::network::{Access, Network, NetworkOptions, Parts};
use crate::platform::blocks;
pub(in crate::platform) use crate::platform::unix::{
    CONNECTING, DESCRIPTORS_EXHAUSTED, FAMILY_NOT_SUPPORTED, HOST_DOWN, MESSAGE_TOO_LONG, PORT_WITHHELD,
    descriptor_limit, interface_index,
};
use crate::platform::unix::{raise_descriptor_limit, set_option};

/// What there is.
pub(crate) const OFFERED: [Access; 1] = [Access::Usual];

/// Whether TCP ports are held by sockets that listen: the kernel drops what comes to one that is only bound (`tcp_input`,
/// `bsd/netinet/tcp_input.c` of XNU: "If the state is CLOSED"), and the target would keep what it has half opened.
pub(in crate::platform) const HELD_PORTS_LISTEN: bool = true;

/// Of netinet6/in6.h of macOS.
const IPV6_AUTOFLOWLABEL: libc::c_int = 59;

/// Nothing is better done beforehand.
#[derive(Debug)]
pub(crate) struct Prepared;

/// Refuses a namespace: macOS has none.
pub(crate) fn prepare(namespace: Option<&Path>) -> Result<Prepared, TracerouteError> {
    match namespace {
        Some(_) => Err(TracerouteError::Unsupported { operation: Operation::EnterNamespace }),
        None => Ok(Prepared),
    }
}

/// Opens the sinks, and a capture that begins with the first route.
pub(crate) async fn open(options: NetworkOptions) -> Result<Network, TracerouteError> {
    if options.access != Access::Usual {
        return Err(TracerouteError::Unsupported { operation: Operation::Capture });
    }
    let Prepared = prepare(options.namespace.as_deref())?;
    raise_descriptor_limit();
    let clock = Clock::since(Instant::now());
    let mut entropy = options.entropy.unwrap_or_else(|| Box::new(blocks::random_bits));
    let blocks = options.blocks.unwrap_or_else(|| {
        let ephemeral = ephemeral::ports(
            sys::sysctl(c"net.inet.ip.portrange.first"),
            sys::sysctl(c"net.inet.ip.portrange.last"),
        );
        blocks::choose(entropy(), options.first_port, &ephemeral)
    });
    let filter = FilterSpec {
        // Each link has its own.
        base: Base::Raw,
        ports: blocks.ports.clone(),
        echo_ids: blocks.echo_ids.clone(),
        snap_lengths: SnapLengths::default(),
    };
    let interfaces = Interfaces::default();
    let sink = DarwinSink::open(clock, interfaces.clone())?;
    let (links, arriving) = unbounded_channel();
    let source = DarwinCapture::new(clock, interfaces.clone(), arriving);
    let host = DarwinHost::new(filter, interfaces, links);
    Ok(Network::assemble(Parts { clock, source, sink, host, blocks, entropy }).of(Backend::Bpf))
}

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
