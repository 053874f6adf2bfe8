//! Hops whose addresses nobody is to see.

use std::net::IpAddr;

use traceroute_core::Hop;

/// Whether an address is of a private network: 10/8, 172.16/12 and 192.168/16 (RFC 1918), `fc00::/7` (RFC 4193), and the
/// IPv4 ones mapped into IPv6. Shared (100.64/10), link-local and loopback addresses are not.
pub(crate) fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_private(),
        IpAddr::V6(address) => address.is_unique_local(),
    }
}

/// Leaves of a hop with a private address nothing but its TTL.
pub(crate) fn blank_if_private(hop: &mut Hop) {
    if hop.ip_address.is_some_and(is_private) {
        *hop = Hop::unanswered(hop.ttl);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_networks_are_private() {
        for (first, last, before, after) in [
            ("10.0.0.0", "10.255.255.255", "9.255.255.255", "11.0.0.0"),
            ("172.16.0.0", "172.31.255.255", "172.15.255.255", "172.32.0.0"),
            ("192.168.0.0", "192.168.255.255", "192.167.255.255", "192.169.0.0"),
            ("fc00::", "fdff:ffff::1", "fbff:ffff::1", "fe00::"),
            ("::ffff:10.0.0.1", "::ffff:192.168.1.1", "::ffff:9.0.0.1", "::ffff:8.8.8.8"),
        ] {
            for (address, expected) in [(first, true), (last, true), (before, false), (after, false)] {
                assert_eq!(is_private(address.parse().expect("an address")), expected, "{address}");
            }
        }
        for address in
            ["100.64.0.1", "169.254.1.1", "127.0.0.1", "fe80::1", "::1", "198.18.0.1", "::", "::10.0.0.1"]
        {
            assert!(!is_private(address.parse().expect("an address")), "{address}");
        }
    }
}
