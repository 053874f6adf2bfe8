//! ICMP (RFC 792) and ICMPv6 (RFC 4443): echo messages and errors.

use core::fmt;

use crate::checksum::{Sum, pseudo_header};
use crate::extensions::Extensions;
use crate::ip::{Datagram, Endpoints, IpHeader, protocol};
use crate::quoted::Quoted;

/// The length of an ICMP header in bytes, identifier and sequence number or the error's second word included.
pub const HEADER_LEN: usize = 8;

mod v4 {
    pub(super) const ECHO_REPLY: u8 = 0;
    pub(super) const UNREACHABLE: u8 = 3;
    pub(super) const ECHO_REQUEST: u8 = 8;
    pub(super) const TIME_EXCEEDED: u8 = 11;
}

mod v6 {
    pub(super) const UNREACHABLE: u8 = 1;
    pub(super) const PACKET_TOO_BIG: u8 = 2;
    pub(super) const TIME_EXCEEDED: u8 = 3;
    pub(super) const PARAMETER_PROBLEM: u8 = 4;
    pub(super) const ECHO_REQUEST: u8 = 128;
    pub(super) const ECHO_REPLY: u8 = 129;
}

/// Why a datagram could not be delivered; the codes of both families under one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unreachable {
    /// No route to the network (IPv4 codes 0, 6, 11; IPv6 code 0).
    Network,
    /// No way to the host (IPv4 codes 1, 7, 12; IPv6 code 3, address unreachable).
    Host,
    /// The host does not speak the protocol (IPv4 code 2; IPv6 parameter problem, unrecognized next header).
    Protocol,
    /// Nothing listens on the port (IPv4 code 3; IPv6 code 4).
    Port,
    /// A filter or policy forbids it (IPv4 codes 9, 10, 13; IPv6 codes 1, 5, 6).
    AdminProhibited,
    /// The datagram is longer than the next link can carry (IPv4 code 4; IPv6 packet too big).
    FragmentationNeeded {
        /// The size that would fit, in bytes; 0 when an old router does not say (RFC 1191).
        mtu: u32,
    },
    /// Another code of the family's unreachable message.
    Code(u8),
}

impl Unreachable {
    const fn from_v4(code: u8, mtu: u16) -> Self {
        match code {
            0 | 6 | 11 => Self::Network,
            1 | 7 | 12 => Self::Host,
            2 => Self::Protocol,
            3 => Self::Port,
            4 => Self::FragmentationNeeded { mtu: mtu as u32 },
            9 | 10 | 13 => Self::AdminProhibited,
            code => Self::Code(code),
        }
    }

    const fn from_v6(code: u8) -> Self {
        match code {
            0 => Self::Network,
            1 | 5 | 6 => Self::AdminProhibited,
            3 => Self::Host,
            4 => Self::Port,
            code => Self::Code(code),
        }
    }
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network => f.write_str("net"),
            Self::Host => f.write_str("host"),
            Self::Protocol => f.write_str("protocol"),
            Self::Port => f.write_str("port"),
            Self::AdminProhibited => f.write_str("admin_prohibited"),
            Self::FragmentationNeeded { .. } => f.write_str("fragmentation_needed"),
            Self::Code(code) => write!(f, "code {code}"),
        }
    }
}

/// What an ICMP error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IcmpErrorKind {
    /// The datagram's TTL ran out in transit.
    TimeExceeded,
    /// It could not be delivered.
    Unreachable(Unreachable),
}

/// An ICMP error with the datagram that caused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError<'a> {
    /// What happened to the datagram.
    pub kind: IcmpErrorKind,
    /// The start of the datagram, as the sender of the error received it.
    pub quoted: Quoted<'a>,
    /// What the sender adds about itself (RFC 4884).
    pub extensions: Option<Extensions<'a>>,
}

/// An echo request or reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo<'a> {
    /// The checksum field.
    pub checksum: u16,
    /// Identifier.
    pub id: u16,
    /// Sequence number.
    pub sequence: u16,
    /// What is there of the data.
    pub payload: &'a [u8],
}

impl<'a> Echo<'a> {
    fn parse(message: &'a [u8]) -> Option<Self> {
        let (header, payload) = message.split_first_chunk::<HEADER_LEN>()?;
        let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        Some(Self { checksum: word(2), id: word(4), sequence: word(6), payload })
    }
}

/// An ICMP message that concerns a path trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpMessage<'a> {
    /// An echo request.
    EchoRequest(Echo<'a>),
    /// An echo reply.
    EchoReply(Echo<'a>),
    /// Time exceeded or destination unreachable.
    Error(IcmpError<'a>),
}

impl<'a> IcmpMessage<'a> {
    /// Reads the ICMP message of a datagram. `None` for other protocols and for messages of no concern: redirects,
    /// reassembly time-outs, router advertisements.
    #[must_use]
    pub fn parse(datagram: &Datagram<'a>) -> Option<Self> {
        let message = datagram.payload;
        let &[kind, code, ..] = message else { return None };
        match (datagram.header.endpoints, datagram.header.protocol) {
            (Endpoints::V4 { .. }, protocol::ICMP) => match kind {
                v4::ECHO_REQUEST => Echo::parse(message).map(Self::EchoRequest),
                v4::ECHO_REPLY => Echo::parse(message).map(Self::EchoReply),
                v4::TIME_EXCEEDED if code == 0 => error_v4(message, IcmpErrorKind::TimeExceeded),
                v4::UNREACHABLE => {
                    let mtu = u16::from_be_bytes([*message.get(6)?, *message.get(7)?]);
                    error_v4(message, IcmpErrorKind::Unreachable(Unreachable::from_v4(code, mtu)))
                }
                _ => None,
            },
            (Endpoints::V6 { .. }, protocol::ICMPV6) => match kind {
                v6::ECHO_REQUEST => Echo::parse(message).map(Self::EchoRequest),
                v6::ECHO_REPLY => Echo::parse(message).map(Self::EchoReply),
                v6::TIME_EXCEEDED if code == 0 => error_v6(message, IcmpErrorKind::TimeExceeded),
                v6::UNREACHABLE => error_v6(message, IcmpErrorKind::Unreachable(Unreachable::from_v6(code))),
                v6::PACKET_TOO_BIG => {
                    let mtu = u32::from_be_bytes(*message.get(4..)?.first_chunk()?);
                    error_without_extensions(message, Unreachable::FragmentationNeeded { mtu })
                }
                v6::PARAMETER_PROBLEM if code == 1 => {
                    error_without_extensions(message, Unreachable::Protocol)
                }
                _ => None,
            },
            _ => None,
        }
    }
}

/// In ICMPv4 the length of the quote is byte 5, in 32-bit words (RFC 4884 section 4.1).
fn error_v4(message: &[u8], kind: IcmpErrorKind) -> Option<IcmpMessage<'_>> {
    error_with_extensions(message, kind, usize::from(*message.get(5)?) * 4)
}

/// In ICMPv6 the length of the quote is byte 4, in 64-bit words (RFC 4884 section 4.4).
fn error_v6(message: &[u8], kind: IcmpErrorKind) -> Option<IcmpMessage<'_>> {
    error_with_extensions(message, kind, usize::from(*message.get(4)?) * 8)
}

fn error_with_extensions(message: &[u8], kind: IcmpErrorKind, quote_len: usize) -> Option<IcmpMessage<'_>> {
    let body = message.get(HEADER_LEN..)?;
    let (quote, extensions) = Extensions::split(body, quote_len);
    let quoted = Quoted::parse(quote)?;
    Some(IcmpMessage::Error(IcmpError { kind, quoted, extensions }))
}

fn error_without_extensions(message: &[u8], reason: Unreachable) -> Option<IcmpMessage<'_>> {
    let quoted = Quoted::parse(message.get(HEADER_LEN..)?)?;
    Some(IcmpMessage::Error(IcmpError { kind: IcmpErrorKind::Unreachable(reason), quoted, extensions: None }))
}

/// Whether an ICMP type of this family is an echo request.
#[must_use]
pub(crate) const fn is_echo_request(endpoints: Endpoints, kind: u8) -> bool {
    kind == echo_request_type(endpoints)
}

const fn echo_request_type(endpoints: Endpoints) -> u8 {
    match endpoints {
        Endpoints::V4 { .. } => v4::ECHO_REQUEST,
        Endpoints::V6 { .. } => v6::ECHO_REQUEST,
    }
}

/// The sum that the checksum of an echo request covers: header and payload, for ICMPv6 the pseudo-header too.
#[must_use]
pub fn echo_request_sum(
    endpoints: Endpoints,
    id: u16,
    sequence: u16,
    payload_len: usize,
    payload: Sum,
) -> Sum {
    let message = Sum::word(u16::from(echo_request_type(endpoints)) << 8)
        + Sum::word(id)
        + Sum::word(sequence)
        + payload;
    match endpoints {
        Endpoints::V4 { .. } => message,
        Endpoints::V6 { source, destination } => {
            let length = u16::try_from(HEADER_LEN + payload_len).unwrap_or(u16::MAX);
            message + pseudo_header(source.into(), destination.into(), protocol::ICMPV6, length)
        }
    }
}

/// Writes a whole datagram with an echo request to the start of `buffer` and returns its length. `ip.protocol` is
/// expected to be the ICMP of the family.
///
/// # Panics
///
/// If `buffer` is too short, or the datagram would be longer than 65,535 bytes.
pub fn write_echo_request(ip: &IpHeader, id: u16, sequence: u16, payload: &[u8], buffer: &mut [u8]) -> usize {
    let start = ip.write(HEADER_LEN + payload.len(), buffer);
    let sum = echo_request_sum(ip.endpoints, id, sequence, payload.len(), Sum::bytes(payload));
    let end = start + HEADER_LEN + payload.len();
    let message = &mut buffer[start..end];
    message[0] = echo_request_type(ip.endpoints);
    message[1] = 0;
    message[2..4].copy_from_slice(&sum.checksum().to_be_bytes());
    message[4..6].copy_from_slice(&id.to_be_bytes());
    message[6..8].copy_from_slice(&sequence.to_be_bytes());
    message[HEADER_LEN..].copy_from_slice(payload);
    end
}

/// The protocol number of ICMP in the family of `endpoints`.
#[must_use]
pub const fn protocol_number(endpoints: Endpoints) -> u8 {
    match endpoints {
        Endpoints::V4 { .. } => protocol::ICMP,
        Endpoints::V6 { .. } => protocol::ICMPV6,
    }
}
