//! The TCP SYN method: half of a handshake, which an open port answers with SYN-ACK and a closed one with RST.
//!
//! # What a probe carries
//!
//! | where | what | why |
//! |---|---|---|
//! | source port | leased by the run | names the run; hashed, so constant |
//! | sequence number | the nonce's initial one plus the number of probes sent before | names the probe within the 8 bytes that every router quotes, and in the acknowledgement number of the target's answer |
//! | IPv4 identification, IPv6 flow label | the nonce's label | names the run where a NAT rewrote the source |
//!
//! No options, no data, a window of 1024, an acknowledgement number of zero. Load balancers hash addresses and ports, so all
//! probes of a run take one path.
//!
//! # Why the numbers count up
//!
//! A listening port that has answered a SYN takes the next one for one of the same connection. If its sequence number is
//! within the window, the half-open connection is reset, and the RST names the second SYN; the third finds the port
//! listening again. So an open Linux port answers SYN-ACK and RST by turns, each naming its own probe
//! (`tcp_check_req`, `net/ipv4/tcp_minisocks.c`). A number outside of the window, or below the first, gets a challenge ACK
//! (RFC 5961 section 4) that names the first SYN, and then nothing for a while. Hence each probe's number is one above
//! that of the probe sent before it, and stateful firewalls see a client that tries again.
//!
//! # What answers
//!
//! Routers answer with time exceeded, the target with SYN-ACK or RST. Their acknowledgement number names the probe,
//! however late they come. A bare ACK never counts: it belongs to another connection. A RST without ACK has only its
//! sequence number: the probe's own where a middlebox mirrors it, or, by RFC 9293 section 3.10.7.1, the acknowledgement
//! number of the segment that it refuses, which is zero in all probes and names none.
//!
//! This host's kernel knows nothing of the probes, whose port a socket without a connection holds, and resets what the target
//! has half opened; that of macOS does so only if the socket listens. That RST has the sequence number of the next probe, but
//! no SYN.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::vec::Vec;
use core::net::IpAddr;

use traceroute_core::{
    Captured, FlowKey, Identity, ProbeId, ProbeProtocol, ProbeResponse, ProbeSegment, ReplyKind, Shape,
    TcpFlow,
};
use traceroute_wire::{TcpFlags, TcpSegment};

/// The identification of all probes of all runs in IPv4 where [`Numbering::Random`] is chosen.
const FIXED_IDENTIFICATION: u32 = 41_821;

/// Where the probes' sequence numbers come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Numbering {
    /// Each is one above that of the probe sent before it.
    #[default]
    Ascending,
    /// Each is drawn at random, and in IPv4 the identification is 41821 whatever the run, as the reference's "Paris" option
    /// does it. A port that listens answers the first one only until that is reset, so such probes go out one by one.
    Random,
}

/// The probes of one run.
#[derive(Clone, Debug)]
pub struct TcpProbes {
    flow: TcpFlow,
    numbering: Numbering,
    seed: u64,
    /// In the order of sending.
    sent: Vec<ProbeId>,
}

impl TcpProbes {
    /// Probes from `source` to `port` of the identity's target. `None` if source and target are of different families.
    #[must_use]
    pub fn new(source: IpAddr, port: u16, identity: Identity, numbering: Numbering) -> Option<Self> {
        let flow = TcpFlow::new(source, port, &identity, TcpFlags::SYN)?;
        let flow = match (numbering, identity.remote) {
            (Numbering::Random, IpAddr::V4(_)) => flow.labelled(FIXED_IDENTIFICATION),
            _ => flow,
        };
        Some(Self { flow, numbering, seed: identity.nonce.token, sent: Vec::new() })
    }

    /// The same probes in another shape. They have no data, so their size is what it is.
    #[must_use]
    pub fn shaped(mut self, shape: Shape) -> Self {
        self.flow = self.flow.classed(shape.traffic_class);
        self
    }

    /// The sequence number of the probe that is sent after `before` others.
    fn sequence(&self, before: u32) -> u32 {
        match self.numbering {
            Numbering::Ascending => ((self.seed & 0xffff_ffff) as u32).wrapping_add(before),
            Numbering::Random => mixed(self.seed.wrapping_add(before.into())),
        }
    }

    /// The probe with this sequence number.
    fn probe_with(&self, sequence: u32) -> Option<ProbeId> {
        let number = match self.numbering {
            Numbering::Ascending => sequence.wrapping_sub(self.sequence(0)),
            Numbering::Random => (0..self.count()).find(|before| self.sequence(*before) == sequence)?,
        };
        self.sent.get(usize::try_from(number).ok()?).copied()
    }

    /// How many were sent: a run has at most 65,279.
    fn count(&self) -> u32 {
        u32::try_from(self.sent.len()).unwrap_or(u32::MAX)
    }

    /// Which probe a segment of the target's answers, if any; the probe is `None` where that cannot be told.
    fn answered_by(&self, segment: &TcpSegment<'_>) -> Option<(Option<ProbeId>, ReplyKind)> {
        // A SYN counts as one byte (RFC 9293 section 3.4).
        let acknowledged = || self.probe_with(segment.acknowledgement.wrapping_sub(1));
        let flags = segment.flags;
        if flags.contains(TcpFlags::RST) {
            let probe = match self.probe_with(segment.sequence) {
                _ if flags.contains(TcpFlags::ACK) => Some(acknowledged()?),
                None if segment.sequence != 0 => return None,
                probe => probe,
            };
            return Some((probe, ReplyKind::Reset));
        }
        let opens = flags.contains(TcpFlags::SYN | TcpFlags::ACK);
        if opens { Some((Some(acknowledged()?), ReplyKind::SynAck)) } else { None }
    }
}

impl ProbeProtocol for TcpProbes {
    fn flows(&self) -> &[FlowKey] {
        self.flow.keys()
    }

    fn encode<'b>(&mut self, probe: ProbeId, buffer: &'b mut [u8]) -> &'b [u8] {
        let known = (0..).zip(&self.sent).find_map(|(before, sent)| (*sent == probe).then_some(before));
        let before = known.unwrap_or_else(|| {
            let before = self.count();
            self.sent.push(probe);
            before
        });
        let sequence = self.sequence(before);
        let segment = ProbeSegment { sequence, acknowledgement: 0, options: &[], payload: &[] };
        self.flow.write(probe.ttl, &segment, buffer)
    }

    fn match_sent(&self, own: &Captured<'_>) -> Option<ProbeId> {
        self.probe_with(self.flow.sent_probe(own)?)
    }

    fn match_reply(&self, reply: &Captured<'_>) -> Option<ProbeResponse> {
        let probe_with = |sequence| self.probe_with(sequence);
        self.flow.response(reply, probe_with, |segment| self.answered_by(segment))
    }
}

/// A number in which every bit of the seed shows (the finalizer of `SplitMix64`).
const fn mixed(seed: u64) -> u32 {
    let bits = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (bits >> 32) as u32
}

#[cfg(test)]
mod tests;
