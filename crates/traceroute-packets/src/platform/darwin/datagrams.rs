//! Datagrams as the raw sockets of macOS want them.
//!
//! Over IPv4 the header is included, with two fields in the byte order of the host. Over IPv6 the kernel writes the header: of
//! ours it is told everything but the **flow label**, for which it takes one that is random and the same for all that a socket
//! sends (`rip6_output`, `bsd/netinet6/raw_ip6.c` of XNU), or for TCP none, as the connection that probes may belong to has none.
//! So all probes of a run still have one, but a quote that is too short for a probe's payload names no run.

use std::net::Ipv6Addr;

/// The length of the fixed header (RFC 8200 section 3).
const V6_HEADER_LEN: usize = 40;

/// A copy of an IPv4 datagram with its length and its fragment offset in the byte order of the host, as ip(4) asks for where
/// the header is included. `None` if there is no whole header.
pub(super) fn with_host_order(datagram: &[u8]) -> Option<Vec<u8>> {
    const HEADER_LEN: usize = 20;
    const LENGTH: usize = 2;
    const FRAGMENT_OFFSET: usize = 6;
    if datagram.len() < HEADER_LEN {
        return None;
    }
    let mut copy = datagram.to_vec();
    for at in [LENGTH, FRAGMENT_OFFSET] {
        let value = u16::from_be_bytes([copy[at], copy[at + 1]]);
        copy[at..at + 2].copy_from_slice(&value.to_ne_bytes());
    }
    Some(copy)
}

/// An IPv6 datagram taken to pieces: what the kernel is told of its header, and the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct V6Datagram<'a> {
    pub(super) traffic_class: u8,
    pub(super) next_header: u8,
    pub(super) hop_limit: u8,
    pub(super) source: Ipv6Addr,
    pub(super) payload: &'a [u8],
}

impl<'a> V6Datagram<'a> {
    /// `None` if there is no whole header.
    pub(super) fn parse(datagram: &'a [u8]) -> Option<Self> {
        let (header, payload) = datagram.split_first_chunk::<V6_HEADER_LEN>()?;
        let source: [u8; 16] = header[8..24].try_into().ok()?;
        Some(Self {
            traffic_class: header[0] << 4 | header[1] >> 4,
            next_header: header[6],
            hop_limit: header[7],
            source: source.into(),
            payload,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_fields_are_turned_round() {
        let header: Vec<u8> = (0..20).collect();
        let mut expected = header.clone();
        expected[2..4].copy_from_slice(&0x0203_u16.to_ne_bytes());
        expected[6..8].copy_from_slice(&0x0607_u16.to_ne_bytes());
        assert_eq!(with_host_order(&header).as_ref(), Some(&expected));
        let with_payload = with_host_order(&[&header[..], b"payload"].concat());
        assert_eq!(with_payload, Some([&expected[..], b"payload"].concat()));
        for len in 0..20 {
            assert_eq!(with_host_order(&header[..len]), None);
        }
    }

    #[test]
    fn an_ipv6_datagram_is_taken_to_pieces() {
        let mut datagram = vec![0; 40];
        // Version 6, traffic class 0xb8, flow label 0xccccc.
        datagram[..4].copy_from_slice(&[0x6b, 0x8c, 0xcc, 0xcc]);
        datagram[4..8].copy_from_slice(&[0, 3, 17, 9]);
        datagram[8..24].copy_from_slice(&Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7).octets());
        datagram.extend([1, 2, 3]);
        assert_eq!(
            V6Datagram::parse(&datagram),
            Some(V6Datagram {
                traffic_class: 0xb8,
                next_header: 17,
                hop_limit: 9,
                source: "2001:db8::7".parse().expect("an address"),
                payload: &[1, 2, 3],
            })
        );
        for len in 0..40 {
            assert_eq!(V6Datagram::parse(&datagram[..len]), None);
        }
    }
}
