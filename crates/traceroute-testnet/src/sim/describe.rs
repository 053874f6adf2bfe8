//! Datagrams in words.

use etherparse::{TcpHeader, TcpOptionElement, UdpHeader};

use super::packet::{self, Header, Side};

/// A datagram in one line.
///
/// ```text
/// udp 10.71.0.1:61000 > 10.71.8.2:33434 ttl=3 len=36
/// time-exceeded from 10.71.2.2 quoting ttl=1 udp 10.71.0.1:61000 > 10.71.8.2:33434
/// ```
#[must_use]
pub fn describe(datagram: &[u8]) -> String {
    let Some(header) = Header::parse(datagram) else { return format!("{} bytes, not IP", datagram.len()) };
    let transport = header.transport(datagram);
    if header.is_icmp_error(datagram) {
        let quote = transport.get(8..).unwrap_or_default();
        let what = kind(datagram, &header);
        return format!("{what} from {} quoting {}", header.source, describe_quote(quote));
    }
    let mut line = format!("{} ttl={} len={}", describe_flow(datagram, &header), header.ttl, datagram.len());
    if header.total_len == datagram.len() && !packet::transport_checksum_is_correct(datagram, &header) {
        line.push_str(" bad-checksum");
    }
    line
}

/// A datagram without what may be drawn at random: kind and TTL, or who sent the error.
pub(super) fn outline(datagram: &[u8]) -> String {
    let Some(header) = Header::parse(datagram) else { return format!("{} bytes, not IP", datagram.len()) };
    let what = kind(datagram, &header);
    if header.is_icmp_error(datagram) { format!("{what} from {}", header.source) } else { what }
}

/// The header's TTL or hop limit.
pub(super) fn ttl(datagram: &[u8]) -> Option<u8> {
    Header::parse(datagram).map(|h| h.ttl)
}

/// The datagram's source address.
pub(super) fn source(datagram: &[u8]) -> Option<std::net::IpAddr> {
    Header::parse(datagram).map(|h| h.source)
}

fn describe_quote(quote: &[u8]) -> String {
    match Header::parse(quote) {
        Some(header) => format!("ttl={} {}", header.ttl, describe_flow(quote, &header)),
        None => format!("{} bytes", quote.len()),
    }
}

fn describe_flow(datagram: &[u8], header: &Header) -> String {
    let Header { source, destination, .. } = header;
    let kind = kind(datagram, header);
    let ends = header.port(datagram, Side::Source).zip(header.port(datagram, Side::Destination));
    let transport = header.transport(datagram);
    match (header.protocol, ends) {
        (packet::UDP | packet::TCP, Some((from, to))) => {
            let colon = |address, port| std::net::SocketAddr::new(address, port);
            format!("{kind} {} > {}", colon(*source, from), colon(*destination, to))
        }
        (packet::ICMP | packet::ICMPV6, Some((id, _))) => {
            let sequence = transport
                .get(6..8)
                .map_or(String::new(), |b| format!(" seq={}", u16::from_be_bytes([b[0], b[1]])));
            format!("{kind} {source} > {destination} id={id}{sequence}")
        }
        _ => format!("{kind} {source} > {destination}"),
    }
}

fn kind(datagram: &[u8], header: &Header) -> String {
    let transport = header.transport(datagram);
    let bytes = transport.first().copied().zip(transport.get(1).copied());
    let known = match (header.protocol, bytes) {
        (packet::UDP, _) if UdpHeader::from_slice(transport).is_ok() => "udp",
        (packet::TCP, _) => return tcp_kind(transport),
        (packet::ICMP, Some((0, _))) | (packet::ICMPV6, Some((129, _))) => "echo-reply",
        (packet::ICMP, Some((8, _))) | (packet::ICMPV6, Some((128, _))) => "echo-request",
        (packet::ICMP, Some((11, 0))) | (packet::ICMPV6, Some((3, 0))) => "time-exceeded",
        (packet::ICMP, Some((3, 0))) | (packet::ICMPV6, Some((1, 0))) => "net-unreachable",
        (packet::ICMP, Some((3, 1))) | (packet::ICMPV6, Some((1, 3))) => "host-unreachable",
        (packet::ICMP, Some((3, 2))) | (packet::ICMPV6, Some((4, 1))) => "protocol-unreachable",
        (packet::ICMP, Some((3, 3))) | (packet::ICMPV6, Some((1, 4))) => "port-unreachable",
        (packet::ICMP, Some((3, 4))) => "fragmentation-needed",
        (packet::ICMPV6, Some((2, _))) => "packet-too-big",
        (packet::ICMP, Some((3, 13))) | (packet::ICMPV6, Some((1, 1))) => "admin-prohibited",
        (packet::ICMP | packet::ICMPV6, Some((kind, code))) => return format!("icmp-{kind}/{code}"),
        (protocol, _) => return format!("protocol-{protocol}"),
    };
    known.to_owned()
}

fn tcp_kind(segment: &[u8]) -> String {
    let Ok((header, _)) = TcpHeader::from_slice(segment) else { return "tcp".to_owned() };
    let flags = [
        (header.syn, "syn"),
        (header.fin, "fin"),
        (header.rst, "rst"),
        (header.psh, "psh"),
        (header.ack, "ack"),
    ];
    let set: Vec<_> = flags.into_iter().filter(|&(set, _)| set).map(|(_, name)| name).collect();
    let is_sack = |option: TcpOptionElement| matches!(option, TcpOptionElement::SelectiveAcknowledgement(..));
    let sack = header.options_iterator().map_while(Result::ok).any(is_sack);
    format!("tcp-{}{}", set.join("-"), if sack { " sack" } else { "" })
}
