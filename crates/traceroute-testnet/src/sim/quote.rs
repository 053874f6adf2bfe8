//! How much of an undeliverable datagram an ICMP error quotes.

use super::packet::Header;

/// How much of a datagram is quoted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quote {
    /// As much as fits a message of 576 bytes, or 1280 in IPv6 (RFC 1812, RFC 4443): what Linux does.
    #[default]
    Full,
    /// The IP header and this many bytes more. RFC 792 asks for 8.
    Transport(usize),
    /// This many bytes, counted from the IP header's first. It can be less than the header.
    Bytes(usize),
}

impl Quote {
    pub(super) fn of(self, datagram: &[u8], header: &Header) -> Vec<u8> {
        let limit = match self {
            Self::Full if header.is_v6() => 1280 - 40 - 8,
            Self::Full => 576 - 20 - 8,
            Self::Transport(n) => header.transport + n,
            Self::Bytes(n) => n,
        };
        datagram[..limit.min(datagram.len())].to_vec()
    }
}
