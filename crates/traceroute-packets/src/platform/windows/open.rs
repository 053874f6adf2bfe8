//! Opening the packet I/O, and what sockets are like here.

use std::io;
use std::ops::RangeInclusive;
use std::os::windows::io::AsSocket;
use std::path::Path;

use socket2::{Domain, Socket, Type};
use tokio::time::Instant;
use traceroute_core::{Destination, Operation, Protocol, Sink, TracerouteError};
use tracing::debug;
use windows_sys::Win32::Networking::WinSock::{
    IP_UNICAST_IF, IPPROTO_IP, IPPROTO_IPV6, IPV6_TCLASS, IPV6_UNICAST_IF, WSAEAFNOSUPPORT, WSAEHOSTDOWN,
    WSAEMFILE, WSAEMSGSIZE, WSAENOBUFS, WSAEWOULDBLOCK,
};

use super::connect::ConnectSink;
use super::driver::{Driver, DriverHost, DriverSink};
use super::echo::EchoSink;
use super::raw::{self, RawHandler, RawSink};
use super::reader::Reader;
pub(in super::super) use super::sys::sockets::interface_index;
use super::sys::sockets::set_option;
use crate::backend::Backend;
use crate::clock::Clock;
use crate::host::Host;
use crate::inbox::Inbox;
use crate::lease::{Blocks, Entropy};
use crate::network::{Access, Network, NetworkOptions, Parts};
use crate::platform::blocks;
use crate::platform::errors::refused;
use crate::platform::sockets::{Here, SocketHost};

pub(in super::super) const CONNECTING: i32 = WSAEWOULDBLOCK;
pub(in super::super) const HOST_DOWN: i32 = WSAEHOSTDOWN;
pub(in super::super) const FAMILY_NOT_SUPPORTED: i32 = WSAEAFNOSUPPORT;
pub(in super::super) const MESSAGE_TOO_LONG: i32 = WSAEMSGSIZE;
pub(in super::super) const DESCRIPTORS_EXHAUSTED: [i32; 2] = [WSAEMFILE, WSAENOBUFS];

/// Ports for sockets that do not ask for one, unless an administrator has changed that.
const EPHEMERAL: RangeInclusive<u16> = 49_152..=65_535;

/// What there is.
pub(crate) const OFFERED: [Access; 3] = [Access::Usual, Access::Driver, Access::Connections];

/// Nothing is better done beforehand.
#[derive(Debug)]
pub(crate) struct Prepared;

pub(crate) fn prepare(namespace: Option<&Path>) -> Result<Prepared, TracerouteError> {
    no_namespace(namespace)?;
    Ok(Prepared)
}

fn no_namespace(namespace: Option<&Path>) -> Result<(), TracerouteError> {
    match namespace {
        Some(_) => Err(TracerouteError::Unsupported { operation: Operation::EnterNamespace }),
        None => Ok(()),
    }
}

/// What every network here is made with.
struct Common {
    clock: Clock,
    inbox: Inbox,
    blocks: Blocks,
    entropy: Entropy,
}

/// Opens what was asked for. Where raw sockets are not permitted, the system's own echo requests are.
pub(crate) async fn open(options: NetworkOptions) -> Result<Network, TracerouteError> {
    no_namespace(options.namespace.as_deref())?;
    let mut entropy = options.entropy.unwrap_or_else(|| Box::new(blocks::random_bits));
    let blocks = match options.blocks {
        Some(blocks) => blocks,
        None => blocks::choose(entropy(), options.first_port, &EPHEMERAL),
    };
    let common = Common { clock: Clock::since(Instant::now()), inbox: Inbox::new(), blocks, entropy };
    match options.access {
        Access::Usual => usual(common),
        Access::Driver => by_driver(common),
        Access::Connections => {
            let sink = ConnectSink::new(common.clock, common.inbox.clone());
            Ok(common.network(Backend::Connections, sink, free_ports(), Inbox::up_to_date))
        }
    }
}

fn usual(common: Common) -> Result<Network, TracerouteError> {
    match raw::open(IPPROTO_IP) {
        Ok(socket) => {
            let handler = RawHandler::new(common.clock, common.inbox.clone());
            let reader = Reader::start(handler).map_err(|error| refused(Operation::Capture, &error))?;
            let asker = reader.asker();
            let sink = RawSink::new(common.clock, socket, reader);
            Ok(common.network(Backend::RawSockets, sink, free_ports(), move |_| asker.ask()))
        }
        Err(error) => {
            debug!(%error, "raw sockets are not to be had: the system sends echo requests");
            let sink = EchoSink::new(common.clock, common.inbox.clone())?;
            Ok(common.network(Backend::EchoRequests, sink, free_ports(), Inbox::up_to_date))
        }
    }
}

fn by_driver(common: Common) -> Result<Network, TracerouteError> {
    let driver = Driver::start(common.clock, common.inbox.clone())?;
    let sink = DriverSink::open(common.clock, driver.clone())?;
    let sockets = SocketHost::new(Here, |socket| Box::new(socket));
    let asker = driver.asker();
    let host = DriverHost::new(sockets, driver);
    Ok(common.network(Backend::Driver, sink, host, move |_| asker.ask()))
}

/// Ports that are free are not kept: what comes to a socket's port no raw socket is given.
fn free_ports() -> SocketHost<Here> {
    SocketHost::new(Here, |_| Box::new(()))
}

impl Common {
    fn network(
        self,
        backend: Backend,
        sink: impl Sink + 'static,
        host: impl Host + 'static,
        catch_up: impl FnMut(&Inbox) + Send + 'static,
    ) -> Network {
        let Self { clock, inbox, blocks, entropy } = self;
        let source = inbox.source(catch_up);
        Network::assemble(Parts { clock, source, sink, host, blocks, entropy }).of(backend)
    }
}

/// A socket that is routed as probes are, and sends nothing when it is connected.
pub(in super::super) fn routed_socket(_: Protocol, domain: Domain) -> io::Result<Socket> {
    Socket::new(domain, Type::DGRAM, None)
}

/// Lets what a socket sends leave through the interface that was asked for.
pub(in super::super) fn leave_through(socket: &Socket, to: Destination) -> io::Result<()> {
    match (to.interface, to.address.is_ipv4()) {
        (0, _) => Ok(()),
        // Of IPv4 in network order, of IPv6 in the host's.
        (index, true) => set_option(socket.as_socket(), IPPROTO_IP, IP_UNICAST_IF, index.to_be()),
        (index, false) => set_option(socket.as_socket(), IPPROTO_IPV6, IPV6_UNICAST_IF, index),
    }
}

/// Lets what a socket sends have this traffic class.
pub(in super::super) fn set_traffic_class_v6(socket: &Socket, traffic_class: u8) -> io::Result<()> {
    set_option(socket.as_socket(), IPPROTO_IPV6, IPV6_TCLASS, traffic_class.into())
}

/// There is no limit of descriptors to tell.
pub(in super::super) const fn descriptor_limit() -> u64 {
    0
}
