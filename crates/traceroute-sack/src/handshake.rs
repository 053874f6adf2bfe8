//! How a connection is made, as the capture shows it.

use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use traceroute_core::{Captured, FlowKey, Identity, SackRefusal, TcpFlow, TcpPacket};
use traceroute_wire::{TcpFlags, TcpSegment, TcpTimestamps, Timestamp};

use super::{SackProbes, flags};

/// How much later than the last time stamp of the handshake the probes' is, in the ticks of this host's clock, which are
/// milliseconds in Linux unless a route says otherwise. What this host's kernel sends meanwhile, to acknowledge an end of the
/// target's, must not make the probes look old. A stamp ahead of the clock does the target no harm, since what comes early
/// never becomes its last known one (RFC 7323 section 4.3); but firewalls that check stamps bear some 30 s at most
/// (`tcp.tsdiff` of pf).
const LATER: u32 = 20_000;

/// What was seen of a handshake so far.
#[derive(Clone, Debug)]
pub struct Handshake {
    flow: TcpFlow,
    syn: Option<Syn>,
    syn_ack: Option<SynAck>,
    target_speaks: bool,
    last: Option<LastSent>,
}

#[derive(Clone, Copy, Debug)]
struct Syn {
    at: Timestamp,
    sequence: u32,
    asks_for_sack: bool,
}

#[derive(Clone, Copy, Debug)]
struct SynAck {
    sequence: u32,
    acknowledgement: u32,
    permits_sack: bool,
    timestamps: Option<TcpTimestamps>,
    ttl: u8,
    at: Timestamp,
}

/// The last segment of this host's.
#[derive(Clone, Copy, Debug)]
struct LastSent {
    timestamps: Option<TcpTimestamps>,
    label: u32,
}

/// Why a handshake yields no probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incomplete {
    /// It shows that the method does not work.
    Refused(SackRefusal),
    /// Not all of it was seen.
    NotSeen,
}

impl Handshake {
    /// The handshake of a connection from `source` to `port` of the identity's target. `None` if source and target are of
    /// different families.
    #[must_use]
    pub fn new(source: IpAddr, port: u16, identity: &Identity) -> Option<Self> {
        let flow = TcpFlow::new(source, port, identity, flags())?;
        Some(Self { flow, syn: None, syn_ack: None, target_speaks: false, last: None })
    }

    /// What the demultiplexer knows the connection by.
    #[must_use]
    pub const fn flows(&self) -> &[FlowKey] {
        self.flow.keys()
    }

    /// The target and its port.
    #[must_use]
    pub const fn remote(&self) -> SocketAddr {
        self.flow.remote()
    }

    /// Takes note of a captured packet, whatever it is.
    pub fn observe(&mut self, packet: &Captured<'_>) {
        // The label of what the kernel sends is not ours, and may be that of another run.
        if let Some((header, segment)) = self.flow.sent(packet) {
            if segment.flags.contains(TcpFlags::SYN) {
                let asks_for_sack = segment.permits_sack();
                let (at, sequence) = (packet.stamp.at, segment.sequence);
                self.syn = Some(Syn { at, sequence, asks_for_sack });
            }
            self.last = Some(LastSent { timestamps: segment.timestamps(), label: header.label });
        }
        let Some(TcpPacket::Segment(datagram, segment)) = self.flow.received(packet) else { return };
        if segment.flags.contains(TcpFlags::SYN | TcpFlags::ACK) && self.is_acknowledged_by(&segment) {
            self.syn_ack = Some(SynAck {
                sequence: segment.sequence,
                acknowledgement: segment.acknowledgement,
                permits_sack: segment.permits_sack(),
                timestamps: segment.timestamps(),
                ttl: datagram.header.ttl,
                at: packet.stamp.at,
            });
        }
        let answered = self.syn_ack.is_some_and(|syn_ack| syn_ack.acknowledgement == segment.acknowledgement);
        self.target_speaks |= answered && !segment.payload.is_empty();
    }

    /// Whether a segment acknowledges this host's SYN, if that was seen.
    fn is_acknowledged_by(&self, segment: &TcpSegment<'_>) -> bool {
        self.syn.is_none_or(|syn| segment.acknowledgement == syn.sequence.wrapping_add(1))
    }

    /// The probes of the connection, which has been made.
    pub fn complete(self) -> Result<SackProbes, Incomplete> {
        let syn_ack = self.syn_ack.ok_or(Incomplete::NotSeen)?;
        if !syn_ack.permits_sack {
            let asked = self.syn.is_none_or(|syn| syn.asks_for_sack);
            let reason = if asked { SackRefusal::NotOffered } else { SackRefusal::NotAsked };
            return Err(Incomplete::Refused(reason));
        }
        let flow = match (self.flow.remote(), self.last) {
            // Load balancers hash the flow label: with another one, the probes might go to another server.
            (SocketAddr::V6(_), Some(last)) => self.flow.labelled(last.label),
            _ => self.flow,
        };
        Ok(SackProbes {
            flow,
            next: syn_ack.acknowledgement,
            acknowledgement: syn_ack.sequence.wrapping_add(1),
            timestamps: syn_ack.timestamps.map(|theirs| {
                // Where this host masquerades itself the last one was not seen, but that of the SYN comes back.
                let ours = self.last.and_then(|last| last.timestamps).map_or(theirs.echo, |last| last.value);
                TcpTimestamps { value: ours.wrapping_add(LATER), echo: theirs.value }
            }),
            answer_ttl: syn_ack.ttl,
            round_trip: self.syn.map(|syn| syn_ack.at.saturating_since(syn.at)),
            target_speaks: self.target_speaks,
            sent: Vec::new(),
        })
    }
}
