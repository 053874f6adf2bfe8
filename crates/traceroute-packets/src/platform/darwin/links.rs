//! What a BPF device shows of a packet, and which way the packet went.

use std::net::IpAddr;
use std::ops::Range;

use traceroute_core::Direction;
use traceroute_wire::Datagram;

use crate::filter::Base;

// net/bpf.h of macOS.
pub(super) const DLT_NULL: u32 = 0;
pub(super) const DLT_EN10MB: u32 = 1;
pub(super) const DLT_RAW: u32 = 12;

/// Where packets of a link type have their IP header; `None` for one that is not known.
pub(super) const fn base(link_type: u32) -> Option<Base> {
    match link_type {
        DLT_NULL => Some(Base::Loopback),
        DLT_EN10MB => Some(Base::Ethernet),
        DLT_RAW => Some(Base::Raw),
        _ => None,
    }
}

/// Where the datagram of a packet is; `None` if there is none.
pub(super) fn datagram(base: Base, packet: Range<usize>) -> Option<Range<usize>> {
    let start = packet.start.checked_add(usize::try_from(base.ip_header()).ok()?)?;
    (start < packet.end).then_some(start..packet.end)
}

/// Which ways a packet went. BPF does not tell, so what comes from an address that is `ours` was sent; and what passes a
/// loopback interface, where it is seen once (`lo_output`, `bsd/net/if_loop.c` of XNU), was sent and is received. So is what is
/// from us to us elsewhere: a tunnel hands back what it was given.
pub(super) fn directions(
    datagram: &[u8],
    loopback: bool,
    ours: impl Fn(IpAddr) -> bool,
) -> &'static [Direction] {
    const BOTH: &[Direction] = &[Direction::Sent, Direction::Received];
    if loopback {
        return BOTH;
    }
    match Datagram::parse(datagram) {
        Some(datagram) if ours(datagram.source()) && ours(datagram.destination()) => BOTH,
        Some(datagram) if ours(datagram.source()) => &[Direction::Sent],
        _ => &[Direction::Received],
    }
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    #[test]
    fn three_link_types_are_known() {
        let known: Vec<_> = (0..300).filter_map(|link_type| Some((link_type, base(link_type)?))).collect();
        assert_eq!(known, [(0, Base::Loopback), (1, Base::Ethernet), (12, Base::Raw)]);
    }

    #[test]
    fn the_datagram_is_behind_the_link_header() {
        assert_eq!(datagram(Base::Ethernet, 18..78), Some(32..78));
        assert_eq!(datagram(Base::Loopback, 20..80), Some(24..80));
        assert_eq!(datagram(Base::Raw, 20..80), Some(20..80));
        assert_eq!(datagram(Base::Ethernet, 18..32), None, "a link header alone");
        assert_eq!(datagram(Base::Loopback, 20..22), None, "not even that");
        assert_eq!(datagram(Base::Raw, 20..20), None);
    }

    #[test]
    fn what_comes_from_our_address_was_sent() {
        let mut v4 = Vec::new();
        let builder = PacketBuilder::ipv4([192, 0, 2, 1], [198, 51, 100, 7], 3).udp(40_000, 33_434);
        builder.write(&mut v4, &[]).expect("fits");
        let mut v6 = Vec::new();
        let builder = PacketBuilder::ipv6([1; 16], [2; 16], 3).udp(40_000, 33_434);
        builder.write(&mut v6, &[]).expect("fits");
        for (packet, source) in [(v4, IpAddr::from([192, 0, 2, 1])), (v6, IpAddr::from([1; 16]))] {
            let way = |loopback, own: IpAddr| directions(&packet, loopback, |address| address == own);
            assert_eq!(way(false, source), [Direction::Sent]);
            assert_eq!(way(false, [198, 51, 100, 7].into()), [Direction::Received]);
            for own in [source, [198, 51, 100, 7].into()] {
                assert_eq!(way(true, own), [Direction::Sent, Direction::Received]);
            }
            let from_us_to_us = directions(&packet, false, |_| true);
            assert_eq!(from_us_to_us, [Direction::Sent, Direction::Received]);
        }
        assert_eq!(directions(&[0x45, 0], false, |_| true), [Direction::Received], "it has no source");
    }
}
