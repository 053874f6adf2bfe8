//! The connections of the client's kernel.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use traceroute_wire::Timestamp;

use super::super::message::Unreachable;
use super::super::tcp::{Flow, Offers, Unconnected};
use super::{Shared, SimSink, State};

/// How long a SYN waits before it is sent again; each time twice as long as before.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The TCP sockets of a simulated network's client.
#[derive(Clone, Debug)]
pub struct SimTcp {
    shared: Arc<Shared>,
    offers: Offers,
}

/// A connection of the client's kernel, which acknowledges what arrives.
///
/// Dropping it resets it, as closing a socket does that lingers for no time, unless it was reset by its peer.
#[derive(Debug)]
pub struct SimConnection {
    socket: Socket,
}

/// Why a connection was not established.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SimConnectError {
    /// The client does not have the local address, or the peer's is of the other family.
    #[error("address not available")]
    AddressNotAvailable,
    /// There is a connection, or an attempt, between the two addresses.
    #[error("address in use")]
    AddressInUse,
    /// The peer reset the attempt.
    #[error("connection refused")]
    Refused,
    /// Somebody on the path answered that the peer cannot be reached.
    #[error("unreachable: {0:?}")]
    Unreachable(Unreachable),
}

/// The kernel's state of a flow, until this is dropped.
#[derive(Debug)]
struct Socket {
    shared: Arc<Shared>,
    flow: Flow,
}

impl SimSink {
    /// The TCP sockets of the same client. They offer SACK and timestamps.
    #[must_use]
    pub fn tcp(&self) -> SimTcp {
        SimTcp { shared: Arc::clone(&self.shared), offers: Offers { sack: true, timestamps: true } }
    }
}

impl SimTcp {
    /// Sockets that do not offer SACK.
    #[must_use]
    pub fn without_sack(mut self) -> Self {
        self.offers.sack = false;
        self
    }

    /// Sockets that do not offer timestamps.
    #[must_use]
    pub fn without_timestamps(mut self) -> Self {
        self.offers.timestamps = false;
        self
    }

    /// Connects from an address and port of the client.
    ///
    /// The SYN is sent again after 1, 3, 7, ... seconds, without end. Dropping the future forgets the attempt.
    pub async fn connect(&self, from: SocketAddr, to: SocketAddr) -> Result<SimConnection, SimConnectError> {
        let shared = &self.shared;
        let socket = self.begin(from, to)?;
        let mut wait = FIRST_WAIT;
        let mut repeat_at = shared.now() + wait;
        loop {
            let changed = shared.changed.notified();
            let next = {
                let now = shared.now();
                let mut state = shared.state();
                shared.advance(&mut state, now);
                match state.kernel.outcome(socket.flow) {
                    Ok(()) => break,
                    Err(Unconnected::Refused) => return Err(SimConnectError::Refused),
                    Err(Unconnected::Unreachable(why)) => return Err(SimConnectError::Unreachable(why)),
                    Err(Unconnected::Waiting) => {}
                }
                if now >= repeat_at {
                    shared.send_syn(&mut state, now, socket.flow);
                    wait *= 2;
                    repeat_at = repeat_at + wait;
                }
                state.network.next_event().map_or(repeat_at, |event| event.min(repeat_at))
            };
            shared.wait(Some(next), changed).await;
        }
        Ok(SimConnection { socket })
    }

    fn begin(&self, from: SocketAddr, to: SocketAddr) -> Result<Socket, SimConnectError> {
        let shared = &self.shared;
        let now = shared.now();
        let plain = |address: SocketAddr| SocketAddr::new(address.ip(), address.port());
        let flow = Flow { source: plain(from), destination: plain(to) };
        let mut state = shared.state();
        shared.advance(&mut state, now);
        if !state.network.client().contains(from.ip()) || from.is_ipv4() != to.is_ipv4() {
            return Err(SimConnectError::AddressNotAvailable);
        }
        if !state.kernel.begin(flow, self.offers) {
            return Err(SimConnectError::AddressInUse);
        }
        shared.send_syn(&mut state, now, flow);
        Ok(Socket { shared: Arc::clone(shared), flow })
    }
}

impl Shared {
    fn send_syn(&self, state: &mut State, now: Timestamp, flow: Flow) {
        if let Some(syn) = state.kernel.syn(now, flow) {
            self.send_from_kernel(state, now, &syn);
        }
    }
}

impl SimConnection {
    /// The client's address and port.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.socket.flow.source
    }

    /// The peer's address and port.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.socket.flow.destination
    }

    /// What the kernel knows of the connection now; nothing once the peer has reset it.
    #[must_use]
    pub fn info(&self) -> Option<SimConnectionInfo> {
        let shared = &self.socket.shared;
        let now = shared.now();
        let mut state = shared.state();
        shared.advance(&mut state, now);
        state.kernel.connection(self.socket.flow).map(|connection| SimConnectionInfo {
            next: connection.next(),
            expected: connection.expected(),
            sack: connection.uses_sack(),
            timestamps: connection.timestamps(now),
        })
    }
}

/// What a kernel knows of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimConnectionInfo {
    /// The sequence number of the next byte that it would send.
    pub next: u32,
    /// The sequence number of the next byte that it expects.
    pub expected: u32,
    /// Whether SACK is permitted, both ways.
    pub sack: bool,
    /// `TSval` and `TSecr` of what it would send now, where timestamps are used.
    pub timestamps: Option<(u32, u32)>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        let now = self.shared.now();
        let mut state = self.shared.state();
        self.shared.advance(&mut state, now);
        if let Some(reset) = state.kernel.abort(now, self.flow) {
            self.shared.send_from_kernel(&mut state, now, &reset);
        }
    }
}
