//! A probe as the wire shows it, read without the library.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What tells the probes of one run from all others. Two runs may share it only one long after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Triple {
    /// The IP protocol: ports and echo ids have nothing to do with each other.
    pub(crate) protocol: u8,
    /// The source port or echo id.
    pub(crate) local: u16,
    pub(crate) destination: IpAddr,
    /// The identification of IPv4, the flow label of IPv6.
    pub(crate) label: u32,
}

/// A probe on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) triple: Triple,
    /// The random part of the payload, which is the run's own.
    pub(crate) token: u64,
}

const UDP: u8 = 17;
const ICMP: (u8, u8) = (1, 8);
const ICMPV6: (u8, u8) = (58, 128);
const UDP_PREFIX: &[u8] = b"NSMNC\0";

impl Probe {
    /// `None` if the datagram is no probe. Where the token lies is said in the first table of each method's
    /// documentation (`traceroute-udp`, `traceroute-icmp`).
    pub(crate) fn parse(datagram: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u16::from_be_bytes(*datagram.get(at..)?.first_chunk()?));
        let (protocol, destination, label, transport) = match datagram.first()? >> 4 {
            4 => {
                let header = usize::from(datagram[0] & 0x0f) * 4;
                let destination = Ipv4Addr::from(*datagram.get(16..)?.first_chunk::<4>()?);
                (*datagram.get(9)?, IpAddr::from(destination), u32::from(word(4)?), header)
            }
            6 => {
                let destination = Ipv6Addr::from(*datagram.get(24..)?.first_chunk::<16>()?);
                let label = u32::from_be_bytes(*datagram.first_chunk()?) & 0xf_ffff;
                (*datagram.get(6)?, IpAddr::from(destination), label, 40)
            }
            _ => return None,
        };
        let payload = datagram.get(transport + 8..)?;
        let (local, token) = match (protocol, *datagram.get(transport)?) {
            (UDP, _) if payload.starts_with(UDP_PREFIX) => (word(transport)?, payload.get(8..)?),
            kind if kind == ICMP || kind == ICMPV6 => (word(transport + 4)?, payload),
            _ => return None,
        };
        let token = u64::from_be_bytes(*token.first_chunk()?);
        Some(Self { triple: Triple { protocol, local, destination, label }, token })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: u64 = 0x0123_4567_89ab_cdef;

    fn parsed(protocol: u8, local: u16, destination: &str, label: u32) -> Probe {
        let destination = destination.parse().unwrap();
        Probe { triple: Triple { protocol, local, destination, label }, token: TOKEN }
    }

    fn ipv4(protocol: u8, transport: &[&[u8]]) -> Vec<u8> {
        let mut datagram =
            vec![0x45, 0, 0, 0, 0x12, 0x34, 0, 0, 7, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 9];
        datagram.extend(transport.concat());
        datagram
    }

    fn ipv6(protocol: u8, transport: &[&[u8]]) -> Vec<u8> {
        let mut datagram = vec![0x6f, 0xfa, 0xbc, 0xde, 0, 0, protocol, 7];
        datagram.extend([1; 16]);
        datagram.extend("2001:db8::9".parse::<Ipv6Addr>().unwrap().octets());
        datagram.extend(transport.concat());
        datagram
    }

    #[test]
    fn probes_are_read() {
        let token = TOKEN.to_be_bytes();
        let udp: [&[u8]; 4] = [&[0xee, 0x48, 0x82, 0x9a, 0, 26, 1, 2], UDP_PREFIX, &[0xff, 0xf8], &token];
        assert_eq!(Probe::parse(&ipv4(17, &udp)), Some(parsed(17, 61_000, "192.0.2.9", 0x1234)));
        assert_eq!(Probe::parse(&ipv6(17, &udp)), Some(parsed(17, 61_000, "2001:db8::9", 0xa_bcde)));
        let echo = |kind| [&[kind, 0, 1, 2, 0x30, 0x39, 0, 3][..], &token, &[9, 9]].concat();
        assert_eq!(Probe::parse(&ipv4(1, &[&echo(8)])), Some(parsed(1, 12_345, "192.0.2.9", 0x1234)));
        assert_eq!(Probe::parse(&ipv6(58, &[&echo(128)])), Some(parsed(58, 12_345, "2001:db8::9", 0xa_bcde)));
    }

    #[test]
    fn everything_else_is_none() {
        let token = TOKEN.to_be_bytes();
        let reply = [&[0, 0, 1, 2, 0x30, 0x39, 0, 3][..], &token].concat();
        let dns: [&[u8]; 3] = [&[0xee, 0x48, 0, 53, 0, 26, 1, 2], &[0; 8], &token];
        for datagram in [vec![], vec![0x45; 19], vec![0x60; 39], ipv4(1, &[&reply]), ipv4(17, &dns)] {
            assert_eq!(Probe::parse(&datagram), None, "{datagram:?}");
        }
        let short: [&[u8]; 3] = [&[0xee, 0x48, 0x82, 0x9a, 0, 26, 1, 2], UDP_PREFIX, &[0xff, 0xf8, 1]];
        assert_eq!(Probe::parse(&ipv4(17, &short)), None);
    }
}
