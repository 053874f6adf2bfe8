//! Reading and patching IP datagrams in place, as routers do.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::checksum::Sum16BitWords;
use etherparse::{Ipv4HeaderSlice, Ipv6HeaderSlice, LaxIpSlice};

pub(super) const ICMP: u8 = etherparse::IpNumber::ICMP.0;
pub(super) const ICMPV6: u8 = etherparse::IpNumber::IPV6_ICMP.0;
pub(super) const TCP: u8 = etherparse::IpNumber::TCP.0;
pub(super) const UDP: u8 = etherparse::IpNumber::UDP.0;

pub(super) const ICMPV4_ECHO_REPLY: u8 = 0;
pub(super) const ICMPV4_ECHO_REQUEST: u8 = 8;
pub(super) const ICMPV6_ECHO_REQUEST: u8 = 128;
pub(super) const ICMPV6_ECHO_REPLY: u8 = 129;

/// One end of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Source,
    Destination,
}

/// The header fields of an IP datagram, of which only the IP header need be whole: it may be a quote.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) ttl: u8,
    pub(super) traffic_class: u8,
    pub(super) flow_label: u32,
    pub(super) protocol: u8,
    /// The length that the header states.
    pub(super) total_len: usize,
    /// Where the transport header starts.
    pub(super) transport: usize,
    /// Whether the transport header is that of a later fragment, that is to say missing.
    pub(super) later_fragment: bool,
}

impl Header {
    /// Parses the header; `None` when it is no IP datagram or its header is cut short.
    pub(super) fn parse(datagram: &[u8]) -> Option<Self> {
        let (ip, _) = LaxIpSlice::from_slice(datagram).ok()?;
        let protocol = ip.payload_ip_number().0;
        Some(match &ip {
            LaxIpSlice::Ipv4(v4) => {
                let header = v4.header();
                Self {
                    source: header.source_addr().into(),
                    destination: header.destination_addr().into(),
                    ttl: header.ttl(),
                    traffic_class: datagram[1],
                    flow_label: 0,
                    protocol,
                    total_len: header.total_len().into(),
                    transport: header.slice().len() + v4.extensions().auth.map_or(0, |a| a.slice().len()),
                    later_fragment: header.fragments_offset().value() > 0,
                }
            }
            LaxIpSlice::Ipv6(v6) => {
                let header = v6.header();
                Self {
                    source: header.source_addr().into(),
                    destination: header.destination_addr().into(),
                    ttl: header.hop_limit(),
                    traffic_class: header.traffic_class(),
                    flow_label: header.flow_label().value(),
                    protocol,
                    total_len: header.slice().len() + usize::from(header.payload_length()),
                    transport: header.slice().len() + v6.extensions().slice().len(),
                    later_fragment: false,
                }
            }
        })
    }

    pub(super) fn is_v6(&self) -> bool {
        self.source.is_ipv6()
    }

    /// The transport header and what follows, as far as it is there.
    pub(super) fn transport<'a>(&self, datagram: &'a [u8]) -> &'a [u8] {
        datagram.get(self.transport..).unwrap_or_default()
    }

    /// Whether it is an ICMP error: the kind of message that is never answered with another, and that quotes.
    pub(super) fn is_icmp_error(&self, datagram: &[u8]) -> bool {
        let kind = self.transport(datagram).first().copied();
        match self.protocol {
            ICMP => matches!(kind, Some(3 | 4 | 5 | 11 | 12)),
            ICMPV6 => kind.is_some_and(|t| t < 128),
            _ => false,
        }
    }

    /// The port, or the id of an echo message, which both its ends share.
    pub(super) fn port(&self, datagram: &[u8], side: Side) -> Option<u16> {
        let at = self.port_offset(datagram, side)?;
        read_u16(datagram, at)
    }

    fn port_offset(&self, datagram: &[u8], side: Side) -> Option<usize> {
        if self.later_fragment {
            return None;
        }
        let kind = self.transport(datagram).first().copied();
        match (self.protocol, kind?) {
            (TCP | UDP, _) => Some(self.transport + if side == Side::Source { 0 } else { 2 }),
            (ICMP, ICMPV4_ECHO_REQUEST | ICMPV4_ECHO_REPLY)
            | (ICMPV6, ICMPV6_ECHO_REQUEST | ICMPV6_ECHO_REPLY) => Some(self.transport + 4),
            _ => None,
        }
    }

    fn checksum_offset(&self) -> Option<usize> {
        match self.protocol {
            _ if self.later_fragment => None,
            UDP => Some(self.transport + 6),
            TCP => Some(self.transport + 16),
            ICMP | ICMPV6 => Some(self.transport + 2),
            _ => None,
        }
    }
}

/// What is wrong with a datagram that no router would forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Neither version 4 nor 6, or shorter than its header.
    #[error("not an IP datagram")]
    Header,
    /// The header states another length than the datagram has.
    #[error("length differs from the one in the header")]
    Length,
    /// The IPv4 header checksum is wrong.
    #[error("bad IPv4 header checksum")]
    HeaderChecksum,
}

/// Checks what a router checks.
pub(super) fn check(datagram: &[u8]) -> Result<Header, Malformed> {
    let header = Header::parse(datagram).ok_or(Malformed::Header)?;
    if header.total_len != datagram.len() {
        return Err(Malformed::Length);
    }
    let correct = |h: Ipv4HeaderSlice<'_>| h.header_checksum() == h.to_header().calc_header_checksum();
    if header.source.is_ipv4() && !Ipv4HeaderSlice::from_slice(datagram).is_ok_and(correct) {
        return Err(Malformed::HeaderChecksum);
    }
    Ok(header)
}

/// Whether the transport checksum is correct (a UDP checksum of zero over IPv4 is none, hence correct).
pub(super) fn transport_checksum_is_correct(datagram: &[u8], header: &Header) -> bool {
    let transport = header.transport(datagram);
    let has_pseudo_header = match header.protocol {
        UDP if !header.is_v6() && transport.get(6..8) == Some(&[0, 0]) => return true,
        UDP if header.is_v6() && transport.get(6..8) == Some(&[0, 0]) => return false,
        UDP | TCP | ICMPV6 => true,
        ICMP => false,
        _ => return true,
    };
    let sum = if has_pseudo_header { pseudo_header(header, transport.len()) } else { Sum16BitWords::new() };
    sum.add_slice(transport).ones_complement() == 0
}

/// The sum of the pseudo-header.
fn pseudo_header(header: &Header, transport_len: usize) -> Sum16BitWords {
    let mut sum = Sum16BitWords::new();
    for address in [header.source, header.destination] {
        sum = match address {
            IpAddr::V4(a) => sum.add_4bytes(a.octets()),
            IpAddr::V6(a) => sum.add_16bytes(a.octets()),
        };
    }
    let len = u16::try_from(transport_len).unwrap_or(u16::MAX);
    sum.add_2bytes(len.to_be_bytes()).add_2bytes([0, header.protocol])
}

/// Computes the checksum of an ICMP message anew.
pub(super) fn update_icmp_checksum(datagram: &mut [u8]) {
    let Some(header) = Header::parse(datagram) else { return };
    let at = header.transport;
    if datagram.len() < at + 4 {
        return;
    }
    write_u16(datagram, at + 2, 0);
    let transport = header.transport(datagram);
    let sum = if header.is_v6() { pseudo_header(&header, transport.len()) } else { Sum16BitWords::new() };
    let checksum = u16::from_be(sum.add_slice(transport).ones_complement());
    write_u16(datagram, at + 2, checksum);
}

/// Sets the TTL or hop limit and corrects the header checksum by the difference (RFC 1624).
pub(super) fn set_ttl(datagram: &mut [u8], ttl: u8) {
    match datagram.first().map(|b| b >> 4) {
        Some(4) if datagram.len() >= 20 => {
            let old = [datagram[8], datagram[9]];
            let new = [ttl, datagram[9]];
            datagram[8] = ttl;
            adjust_checksum(datagram, 10, &old, &new);
        }
        Some(6) if datagram.len() >= 40 => datagram[7] = ttl,
        _ => {}
    }
}

/// Fills in an IPv4 header what the kernel fills in for a raw socket: the total length and the checksum.
pub(super) fn complete_ipv4_header(datagram: &mut [u8]) {
    let Ok(slice) = Ipv4HeaderSlice::from_slice(datagram) else { return };
    let mut header = slice.to_header();
    if let Ok(len) = u16::try_from(datagram.len()) {
        header.total_len = len;
    }
    header.header_checksum = header.calc_header_checksum();
    write_u16(datagram, 2, header.total_len);
    write_u16(datagram, 10, header.header_checksum);
}

/// Rewrites one end of a datagram or quote as NAT does, and corrects the checksums that cover it by the difference.
pub(super) fn rewrite(datagram: &mut [u8], side: Side, address: IpAddr, port: Option<u16>) {
    let Some(header) = Header::parse(datagram) else { return };
    let (mut old, mut new) = (Vec::with_capacity(18), Vec::with_capacity(18));
    let at = match (address, side) {
        (IpAddr::V4(_), Side::Source) => 12,
        (IpAddr::V4(_), Side::Destination) => 16,
        (IpAddr::V6(_), Side::Source) => 8,
        (IpAddr::V6(_), Side::Destination) => 24,
    };
    match address {
        IpAddr::V4(a) => new.extend(a.octets()),
        IpAddr::V6(a) => new.extend(a.octets()),
    }
    old.extend(&datagram[at..at + new.len()]);
    datagram[at..at + new.len()].copy_from_slice(&new);
    if !header.is_v6() {
        adjust_checksum(datagram, 10, &old, &new);
    }
    if header.protocol == ICMP {
        // Without a pseudo-header the addresses are not covered.
        old.clear();
        new.clear();
    }
    let port_offset = header.port_offset(datagram, side);
    if let (Some(port), Some(at)) = (port, port_offset)
        && let Some(was) = read_u16(datagram, at)
    {
        old.extend(was.to_be_bytes());
        new.extend(port.to_be_bytes());
        write_u16(datagram, at, port);
    }
    let Some(at) = header.checksum_offset() else { return };
    if header.protocol == UDP && read_u16(datagram, at) == Some(0) {
        return;
    }
    adjust_checksum(datagram, at, &old, &new);
    if header.protocol == UDP && read_u16(datagram, at) == Some(0) {
        write_u16(datagram, at, 0xffff);
    }
}

/// Changes the transport header of a datagram or quote, as far as it is there, and corrects its checksum by the
/// difference.
pub(super) fn patch_transport(datagram: &mut [u8], change: impl FnOnce(&mut [u8])) {
    let Some(header) = Header::parse(datagram).filter(|h| !h.later_fragment) else { return };
    let Some(transport) = datagram.get_mut(header.transport..) else { return };
    let old = transport.to_vec();
    change(transport);
    let new = transport.to_vec();
    let Some(at) = header.checksum_offset() else { return };
    adjust_checksum(datagram, at, &old, &new);
}

/// Updates the checksum at `at`, if it is there, for words that changed from `old` to `new` (RFC 1624, equation 3).
fn adjust_checksum(datagram: &mut [u8], at: usize, old: &[u8], new: &[u8]) {
    let Some(checksum) = read_u16(datagram, at) else { return };
    let words = |bytes: &[u8]| -> Vec<u16> {
        bytes.chunks_exact(2).map(|w| u16::from_be_bytes([w[0], w[1]])).collect()
    };
    let mut sum = u64::from(!checksum);
    sum += words(old).iter().map(|&word| u64::from(!word)).sum::<u64>();
    sum += words(new).iter().map(|&word| u64::from(word)).sum::<u64>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let sum = u16::try_from(sum).unwrap_or_default();
    write_u16(datagram, at, !sum);
}

/// Four bytes as a number, if they are there.
pub(super) fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
}

/// Adds to four bytes as a number, if they are there.
pub(super) fn add_u32(bytes: &mut [u8], at: usize, by: u32) {
    if let Some(value) = read_u32(bytes, at) {
        bytes[at..at + 4].copy_from_slice(&value.wrapping_add(by).to_be_bytes());
    }
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]]))
}

fn write_u16(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(place) = bytes.get_mut(at..at + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

/// Whether it is local talk (multicast, link-local) that a router does not forward.
pub(super) fn is_local_talk(datagram: &[u8]) -> bool {
    let link_local = |a: Ipv6Addr| a.is_unicast_link_local() || a.is_unspecified() || a.is_multicast();
    let local = |a: Ipv4Addr| a.is_multicast() || a.is_broadcast() || a.is_link_local() || a.is_unspecified();
    if let Ok(v6) = Ipv6HeaderSlice::from_slice(datagram) {
        return link_local(v6.source_addr()) || link_local(v6.destination_addr());
    }
    if let Ok(v4) = Ipv4HeaderSlice::from_slice(datagram) {
        return local(v4.source_addr()) || local(v4.destination_addr());
    }
    false
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    fn udp_datagrams() -> [Vec<u8>; 2] {
        let [mut v4, mut v6] = [Vec::new(), Vec::new()];
        PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 9).udp(1, 2).write(&mut v4, b"odd").unwrap();
        PacketBuilder::ipv6([1; 16], [2; 16], 9).udp(1, 2).write(&mut v6, b"odd").unwrap();
        [v4, v6]
    }

    #[test]
    fn rewriting_keeps_every_checksum_correct_and_never_makes_it_zero() {
        for (original, address) in udp_datagrams()
            .into_iter()
            .zip([IpAddr::from([203, 0, 113, 1]), IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1])])
        {
            for side in [Side::Source, Side::Destination] {
                for port in 0..=u16::MAX {
                    let mut datagram = original.clone();
                    rewrite(&mut datagram, side, address, Some(port));
                    let header = check(&datagram).unwrap();
                    assert_eq!(header.port(&datagram, side), Some(port));
                    assert!(transport_checksum_is_correct(&datagram, &header), "{side:?} {port}");
                    assert_ne!(read_u16(&datagram, header.transport + 6), Some(0), "{side:?} {port}");
                }
            }
        }
    }

    #[test]
    fn rewriting_leaves_a_missing_udp_checksum_missing() {
        let [mut datagram, _] = udp_datagrams();
        datagram[26..28].fill(0);
        rewrite(&mut datagram, Side::Source, [203, 0, 113, 1].into(), Some(7));
        assert_eq!(datagram[26..28], [0, 0]);
        assert!(transport_checksum_is_correct(&datagram, &check(&datagram).unwrap()));
    }
}
