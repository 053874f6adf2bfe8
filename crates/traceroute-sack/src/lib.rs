//! The TCP SACK method: segments of a real connection that leave a gap, which the target acknowledges one by one.
//!
//! # How it goes
//!
//! This host's kernel connects to the target, from a leased port. A [`Handshake`] sees in the capture what the two agree on
//! and yields the [`SackProbes`]. Firewalls that let only established connections pass let these probes pass, and a server
//! behind a load balancer is that which has the connection.
//!
//! # What a probe carries
//!
//! | where | what | why |
//! |---|---|---|
//! | source port | leased by the run, the connection's | names the run; hashed, so constant |
//! | sequence number | the connection's next one, plus 16, plus two for each number of the probe | names the probe within the 8 bytes that every router quotes, and in the target's acknowledgement |
//! | IPv4 identification, IPv6 flow label | the nonce's label; in IPv6 the connection's | names the run where a NAT rewrote the source |
//! | time stamp | later than the handshake's last | else it would be discarded as an old duplicate (RFC 7323 section 5) |
//! | payload | one byte, the TTL | there must be one to acknowledge |
//!
//! # What answers
//!
//! Routers answer with time exceeded. The target keeps a byte that comes too early and acknowledges it at once, and the
//! first block of such an acknowledgement holds the byte that triggered it (RFC 2018 section 4; RFC 2883 for one that came
//! twice). Probes are two bytes apart, lest their blocks merge. Linux acknowledges three such bytes at once, and from then on
//! within a millisecond all that came meanwhile (`__tcp_ack_snd_check`, `net/ipv4/tcp_input.c`): that names the last of them,
//! and those before, all of them from beyond the destination's distance, stay without an answer.
//!
//! A target that has closed the connection answers with a RST that names no probe: its sequence number is the acknowledgement
//! number of all. A RST with ACK answers nothing.
//!
//! What says that the method does not work is a [`SackRefusal`]: acknowledgements without blocks, data of the target's
//! own, sequence numbers that are not ours.
//!
//! # What the application at the target receives
//!
//! Nothing but the connection and its end. The bytes that come next, which all probes leave out, are never sent: nobody
//! writes to the connection, and it must be closed by RST (`SO_LINGER` of zero seconds) however the run or the process
//! ends. A FIN would take the number of the first missing byte, and is an end that a target may take for one of its data. If the
//! RST is lost, the target keeps a silent connection for as long as it keeps such; the missing bytes do not come either,
//! because whatever the target sends on that connection is answered with another RST.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod handshake;

use alloc::vec::Vec;
use core::time::Duration;

use traceroute_core::{
    Captured, Distance, FlowKey, ProbeId, ProbeProtocol, ProbeResponse, ProbeSegment, ReplyKind, SackRefusal,
    Shape, TcpFlow, TcpPacket,
};
use traceroute_wire::tcp::sequence_before;
use traceroute_wire::{TcpFlags, TcpSegment, TcpTimestamps};

pub use self::handshake::{Handshake, Incomplete};

/// How far the bytes of two probes are apart at least.
const APART: u32 = 2;
/// How many bytes are missing before the first at least. A listener that answers with SYN cookies and has lost the handshake's
/// last segment takes a probe for that, if its number is at most three off, the index of a segment size that the cookie hides
/// (`check_tcp_syn_cookie`, `net/ipv4/syncookies.c`): then nothing would be missing before the probe's byte.
const GAP: u32 = 16;

/// The control bits of a probe.
fn flags() -> TcpFlags {
    TcpFlags::PSH | TcpFlags::ACK
}

/// The probes of one run, within its connection.
#[derive(Clone, Debug)]
pub struct SackProbes {
    flow: TcpFlow,
    /// The sequence number of the byte that the target expects, and never gets.
    next: u32,
    /// The sequence number that is expected of the target.
    acknowledgement: u32,
    timestamps: Option<TcpTimestamps>,
    /// With which the target's SYN-ACK arrived.
    answer_ttl: u8,
    round_trip: Option<Duration>,
    target_speaks: bool,
    sent: Vec<ProbeId>,
}

impl SackProbes {
    /// What the demultiplexer knows the probes by, which may be more than it knew the handshake by.
    #[must_use]
    pub const fn flow(&self) -> &FlowKey {
        &self.flow.keys()[0]
    }

    /// The same probes in another shape. Their size is what it is: a longer one would fill the gap before the next.
    #[must_use]
    pub fn shaped(mut self, shape: Shape) -> Self {
        self.flow = self.flow.classed(shape.traffic_class);
        self
    }

    /// How far the target is, by the TTL of its SYN-ACK.
    #[must_use]
    pub fn distance(&self) -> Option<Distance> {
        Distance::guessed(self.answer_ttl)
    }

    /// How long the target took to answer the SYN, if that was seen.
    #[must_use]
    pub const fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// What was said against the method before the first probe.
    #[must_use]
    pub fn refusal(&self) -> Option<SackRefusal> {
        self.target_speaks.then_some(SackRefusal::SpeaksFirst)
    }

    fn sequence(&self, probe: ProbeId) -> u32 {
        self.next.wrapping_add(GAP + APART * u32::from(probe.index()))
    }

    /// The probe whose byte has this number, if it was sent.
    fn probe_with(&self, sequence: u32) -> Option<ProbeId> {
        let distance = sequence.wrapping_sub(self.next.wrapping_add(GAP));
        let index = u16::try_from(distance / APART).ok().filter(|_| distance.is_multiple_of(APART))?;
        ProbeId::from_index(0, index).filter(|probe| self.sent.contains(probe))
    }

    /// Which probe a segment of the target's answers, if any; the probe is `None` where that cannot be told.
    fn answered_by(&self, segment: &TcpSegment<'_>) -> Option<(Option<ProbeId>, ReplyKind)> {
        let flags = segment.flags;
        if flags.contains(TcpFlags::RST) {
            let refuses_a_probe = !flags.contains(TcpFlags::ACK) && segment.sequence == self.acknowledgement;
            return refuses_a_probe.then_some((None, ReplyKind::Reset));
        }
        // What comes with data of the target's own, or with its end, was not sent because of a probe.
        if !self.is_bare_acknowledgement(segment) {
            return None;
        }
        let first = segment.sack_blocks().next()?;
        Some((Some(self.probe_with(first.left)?), ReplyKind::Sack))
    }

    /// Whether a segment has nothing but an acknowledgement of what this host's kernel has sent: nothing of ours adds to that.
    fn is_bare_acknowledgement(&self, segment: &TcpSegment<'_>) -> bool {
        let others = TcpFlags::SYN | TcpFlags::FIN | TcpFlags::RST;
        segment.flags.contains(TcpFlags::ACK)
            && !segment.flags.intersects(others)
            && segment.payload.is_empty()
            && segment.acknowledgement == self.next
    }

    /// What a segment that answers no probe says against the method.
    fn refused_by(&self, segment: &TcpSegment<'_>) -> Option<SackRefusal> {
        // Of another connection between the same ports, perhaps of another host behind this one.
        if segment.flags.intersects(TcpFlags::RST | TcpFlags::SYN) || segment.acknowledgement != self.next {
            return None;
        }
        if !segment.payload.is_empty() {
            return Some(SackRefusal::SpeaksFirst);
        }
        if self.sent.is_empty() || !self.is_bare_acknowledgement(segment) {
            return None;
        }
        match segment.sack_blocks().next() {
            None => Some(SackRefusal::NotUsed),
            // A duplicate of what has been acknowledged (RFC 2883) is none of ours.
            Some(block) if sequence_before(block.left, segment.acknowledgement) => None,
            Some(_) => Some(SackRefusal::SequenceShifted),
        }
    }
}

impl ProbeProtocol for SackProbes {
    fn flows(&self) -> &[FlowKey] {
        self.flow.keys()
    }

    fn encode<'b>(&mut self, probe: ProbeId, buffer: &'b mut [u8]) -> &'b [u8] {
        if !self.sent.contains(&probe) {
            self.sent.push(probe);
        }
        let options = self.timestamps.map(TcpTimestamps::to_bytes);
        let segment = ProbeSegment {
            sequence: self.sequence(probe),
            acknowledgement: self.acknowledgement,
            options: options.as_ref().map(<[u8; 12]>::as_slice).unwrap_or_default(),
            payload: &[probe.ttl.get()],
        };
        self.flow.write(probe.ttl, &segment, buffer)
    }

    fn match_sent(&self, own: &Captured<'_>) -> Option<ProbeId> {
        self.probe_with(self.flow.sent_probe(own)?)
    }

    fn match_reply(&self, reply: &Captured<'_>) -> Option<ProbeResponse> {
        let probe_with = |sequence| self.probe_with(sequence);
        self.flow.response(reply, probe_with, |segment| self.answered_by(segment))
    }

    fn match_refusal(&self, reply: &Captured<'_>) -> Option<SackRefusal> {
        match self.flow.received(reply)? {
            TcpPacket::Error(quoted) => {
                let strange = self.probe_with(quoted.sequence).is_none() && self.flow.is_surely_of(&quoted);
                strange.then_some(SackRefusal::SequenceShifted)
            }
            TcpPacket::Segment(_, segment) => self.refused_by(&segment),
        }
    }
}

#[cfg(test)]
mod tests;
