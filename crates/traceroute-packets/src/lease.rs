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
use crate::host::{Connector, Host, PortHold};

/// Gives random bits, anew on each call.
pub type Entropy = Box<dyn FnMut() -> u64 + Send>;

/// The blocks of local ports and echo ids that probes come from. The capture filter admits these and no others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// Local ports.
    pub ports: RangeInclusive<u16>,
    /// Echo ids.
    pub echo_ids: RangeInclusive<u16>,
    /// Whether the first run gets the first of a block. Otherwise it gets any, lest processes with the same block meet.
    pub in_order: bool,
}

/// What an identity is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Probes of a protocol. Runs that differ in their targets share a port.
    Probes(Protocol),
    /// A TCP connection, whose port no other run has.
    Connection,
}

impl Use {
    const fn protocol(self) -> Protocol {
        match self {
            Self::Probes(protocol) => protocol,
            Self::Connection => Protocol::Tcp,
        }
    }
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
    tcp: IdentityPool,
    entropy: Entropy,
    held: HashMap<Port, Held>,
    waiting: HashMap<(Protocol, IpAddr), VecDeque<Waiter>>,
    /// How many have waited so far.
    waited: u64,
}

/// A port held by a bound socket.
enum Held {
    /// Shared by so many runs, which use it toward different targets.
    Shared { runs: usize, _hold: PortHold },
    /// By the connection of one run.
    Connected,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Port {
    protocol: Protocol,
    source: IpAddr,
    number: u16,
}

/// What an identity is wanted for, between which ends.
#[derive(Clone, Copy)]
struct Want {
    used: Use,
    source: IpAddr,
    to: Destination,
}

impl Want {
    const fn key(self) -> (Protocol, IpAddr) {
        (self.used.protocol(), self.to.address)
    }

    const fn port(self, number: u16) -> Port {
        Port { protocol: self.used.protocol(), source: self.source, number }
    }
}

/// Somebody who waits for an identity.
struct Waiter {
    want: Want,
    /// How many have begun to wait before.
    number: u64,
    turn: oneshot::Sender<Outcome>,
}

type Outcome = Result<Lease, TracerouteError>;

/// When an identity is to be had.
enum Turn {
    Now(Lease),
    Later(oneshot::Receiver<Outcome>),
    Never,
}

/// An identity lent to a run. Dropping it returns it to quarantine.
#[must_use = "dropping a lease returns it"]
pub struct Lease {
    identity: Identity,
    protocol: Protocol,
    taken: Taken,
    inner: Arc<Inner>,
}

/// What comes with an identity.
#[derive(Default)]
struct Taken {
    /// `None` for an echo id.
    port: Option<Port>,
    /// Until the connection is made.
    connector: Option<Box<dyn Connector>>,
}

impl Leases {
    /// The identities of `blocks`, with the ports held on `host`.
    #[must_use]
    pub fn new(clock: Clock, host: Arc<dyn Host>, blocks: &Blocks, mut entropy: Entropy) -> Self {
        let mut pool = |block: &RangeInclusive<u16>| {
            let len = block.end().saturating_sub(*block.start()).saturating_add(1);
            let [a, b, ..] = entropy().to_ne_bytes();
            let start = if blocks.in_order { 0 } else { u16::from_ne_bytes([a, b]) };
            IdentityPool::new(*block.start(), len, start)
        };
        let (udp, icmp, tcp) = (pool(&blocks.ports), pool(&blocks.echo_ids), pool(&blocks.ports));
        let (held, waiting) = (HashMap::new(), HashMap::new());
        let state = State { udp, icmp, tcp, entropy, held, waiting, waited: 0 };
        Self { inner: Arc::new(Inner { clock, host, state: Mutex::new(state), queued: Notify::new() }) }
    }

    /// Lends an identity for what goes from `source` to `to`. When all are in use toward that target, or their ports are in
    /// use by connections that share them with nobody, waits in turn for up to `patience`.
    pub async fn lease(
        &self,
        used: Use,
        source: IpAddr,
        to: Destination,
        patience: Duration,
    ) -> Result<Lease, TracerouteError> {
        let want = Want { used, source, to };
        let turn = self.inner.lend_or_wait(&mut self.inner.lock(), want)?;
        let lease = match turn {
            Turn::Now(lease) => Some(lease),
            Turn::Later(waiting) => {
                self.inner.queued.notify_waiters();
                timeout(patience, waiting).await.ok().and_then(Result::ok).transpose()?
            }
            Turn::Never => None,
        };
        lease.ok_or_else(|| TracerouteError::IdentitiesExhausted {
            target: to.address,
            limit: self.inner.lock().pool(used.protocol()).capacity(),
        })
    }

    /// How many identities are lent out.
    #[must_use]
    pub fn live(&self) -> usize {
        let state = self.inner.lock();
        state.udp.live() + state.icmp.live() + state.tcp.live()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An identity with its port; `None` if there is none at the moment.
    fn lend(self: &Arc<Self>, state: &mut State, want: Want) -> Result<Option<Lease>, TracerouteError> {
        let protocol = want.used.protocol();
        while let Some(identity) = state.identity(want, self.clock) {
            match state.take_port(want, identity.local, self.host.as_ref()) {
                Ok(Some(taken)) => {
                    return Ok(Some(Lease { identity, protocol, taken, inner: Arc::clone(self) }));
                }
                Ok(None) => {
                    let pool = state.pool(protocol);
                    pool.give_up(&identity);
                    pool.avoid(identity.local, self.clock.now());
                }
                Err(error) => {
                    state.pool(protocol).give_up(&identity);
                    return Err(error);
                }
            }
        }
        Ok(None)
    }

    /// An identity, or a place in the queue behind those who wait. There is no point in waiting for identities that
    /// nobody will return: those whose ports other programs hold.
    fn lend_or_wait(self: &Arc<Self>, state: &mut State, want: Want) -> Result<Turn, TracerouteError> {
        let queue = state.waiting.entry(want.key()).or_default();
        queue.retain(|waiter| !waiter.turn.is_closed());
        if queue.is_empty() {
            state.waiting.remove(&want.key());
            if let Some(lease) = self.lend(state, want)? {
                return Ok(Turn::Now(lease));
            }
            if !state.is_to_be_returned(want) {
                return Ok(Turn::Never);
            }
        }
        let (turn, waiting) = oneshot::channel();
        let number = state.waited;
        state.waited += 1;
        state.waiting.entry(want.key()).or_default().push_back(Waiter { want, number, turn });
        Ok(Turn::Later(waiting))
    }

    /// Lends what has become free to those who wait for it. Returns a lease that nobody wanted any more, to be dropped
    /// once the lock is released.
    fn serve(self: &Arc<Self>, state: &mut State, key: (Protocol, IpAddr)) -> Option<Lease> {
        while let Some(queue) = state.waiting.get_mut(&key) {
            let Some(waiter) = queue.pop_front() else {
                state.waiting.remove(&key);
                break;
            };
            if waiter.turn.is_closed() {
                continue;
            }
            let outcome = match self.lend(state, waiter.want) {
                Ok(Some(lease)) => Ok(lease),
                Ok(None) => {
                    state.waiting.entry(key).or_default().push_front(waiter);
                    break;
                }
                Err(error) => Err(error),
            };
            if let Err(Ok(unwanted)) = waiter.turn.send(outcome) {
                return Some(unwanted);
            }
        }
        None
    }

    /// Takes a lease back. Returns those that nobody wanted any more, to be dropped once the lock is released.
    fn take_back(self: &Arc<Self>, state: &mut State, lease: &Lease) -> Vec<Lease> {
        let own = (lease.protocol, lease.identity.remote);
        let freed = lease.taken.port.is_some_and(|port| state.let_go(port));
        state.pool(lease.protocol).release(&lease.identity, self.clock.now());
        let mut unwanted: Vec<Lease> = self.serve(state, own).into_iter().collect();
        if freed && lease.protocol == Protocol::Tcp {
            // Others may wait for just this port, whatever their target. Who came first is first.
            let first = |queue: &VecDeque<Waiter>| queue.front().map(|waiter| waiter.number);
            let waiting = state.waiting.iter().filter(|(key, _)| key.0 == Protocol::Tcp);
            let mut keys: Vec<_> = waiting.map(|(key, queue)| (first(queue), *key)).collect();
            keys.sort_unstable_by_key(|(number, _)| *number);
            unwanted.extend(keys.into_iter().filter_map(|(_, key)| self.serve(state, key)));
        }
        unwanted
    }
}

impl State {
    fn pool(&mut self, protocol: Protocol) -> &mut IdentityPool {
        match protocol {
            Protocol::Udp => &mut self.udp,
            Protocol::Icmp => &mut self.icmp,
            Protocol::Tcp => &mut self.tcp,
        }
    }

    /// An identity whose port is not in use in a way that cannot be shared.
    fn identity(&mut self, want: Want, clock: Clock) -> Option<Identity> {
        let Self { udp, icmp, tcp, entropy, held, .. } = self;
        let pool = match want.used.protocol() {
            Protocol::Udp => udp,
            Protocol::Icmp => icmp,
            Protocol::Tcp => tcp,
        };
        let usable = |local| match (held.get(&want.port(local)), want.used) {
            (None, _) | (Some(Held::Shared { .. }), Use::Probes(_)) => true,
            (Some(_), _) => false,
        };
        pool.lease_of(want.to.address, clock.now(), entropy, usable)
    }

    /// Whether what is wanted is in use by ourselves, and so will come back.
    fn is_to_be_returned(&mut self, want: Want) -> bool {
        let unshared = |held: &Held| matches!((held, want.used), (Held::Connected, _) | (_, Use::Connection));
        let mut held = self.held.iter().filter(|(_, held)| unshared(held));
        held.any(|(port, _)| *port == want.port(port.number))
            || self.pool(want.used.protocol()).is_live_toward(want.to.address)
    }

    /// Whether somebody waits for what this lease holds.
    fn is_waited_for(&self, lease: &Lease) -> bool {
        let own = (lease.protocol, lease.identity.remote);
        let waits = |waiter: &Waiter| {
            waiter.want.key() == own
                || lease.taken.port.is_some_and(|port| waiter.want.port(port.number) == port)
        };
        let ports = lease.protocol == Protocol::Tcp;
        let queues = self.waiting.iter().filter(|(key, _)| **key == own || (ports && key.0 == own.0));
        queues.flat_map(|(_, queue)| queue).any(|waiter| !waiter.turn.is_closed() && waits(waiter))
    }

    /// Takes the port, by a socket where there is none yet: a number that is to be had, or `None` where another program has
    /// it. Echo ids are not taken.
    fn take_port(
        &mut self,
        want: Want,
        local: u16,
        host: &dyn Host,
    ) -> Result<Option<Taken>, TracerouteError> {
        let port = want.port(local);
        match want.used {
            Use::Probes(Protocol::Icmp) => Ok(Some(Taken::default())),
            Use::Probes(protocol) => {
                if let Some(Held::Shared { runs, .. }) = self.held.get_mut(&port) {
                    *runs += 1;
                } else if let Some(hold) = host.hold_port(protocol, want.source, want.to, local)? {
                    self.held.insert(port, Held::Shared { runs: 1, _hold: hold });
                } else {
                    return Ok(None);
                }
                Ok(Some(Taken { port: Some(port), connector: None }))
            }
            Use::Connection => {
                let Some(connector) = host.open_connector(want.source, want.to, local)? else {
                    return Ok(None);
                };
                self.held.insert(port, Held::Connected);
                Ok(Some(Taken { port: Some(port), connector: Some(connector) }))
            }
        }
    }

    /// Whether nobody has the port any more.
    fn let_go(&mut self, port: Port) -> bool {
        match self.held.get_mut(&port) {
            Some(Held::Shared { runs, .. }) if *runs > 1 => {
                *runs -= 1;
                false
            }
            _ => self.held.remove(&port).is_some(),
        }
    }
}

impl Lease {
    /// What was lent.
    #[must_use]
    pub const fn identity(&self) -> Identity {
        self.identity
    }

    /// What makes the connection, once, of an identity that is lent for one. It is to be gone before the lease is.
    pub fn take_connector(&mut self) -> Option<Box<dyn Connector>> {
        self.taken.connector.take()
    }

    /// Waits until somebody waits for an identity that this one would serve: one toward the same target, or of the same port.
    pub async fn wanted(&self) {
        loop {
            // Before the look, so that nobody is missed who comes after it.
            let queued = pin!(self.inner.queued.notified());
            if self.inner.lock().is_waited_for(self) {
                return;
            }
            queued.await;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Before the port is another run's.
        drop(self.taken.connector.take());
        let inner = Arc::clone(&self.inner);
        let mut state = inner.lock();
        let unwanted = inner.take_back(&mut state, self);
        drop(state);
        drop(unwanted);
    }
}
