//! Leases: identities lent to runs, with the port held by a bound socket, and returned when the run drops them.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;
use traceroute_core::{Destination, Identity, IdentityPool, Protocol, TracerouteError};

use crate::clock::Clock;
use crate::host::{Host, PortHold};

/// Gives random bits, anew on each call.
pub type Entropy = Box<dyn FnMut() -> u64 + Send>;

/// The blocks of local ports and echo ids that probes come from. The capture filter admits these and no others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// Local ports.
    pub ports: RangeInclusive<u16>,
    /// Echo ids.
    pub echo_ids: RangeInclusive<u16>,
}

/// The identities of a network.
#[derive(Clone)]
pub struct Leases {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Clock,
    host: Arc<dyn Host>,
    state: Mutex<State>,
    /// Somebody has begun to wait.
    queued: Notify,
}

struct State {
    udp: IdentityPool,
    icmp: IdentityPool,
    entropy: Entropy,
    held: HashMap<Port, Held>,
    waiting: HashMap<(Protocol, IpAddr), VecDeque<oneshot::Sender<Lease>>>,
}

/// A port held by a bound socket, shared by the runs that use it toward different targets.
struct Held {
    runs: usize,
    _hold: PortHold,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Port {
    protocol: Protocol,
    source: IpAddr,
    number: u16,
}

/// When an identity is to be had.
enum Turn {
    Now(Identity),
    Later(oneshot::Receiver<Lease>),
    Never,
}

/// An identity lent to a run. Dropping it returns it to quarantine.
#[must_use = "dropping a lease returns it"]
pub struct Lease {
    identity: Identity,
    protocol: Protocol,
    port: Option<Port>,
    inner: Arc<Inner>,
}

impl Leases {
    /// The identities of `blocks`, with the ports held on `host`.
    #[must_use]
    pub fn new(clock: Clock, host: Arc<dyn Host>, blocks: &Blocks, mut entropy: Entropy) -> Self {
        let mut pool = |block: &RangeInclusive<u16>| {
            let len = block.end().saturating_sub(*block.start()).saturating_add(1);
            let [a, b, ..] = entropy().to_ne_bytes();
            IdentityPool::new(*block.start(), len, u16::from_ne_bytes([a, b]))
        };
        let (udp, icmp) = (pool(&blocks.ports), pool(&blocks.echo_ids));
        let state = State { udp, icmp, entropy, held: HashMap::new(), waiting: HashMap::new() };
        Self { inner: Arc::new(Inner { clock, host, state: Mutex::new(state), queued: Notify::new() }) }
    }

    /// Lends an identity for probes from `source` to `to`. When all are in use toward that target, waits in turn for
    /// up to `patience`.
    pub async fn lease(
        &self,
        protocol: Protocol,
        source: IpAddr,
        to: Destination,
        patience: Duration,
    ) -> Result<Lease, TracerouteError> {
        let remote = to.address;
        let turn = self.inner.lock().lease_or_wait(protocol, remote, self.inner.clock);
        let lease = match turn {
            Turn::Now(identity) => Some(self.inner.lend(protocol, identity)),
            Turn::Later(waiting) => {
                self.inner.queued.notify_waiters();
                timeout(patience, waiting).await.ok().and_then(Result::ok)
            }
            Turn::Never => None,
        };
        match lease {
            Some(lease) => lease.hold(source, to),
            None => Err(self.inner.exhausted(protocol, remote)),
        }
    }

    /// How many identities are lent out.
    #[must_use]
    pub fn live(&self) -> usize {
        let state = self.inner.lock();
        state.udp.live() + state.icmp.live()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lend(self: &Arc<Self>, protocol: Protocol, identity: Identity) -> Lease {
        Lease { identity, protocol, port: None, inner: Arc::clone(self) }
    }

    fn exhausted(&self, protocol: Protocol, target: IpAddr) -> TracerouteError {
        TracerouteError::IdentitiesExhausted { target, limit: self.lock().pool(protocol).capacity() }
    }

    /// Lends what has become free to those who wait for it. Returns a lease that nobody wanted any more, to be dropped
    /// once the lock is released.
    fn serve(self: &Arc<Self>, state: &mut State, protocol: Protocol, remote: IpAddr) -> Option<Lease> {
        let key = (protocol, remote);
        while let Some(queue) = state.waiting.get_mut(&key) {
            let Some(turn) = queue.pop_front() else {
                state.waiting.remove(&key);
                break;
            };
            if turn.is_closed() {
                continue;
            }
            let Some(identity) = state.lease(protocol, remote, self.clock) else {
                state.waiting.entry(key).or_default().push_front(turn);
                break;
            };
            if let Err(unwanted) = turn.send(self.lend(protocol, identity)) {
                return Some(unwanted);
            }
        }
        None
    }
}

impl State {
    fn pool(&mut self, protocol: Protocol) -> &mut IdentityPool {
        match protocol {
            Protocol::Udp => &mut self.udp,
            Protocol::Icmp => &mut self.icmp,
        }
    }

    fn lease(&mut self, protocol: Protocol, remote: IpAddr, clock: Clock) -> Option<Identity> {
        let Self { udp, icmp, entropy, .. } = self;
        let pool = match protocol {
            Protocol::Udp => udp,
            Protocol::Icmp => icmp,
        };
        pool.lease(remote, clock.now(), entropy)
    }

    /// An identity, or a place in the queue behind those who wait. There is no point in waiting for identities that
    /// nobody will return: those whose ports other programs hold.
    fn lease_or_wait(&mut self, protocol: Protocol, remote: IpAddr, clock: Clock) -> Turn {
        let queue = self.waiting.entry((protocol, remote)).or_default();
        queue.retain(|turn| !turn.is_closed());
        if queue.is_empty() {
            self.waiting.remove(&(protocol, remote));
            if let Some(identity) = self.lease(protocol, remote, clock) {
                return Turn::Now(identity);
            }
            if !self.pool(protocol).is_live_toward(remote) {
                return Turn::Never;
            }
        }
        let (turn, waiting) = oneshot::channel();
        self.waiting.entry((protocol, remote)).or_default().push_back(turn);
        Turn::Later(waiting)
    }

    fn is_waited_for(&self, protocol: Protocol, remote: IpAddr) -> bool {
        let queue = self.waiting.get(&(protocol, remote));
        queue.is_some_and(|queue| queue.iter().any(|turn| !turn.is_closed()))
    }

    /// Whether the port could be held.
    fn hold(&mut self, port: Port, to: Destination, host: &dyn Host) -> Result<bool, TracerouteError> {
        if let Some(held) = self.held.get_mut(&port) {
            held.runs += 1;
            return Ok(true);
        }
        let Some(hold) = host.hold_port(port.protocol, port.source, to, port.number)? else {
            return Ok(false);
        };
        self.held.insert(port, Held { runs: 1, _hold: hold });
        Ok(true)
    }

    fn let_go(&mut self, port: Port) {
        if let Some(held) = self.held.get_mut(&port) {
            held.runs -= 1;
            if held.runs == 0 {
                self.held.remove(&port);
            }
        }
    }
}

impl Lease {
    /// What was lent.
    #[must_use]
    pub const fn identity(&self) -> Identity {
        self.identity
    }

    /// Waits until somebody waits for an identity toward the same target, which this one would serve.
    pub async fn wanted(&self) {
        loop {
            // Before the look, so that nobody is missed who comes after it.
            let queued = pin!(self.inner.queued.notified());
            if self.inner.lock().is_waited_for(self.protocol, self.identity.remote) {
                return;
            }
            queued.await;
        }
    }

    /// Holds the lease's port, or that of another identity where somebody else has it. Echo ids cannot be held.
    fn hold(mut self, source: IpAddr, to: Destination) -> Result<Self, TracerouteError> {
        if self.protocol == Protocol::Icmp {
            return Ok(self);
        }
        let inner = Arc::clone(&self.inner);
        let remote = self.identity.remote;
        let held = {
            let mut state = inner.lock();
            loop {
                let port = Port { protocol: self.protocol, source, number: self.identity.local };
                if state.hold(port, to, inner.host.as_ref())? {
                    self.port = Some(port);
                    break true;
                }
                let pool = state.pool(self.protocol);
                pool.give_up(&self.identity);
                pool.avoid(self.identity.local, inner.clock.now());
                match state.lease(self.protocol, remote, inner.clock) {
                    Some(identity) => self.identity = identity,
                    None => break false,
                }
            }
        };
        if held { Ok(self) } else { Err(inner.exhausted(self.protocol, remote)) }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.inner.lock();
        if let Some(port) = self.port {
            state.let_go(port);
        }
        state.pool(self.protocol).release(&self.identity, self.inner.clock.now());
        let unwanted = self.inner.serve(&mut state, self.protocol, self.identity.remote);
        drop(state);
        drop(unwanted);
    }
}
