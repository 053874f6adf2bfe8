//! UDP (RFC 768).

use crate::checksum::{Sum, pseudo_header};
use crate::ip::{Endpoints, IpHeader, protocol};

/// The length of a UDP header in bytes.
pub const HEADER_LEN: usize = 8;

/// A UDP header and what is there of the data behind it.
///
/// A router may quote as little as the first bytes of it, so every field after the ports says whether it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Udp<'a> {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Length of header and data in bytes, as the header claims it.
    pub length: Option<u16>,
    /// The checksum field; 0 means that the sender computed none (IPv4 only).
    pub checksum: Option<u16>,
    /// The data.
    pub payload: &'a [u8],
}

impl<'a> Udp<'a> {
    /// Reads a header of which at least the ports are there.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let field = |at: usize| bytes.get(at..at + 2).map(|field| u16::from_be_bytes([field[0], field[1]]));
        Some(Self {
            source_port: field(0)?,
            destination_port: field(2)?,
            length: field(4),
            checksum: field(6),
            payload: bytes.get(HEADER_LEN..).unwrap_or_default(),
        })
    }

    /// The sum of the data, recovered from the checksum: it stays the same when a NAT rewrites addresses and ports.
    ///
    /// `None` when the checksum is missing, or zero.
    #[must_use]
    pub fn payload_sum(&self, endpoints: Endpoints) -> Option<Sum> {
        let (length, checksum) = (self.length?, self.checksum.filter(|&checksum| checksum != 0)?);
        let ports = Sum::word(self.source_port) + Sum::word(self.destination_port);
        let header = pseudo_header(endpoints.source(), endpoints.destination(), protocol::UDP, length)
            + ports
            + Sum::word(length);
        Some(Sum::covered_by(checksum) - header)
    }
}

/// Writes a whole datagram with UDP header, checksum and `payload` to the start of `buffer`; returns its length.
///
/// # Panics
///
/// If `buffer` is too short, or the datagram would be longer than 65,535 bytes.
pub fn write_datagram(
    ip: &IpHeader,
    source_port: u16,
    destination_port: u16,
    payload: &[u8],
    buffer: &mut [u8],
) -> usize {
    let start = ip.write(HEADER_LEN + payload.len(), buffer);
    let length =
        u16::try_from(HEADER_LEN + payload.len()).expect("a UDP datagram is at most 65,535 bytes long");
    let sum = pseudo_header(ip.endpoints.source(), ip.endpoints.destination(), protocol::UDP, length)
        + Sum::word(source_port)
        + Sum::word(destination_port)
        + Sum::word(length)
        + Sum::bytes(payload);
    let end = start + HEADER_LEN + payload.len();
    let segment = &mut buffer[start..end];
    segment[0..2].copy_from_slice(&source_port.to_be_bytes());
    segment[2..4].copy_from_slice(&destination_port.to_be_bytes());
    segment[4..6].copy_from_slice(&length.to_be_bytes());
    // A sum of zero gives 0xffff, never the 0 that means "no checksum".
    segment[6..8].copy_from_slice(&(!sum.value()).to_be_bytes());
    segment[HEADER_LEN..].copy_from_slice(payload);
    end
}
