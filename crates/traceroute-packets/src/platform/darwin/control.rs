//! The ancillary data of an IPv6 datagram (RFC 3542), in control messages as macOS lays them out: a header of 12 bytes, then the
//! data, filled up to a multiple of four bytes (`CMSG_SPACE` of sys/socket.h).
//!
//! They go with each datagram, for a socket is shared by all runs, and an option of it would hold for the probes of others.

use std::net::Ipv6Addr;

// netinet/in.h and netinet6/in6.h of macOS.
pub(super) const IPPROTO_IPV6: i32 = 41;
pub(super) const IPV6_TCLASS: i32 = 36;
pub(super) const IPV6_PKTINFO: i32 = 46;
pub(super) const IPV6_HOPLIMIT: i32 = 47;
pub(super) const IPV6_DONTFRAG: i32 = 62;

/// The length of `struct cmsghdr`: length, level and type.
pub(super) const HEADER_LEN: usize = 12;
const ALIGNMENT: usize = 4;

/// The length of what [`control`] makes: three integers and a `struct in6_pktinfo` of 20 bytes.
pub(super) const CONTROL_LEN: usize = 4 * HEADER_LEN + 3 * 4 + 20;

/// Lets a datagram have these fields of its header, leave through an interface, where that is not 0, and not be fragmented: a
/// probe that is too long is to be refused, here or by the router that says so.
///
/// A link-local source is left to the kernel, which chooses that of the interface: it would take the one that it is told for an
/// address without a zone, and find no interface that has it (`rip6_output` and `ip6_output`, `bsd/netinet6` of XNU).
pub(super) fn control(hop_limit: u8, traffic_class: u8, source: Ipv6Addr, interface: u32) -> Vec<u8> {
    let mut control = Vec::with_capacity(CONTROL_LEN);
    let integer = |value: i32| value.to_ne_bytes();
    push(&mut control, IPV6_HOPLIMIT, &integer(hop_limit.into()));
    push(&mut control, IPV6_TCLASS, &integer(traffic_class.into()));
    push(&mut control, IPV6_DONTFRAG, &integer(1));
    let mut information = [0; 20];
    if !source.is_unicast_link_local() {
        information[..16].copy_from_slice(&source.octets());
    }
    information[16..].copy_from_slice(&interface.to_ne_bytes());
    push(&mut control, IPV6_PKTINFO, &information);
    control
}

fn push(control: &mut Vec<u8>, kind: i32, data: &[u8]) {
    let length = u32::try_from(HEADER_LEN + data.len()).unwrap_or(u32::MAX);
    control.extend(length.to_ne_bytes());
    control.extend(IPPROTO_IPV6.to_ne_bytes());
    control.extend(kind.to_ne_bytes());
    control.extend(data);
    control.resize(control.len().next_multiple_of(ALIGNMENT), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(bytes: &[u8]) -> Vec<u32> {
        bytes.chunks(4).map(|word| u32::from_ne_bytes(word.try_into().expect("whole words"))).collect()
    }

    #[test]
    fn the_messages_lie_as_macos_wants_them() {
        let source: Ipv6Addr = "2001:db8::7".parse().expect("an address");
        let control = control(9, 0xb8, source, 5);
        assert_eq!(control.len(), CONTROL_LEN);
        let (integers, information) = control.split_at(48);
        assert_eq!(words(integers), [16, 41, 47, 9, 16, 41, 36, 0xb8, 16, 41, 62, 1]);
        assert_eq!(words(&information[..12]), [32, 41, 46]);
        assert_eq!((&information[12..28], words(&information[28..])), (&source.octets()[..], vec![5]));
    }

    #[test]
    fn a_link_local_source_is_left_to_the_interface() {
        let source: Ipv6Addr = "fe80::aa".parse().expect("an address");
        let control = control(9, 0, source, 5);
        assert_eq!(words(&control[48..]), [32, 41, 46, 0, 0, 0, 0, 5]);
    }

    #[test]
    fn data_is_filled_up_to_a_word() {
        let mut control = Vec::new();
        push(&mut control, 1, &[7]);
        push(&mut control, 2, &[]);
        assert_eq!(words(&control)[..3], [13, 41, 1]);
        assert_eq!(control[12..16], [7, 0, 0, 0]);
        assert_eq!(words(&control[16..]), [12, 41, 2]);
    }
}
