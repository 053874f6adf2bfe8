//! Interface information objects (RFC 5837).

mod support;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use support::{object, structure};
use traceroute_wire::{Extensions, InterfaceInfo, InterfaceRole};

const CLASS: u8 = 2;
// The low bits of the C-type, section 4.1: which fields follow.
const INDEX: u8 = 0x08;
const ADDRESS: u8 = 0x04;
const NAME: u8 = 0x02;
const MTU: u8 = 0x01;

/// Calls `check` with the interfaces that objects are read to describe.
fn read(objects: &[u8], check: impl FnOnce(Vec<InterfaceInfo<'_>>)) {
    let body = [&[0; 128][..], &structure(objects)].concat();
    let (_, extensions) = Extensions::split(&body, 0);
    check(extensions.expect("version and checksum are right").interfaces().collect());
}

/// Section 4.2: address family (IANA: 1 is IPv4, 2 is IPv6), two reserved bytes, address.
fn address_field(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => [&[0, 1, 0, 0][..], &address.octets()].concat(),
        IpAddr::V6(address) => [&[0, 2, 0, 0][..], &address.octets()].concat(),
    }
}

/// Section 4.3: a length that counts itself, the name, zeros up to a multiple of 4.
fn name_field(name: &[u8]) -> Vec<u8> {
    let length = (1 + name.len()).next_multiple_of(4);
    let mut field = vec![u8::try_from(length).expect("a field of at most 255 bytes")];
    field.extend(name);
    field.resize(length, 0);
    field
}

/// An object whose C-type says what `info` has, fields in the order of section 4.1.
fn encoded(info: &InterfaceInfo<'_>) -> Vec<u8> {
    let role = match info.role {
        InterfaceRole::Incoming => 0,
        InterfaceRole::SubIpComponent => 1,
        InterfaceRole::Outgoing => 2,
        InterfaceRole::NextHop => 3,
    };
    let (mut ctype, mut data) = (role << 6, Vec::new());
    if let Some(index) = info.index {
        ctype |= INDEX;
        data.extend(index.to_be_bytes());
    }
    if let Some(address) = info.address {
        ctype |= ADDRESS;
        data.extend(address_field(address));
    }
    if let Some(name) = info.name {
        ctype |= NAME;
        data.extend(name_field(name.as_bytes()));
    }
    if let Some(mtu) = info.mtu {
        ctype |= MTU;
        data.extend(mtu.to_be_bytes());
    }
    object(CLASS, ctype, &data)
}

fn nothing(role: InterfaceRole) -> InterfaceInfo<'static> {
    InterfaceInfo { role, index: None, address: None, name: None, mtu: None }
}

/// Every role with every set of fields, both address families.
fn all_combinations() -> Vec<InterfaceInfo<'static>> {
    let roles = [
        InterfaceRole::Incoming,
        InterfaceRole::SubIpComponent,
        InterfaceRole::Outgoing,
        InterfaceRole::NextHop,
    ];
    let addresses = [
        None,
        Some(Ipv4Addr::new(203, 0, 113, 9).into()),
        Some(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 1, 2, 3, 4).into()),
    ];
    let mut all = Vec::new();
    for role in roles {
        for index in [None, Some(0x0102_0304)] {
            for address in addresses {
                for name in [None, Some("ge-0/0/1.7")] {
                    for mtu in [None, Some(9_192)] {
                        all.push(InterfaceInfo { role, index, address, name, mtu });
                    }
                }
            }
        }
    }
    all
}

#[test]
fn every_combination_of_fields_is_read() {
    for info in all_combinations() {
        read(&encoded(&info), |read| assert_eq!(read, [info]));
    }
}

#[test]
fn an_object_is_what_rfc_5837_draws() {
    // An incoming interface with all fields, C-type 0x0f.
    let data = [
        &[0, 0, 0, 42][..],
        &[0, 1, 0, 0, 192, 0, 2, 33],
        &[8, b'e', b't', b'h', b'0', 0, 0, 0],
        &[0, 0, 0x05, 0xdc],
    ]
    .concat();
    read(&object(2, 0x0f, &data), |read| {
        assert_eq!(
            read,
            [InterfaceInfo {
                role: InterfaceRole::Incoming,
                index: Some(42),
                address: Some(Ipv4Addr::new(192, 0, 2, 33).into()),
                name: Some("eth0"),
                mtu: Some(1500),
            }]
        );
    });
}

#[test]
fn several_objects_are_several_interfaces() {
    let all = all_combinations();
    let objects: Vec<u8> = all.iter().flat_map(encoded).collect();
    read(&objects, |read| assert_eq!(read, all));
}

#[test]
fn an_object_cut_anywhere_is_dropped_and_its_neighbours_are_kept() {
    let neighbour = InterfaceInfo { mtu: Some(1500), ..nothing(InterfaceRole::Outgoing) };
    for info in all_combinations() {
        let whole = encoded(&info);
        for length in 4..whole.len() {
            let cut = object(CLASS, whole[3], &whole[4..length]);
            let objects = [encoded(&neighbour), cut, encoded(&neighbour)].concat();
            read(&objects, |read| assert_eq!(read, [neighbour, neighbour], "{length} bytes of {info:?}"));
        }
    }
}

#[test]
fn bytes_behind_the_last_field_are_ignored() {
    for info in all_combinations() {
        let whole = encoded(&info);
        let longer = object(CLASS, whole[3], &[&whole[4..], &[0xee; 8]].concat());
        read(&longer, |read| assert_eq!(read, [info]));
    }
}

#[test]
fn reserved_bits_mean_nothing() {
    for info in all_combinations() {
        let mut bytes = encoded(&info);
        bytes[3] |= 0x30;
        read(&bytes, |read| assert_eq!(read, [info]));
    }
}

#[test]
fn other_classes_describe_no_interface() {
    for class in (0..=255).filter(|&class| class != CLASS) {
        read(&object(class, INDEX, &[0, 0, 0, 1]), |read| assert_eq!(read, []));
    }
}

#[test]
fn an_unknown_address_family_makes_the_object_unreadable() {
    for family in [[0, 0], [0, 3], [1, 1], [1, 2], [0x40, 4], [0xff, 0xff]] {
        let data = [&family[..], &[0; 18]].concat();
        read(&object(CLASS, ADDRESS, &data), |read| assert_eq!(read, []));
    }
}

#[test]
fn the_reserved_bytes_of_an_address_mean_nothing() {
    let data = [0, 1, 0xff, 0xff, 192, 0, 2, 1];
    let expected = InterfaceInfo {
        address: Some(Ipv4Addr::new(192, 0, 2, 1).into()),
        ..nothing(InterfaceRole::NextHop)
    };
    read(&object(CLASS, 0xc0 | ADDRESS, &data), |read| assert_eq!(read, [expected]));
}

#[test]
fn names_of_every_legal_length_are_read_without_their_padding() {
    for length in 1..=63 {
        let name = "x".repeat(length);
        let info = InterfaceInfo { name: Some(&name), mtu: Some(1), ..nothing(InterfaceRole::Incoming) };
        read(&encoded(&info), |read| assert_eq!(read, [info]));
    }
}

#[test]
fn an_unreadable_name_costs_only_the_name() {
    let expected = InterfaceInfo { index: Some(7), mtu: Some(1280), ..nothing(InterfaceRole::Incoming) };
    for name in [&b""[..], &[0; 7], &[0xff, 0xfe, 0xfd], b"gr\xfcn000", b"cut\xe2\x82", &[0xc0, 0x80]] {
        let data = [&[0, 0, 0, 7][..], &name_field(name), &[0, 0, 5, 0]].concat();
        read(&object(CLASS, INDEX | NAME | MTU, &data), |read| assert_eq!(read, [expected], "{name:?}"));
    }
    // A length of 1 is a name of no bytes.
    let data = [0, 0, 0, 7, 1, 0, 0, 5, 0];
    read(&object(CLASS, INDEX | NAME | MTU, &data), |read| assert_eq!(read, [expected]));
}

#[test]
fn names_may_be_of_any_script() {
    let info = InterfaceInfo { name: Some("接口-é"), ..nothing(InterfaceRole::Incoming) };
    read(&encoded(&info), |read| assert_eq!(read, [info]));
}

#[test]
fn a_name_length_of_zero_does_not_even_count_itself() {
    read(&object(CLASS, NAME | MTU, &[0, 0, 0, 0, 0, 0, 5, 0]), |read| assert_eq!(read, []));
}

#[test]
fn a_name_longer_than_63_bytes_makes_the_object_unreadable() {
    for name_len in [64, 67, 71, 127, 251] {
        let data = [&name_field(&vec![b'x'; name_len])[..], &[0, 0, 5, 0]].concat();
        read(&object(CLASS, NAME | MTU, &data), |read| assert_eq!(read, [], "{name_len} bytes"));
    }
}

#[test]
fn a_name_beyond_the_end_of_its_object_is_not_read_from_the_next() {
    let next = encoded(&InterfaceInfo { index: Some(1), ..nothing(InterfaceRole::Outgoing) });
    let objects = [object(CLASS, NAME, &[8, b'e', b't', b'h']), next].concat();
    read(&objects, |read| {
        assert_eq!(read, [InterfaceInfo { index: Some(1), ..nothing(InterfaceRole::Outgoing) }]);
    });
}

proptest! {
    #[test]
    fn random_fields_are_read_as_written(
        index: Option<u32>,
        v4: Option<u32>,
        v6: Option<u128>,
        name in prop::option::of("[a-zA-Z0-9/.:é☃-]{1,20}"),
        mtu: Option<u32>,
    ) {
        let address = v4.map(|bits| Ipv4Addr::from(bits).into()).or(v6.map(|bits| Ipv6Addr::from(bits).into()));
        let info = InterfaceInfo { role: InterfaceRole::NextHop, index, address, name: name.as_deref(), mtu };
        read(&encoded(&info), |read| assert_eq!(read, [info]));
    }

    #[test]
    fn random_objects_make_up_no_long_or_empty_name(ctype: u8, data in support::bytes(0..120)) {
        read(&object(CLASS, ctype, &data), |read| {
            for info in read {
                assert!(info.name.is_none_or(|name| !name.is_empty() && name.len() <= 63));
                assert!(info.index.is_none() || ctype & INDEX != 0);
                assert!(info.address.is_none() || ctype & ADDRESS != 0);
                assert!(info.name.is_none() || ctype & NAME != 0);
                assert!(info.mtu.is_none() || ctype & MTU != 0);
            }
        });
    }
}
