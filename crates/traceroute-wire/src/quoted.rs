//! The datagram that an ICMP error quotes.

use core::net::IpAddr;

use crate::icmp::is_echo_request;
use crate::ip::{Datagram, IpHeader, protocol};
use crate::tcp::QuotedTcp;
use crate::udp::Udp;

/// How much of the transport header and data RFC 792 promises, in bytes.
const RFC_792_LEN: usize = 8;

/// The start of a datagram, as a router received it and quotes it in an ICMP error.
///
/// RFC 792 promises the IP header and 8 bytes, RFC 1812 and RFC 4443 as much as fits, RFC 4884 at least 128 bytes when
/// extensions follow; some routers quote less than any of them. The fields of the transport header are therefore
/// options: nothing is made up for what was not quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted<'a> {
    /// The IP header. Its TTL is what was left on arrival at the router.
    pub header: IpHeader,
    transport: &'a [u8],
}

/// The quoted part of an ICMP echo request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotedEcho<'a> {
    /// The checksum field.
    pub checksum: u16,
    /// Identifier, where quoted.
    pub id: Option<u16>,
    /// Sequence number, where quoted.
    pub sequence: Option<u16>,
    /// What is there of the data.
    pub payload: &'a [u8],
}

impl<'a> Quoted<'a> {
    /// Reads a quote. `None` if not even the IP header is whole.
    ///
    /// Some stacks quote a total length from which they have subtracted that of the header; the 8 bytes of RFC 792 are
    /// therefore taken as transport header whatever the length says.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let Datagram { header, payload } = Datagram::parse_at_least(bytes, RFC_792_LEN)?;
        Some(Self { header, transport: payload })
    }

    /// How many bytes of the datagram's transport header and data were quoted.
    #[must_use]
    pub const fn transport_len(&self) -> usize {
        self.transport.len()
    }

    /// Where the datagram came from when the router saw it.
    #[must_use]
    pub const fn source(&self) -> IpAddr {
        self.header.endpoints.source()
    }

    /// Where the datagram was going.
    #[must_use]
    pub const fn destination(&self) -> IpAddr {
        self.header.endpoints.destination()
    }

    /// The quoted UDP header, if the datagram was UDP and at least its ports were quoted.
    #[must_use]
    pub fn udp(&self) -> Option<Udp<'a>> {
        if self.header.protocol == protocol::UDP { Udp::parse(self.transport) } else { None }
    }

    /// The quoted TCP header, if the datagram was TCP and at least its ports were quoted.
    #[must_use]
    pub fn tcp(&self) -> Option<QuotedTcp> {
        if self.header.protocol == protocol::TCP { QuotedTcp::parse(self.transport) } else { None }
    }

    /// The quoted ICMP header, if the datagram was an echo request and at least its checksum was quoted.
    #[must_use]
    pub fn echo_request(&self) -> Option<QuotedEcho<'a>> {
        let bytes = self.transport;
        let endpoints = self.header.endpoints;
        if self.header.protocol != crate::icmp::protocol_number(endpoints)
            || !is_echo_request(endpoints, *bytes.first()?)
        {
            return None;
        }
        let field = |at: usize| bytes.get(at..at + 2).map(|field| u16::from_be_bytes([field[0], field[1]]));
        Some(QuotedEcho {
            checksum: field(2)?,
            id: field(4),
            sequence: field(6),
            payload: bytes.get(crate::icmp::HEADER_LEN..).unwrap_or_default(),
        })
    }
}

/// How many bytes of `sent` the bytes of a quote are, if they are nothing else: routers cut quotes short, and fill them
/// up with zeros where extensions follow (RFC 4884 section 4.6).
#[must_use]
pub fn quoted_part(quoted: &[u8], sent: &[u8]) -> Option<usize> {
    let agreeing = quoted.iter().zip(sent).take_while(|(quoted, sent)| quoted == sent).count();
    let rest = quoted.get(agreeing..sent.len()).unwrap_or(&quoted[agreeing..]);
    rest.iter().all(|byte| *byte == 0).then_some(agreeing)
}
