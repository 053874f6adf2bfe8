//! Reading and building TCP segments.

use std::net::{IpAddr, SocketAddr};

use etherparse::{IpNumber, TcpHeader, TcpOptionElement};

use super::super::message;
use super::super::packet::{self, Header};

/// The ends of a segment, or of all segments in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::sim) struct Flow {
    pub(in crate::sim) source: SocketAddr,
    pub(in crate::sim) destination: SocketAddr,
}

impl Flow {
    pub(super) fn reversed(self) -> Self {
        Self { source: self.destination, destination: self.source }
    }

    /// The largest segment that an Ethernet link lets through.
    pub(super) fn mss(self) -> u16 {
        if self.source.is_ipv6() { 1440 } else { 1460 }
    }
}

/// A whole TCP segment with correct checksum.
#[derive(Debug)]
pub(super) struct Segment<'a> {
    pub(super) flow: Flow,
    pub(super) header: TcpHeader,
    pub(super) options: Options,
    pub(super) payload: &'a [u8],
}

/// The options that a host heeds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) sack_permitted: bool,
    pub(super) window_scale: Option<u8>,
    /// `TSval` and `TSecr`.
    pub(super) timestamps: Option<(u32, u32)>,
}

impl<'a> Segment<'a> {
    pub(super) fn parse(datagram: &'a [u8]) -> Option<Self> {
        let ip = Header::parse(datagram)?;
        if ip.protocol != packet::TCP
            || ip.later_fragment
            || !packet::transport_checksum_is_correct(datagram, &ip)
        {
            return None;
        }
        let (header, payload) = TcpHeader::from_slice(ip.transport(datagram)).ok()?;
        let flow = Flow {
            source: SocketAddr::new(ip.source, header.source_port),
            destination: SocketAddr::new(ip.destination, header.destination_port),
        };
        let mut options = Options::default();
        for option in header.options_iterator().map_while(Result::ok) {
            match option {
                TcpOptionElement::SelectiveAcknowledgementPermitted => options.sack_permitted = true,
                TcpOptionElement::WindowScale(shift) => options.window_scale = Some(shift),
                TcpOptionElement::Timestamp(value, echo) => options.timestamps = Some((value, echo)),
                _ => {}
            }
        }
        Some(Self { flow, header, options, payload })
    }

    pub(super) fn seq(&self) -> u32 {
        self.header.sequence_number
    }

    /// How much of the sequence space the payload takes.
    pub(super) fn payload_len(&self) -> u32 {
        u32::try_from(self.payload.len()).unwrap_or_default()
    }

    /// The sequence number after the segment: SYN and FIN count.
    pub(super) fn end(&self) -> u32 {
        let flags = u32::from(self.header.syn) + u32::from(self.header.fin);
        self.seq().wrapping_add(self.payload_len()).wrapping_add(flags)
    }

    /// The reset with which a host answers that knows no connection (RFC 9293, section 3.10.7.1); none for a reset.
    pub(super) fn reset(&self, ttl: u8) -> Option<Vec<u8>> {
        if self.header.rst {
            return None;
        }
        Some(if self.header.ack {
            self.reset_with(ttl, self.header.acknowledgment_number)
        } else {
            let flags =
                TcpHeader { rst: true, ack: true, acknowledgment_number: self.end(), ..TcpHeader::default() };
            build(self.flow.reversed(), ttl, flags, &[], &[])
        })
    }

    /// A reset without ACK.
    pub(super) fn reset_with(&self, ttl: u8, sequence_number: u32) -> Vec<u8> {
        let flags = TcpHeader { rst: true, sequence_number, ..TcpHeader::default() };
        build(self.flow.reversed(), ttl, flags, &[], &[])
    }
}

/// A datagram with a segment of a flow. Of `header`, ports, options and checksum are filled in.
///
/// # Panics
///
/// When the options are too long, or the families differ.
pub(super) fn build(
    flow: Flow,
    ttl: u8,
    mut header: TcpHeader,
    options: &[TcpOptionElement],
    payload: &[u8],
) -> Vec<u8> {
    header.source_port = flow.source.port();
    header.destination_port = flow.destination.port();
    header.set_options(options).expect("the options fit");
    let (source, destination) = (flow.source.ip(), flow.destination.ip());
    let checksum = match (source, destination) {
        (IpAddr::V4(s), IpAddr::V4(d)) => header.calc_checksum_ipv4_raw(s.octets(), d.octets(), payload),
        (IpAddr::V6(s), IpAddr::V6(d)) => header.calc_checksum_ipv6_raw(s.octets(), d.octets(), payload),
        _ => panic!("{source} sends to {destination}"),
    };
    header.checksum = checksum.expect("the payload fits a segment");
    let segment = [&header.to_bytes()[..], payload].concat();
    message::ip_datagram(source, destination, ttl, 0, IpNumber::TCP, &segment)
}

/// The options of a SYN or SYN-ACK, laid out as Linux does.
pub(super) fn syn_options(mss: u16, options: Options) -> Vec<TcpOptionElement> {
    use TcpOptionElement::{
        MaximumSegmentSize, Noop, SelectiveAcknowledgementPermitted, Timestamp, WindowScale,
    };
    let mut elements = vec![MaximumSegmentSize(mss)];
    match (options.timestamps, options.sack_permitted) {
        (Some((value, echo)), true) => {
            elements.extend([SelectiveAcknowledgementPermitted, Timestamp(value, echo)]);
        }
        (Some((value, echo)), false) => elements.extend([Noop, Noop, Timestamp(value, echo)]),
        (None, true) => elements.extend([Noop, Noop, SelectiveAcknowledgementPermitted]),
        (None, false) => {}
    }
    elements.extend(options.window_scale.into_iter().flat_map(|shift| [Noop, WindowScale(shift)]));
    elements
}

/// The options of any other segment: timestamps, and as many blocks as have room, which are four, or three with
/// timestamps.
pub(super) fn options(timestamps: Option<(u32, u32)>, blocks: &[(u32, u32)]) -> Vec<TcpOptionElement> {
    use TcpOptionElement::{Noop, SelectiveAcknowledgement, Timestamp};
    let mut elements = Vec::new();
    if let Some((value, echo)) = timestamps {
        elements.extend([Noop, Noop, Timestamp(value, echo)]);
    }
    let room = if timestamps.is_some() { 3 } else { 4 };
    if let [first, rest @ ..] = &blocks[..blocks.len().min(room)] {
        let rest = std::array::from_fn(|i| rest.get(i).copied());
        elements.extend([Noop, Noop, SelectiveAcknowledgement(*first, rest)]);
    }
    elements
}
