//! A network to trace in: one capture, one sink, one stock of identities.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use traceroute_core::{Destination, FlowKey, Operation, Protocol, Sink, Source, TracerouteError};

use crate::backend::Backend;
use crate::capture::{Capture, Subscription};
use crate::clock::Clock;
use crate::host::Host;
use crate::lease::{Blocks, Entropy, Lease, Leases, Use};
use crate::platform;
use crate::sink::SharedSink;

/// The packet I/O of a network namespace, shared by all its runs.
pub struct Network {
    backend: Backend,
    clock: Clock,
    capture: Capture,
    sink: SharedSink,
    leases: Leases,
    host: Arc<dyn Host>,
}

/// What a [`Network`] is made of.
pub struct Parts<S, N, H> {
    /// The time line of all stamps.
    pub clock: Clock,
    /// Captured packets.
    pub source: S,
    /// Where probes go.
    pub sink: N,
    /// Routes and ports.
    pub host: H,
    /// The identities of this process.
    pub blocks: Blocks,
    /// Where nonces come from.
    pub entropy: Entropy,
}

/// By which means packets are to be sent and captured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Access {
    /// The best of those that need nothing but privileges, or else what needs none.
    #[default]
    Usual,
    /// The network driver of the Datadog Agent, on Windows.
    Driver,
    /// Connections with a limited TTL, on Windows.
    Connections,
    /// The system's own echo requests, on Windows.
    EchoRequests,
}

impl Access {
    /// Whether this system has it at all.
    #[must_use]
    pub fn is_offered(self) -> bool {
        platform::OFFERED.contains(&self)
    }
}

/// What may be chosen about the network of this host.
#[derive(Default)]
pub struct NetworkOptions {
    /// By which means packets are sent and captured.
    pub access: Access,
    /// The network namespace to trace in (`/run/netns/NAME`, `/proc/PID/ns/net`); the current one if `None`.
    pub namespace: Option<PathBuf>,
    /// The blocks of ports and echo ids; chosen at random outside of the kernel's own if `None`.
    pub blocks: Option<Blocks>,
    /// The first port of the block that is chosen; one outside of the kernel's own if `None`.
    pub first_port: Option<NonZeroU16>,
    /// Where nonces come from; the operating system if `None`.
    pub entropy: Option<Entropy>,
    pub(crate) prepared: Option<platform::Prepared>,
}

impl NetworkOptions {
    /// Does beforehand, in the namespace chosen by now and without a runtime, what more privileges than the packet I/O needs
    /// make better: on Linux a capture's buffer may exceed `net.core.rmem_max` with `CAP_NET_ADMIN`.
    pub fn prepare(&mut self) -> Result<(), TracerouteError> {
        self.prepared = Some(platform::prepare(self.namespace.as_deref())?);
        Ok(())
    }
}

impl Network {
    /// Opens the packet I/O of this host.
    ///
    /// Needs a tokio runtime with I/O and time.
    pub async fn open(options: NetworkOptions) -> Result<Self, TracerouteError> {
        platform::open(options).await
    }

    /// Puts a network together and starts its capture.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn assemble<S, N, H>(parts: Parts<S, N, H>) -> Self
    where
        S: Source + 'static,
        N: Sink + 'static,
        H: Host + 'static,
    {
        let host: Arc<dyn Host> = Arc::new(parts.host);
        Self {
            backend: Backend::Assembled,
            clock: parts.clock,
            capture: Capture::start(parts.source),
            sink: SharedSink::new(parts.sink),
            leases: Leases::new(parts.clock, Arc::clone(&host), &parts.blocks, parts.entropy),
            host,
        }
    }

    /// The same, which can do what this backend can: one that was assembled can do everything otherwise.
    #[must_use]
    pub const fn of(mut self, backend: Backend) -> Self {
        self.backend = backend;
        self
    }

    /// The way in which packets are sent and captured.
    #[must_use]
    pub const fn backend(&self) -> Backend {
        self.backend
    }

    /// The time line of all stamps.
    #[must_use]
    pub const fn clock(&self) -> Clock {
        self.clock
    }

    /// Where probes go.
    #[must_use]
    pub fn sink(&self) -> SharedSink {
        self.sink.clone()
    }

    /// The address from which the host sends probes, see [`Host::source_address`].
    pub fn source_address(
        &self,
        protocol: Protocol,
        to: Destination,
        port: u16,
    ) -> Result<IpAddr, TracerouteError> {
        self.host.source_address(protocol, to, port)
    }

    /// The index of the interface with this name or index, `None` if there is none.
    pub fn interface_index(&self, zone: &str) -> Result<Option<u32>, TracerouteError> {
        self.host.interface_index(zone)
    }

    /// Runs a job that may block on a thread of its own, inside the network namespace. Nobody waits for it.
    pub fn spawn(&self, job: impl FnOnce() + Send + 'static) -> Result<(), TracerouteError> {
        self.host.spawn(Box::new(job))
    }

    /// What a job returns that does not block, as making a socket, and is done inside the network namespace.
    pub fn inside<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, TracerouteError> {
        let (done, result) = mpsc::channel();
        // Whoever waits for the result is this call.
        self.host.inside(Box::new(move || done.send(job()).unwrap_or_default()))?;
        result.recv().map_err(|_| TracerouteError::System { operation: Operation::EnterNamespace, errno: 0 })
    }

    /// How many packets the capture has lost so far.
    #[must_use]
    pub fn capture_drops(&self) -> u64 {
        self.capture.drops()
    }

    /// How many packets the capture has read so far.
    #[must_use]
    pub fn captured(&self) -> u64 {
        self.capture.seen()
    }

    /// Lends an identity, see [`Leases::lease`].
    pub async fn lease(
        &self,
        wanted: Use,
        source: IpAddr,
        to: Destination,
        patience: Duration,
    ) -> Result<Lease, TracerouteError> {
        self.leases.lease(wanted, source, to, patience).await
    }

    /// Subscribes a run to the packets of its flows.
    #[must_use]
    pub fn subscribe(&self, flows: &[FlowKey]) -> Subscription {
        self.capture.subscribe(flows)
    }

    /// How many identities are lent out: runs and end-to-end probes, those included that listen for late answers.
    #[must_use]
    pub fn leased(&self) -> usize {
        self.leases.live()
    }

    /// Whether its capture has come to an end, after which it is of no use.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.capture.has_ended()
    }

    /// How many identities are lent out and whether no run is subscribed: for tests that nothing is left behind.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.leases.live() == 0 && self.capture.is_idle()
    }
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network").field("capture", &self.capture).finish_non_exhaustive()
    }
}
