//! The interfaces of the host, and those that a trace needs to be captured on.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, PoisonError, RwLock};

use traceroute_core::{Destination, Family, TracerouteError};

/// What `getifaddrs` says in one of its entries about the interface that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: CString,
    /// Whether it has the flag `IFF_LOOPBACK`, which tells it from the tunnels that have the same link type.
    pub(super) loopback: bool,
    pub(super) fact: Fact,
}

/// What it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    /// An address.
    Address(IpAddr),
    /// The address of all hosts of a network that it is in.
    Broadcast(Ipv4Addr),
    /// The index of the interface.
    Index(u32),
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) name: CString,
    pub(super) index: u32,
    pub(super) loopback: bool,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) broadcasts: Vec<Ipv4Addr>,
}

/// The interfaces that entries are about.
pub(super) fn gather(entries: Vec<Entry>) -> Vec<Interface> {
    let mut interfaces: BTreeMap<CString, Interface> = BTreeMap::new();
    for Entry { name, loopback, fact } in entries {
        let interface = interfaces.entry(name).or_insert_with_key(|name| Interface {
            name: name.clone(),
            index: 0,
            loopback,
            addresses: Vec::new(),
            broadcasts: Vec::new(),
        });
        match fact {
            Fact::Index(index) => interface.index = index,
            Fact::Address(address) => interface.addresses.push(without_scope(address)),
            Fact::Broadcast(address) => interface.broadcasts.push(address),
        }
    }
    interfaces.into_values().filter(|interface| interface.index != 0).collect()
}

/// The kernel keeps the index of the interface in the second word of link-local addresses, and `getifaddrs` shows it.
fn without_scope(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            let mut octets = v6.octets();
            octets[2..4].fill(0);
            Ipv6Addr::from(octets).into()
        }
        address => address,
    }
}

/// Whether an interface has the address that a destination is or that goes there. The same link-local address may belong to
/// several.
fn has(interface: &Interface, address: IpAddr, to: Destination) -> bool {
    let link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    interface.addresses.contains(&address)
        && (to.interface == 0 || interface.index == to.interface || !link_local)
}

fn is_this_host(interfaces: &[Interface], to: Destination) -> bool {
    to.address.is_loopback() || interfaces.iter().any(|interface| has(interface, to.address, to))
}

/// The interfaces that probes from `source` and their answers pass. They go by the source address unless an interface was asked
/// for: over IPv4 the kernel chooses so (`net.inet.ip.scopedroute`), and over IPv6 it is told to ([`told_to_leave_through`]).
/// What is for this host itself goes over loopback, or into the tunnel whose address it is for.
pub(super) fn on_the_way(interfaces: &[Interface], source: IpAddr, to: Destination) -> Vec<&Interface> {
    let here = is_this_host(interfaces, to);
    interfaces
        .iter()
        .filter(|interface| {
            if here {
                interface.loopback || has(interface, to.address, to)
            } else {
                interface.index == to.interface || has(interface, source, to)
            }
        })
        .collect()
}

/// The index of the interface that an IPv6 datagram is sent through. Where the kernel is told the source address but no
/// interface it goes by the route of the target alone (`IPV6_FLAG_NOSRCIFSEL` in `rip6_output`, `bsd/netinet6/raw_ip6.c`). What
/// is for this host finds its way itself: 0.
pub(super) fn told_to_leave_through(interfaces: &[Interface], source: IpAddr, to: Destination) -> u32 {
    if to.interface != 0 || is_this_host(interfaces, to) {
        return to.interface;
    }
    let owner = interfaces.iter().find(|interface| !interface.loopback && has(interface, source, to));
    owner.map_or(0, |interface| interface.index)
}

/// Refuses a target or a source that is a broadcast address: the kernel lets sockets be bound and connected to it, and says
/// nothing before the first probe.
pub(super) fn refuse_broadcast(interfaces: &[Interface], to: Destination) -> Result<(), TracerouteError> {
    // A network of one host has its address for both.
    let is_broadcast = |address: IpAddr| {
        let own = interfaces.iter().any(|interface| interface.addresses.contains(&address));
        let mut broadcasts = interfaces.iter().flat_map(|interface| &interface.broadcasts);
        !own && broadcasts.any(|broadcast| address == *broadcast)
    };
    if is_broadcast(to.address) {
        return Err(TracerouteError::Broadcast { target: to.address });
    }
    match to.source {
        Some(source_address) if is_broadcast(source_address) => {
            Err(TracerouteError::ForeignSource { source_address })
        }
        _ => Ok(()),
    }
}

/// Refuses to probe other hosts from an address for translation to IPv6 (RFC 7335): the kernel translates before BPF sees
/// packets (CLAT46, RFC 6877), so that a trace would show nothing.
pub(super) fn refuse_translation(
    interfaces: &[Interface],
    source: IpAddr,
    to: Destination,
) -> Result<(), TracerouteError> {
    const FIRST: u32 = Ipv4Addr::new(192, 0, 0, 0).to_bits();
    const LAST: u32 = FIRST + 7;
    match source {
        IpAddr::V4(source) if (FIRST..=LAST).contains(&source.to_bits()) && !is_this_host(interfaces, to) => {
            Err(TracerouteError::NotCapable {
                technique: "tracing",
                family: Family::V4,
                remedy: &"this network has IPv6 alone, and macOS translates IPv4 to it unseen (CLAT46): trace over IPv6 (-6)",
            })
        }
        _ => Ok(()),
    }
}

/// The interfaces as they were when a route was looked for last.
#[derive(Clone, Debug, Default)]
pub(super) struct Interfaces(Arc<RwLock<Arc<[Interface]>>>);

impl Interfaces {
    pub(super) fn are(&self, interfaces: Arc<[Interface]>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = interfaces;
    }

    pub(super) fn now(&self) -> Arc<[Interface]> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether this host has an address.
    pub(super) fn have(&self, address: IpAddr) -> bool {
        let interfaces = self.0.read().unwrap_or_else(PoisonError::into_inner);
        interfaces.iter().any(|interface| interface.addresses.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn entries() -> Vec<Entry> {
        let entry = |name: &str, fact| Entry {
            name: CString::new(name).expect("a name"),
            loopback: name == "lo0",
            fact,
        };
        let mut entries = Vec::new();
        // Scoped as the kernel of macOS keeps them.
        for (index, name, addresses) in [
            (1, "lo0", &["127.0.0.1", "::1", "fe80:1::1"][..]),
            (2, "gif0", &[]),
            (5, "en0", &["192.0.2.10", "2001:db8::10", "fe80:5::aa"]),
            (6, "en1", &["192.0.2.11", "2001:db8:6::11", "fe80:6::bb"]),
            (9, "utun0", &["10.0.0.1", "fe80:9::aa"]),
            (10, "utun1", &["192.0.0.2"]),
        ] {
            entries.push(entry(name, Fact::Index(index)));
            entries.extend(addresses.iter().map(|text| entry(name, Fact::Address(address(text)))));
        }
        entries.push(entry("en0", Fact::Broadcast([192, 0, 2, 255].into())));
        entries.push(entry("en1", Fact::Address([203, 0, 113, 5].into())));
        // The kernel has one for a network of a single host, too.
        entries.push(entry("en1", Fact::Broadcast([203, 0, 113, 5].into())));
        entries
    }

    fn names(source: &str, to: Destination) -> Vec<String> {
        let interfaces = gather(entries());
        let on_the_way = on_the_way(&interfaces, address(source), to).into_iter();
        on_the_way.map(|interface| interface.name.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn entries_of_one_name_are_one_interface() {
        let interfaces = gather(entries());
        let en0 = interfaces.iter().find(|interface| interface.index == 5).expect("en0");
        assert_eq!(en0.addresses, ["192.0.2.10", "2001:db8::10", "fe80::aa"].map(address));
        assert_eq!((en0.name.as_c_str(), en0.loopback), (c"en0", false));
        assert_eq!(interfaces.iter().filter(|interface| interface.loopback).count(), 1);
        let nameless =
            Entry { name: c"en7".into(), loopback: false, fact: Fact::Address(address("10.7.7.7")) };
        assert_eq!(gather(vec![nameless]), [], "without an index it cannot be told from others");
    }

    #[test]
    fn the_source_address_leads_to_the_interface() {
        let to = Destination::routed(address("198.51.100.1"));
        assert_eq!(names("192.0.2.10", to), ["en0"]);
        assert_eq!(names("10.0.0.1", to), ["utun0"]);
        assert_eq!(names("10.9.9.9", to), [""; 0], "of no interface");
        assert_eq!(names("2001:db8::10", Destination::routed(address("2001:db8:1::1"))), ["en0"]);
    }

    #[test]
    fn an_interface_that_was_asked_for_is_on_the_way() {
        let to = Destination { interface: 6, ..Destination::routed(address("198.51.100.1")) };
        assert_eq!(names("192.0.2.11", to), ["en1"]);
        assert_eq!(names("192.0.2.10", to), ["en0", "en1"], "answers come to the source address");
        let to = Destination { interface: 9, ..Destination::routed(address("fe80::1")) };
        assert_eq!(names("fe80::aa", to), ["utun0"], "en0 has the same address");
    }

    #[test]
    fn what_is_for_this_host_goes_over_loopback_or_into_its_tunnel() {
        for (source, to, expected) in [
            ("127.0.0.1", "127.0.0.1", &["lo0"][..]),
            ("127.0.0.1", "127.9.9.9", &["lo0"]),
            ("::1", "::1", &["lo0"]),
            ("192.0.2.10", "192.0.2.10", &["en0", "lo0"]),
            ("192.0.2.10", "10.0.0.1", &["lo0", "utun0"]),
            ("10.0.0.1", "10.0.0.1", &["lo0", "utun0"]),
        ] {
            assert_eq!(names(source, Destination::routed(address(to))), expected, "{to}");
        }
        let to = Destination { interface: 5, ..Destination::routed(address("fe80::aa")) };
        assert_eq!(names("fe80::aa", to), ["en0", "lo0"]);
        let to = Destination { interface: 6, ..Destination::routed(address("fe80::aa")) };
        assert_eq!(names("fe80::bb", to), ["en1"], "of another interface, so that of a neighbour");
    }

    #[test]
    fn the_kernel_is_told_to_leave_through_an_interface_that_is_captured() {
        let interfaces = gather(entries());
        let elsewhere = Destination::routed(address("2001:db8:1::1"));
        let asked_for = |interface, to| Destination { interface, ..Destination::routed(address(to)) };
        for (source, to, expected) in [
            ("2001:db8::10", elsewhere, 5),
            ("2001:db8:6::11", elsewhere, 6),
            ("2001:db8:6::11", asked_for(5, "2001:db8:1::1"), 5),
            ("fe80::aa", asked_for(9, "fe80::1"), 9),
            ("fe80::bb", elsewhere, 6),
        ] {
            let source = address(source);
            assert_eq!(told_to_leave_through(&interfaces, source, to), expected, "{source} to {to:?}");
            let captured = on_the_way(&interfaces, source, to);
            assert!(captured.iter().any(|interface| interface.index == expected), "{source} to {to:?}");
        }
        let told = |source, to| told_to_leave_through(&interfaces, address(source), to);
        assert_eq!(told("2001:db8::10", Destination::routed(address("2001:db8:6::11"))), 0, "this host");
        assert_eq!(told("::1", Destination::routed(address("::1"))), 0);
        assert_eq!(told("::1", elsewhere), 0, "loopback leads nowhere");
        assert_eq!(told("2001:db8::99", elsewhere), 0, "of no interface");
    }

    #[test]
    fn broadcast_addresses_are_refused() {
        let interfaces = gather(entries());
        let refused = |to| refuse_broadcast(&interfaces, to);
        let broadcast = address("192.0.2.255");
        let host = Destination::routed(address("198.51.100.1"));
        assert_eq!(
            refused(Destination::routed(broadcast)),
            Err(TracerouteError::Broadcast { target: broadcast })
        );
        let from = |source| Destination { source: Some(address(source)), ..host };
        assert_eq!(
            refused(from("192.0.2.255")),
            Err(TracerouteError::ForeignSource { source_address: broadcast })
        );
        for to in [
            host,
            from("192.0.2.10"),
            from("203.0.113.5"),
            Destination::routed(address("203.0.113.5")),
            Destination::routed(address("2001:db8::1")),
        ] {
            assert_eq!(refused(to), Ok(()), "{to:?}");
        }
    }

    #[test]
    fn a_source_that_is_translated_is_refused() {
        let interfaces = gather(entries());
        let refused = |source, to| {
            let refusal = refuse_translation(&interfaces, address(source), Destination::routed(address(to)));
            refusal.err().map(|error| error.to_string())
        };
        for source in ["192.0.0.0", "192.0.0.2", "192.0.0.7"] {
            let said = refused(source, "198.51.100.1").expect("it is refused");
            assert!(said.contains("trace over IPv6"), "{said}");
        }
        for source in ["192.0.0.8", "191.255.255.255", "192.0.2.10", "2001:db8::10"] {
            assert_eq!(refused(source, "198.51.100.1"), None, "{source}");
        }
        assert_eq!(refused("192.0.0.2", "192.0.0.2"), None, "which goes nowhere");
    }

    #[test]
    fn the_addresses_of_all_interfaces_are_ours() {
        let interfaces = Interfaces::default();
        assert!(!interfaces.have(address("192.0.2.10")));
        interfaces.clone().are(gather(entries()).into());
        for own in ["192.0.2.10", "10.0.0.1", "fe80::bb", "::1"] {
            assert!(interfaces.have(address(own)), "{own}");
        }
        for other in ["192.0.2.255", "198.51.100.1", "fe80::cc"] {
            assert!(!interfaces.have(address(other)), "{other}");
        }
        assert_eq!(interfaces.now()[..], gather(entries()));
    }
}
