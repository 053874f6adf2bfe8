//! Opening the packet I/O that was asked for.

use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;

use tokio::task::spawn_blocking;
use tokio::time::Instant;
use traceroute_core::{Operation, Sink, TracerouteError};
use tracing::debug;
use windows_sys::Win32::Networking::WinSock::{
    IPPROTO_IP, WSAEACCES, WSAEPROTONOSUPPORT, WSAESOCKTNOSUPPORT,
};

use super::connect::ConnectSink;
use super::driver::{Driver, DriverHost, DriverSink};
use super::echo::EchoSink;
use super::raw::{self, RawHandler, RawSink};
use super::reader::Reader;
use super::sys::edition;
use crate::backend::Backend;
use crate::clock::Clock;
use crate::host::Host;
use crate::inbox::Inbox;
use crate::lease::{Blocks, Entropy};
use crate::network::{Access, Network, NetworkOptions, Parts};
use crate::platform::blocks;
use crate::platform::errors::refused;
use crate::platform::here::Here;
pub(crate) use crate::platform::here::{Prepared, prepare};
use crate::platform::sockets::SocketHost;

/// Ports for sockets that do not ask for one, unless an administrator has changed that.
const EPHEMERAL: RangeInclusive<u16> = 49_152..=65_535;

/// What there is.
pub(crate) const OFFERED: [Access; 4] =
    [Access::Usual, Access::Driver, Access::Connections, Access::EchoRequests];

/// What every network here is made with.
struct Common {
    clock: Clock,
    inbox: Inbox,
    blocks: Blocks,
    entropy: Entropy,
}

/// Opens what was asked for. Where raw sockets are not permitted, the system's own echo requests are.
pub(crate) async fn open(options: NetworkOptions) -> Result<Network, TracerouteError> {
    let Prepared = prepare(options.namespace.as_deref())?;
    let mut entropy = options.entropy.unwrap_or_else(|| Box::new(blocks::random_bits));
    let blocks = match options.blocks {
        Some(blocks) => blocks,
        None => blocks::choose(entropy(), options.first_port, &EPHEMERAL),
    };
    let common = Common { clock: Clock::since(Instant::now()), inbox: Inbox::new(), blocks, entropy };
    match options.access {
        Access::Usual => usual(common),
        Access::EchoRequests => by_echo_requests(common),
        Access::Driver => by_driver(common).await,
        Access::Connections => Ok(by_connections(common)),
    }
}

fn usual(common: Common) -> Result<Network, TracerouteError> {
    match raw::open(IPPROTO_IP) {
        Ok(socket) => {
            let ports = common.blocks.ports.clone();
            let handler = RawHandler::new(common.clock, common.inbox.clone(), ports);
            let reader = Reader::start(handler).map_err(|error| refused(Operation::Capture, &error))?;
            let asker = reader.asker();
            let sink = RawSink::new(common.clock, socket, reader);
            let backend =
                if edition::is_for_clients() { Backend::ClientRawSockets } else { Backend::RawSockets };
            Ok(common.network(backend, sink, free_ports(), move |_| asker.ask()))
        }
        Err(error) if are_not_to_be_had(&error) => {
            debug!(%error, "raw sockets are not to be had: the system sends echo requests");
            by_echo_requests(common)
        }
        Err(error) => Err(refused(Operation::OpenRawSocket, &error)),
    }
}

/// Whether raw sockets are Administrators' (`WSAEACCES`), or not known, as in Wine.
fn are_not_to_be_had(error: &io::Error) -> bool {
    let errors = [WSAEACCES, WSAEPROTONOSUPPORT, WSAESOCKTNOSUPPORT];
    error.raw_os_error().is_some_and(|errno| errors.contains(&errno))
}

fn by_echo_requests(common: Common) -> Result<Network, TracerouteError> {
    let sink = EchoSink::new(common.clock, common.inbox.clone())?;
    let catch_up = sink.catch_up();
    Ok(common.network(Backend::EchoRequests, sink, free_ports(), catch_up))
}

async fn by_driver(common: Common) -> Result<Network, TracerouteError> {
    let (clock, inbox) = (common.clock, common.inbox.clone());
    let started = spawn_blocking(move || {
        let driver = Driver::start(clock, inbox)?;
        Ok::<_, TracerouteError>((DriverSink::open(clock, Arc::clone(&driver))?, driver))
    });
    // What was not carried out ended with the runtime.
    let (sink, driver) = started.await.map_err(|_| TracerouteError::CaptureEnded)??;
    let sockets = SocketHost::new(Here, |socket| Box::new(socket));
    let asker = driver.asker();
    let host = DriverHost::new(sockets, driver);
    Ok(common.network(Backend::Driver, sink, host, move |_| asker.ask()))
}

fn by_connections(common: Common) -> Network {
    let sink = ConnectSink::new(common.clock, common.inbox.clone());
    let catch_up = sink.catch_up();
    common.network(Backend::Connections, sink, free_ports(), catch_up)
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
