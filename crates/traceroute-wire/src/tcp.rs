//! TCP (RFC 9293): segments, and the options that a path trace reads.

use core::ops::BitOr;

use crate::checksum::{Sum, pseudo_header};
use crate::ip::{IpHeader, protocol};

/// The length of a TCP header without options in bytes.
pub const HEADER_LEN: usize = 20;

/// How far apart two sequence numbers may be and still have an order (RFC 9293 section 3.4).
const HALF: u32 = 1 << 31;

/// The control bits of a segment (RFC 9293 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct TcpFlags(u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronizes sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Resets the connection.
    pub const RST: Self = Self(0x04);
    /// To be handed to the application at once.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgement number counts.
    pub const ACK: Self = Self(0x10);

    /// Whether all of `flags` are set.
    #[must_use]
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Whether any of `flags` is set.
    #[must_use]
    pub const fn intersects(self, flags: Self) -> bool {
        self.0 & flags.0 != 0
    }
}

impl BitOr for TcpFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A segment whose header is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpSegment<'a> {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// The number of the first byte of data, or of the SYN.
    pub sequence: u32,
    /// The number of the byte that the sender expects next; counts where [`TcpFlags::ACK`] is set.
    pub acknowledgement: u32,
    /// The control bits.
    pub flags: TcpFlags,
    /// The receive window in bytes, before scaling.
    pub window: u16,
    /// The options as they are on the wire, padding included; a multiple of four bytes where a segment is written.
    pub options: &'a [u8],
    /// The data.
    pub payload: &'a [u8],
}

impl<'a> TcpSegment<'a> {
    /// Reads a segment. `None` unless all of its header is there, options included.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = bytes.split_first_chunk::<HEADER_LEN>()?;
        let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let number =
            |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let options_len = (usize::from(header[12] >> 4) * 4).checked_sub(HEADER_LEN)?;
        let (options, payload) = rest.split_at_checked(options_len)?;
        Some(Self {
            source_port: word(0),
            destination_port: word(2),
            sequence: number(4),
            acknowledgement: number(8),
            flags: TcpFlags(header[13]),
            window: word(14),
            options,
            payload,
        })
    }

    /// The options up to the first that is malformed.
    pub fn options(&self) -> impl Iterator<Item = TcpOption<'a>> + use<'a> {
        Options(self.options)
    }

    /// Whether the sender is willing to receive selective acknowledgements (RFC 2018 section 2); counts in a SYN.
    #[must_use]
    pub fn permits_sack(&self) -> bool {
        self.options().any(|option| option == TcpOption::SackPermitted)
    }

    /// The time stamps, if the segment has them.
    #[must_use]
    pub fn timestamps(&self) -> Option<TcpTimestamps> {
        self.options().find_map(|option| match option {
            TcpOption::Timestamps(timestamps) => Some(timestamps),
            _ => None,
        })
    }

    /// The blocks of a selective acknowledgement. The first holds the segment that triggered it (RFC 2018 section 4, RFC
    /// 2883).
    pub fn sack_blocks(&self) -> impl Iterator<Item = SackBlock> + use<'a> {
        let blocks = self.options().find_map(|option| match option {
            TcpOption::Sack(blocks) => Some(blocks),
            _ => None,
        });
        blocks.into_iter().flat_map(SackBlocks::iter)
    }
}

/// Whether a sequence number comes before another, in a window of numbers that may wrap around.
#[must_use]
pub const fn sequence_before(number: u32, other: u32) -> bool {
    other.wrapping_sub(number).wrapping_sub(1) < HALF - 1
}

/// An option of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpOption<'a> {
    /// Selective acknowledgements are welcome (RFC 2018 section 2).
    SackPermitted,
    /// A selective acknowledgement (RFC 2018 section 3).
    Sack(SackBlocks<'a>),
    /// Time stamps (RFC 7323 section 3).
    Timestamps(TcpTimestamps),
    /// Any other, by its kind.
    Other(u8),
}

/// The time stamps of a segment (RFC 7323 section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpTimestamps {
    /// The sender's clock.
    pub value: u32,
    /// The clock of the other side as the sender last saw it; counts where [`TcpFlags::ACK`] is set.
    pub echo: u32,
}

/// The blocks of a selective acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SackBlocks<'a>(&'a [[u8; 8]]);

/// Bytes that were received: from `left`, up to but not including `right`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SackBlock {
    /// The number of the first byte.
    pub left: u32,
    /// The number after the last byte.
    pub right: u32,
}

impl<'a> SackBlocks<'a> {
    fn iter(self) -> impl Iterator<Item = SackBlock> + use<'a> {
        self.0.iter().map(|block| {
            let [left, right] = numbers(*block);
            SackBlock { left, right }
        })
    }
}

mod kind {
    pub(super) const END: u8 = 0;
    pub(super) const NO_OPERATION: u8 = 1;
    pub(super) const SACK_PERMITTED: u8 = 4;
    pub(super) const SACK: u8 = 5;
    pub(super) const TIMESTAMPS: u8 = 8;
}

/// The options that are left to read.
struct Options<'a>(&'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = TcpOption<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (&kind, rest) = self.0.split_first()?;
            self.0 = rest;
            match kind {
                kind::NO_OPERATION => {}
                kind::END => self.0 = &[],
                kind => return self.take(kind),
            }
        }
    }
}

impl<'a> Options<'a> {
    /// The option whose kind has been read. What follows a malformed one cannot be told.
    fn take(&mut self, kind: u8) -> Option<TcpOption<'a>> {
        let rest = core::mem::take(&mut self.0);
        let (&length, rest) = rest.split_first()?;
        let (data, rest) = rest.split_at_checked(usize::from(length).checked_sub(2)?)?;
        let option = match (kind, data) {
            (kind::SACK_PERMITTED, []) => TcpOption::SackPermitted,
            (kind::SACK, blocks) => {
                let (blocks, []) = blocks.as_chunks() else { return None };
                TcpOption::Sack(SackBlocks(blocks))
            }
            (kind::TIMESTAMPS, stamps) => {
                let [value, echo] = numbers(stamps.try_into().ok()?);
                TcpOption::Timestamps(TcpTimestamps { value, echo })
            }
            (kind::SACK_PERMITTED, _) => return None,
            (kind, _) => TcpOption::Other(kind),
        };
        self.0 = rest;
        Some(option)
    }
}

/// Two numbers, one behind the other.
const fn numbers(bytes: [u8; 8]) -> [u32; 2] {
    let both = u64::from_be_bytes(bytes);
    [(both >> 32) as u32, (both & 0xffff_ffff) as u32]
}

impl TcpTimestamps {
    /// The option on the wire, padded in front to whole words as RFC 7323 appendix A recommends.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [kind::NO_OPERATION; 12];
        bytes[2..4].copy_from_slice(&[kind::TIMESTAMPS, 10]);
        bytes[4..8].copy_from_slice(&self.value.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.echo.to_be_bytes());
        bytes
    }
}

/// The part of a TCP header that a quote has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotedTcp {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// The sequence number, where quoted: it is in the last four of the 8 bytes that RFC 792 promises.
    pub sequence: Option<u32>,
    /// The control bits, where quoted.
    pub flags: Option<TcpFlags>,
}

impl QuotedTcp {
    /// Reads a header of which at least the ports are there.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let &[a, b, c, d] = bytes.first_chunk()?;
        Some(Self {
            source_port: u16::from_be_bytes([a, b]),
            destination_port: u16::from_be_bytes([c, d]),
            sequence: bytes.get(4..8).and_then(<[u8]>::first_chunk).map(|number| u32::from_be_bytes(*number)),
            flags: bytes.get(13).copied().map(TcpFlags),
        })
    }
}

/// Writes a whole datagram with the segment and its checksum to the start of `buffer`; returns its length.
///
/// # Panics
///
/// If `buffer` is too short, the options are longer than 40 bytes or no multiple of four bytes, or the datagram would be
/// longer than 65,535 bytes.
pub fn write_segment(ip: &IpHeader, segment: &TcpSegment<'_>, buffer: &mut [u8]) -> usize {
    let &TcpSegment { options, payload, .. } = segment;
    let header_len = HEADER_LEN + options.len();
    assert!(options.len() <= 40 && options.len().is_multiple_of(4), "options of {} bytes", options.len());
    let length = header_len + payload.len();
    let start = ip.write(length, buffer);
    let bytes = &mut buffer[start..start + length];
    bytes[0..2].copy_from_slice(&segment.source_port.to_be_bytes());
    bytes[2..4].copy_from_slice(&segment.destination_port.to_be_bytes());
    bytes[4..8].copy_from_slice(&segment.sequence.to_be_bytes());
    bytes[8..12].copy_from_slice(&segment.acknowledgement.to_be_bytes());
    bytes[12] = u8::try_from(header_len / 4).expect("at most 15 words") << 4;
    bytes[13] = segment.flags.0;
    bytes[14..16].copy_from_slice(&segment.window.to_be_bytes());
    bytes[16..20].fill(0);
    bytes[HEADER_LEN..header_len].copy_from_slice(options);
    bytes[header_len..].copy_from_slice(payload);
    let length = u16::try_from(length).expect("a segment is at most 65,535 bytes long");
    let sum = pseudo_header(ip.endpoints.source(), ip.endpoints.destination(), protocol::TCP, length)
        + Sum::bytes(bytes);
    bytes[16..18].copy_from_slice(&sum.checksum().to_be_bytes());
    start + usize::from(length)
}
