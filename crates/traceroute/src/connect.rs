//! The connection that a SACK run sends its probes in.

use std::pin::pin;

use tokio::time::timeout;
use traceroute_core::{ConnectFailure, SackRefusal, Source, TracerouteError};
use traceroute_packets::{ConnectError, Connection, Lease, Subscription};
use traceroute_sack::{Handshake, Incomplete, SackProbes};

use crate::run::Context;

/// A connection that probes may be sent in.
pub(crate) struct Connected {
    pub(crate) probes: SackProbes,
    /// To the packets of the connection.
    pub(crate) subscription: Subscription,
    pub(crate) connection: Connection,
}

/// Connects from the port that was lent for it, and learns from the capture what was agreed on.
pub(crate) async fn connect(context: &Context<'_>, lease: &mut Lease) -> Result<Connected, TracerouteError> {
    let &Context { ref network, source, destination, port, shape, timeout: patience, .. } = context;
    let identity = lease.identity();
    let mismatch = TracerouteError::NoSourceAddress { target: identity.remote };
    let mut handshake = Handshake::new(source, port, &identity).ok_or(mismatch)?;
    let target = handshake.remote();
    // Before anything is sent.
    let mut subscription = network.subscribe(handshake.flows());

    // An identity that is lent for a connection has what makes it.
    let connector = lease.take_connector().ok_or(TracerouteError::HandshakeMissed { target })?;
    let connecting = connector.connect(destination, port, shape.traffic_class);
    let mut connecting = pin!(timeout(patience, connecting));
    let outcome = loop {
        tokio::select! {
            biased;
            outcome = &mut connecting => break outcome,
            packet = subscription.recv() => if let Some(packet) = packet? { handshake.observe(&packet) },
        }
    };
    let not_connected =
        |failure| TracerouteError::SackNotSupported { target, reason: SackRefusal::NotConnected(failure) };
    let connection = match outcome {
        Ok(Ok(connection)) => connection,
        Ok(Err(ConnectError::Host(error))) => return Err(error),
        Ok(Err(ConnectError::Network(failure))) => return Err(not_connected(failure)),
        Err(_) => return Err(not_connected(ConnectFailure::TimedOut)),
    };
    subscription.catch_up();
    while let Some(packet) = subscription.recv().await? {
        handshake.observe(&packet);
    }
    let probes = handshake.complete().map_err(|incomplete| match incomplete {
        Incomplete::Refused(reason) => TracerouteError::SackNotSupported { target, reason },
        Incomplete::NotSeen => TracerouteError::HandshakeMissed { target },
    })?;
    subscription.follow(probes.flow());
    Ok(Connected { probes, subscription, connection })
}
