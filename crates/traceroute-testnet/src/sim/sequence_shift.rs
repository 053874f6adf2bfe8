//! Translation of TCP sequence numbers.

use super::packet::{self, Header};

/// The length of an ICMP header before the quote.
const ICMP_HEADER: usize = 8;
/// The option kind of SACK blocks (RFC 2018).
const SACK: u8 = 5;

/// Translation of the sequence numbers that the client uses, as carrier-grade NATs and firewalls do it.
///
/// What the client sends gets a higher number; acknowledgements on the way back are translated back, the checksums
/// corrected. What else should be translated, some forget:
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceShift {
    /// How much is added to sequence numbers on the way out, modulo 2³².
    pub by: u32,
    /// Whether the edges of SACK blocks on the way back are translated too.
    pub translates_sack: bool,
    /// Whether the quotes of ICMP errors on the way back are translated too.
    pub translates_quotes: bool,
}

impl SequenceShift {
    /// Translates a datagram on its way out.
    pub(super) fn outward(self, datagram: &mut [u8]) {
        if is_tcp(datagram) {
            packet::patch_transport(datagram, |segment| packet::add_u32(segment, 4, self.by));
        }
    }

    /// Translates a datagram on its way back.
    pub(super) fn inward(self, datagram: &mut [u8]) {
        let back = self.by.wrapping_neg();
        if is_tcp(datagram) {
            packet::patch_transport(datagram, |segment| {
                if segment.get(13).is_some_and(|flags| flags & 0x10 != 0) {
                    packet::add_u32(segment, 8, back);
                }
                if self.translates_sack {
                    for edge in edges_of_blocks(segment) {
                        packet::add_u32(segment, edge, back);
                    }
                }
            });
            return;
        }
        let Some(header) = Header::parse(datagram).filter(|h| h.is_icmp_error(datagram)) else { return };
        let quote = datagram.get_mut(header.transport + ICMP_HEADER..).unwrap_or_default();
        if self.translates_quotes && is_tcp(quote) {
            packet::patch_transport(quote, |segment| packet::add_u32(segment, 4, back));
            packet::update_icmp_checksum(datagram);
        }
    }
}

fn is_tcp(datagram: &[u8]) -> bool {
    Header::parse(datagram).is_some_and(|h| h.protocol == packet::TCP)
}

/// Where a segment has the edges of its SACK blocks.
fn edges_of_blocks(segment: &[u8]) -> Vec<usize> {
    let mut edges = Vec::new();
    let end = segment.get(12).map_or(0, |offset| usize::from(offset >> 4) * 4).min(segment.len());
    let mut at = 20;
    while at < end {
        let length = match segment[at] {
            0 => break,
            1 => 1,
            _ => segment.get(at + 1).map_or(0, |&length| usize::from(length)),
        };
        if length == 0 || at + length > end {
            break;
        }
        if segment[at] == SACK {
            edges.extend((at + 2..(at + length).saturating_sub(3)).step_by(4));
        }
        at += length;
    }
    edges
}
