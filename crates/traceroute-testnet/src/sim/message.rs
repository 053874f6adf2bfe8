//! The messages that routers and targets send, and forgeries of them.

use std::net::IpAddr;

use etherparse::{
    Icmpv4Header, Icmpv4Type, Icmpv6Type, IpNumber, Ipv4Header, Ipv6Header, TcpHeader, UdpHeader,
};

use super::extensions::Extensions;
use super::packet::{self, Header, Side};
use super::quote::Quote;

/// Why a datagram was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpError {
    /// The TTL or hop limit ended in transit.
    TimeExceeded,
    /// It could not be delivered.
    Unreachable(Unreachable),
}

/// The ways in which a destination is unreachable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// Network unreachable, code 0; no route to destination in IPv6.
    Network,
    /// Host unreachable, code 1; address unreachable, code 3, in IPv6.
    Host,
    /// Protocol unreachable, code 2; unrecognised next header, a parameter problem, in IPv6.
    Protocol,
    /// Port unreachable, code 3; code 4 in IPv6.
    Port,
    /// Communication administratively prohibited, code 13; code 1 in IPv6.
    AdminProhibited,
    /// Fragmentation needed, code 4; packet too big, a type of its own, in IPv6.
    FragmentationNeeded {
        /// The MTU of the next link.
        mtu: u16,
    },
    /// Any other code.
    Code(u8),
}

impl Unreachable {
    /// What an ICMP message of this type and code says; none where it is not that a destination is unreachable, or
    /// that only a datagram of this size is.
    pub(super) fn read(v6: bool, type_u8: u8, code_u8: u8) -> Option<Self> {
        match (v6, type_u8, code_u8) {
            (true, 4, 1) => return Some(Self::Protocol),
            (false, 3, 4) => return None,
            (true, 1, _) | (false, 3, _) => {}
            _ => return None,
        }
        let named = [Self::Network, Self::Host, Self::Protocol, Self::Port, Self::AdminProhibited];
        let says = |why: &Self| {
            let (type_of_why, code_of_why, _) = IcmpError::Unreachable(*why).fields(v6);
            (type_of_why, code_of_why) == (type_u8, code_u8)
        };
        Some(named.into_iter().find(says).unwrap_or(Self::Code(code_u8)))
    }
}

impl IcmpError {
    /// Type, code and the four bytes that follow the checksum.
    fn fields(self, v6: bool) -> (u8, u8, [u8; 4]) {
        let unreachable = if v6 { 1 } else { 3 };
        match self {
            Self::TimeExceeded => (if v6 { 3 } else { 11 }, 0, [0; 4]),
            Self::Unreachable(why) => match why {
                Unreachable::Network => (unreachable, 0, [0; 4]),
                Unreachable::Host => (unreachable, if v6 { 3 } else { 1 }, [0; 4]),
                // The pointer names the next-header field.
                Unreachable::Protocol if v6 => (4, 1, [0, 0, 0, 6]),
                Unreachable::Protocol => (unreachable, 2, [0; 4]),
                Unreachable::Port => (unreachable, if v6 { 4 } else { 3 }, [0; 4]),
                Unreachable::AdminProhibited => (unreachable, if v6 { 1 } else { 13 }, [0; 4]),
                Unreachable::FragmentationNeeded { mtu } => {
                    let [high, low] = mtu.to_be_bytes();
                    (if v6 { 2 } else { unreachable }, if v6 { 0 } else { 4 }, [0, 0, high, low])
                }
                Unreachable::Code(code) => (unreachable, code, [0; 4]),
            },
        }
    }

    /// Whether the message has the length field that extensions need (RFC 4884, section 4).
    fn can_be_extended(self, v6: bool) -> bool {
        let other_type_in_v6 = matches!(
            self,
            Self::Unreachable(Unreachable::Protocol | Unreachable::FragmentationNeeded { .. })
        );
        !(v6 && other_type_in_v6)
    }
}

/// The ICMP error with which `from` answers `datagram`, quoting it as it stands.
///
/// # Panics
///
/// When `datagram` is not an IP datagram, or of another family than `from`.
#[must_use]
pub fn icmp_error(
    from: IpAddr,
    ttl: u8,
    error: IcmpError,
    datagram: &[u8],
    quote: Quote,
    extensions: Option<&Extensions>,
) -> Vec<u8> {
    let header = expect_header(datagram);
    let v6 = header.is_v6();
    let (type_u8, code_u8, mut bytes5to8) = error.fields(v6);
    let mut body = quote.of(datagram, &header);
    if let Some(extensions) = extensions.filter(|_| error.can_be_extended(v6)) {
        let length = extensions.append_to(&mut body, v6);
        bytes5to8[usize::from(!v6)] = length;
    }
    let message = icmp_message(from, header.source, type_u8, code_u8, bytes5to8, &body);
    // RFC 1812, section 4.3.2.5: errors have the precedence of network control.
    let traffic_class = if v6 { 0 } else { 0xc0 };
    let protocol = if v6 { IpNumber::IPV6_ICMP } else { IpNumber::ICMP };
    ip_datagram(from, header.source, ttl, traffic_class, protocol, &message)
}

/// The answer of `from` to an echo request.
///
/// # Panics
///
/// When `request` is not an echo request of `from`'s family.
#[must_use]
pub fn echo_reply(from: IpAddr, ttl: u8, request: &[u8]) -> Vec<u8> {
    let header = expect_header(request);
    let body = header.transport(request);
    let type_u8 = if header.is_v6() { packet::ICMPV6_ECHO_REPLY } else { packet::ICMPV4_ECHO_REPLY };
    let bytes5to8 = [body[4], body[5], body[6], body[7]];
    let message = icmp_message(from, header.source, type_u8, 0, bytes5to8, &body[8..]);
    let protocol = if header.is_v6() { IpNumber::IPV6_ICMP } else { IpNumber::ICMP };
    ip_datagram(from, header.source, ttl, 0, protocol, &message)
}

/// The answer in UDP of `from`, with its payload, to a UDP datagram.
///
/// # Panics
///
/// When `request` is not a UDP datagram of `from`'s family.
#[must_use]
pub fn udp_answer(from: IpAddr, ttl: u8, request: &[u8], payload: &[u8]) -> Vec<u8> {
    let header = expect_header(request);
    let ports = header.port(request, Side::Destination).zip(header.port(request, Side::Source));
    let (from_port, to_port) = ports.expect("a UDP datagram has ports");
    let udp = match (from, header.source) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let ip =
                ipv4_header(source.octets(), destination.octets(), ttl, 0, IpNumber::UDP, 8 + payload.len());
            UdpHeader::with_ipv4_checksum(from_port, to_port, &ip, payload)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let ip =
                ipv6_header(source.octets(), destination.octets(), ttl, 0, IpNumber::UDP, 8 + payload.len());
            UdpHeader::with_ipv6_checksum(from_port, to_port, &ip, payload)
        }
        _ => panic!("{from} answers a datagram of the other family"),
    };
    let udp = udp.expect("the payload fits a UDP datagram");
    ip_datagram(from, header.source, ttl, 0, IpNumber::UDP, &[&udp.to_bytes()[..], payload].concat())
}

/// The answer in TCP of `from` to a segment: SYN-ACK (`open`) or RST.
///
/// # Panics
///
/// When `segment` is not a TCP segment of `from`'s family.
#[must_use]
pub fn tcp_answer(from: IpAddr, ttl: u8, segment: &[u8], open: bool) -> Vec<u8> {
    let header = expect_header(segment);
    let (request, payload) =
        TcpHeader::from_slice(header.transport(segment)).expect("a TCP segment has a header");
    let length = u32::try_from(payload.len()).unwrap_or_default();
    let consumed = length + u32::from(request.syn) + u32::from(request.fin);
    let mut answer = TcpHeader::new(request.destination_port, request.source_port, 0, 0);
    if open {
        answer.syn = true;
        answer.window_size = 64_240;
        // Any number will do that the tests can tell from others.
        answer.sequence_number = !request.sequence_number;
    } else {
        answer.rst = true;
        answer.sequence_number = if request.ack { request.acknowledgment_number } else { 0 };
    }
    if open || !request.ack {
        answer.ack = true;
        answer.acknowledgment_number = request.sequence_number.wrapping_add(consumed);
    }
    let checksum = match (from, header.source) {
        (IpAddr::V4(s), IpAddr::V4(d)) => answer.calc_checksum_ipv4_raw(s.octets(), d.octets(), &[]),
        (IpAddr::V6(s), IpAddr::V6(d)) => answer.calc_checksum_ipv6_raw(s.octets(), d.octets(), &[]),
        _ => panic!("{from} answers a segment of the other family"),
    };
    answer.checksum = checksum.expect("an empty segment is short enough");
    ip_datagram(from, header.source, ttl, 0, IpNumber::TCP, &answer.to_bytes())
}

fn expect_header(datagram: &[u8]) -> Header {
    Header::parse(datagram).expect("an IP datagram is answered")
}

fn icmp_message(
    from: IpAddr,
    to: IpAddr,
    type_u8: u8,
    code_u8: u8,
    bytes5to8: [u8; 4],
    body: &[u8],
) -> Vec<u8> {
    let mut message = match (from, to) {
        (IpAddr::V4(_), IpAddr::V4(_)) => {
            let kind = Icmpv4Type::Unknown { type_u8, code_u8, bytes5to8 };
            Icmpv4Header::with_checksum(kind, body).to_bytes().to_vec()
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let kind = Icmpv6Type::Unknown { type_u8, code_u8, bytes5to8 };
            let header = kind.to_header(from.octets(), to.octets(), body);
            header.expect("an ICMPv6 message fits a datagram").to_bytes().to_vec()
        }
        _ => panic!("{from} answers a datagram of the other family"),
    };
    message.extend_from_slice(body);
    message
}

pub(super) fn ip_datagram(
    from: IpAddr,
    to: IpAddr,
    ttl: u8,
    traffic_class: u8,
    protocol: IpNumber,
    payload: &[u8],
) -> Vec<u8> {
    let mut datagram = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            ipv4_header(from.octets(), to.octets(), ttl, traffic_class, protocol, payload.len())
                .to_bytes()
                .to_vec()
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            ipv6_header(from.octets(), to.octets(), ttl, traffic_class, protocol, payload.len())
                .to_bytes()
                .to_vec()
        }
        _ => panic!("{from} sends to {to}"),
    };
    datagram.extend_from_slice(payload);
    datagram
}

fn ipv4_header(
    source: [u8; 4],
    destination: [u8; 4],
    ttl: u8,
    traffic_class: u8,
    protocol: IpNumber,
    payload_len: usize,
) -> Ipv4Header {
    let length = u16::try_from(payload_len).unwrap_or(u16::MAX);
    let mut header = Ipv4Header::new(length, ttl, protocol, source, destination).expect("the payload fits");
    header.dscp = etherparse::IpDscp::try_new(traffic_class >> 2).unwrap_or_default();
    header.dont_fragment = false;
    header.header_checksum = header.calc_header_checksum();
    header
}

fn ipv6_header(
    source: [u8; 16],
    destination: [u8; 16],
    hop_limit: u8,
    traffic_class: u8,
    next_header: IpNumber,
    payload_len: usize,
) -> Ipv6Header {
    Ipv6Header {
        traffic_class,
        flow_label: etherparse::Ipv6FlowLabel::default(),
        payload_length: u16::try_from(payload_len).expect("the payload fits"),
        next_header,
        hop_limit,
        source,
        destination,
    }
}
