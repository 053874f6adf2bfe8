//! Which packets the driver is asked for, and the bytes in which it is asked.
//!
//! The filters are those of the reference, which was tested with the driver, bit for bit but the version: what the driver makes of a
//! mask or of `discard` is documented nowhere.

use std::net::{IpAddr, SocketAddr};

use datadog_driver_sys::{
    AF_INET, AF_INET6, FilterAddress, FilterDefinition, INBOUND, LAYER_TRANSPORT, signature,
};
use traceroute_wire::protocol;

/// What a handle is to be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// ICMP messages of both families: what UDP and ICMP probes need, and TCP probes of the routers.
    Icmp,
    /// Segments of one flow: from the target's port to a local one.
    Flow {
        /// The target.
        remote: SocketAddr,
        /// This host.
        local: SocketAddr,
    },
    /// Segments from the target's port to any local one: while a connection is made to it.
    Target {
        /// The target.
        remote: SocketAddr,
    },
}

/// A filter as the driver reads it.
pub(super) type FilterBytes = [u8; size_of::<FilterDefinition>()];

/// The filters of a handle, in the order in which it is to be given them, for a version of the interface.
pub(super) fn filters(wanted: Wanted, version: u16) -> Vec<FilterBytes> {
    let any = FilterDefinition {
        filter_version: signature(version),
        size: size_of::<FilterDefinition>() as u64,
        filter_layer: LAYER_TRANSPORT,
        family: AF_INET,
        local_address: FilterAddress::default(),
        remote_address: FilterAddress::default(),
        local_port: 0,
        remote_port: 0,
        protocol: 0,
        direction: INBOUND,
        interface_index: 0,
        discard: 0,
    };
    let tcp = |remote: SocketAddr| FilterDefinition {
        family: family(remote.ip()),
        protocol: protocol::TCP.into(),
        remote_address: address(remote.ip()),
        remote_port: remote.port().into(),
        ..any
    };
    let filter = match wanted {
        Wanted::Icmp => {
            let v4 = FilterDefinition { protocol: protocol::ICMP.into(), ..any };
            let v6 = FilterDefinition { family: AF_INET6, protocol: protocol::ICMPV6.into(), ..any };
            return vec![bytes(&v4), bytes(&v6)];
        }
        Wanted::Flow { remote, local } => FilterDefinition {
            local_address: address(local.ip()),
            local_port: local.port().into(),
            ..tcp(remote)
        },
        Wanted::Target { remote } => tcp(remote),
    };
    // Once to be shown the packets, once to keep them from this host's own stack.
    vec![bytes(&filter), bytes(&FilterDefinition { discard: 1, ..filter })]
}

fn family(address: IpAddr) -> u64 {
    if address.is_ipv4() { AF_INET } else { AF_INET6 }
}

fn address(address: IpAddr) -> FilterAddress {
    let family = family(address);
    match address {
        IpAddr::V4(address) => FilterAddress {
            family,
            v4_address: address.octets(),
            mask: u32::MAX.into(),
            ..FilterAddress::default()
        },
        IpAddr::V6(address) => {
            FilterAddress { family, v6_address: address.octets(), mask: u64::MAX, ..FilterAddress::default() }
        }
    }
}

fn bytes(filter: &FilterDefinition) -> FilterBytes {
    let FilterDefinition {
        filter_version,
        size,
        filter_layer,
        family,
        local_address,
        remote_address,
        local_port,
        remote_port,
        protocol,
        direction,
        interface_index,
        discard,
    } = filter;
    let [local, remote] = [local_address, remote_address].map(address_bytes);
    let words = |words: &[&u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
    let parts = [
        words(&[filter_version, size, filter_layer, family]),
        local,
        remote,
        words(&[local_port, remote_port, protocol, direction, interface_index, discard]),
    ];
    let mut bytes = [0; size_of::<FilterDefinition>()];
    bytes.copy_from_slice(&parts.concat());
    bytes
}

fn address_bytes(address: &FilterAddress) -> Vec<u8> {
    let FilterAddress { family, v4_address, v4_padding, v6_address, mask } = address;
    [&family.to_le_bytes()[..], v4_address, v4_padding, v6_address, &mask.to_le_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of a filter: eight bytes each, as they are in memory.
    fn words(filter: &FilterBytes) -> Vec<String> {
        let (words, []) = filter.as_chunks::<8>() else { panic!("whole words") };
        words.iter().map(|word| word.map(|byte| format!("{byte:02x}")).concat()).collect()
    }

    fn socket(address: &str) -> SocketAddr {
        address.parse().expect("an address and a port")
    }

    const ZERO: &str = "0000000000000000";
    const SIGNATURE: &str = "17000000fddd0000";
    const SIZE: &str = "a000000000000000";
    const ONE: &str = "0100000000000000";
    const INET: &str = "0200000000000000";
    const INET6: &str = "1700000000000000";
    const TCP: &str = "0600000000000000";
    const ANY_ADDRESS: [&str; 5] = [ZERO; 5];

    #[test]
    fn icmp_of_both_families_is_captured_and_not_kept_from_the_system() {
        let filters = filters(Wanted::Icmp, 0x17);
        let expected = |family, number| {
            let head = [SIGNATURE, SIZE, ONE, family];
            let tail = [ZERO, ZERO, number, ZERO, ZERO, ZERO];
            [&head[..], &ANY_ADDRESS, &ANY_ADDRESS, &tail].concat()
        };
        assert_eq!(filters.len(), 2);
        assert_eq!(words(&filters[0]), expected(INET, ONE));
        assert_eq!(words(&filters[1]), expected(INET6, "3a00000000000000"));
    }

    #[test]
    fn a_flow_is_captured_and_then_kept_from_the_system() {
        let v4 = Wanted::Flow { remote: socket("203.0.113.9:443"), local: socket("192.0.2.1:40000") };
        let filters_v4 = filters(v4, 0x17);
        let expected = |discard| {
            [
                SIGNATURE,
                SIZE,
                ONE,
                INET,
                INET,
                "c000020100000000",
                ZERO,
                ZERO,
                "ffffffff00000000",
                INET,
                "cb00710900000000",
                ZERO,
                ZERO,
                "ffffffff00000000",
                "409c000000000000",
                "bb01000000000000",
                TCP,
                ZERO,
                ZERO,
                discard,
            ]
        };
        assert_eq!(filters_v4.len(), 2);
        assert_eq!(words(&filters_v4[0]), expected(ZERO));
        assert_eq!(words(&filters_v4[1]), expected(ONE));

        let v6 = Wanted::Flow { remote: socket("[2001:db8::9]:443"), local: socket("[2001:db8::1]:40000") };
        let filters_v6 = filters(v6, 0x17);
        assert_eq!(
            words(&filters_v6[0])[3..14],
            [
                INET6,
                INET6,
                ZERO,
                "20010db800000000",
                "0000000000000001",
                "ffffffffffffffff",
                INET6,
                ZERO,
                "20010db800000000",
                "0000000000000009",
                "ffffffffffffffff",
            ]
        );
    }

    #[test]
    fn while_a_connection_is_made_the_local_side_is_anything() {
        let filters = filters(Wanted::Target { remote: socket("203.0.113.9:443") }, 0x17);
        assert_eq!(
            words(&filters[1]),
            [
                SIGNATURE,
                SIZE,
                ONE,
                INET,
                ZERO,
                ZERO,
                ZERO,
                ZERO,
                ZERO,
                INET,
                "cb00710900000000",
                ZERO,
                ZERO,
                "ffffffff00000000",
                ZERO,
                "bb01000000000000",
                TCP,
                ZERO,
                ZERO,
                ONE,
            ]
        );
        assert_eq!(filters.len(), 2);
    }

    #[test]
    fn the_version_is_the_first_word() {
        assert_eq!(words(&filters(Wanted::Icmp, 0x18)[0])[0], "18000000fddd0000");
    }
}
