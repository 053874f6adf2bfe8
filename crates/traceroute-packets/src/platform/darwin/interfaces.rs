//! The interfaces of the host, and those that a trace needs to be captured on.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::net::{IpAddr, Ipv6Addr};

use traceroute_core::Destination;

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
        });
        match fact {
            Fact::Index(index) => interface.index = index,
            Fact::Address(address) => interface.addresses.push(without_scope(address)),
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

/// The interfaces that probes from `source` and their answers pass. They go by the source address, for so does the kernel
/// (`net.inet.ip.scopedroute`), unless an interface was asked for; and what is for this host itself goes over loopback.
pub(super) fn on_the_way(interfaces: &[Interface], source: IpAddr, to: Destination) -> Vec<&Interface> {
    let link_local = |address| matches!(address, IpAddr::V6(v6) if Ipv6Addr::is_unicast_link_local(&v6));
    // The same link-local address may belong to several interfaces.
    let has = |interface: &Interface, address| {
        interface.addresses.contains(&address)
            && (to.interface == 0 || interface.index == to.interface || !link_local(address))
    };
    let here = to.address.is_loopback() || interfaces.iter().any(|interface| has(interface, to.address));
    interfaces
        .iter()
        .filter(|interface| {
            if here { interface.loopback } else { interface.index == to.interface || has(interface, source) }
        })
        .collect()
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
            (6, "en1", &["192.0.2.11", "fe80:6::bb"]),
            (9, "utun0", &["10.0.0.1", "fe80:9::aa"]),
        ] {
            entries.push(entry(name, Fact::Index(index)));
            entries.extend(addresses.iter().map(|text| entry(name, Fact::Address(address(text)))));
        }
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
    fn what_is_for_this_host_goes_over_loopback() {
        for (source, to) in [
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.1", "127.9.9.9"),
            ("::1", "::1"),
            ("192.0.2.10", "192.0.2.10"),
            ("192.0.2.10", "10.0.0.1"),
        ] {
            assert_eq!(names(source, Destination::routed(address(to))), ["lo0"], "{to}");
        }
        let to = Destination { interface: 5, ..Destination::routed(address("fe80::aa")) };
        assert_eq!(names("fe80::aa", to), ["lo0"]);
        let to = Destination { interface: 6, ..Destination::routed(address("fe80::aa")) };
        assert_eq!(names("fe80::bb", to), ["en1"], "of another interface, so that of a neighbour");
    }
}
