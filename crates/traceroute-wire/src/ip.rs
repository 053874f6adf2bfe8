//! IP datagrams: the fields a path trace reads and writes.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{
    IpDscp, IpEcn, IpNumber, Ipv4Header, Ipv6ExtensionSlice, Ipv6FlowLabel, Ipv6Header, LaxIpv4Slice,
    LaxIpv6Slice,
};

/// Transport protocol numbers (IANA).
pub mod protocol {
    /// ICMP for IPv4 (RFC 792).
    pub const ICMP: u8 = 1;
    /// TCP (RFC 9293).
    pub const TCP: u8 = 6;
    /// UDP (RFC 768).
    pub const UDP: u8 = 17;
    /// ICMP for IPv6 (RFC 4443).
    pub const ICMPV6: u8 = 58;
}

/// The source and destination of a datagram, of one family by construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoints {
    /// Two IPv4 addresses.
    V4 {
        /// Where the datagram comes from.
        source: Ipv4Addr,
        /// Where it goes.
        destination: Ipv4Addr,
    },
    /// Two IPv6 addresses.
    V6 {
        /// Where the datagram comes from.
        source: Ipv6Addr,
        /// Where it goes.
        destination: Ipv6Addr,
    },
}

impl Endpoints {
    /// The pair, or `None` when the families differ.
    #[must_use]
    pub const fn new(source: IpAddr, destination: IpAddr) -> Option<Self> {
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Some(Self::V4 { source, destination }),
            (IpAddr::V6(source), IpAddr::V6(destination)) => Some(Self::V6 { source, destination }),
            _ => None,
        }
    }

    /// Where the datagram comes from.
    #[must_use]
    pub const fn source(&self) -> IpAddr {
        match *self {
            Self::V4 { source, .. } => IpAddr::V4(source),
            Self::V6 { source, .. } => IpAddr::V6(source),
        }
    }

    /// Where the datagram goes.
    #[must_use]
    pub const fn destination(&self) -> IpAddr {
        match *self {
            Self::V4 { destination, .. } => IpAddr::V4(destination),
            Self::V6 { destination, .. } => IpAddr::V6(destination),
        }
    }

    /// The length of the IP header that [`IpHeader::write`] puts before the payload: 20 or 40 bytes.
    #[must_use]
    pub const fn header_len(&self) -> usize {
        match self {
            Self::V4 { .. } => Ipv4Header::MIN_LEN,
            Self::V6 { .. } => Ipv6Header::LEN,
        }
    }
}

/// The fields of an IP header that a path trace reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpHeader {
    /// Source and destination.
    pub endpoints: Endpoints,
    /// Time to live (IPv4) or hop limit (IPv6).
    pub ttl: u8,
    /// The protocol of the payload, extension headers skipped.
    pub protocol: u8,
    /// The 16-bit identification (IPv4) or the 20-bit flow label (IPv6).
    pub label: u32,
    /// The don't-fragment flag; meaningless in IPv6, where routers never fragment.
    pub dont_fragment: bool,
    /// The traffic class of IPv6, the type of service of IPv4: six bits of DSCP (RFC 2474) and two of ECN (RFC 3168).
    pub traffic_class: u8,
}

impl IpHeader {
    /// Writes the header for a payload of `payload_len` bytes to the start of `buffer` and returns its length.
    ///
    /// # Panics
    ///
    /// If `buffer` is shorter than the header, or the datagram would be longer than 65,535 bytes.
    pub fn write(&self, payload_len: usize, buffer: &mut [u8]) -> usize {
        let header_len = self.endpoints.header_len();
        match self.endpoints {
            Endpoints::V4 { source, destination } => {
                let total_len = u16::try_from(header_len + payload_len);
                let mut header = Ipv4Header {
                    total_len: total_len.expect("a datagram is at most 65,535 bytes long"),
                    identification: (self.label & 0xffff) as u16,
                    dont_fragment: self.dont_fragment,
                    dscp: IpDscp::try_new(self.traffic_class >> 2).unwrap_or_default(),
                    ecn: IpEcn::try_new(self.traffic_class & 0b11).unwrap_or_default(),
                    time_to_live: self.ttl,
                    protocol: IpNumber(self.protocol),
                    source: source.octets(),
                    destination: destination.octets(),
                    ..Ipv4Header::default()
                };
                header.header_checksum = header.calc_header_checksum();
                buffer[..header_len].copy_from_slice(&header.to_bytes());
            }
            Endpoints::V6 { source, destination } => {
                let header = Ipv6Header {
                    traffic_class: self.traffic_class,
                    flow_label: Ipv6FlowLabel::try_new(self.label & 0xf_ffff).unwrap_or(Ipv6FlowLabel::ZERO),
                    payload_length: u16::try_from(payload_len)
                        .expect("an IPv6 payload is at most 65,535 bytes long"),
                    next_header: IpNumber(self.protocol),
                    hop_limit: self.ttl,
                    source: source.octets(),
                    destination: destination.octets(),
                };
                buffer[..header_len].copy_from_slice(&header.to_bytes());
            }
        }
        header_len
    }
}

/// An IP datagram, perhaps cut short, with its payload after all headers of the IP layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// The header.
    pub header: IpHeader,
    /// What is there of the transport header and its data; nothing for a fragment that is not the first.
    pub payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// Reads a datagram from its first byte on. `None` if not even the header is there.
    ///
    /// Length fields are believed only where they shorten the bytes given (padding of a short Ethernet frame); bytes
    /// that are missing are simply not in the payload.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        Self::parse_at_least(bytes, 0)
    }

    /// The same, but the length field is not believed where it leaves less than `transport_len` bytes of payload.
    pub(crate) fn parse_at_least(bytes: &'a [u8], transport_len: usize) -> Option<Self> {
        match bytes.first()? >> 4 {
            4 => Self::parse_v4(bytes, transport_len),
            6 => Self::parse_v6(bytes),
            _ => None,
        }
    }

    fn parse_v4(bytes: &'a [u8], transport_len: usize) -> Option<Self> {
        let (slice, stopped) = LaxIpv4Slice::from_slice(bytes).ok()?;
        let header = slice.header();
        let payload = slice.payload();
        let is_first = header.fragments_offset().value() == 0;
        Some(Self {
            header: IpHeader {
                endpoints: Endpoints::V4 {
                    source: header.source_addr(),
                    destination: header.destination_addr(),
                },
                ttl: header.ttl(),
                protocol: if is_first { payload.ip_number } else { header.protocol() }.0,
                label: header.identification().into(),
                dont_fragment: header.dont_fragment(),
                traffic_class: (header.dcp().value() << 2) | header.ecn().value(),
            },
            payload: match payload.payload {
                _ if !is_first || stopped.is_some() => &[],
                payload if payload.len() < transport_len && slice.extensions().auth.is_none() => {
                    let rest = bytes.get(header.slice().len()..).unwrap_or_default();
                    &rest[..rest.len().min(transport_len)]
                }
                payload => payload,
            },
        })
    }

    fn parse_v6(bytes: &'a [u8]) -> Option<Self> {
        let (slice, stopped) = LaxIpv6Slice::from_slice(bytes).ok()?;
        let header = slice.header();
        let payload = slice.payload();
        let later_fragment = if slice.is_payload_fragmented() { later_fragment(&slice) } else { None };
        Some(Self {
            header: IpHeader {
                endpoints: Endpoints::V6 {
                    source: header.source_addr(),
                    destination: header.destination_addr(),
                },
                ttl: header.hop_limit(),
                protocol: later_fragment.unwrap_or(payload.ip_number).0,
                label: header.flow_label().value(),
                dont_fragment: true,
                traffic_class: header.traffic_class(),
            },
            payload: if later_fragment.is_none() && stopped.is_none() { payload.payload } else { &[] },
        })
    }

    /// Where the datagram comes from.
    #[must_use]
    pub const fn source(&self) -> IpAddr {
        self.header.endpoints.source()
    }

    /// Where the datagram goes.
    #[must_use]
    pub const fn destination(&self) -> IpAddr {
        self.header.endpoints.destination()
    }
}

/// What the header of a fragment that is not the first names as its content. etherparse goes on behind it and takes
/// the middle of a datagram for further headers.
fn later_fragment(slice: &LaxIpv6Slice<'_>) -> Option<IpNumber> {
    slice.extensions().clone().into_iter().find_map(|extension| match extension {
        Ipv6ExtensionSlice::Fragment(fragment) if fragment.fragment_offset().value() != 0 => {
            Some(fragment.next_header())
        }
        _ => None,
    })
}
