//! Who has which address in a chain of routers, real or simulated.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses of a chain's links.
///
/// Link 0 joins the client and the first router, link `i` router `i` and the next node. The end nearer to the client
/// is the left one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressPlan {
    /// Link `i` is `10.K.i.0/24` and `fd00:K:i::/64`, where `K` is this number (in decimal digits in both).
    Private(u8),
    /// Link `i` is `198.18.i.0/24` and `2001:db8:i::/64`, which no tool takes for private addresses.
    Public,
}

impl Default for AddressPlan {
    fn default() -> Self {
        Self::Private(71)
    }
}

/// An address of each family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DualStack {
    /// The IPv4 address.
    pub v4: Ipv4Addr,
    /// The IPv6 address.
    pub v6: Ipv6Addr,
}

impl DualStack {
    /// Whether `address` is one of the two.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        address == self.v4 || address == self.v6
    }

    /// The address of the same family as `other`.
    #[must_use]
    pub fn of_family(&self, other: IpAddr) -> IpAddr {
        if other.is_ipv4() { self.v4.into() } else { self.v6.into() }
    }
}

impl AddressPlan {
    /// The address at the left end of a link: `.1` and `::1`.
    #[must_use]
    pub fn left(self, link: u8) -> DualStack {
        self.host(link, 1)
    }

    /// The address at the right end of a link: `.2` and `::2`.
    #[must_use]
    pub fn right(self, link: u8) -> DualStack {
        self.host(link, 2)
    }

    /// Any address of a link.
    #[must_use]
    pub fn host(self, link: u8, host: u8) -> DualStack {
        let (link6, host6) = (digits(link), digits(host));
        match self {
            Self::Private(k) => DualStack {
                v4: Ipv4Addr::new(10, k, link, host),
                v6: Ipv6Addr::new(0xfd00, digits(k), link6, 0, 0, 0, 0, host6),
            },
            Self::Public => DualStack {
                v4: Ipv4Addr::new(198, 18, link, host),
                v6: Ipv6Addr::new(0x2001, 0xdb8, link6, 0, 0, 0, 0, host6),
            },
        }
    }
}

/// The number whose hexadecimal digits are the decimal digits of `n`, so that both families' addresses read alike.
fn digits(n: u8) -> u16 {
    let n = u16::from(n);
    (n / 100) << 8 | (n / 10 % 10) << 4 | (n % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_read_alike() {
        let plan = AddressPlan::Private(71);
        assert_eq!(plan.left(0).v4.to_string(), "10.71.0.1");
        assert_eq!(plan.right(129).v4.to_string(), "10.71.129.2");
        assert_eq!(plan.left(0).v6.to_string(), "fd00:71::1");
        assert_eq!(plan.right(129).v6.to_string(), "fd00:71:129::2");
        assert_eq!(AddressPlan::Public.host(12, 34).v6.to_string(), "2001:db8:12::34");
        assert_eq!(AddressPlan::Public.host(12, 34).v4.to_string(), "198.18.12.34");
    }
}
