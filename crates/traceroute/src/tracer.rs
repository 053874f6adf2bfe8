//! The tracer: the packet I/O of a network namespace, shared by all requests.

use std::fmt;
use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use traceroute_packets::{Access, Blocks, Entropy, Network, NetworkOptions};

use crate::budget::Budget;
use crate::enrich::{Lookups, NameOptions, PublicIpOptions};
use crate::error::{Error, InvalidRequest};
use crate::networks::Networks;
use crate::request::Request;
use crate::resolve::Resolver;
use crate::trace::Trace;

/// Traces paths. Cheap to clone; all clones share one capture.
#[derive(Clone)]
pub struct Tracer {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) networks: Networks,
    pub(crate) budget: Option<Arc<Budget>>,
    pub(crate) resolver: Resolver,
    pub(crate) lookups: Lookups,
    pub(crate) policy: Option<Arc<dyn TargetPolicy>>,
    /// Probes sent and answers matched so far.
    pub(crate) sent: Arc<AtomicU64>,
    pub(crate) answered: AtomicU64,
    /// Whether it matters which run has which port.
    pub(crate) ports_chosen: bool,
    requests: Arc<Semaphore>,
    limits: Limits,
    runtime: Handle,
}

/// How much a tracer does at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Probes a second of all requests together, served round robin among the requests; a tenth of them may go out at
    /// once. `None` is no limit.
    pub probes_per_second: Option<NonZeroU32>,
    /// Requests at one time.
    pub requests: usize,
}

impl Default for Limits {
    /// 10,000 probes a second and 10,000 requests.
    fn default() -> Self {
        Self { probes_per_second: NonZeroU32::new(10_000), requests: 10_000 }
    }
}

/// What a tracer has done so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TracerStats {
    /// Probes sent.
    pub probes_sent: u64,
    /// Probes that were answered, without those beyond the destination.
    pub probes_answered: u64,
    /// How long a request that comes now would wait for its first probe, by the limit of probes a second.
    pub probe_backlog: Duration,
    /// How often a probe had to wait for the budget.
    pub probe_waits: u64,
    /// Packets that the capture has read: all that its filter has let pass. They are ICMP errors about anything, and what goes
    /// to or comes from the tracer's own ports and echo ids.
    pub captured: u64,
    /// Packets that the capture lost because it was not read fast enough.
    pub capture_drops: u64,
    /// Requests under way.
    pub requests: usize,
    /// Runs and end-to-end probes under way, those included that listen for late answers.
    pub runs: usize,
}

/// Says whether a target may be traced.
pub trait TargetPolicy: Send + Sync {
    /// Whether this request may trace this address, which is known by now; nothing has been sent to it. Not to block.
    fn check(&self, target: IpAddr, request: &Request) -> Result<(), Refusal>;
}

/// Why a target may not be traced.
pub type Refusal = Arc<dyn std::error::Error + Send + Sync>;

/// What may be chosen about a [`Tracer`].
#[derive(Default)]
pub struct TracerBuilder {
    options: NetworkOptions,
    network: Option<Network>,
    limits: Limits,
    names: NameOptions,
    public_ip: PublicIpOptions,
    policy: Option<Arc<dyn TargetPolicy>>,
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { networks, limits, .. } = &*self.inner;
        let network = networks.usual();
        f.debug_struct("Tracer").field("network", network).field("limits", limits).finish_non_exhaustive()
    }
}

impl Tracer {
    /// Starts to build a tracer.
    #[must_use]
    pub fn builder() -> TracerBuilder {
        TracerBuilder::default()
    }

    /// Starts a request, in a task on the runtime that the tracer was built on.
    pub fn start(&self, request: Request) -> Result<Trace, Error> {
        let inner = &self.inner;
        let limit = inner.limits.requests;
        let permit = Arc::clone(&inner.requests).try_acquire_owned();
        let permit = permit.map_err(|_| Error::TooManyRequests { limit })?;
        Ok(Trace::start(Arc::clone(inner), &inner.runtime, request, permit))
    }

    /// What the tracer has done so far.
    #[must_use]
    pub fn stats(&self) -> TracerStats {
        let inner = &self.inner;
        TracerStats {
            probes_sent: inner.sent.load(Ordering::Relaxed),
            probes_answered: inner.answered.load(Ordering::Relaxed),
            probe_backlog: inner.budget.as_ref().map_or(Duration::ZERO, |budget| budget.backlog()),
            probe_waits: inner.budget.as_ref().map_or(0, |budget| budget.waits()),
            captured: inner.networks.open().map(|network| network.captured()).sum(),
            capture_drops: inner.networks.open().map(|network| network.capture_drops()).sum(),
            requests: inner.limits.requests - inner.requests.available_permits(),
            runs: inner.networks.open().map(|network| network.leased()).sum(),
        }
    }

    /// Whether no run holds an identity or listens to the capture.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.inner.networks.open().all(|network| network.is_idle())
    }
}

impl TracerBuilder {
    /// Trace in the network namespace that `path` refers to: `/run/netns/NAME`, `/proc/PID/ns/net`. Entering it takes
    /// `CAP_SYS_ADMIN`. Names are resolved in it too, by the servers that the process's own configuration names.
    #[must_use]
    pub fn network_namespace(mut self, path: impl Into<PathBuf>) -> Self {
        self.options.namespace = Some(path.into());
        self
    }

    /// Does beforehand what is better with more privileges than tracing needs, for those who give them up before they
    /// [`build`](Self::build): on Linux the capture's buffer may exceed `net.core.rmem_max` with `CAP_NET_ADMIN`, and many traces
    /// at one time need that. The namespace has to be chosen by then. Needs no runtime.
    pub fn prepare(mut self) -> Result<Self, Error> {
        let prepared = self.options.prepare();
        prepared.map_err(|error| Error::opening(self.options.namespace.clone(), error))?;
        Ok(self)
    }

    /// Use the network driver of the Datadog Agent for all requests, and not only for those that [ask for
    /// it](crate::RequestBuilder::windows_driver). On Windows only; of no effect elsewhere.
    #[must_use]
    pub fn windows_driver(mut self, windows_driver: bool) -> Self {
        self.options.access =
            if windows_driver && Access::Driver.is_offered() { Access::Driver } else { Access::Usual };
        self
    }

    /// Use these blocks of ports and echo ids instead of ones chosen at random outside of the kernel's own. What single requests ask
    /// for besides, as the driver of Windows, has blocks of its own.
    #[must_use]
    pub fn blocks(mut self, blocks: Blocks) -> Self {
        self.options.blocks = Some(blocks);
        self
    }

    /// Let runs, and after those of their request end-to-end probes, have the local ports from this one on, in the order in
    /// which they begin; those that other programs hold are left out. Of no effect with ICMP.
    #[must_use]
    pub fn first_port(mut self, port: NonZeroU16) -> Self {
        self.options.first_port = Some(port);
        self
    }

    /// Draw nonces from here instead of the operating system's generator.
    #[must_use]
    pub fn entropy(mut self, entropy: Entropy) -> Self {
        self.options.entropy = Some(entropy);
        self
    }

    /// Trace in `network`, which may be a simulated one; the namespace, blocks and entropy are then its own.
    #[must_use]
    pub fn network(mut self, network: Network) -> Self {
        self.network = Some(network);
        self
    }

    /// How much to do at one time.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Who says which targets may be traced; by default all may.
    #[must_use]
    pub fn target_policy(mut self, policy: impl TargetPolicy + 'static) -> Self {
        self.policy = Some(Arc::new(policy));
        self
    }

    /// Who is asked for names, and for how long they are kept; the system and an hour by default.
    #[must_use]
    pub fn names(mut self, names: NameOptions) -> Self {
        self.names = names;
        self
    }

    /// Who is asked for the public address, and for how long that is kept; five services and two hours by default.
    #[must_use]
    pub fn public_ip(mut self, public_ip: PublicIpOptions) -> Self {
        self.public_ip = public_ip;
        self
    }

    /// Opens the capture and the sinks. Raises the process's limit of open descriptors as far as it may, since each run
    /// holds a port by a socket.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with I/O and time.
    pub async fn build(self) -> Result<Tracer, Error> {
        let first_port = self.options.first_port;
        let network = if let Some(network) = self.network {
            network
        } else {
            if let Some(blocks) = &self.options.blocks {
                check("ports", &blocks.ports)?;
                check("echo ids", &blocks.echo_ids)?;
            }
            let namespace = self.options.namespace.clone();
            Network::open(self.options).await.map_err(|error| Error::opening(namespace, error))?
        };
        let limits = Limits { requests: self.limits.requests.min(Semaphore::MAX_PERMITS), ..self.limits };
        let network = Arc::new(network);
        let resolver = Resolver::new();
        Ok(Tracer {
            inner: Arc::new(Inner {
                lookups: Lookups::new(&network, &resolver, self.names, self.public_ip),
                networks: Networks::new(network, first_port),
                policy: self.policy,
                sent: Arc::default(),
                answered: AtomicU64::new(0),
                ports_chosen: first_port.is_some(),
                budget: limits.probes_per_second.map(Budget::new).map(Arc::new),
                resolver,
                requests: Arc::new(Semaphore::new(limits.requests)),
                limits,
                runtime: Handle::current(),
            }),
        })
    }
}

fn check(name: &'static str, block: &RangeInclusive<u16>) -> Result<(), InvalidRequest> {
    if !block.is_empty() && *block.start() > 0 {
        return Ok(());
    }
    let given = format!("{} to {}", block.start(), block.end());
    Err(InvalidRequest::NotInRange { name, given, allowed: "ascending ranges from 1 to 65535".into() })
}
