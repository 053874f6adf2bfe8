//! What a completed read of the driver holds: a header, and a packet from its IP header on.
//!
//! The header has a time too. How exact it is has been found nowhere, and a clock of Windows that steps 64 times a second is just
//! as likely as an exact one, so it is not used: it could make round trips too short by 15 ms.

use std::mem::offset_of;

use datadog_driver_sys::{OUTBOUND, PacketHeader};
use traceroute_core::Direction;

/// The length of the header before each packet.
pub(super) const HEADER_LEN: usize = size_of::<PacketHeader>();

/// A packet in the buffer of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DriverPacket<'a> {
    pub(super) direction: Direction,
    /// How many packets were lost since the one before.
    pub(super) lost: u64,
    pub(super) datagram: &'a [u8],
}

/// The packet in the bytes that a read has given. `None` if they are no header of the interface's with something behind it.
pub(super) fn parse(bytes: &[u8]) -> Option<DriverPacket<'_>> {
    let (header, packet) = bytes.split_first_chunk::<HEADER_LEN>()?;
    let word = |at: usize| header[at..].first_chunk().copied().map(u64::from_le_bytes);
    if word(offset_of!(PacketHeader, size))? != HEADER_LEN as u64 {
        return None;
    }
    let size = word(offset_of!(PacketHeader, packet_size))?;
    // A packet that is longer than its buffer is cut; what lies behind a shorter one is none of it.
    let length = usize::try_from(size).map_or(packet.len(), |size| size.min(packet.len()));
    let datagram = &packet[..length];
    if datagram.is_empty() {
        return None;
    }
    let outbound = word(offset_of!(PacketHeader, direction))? == OUTBOUND;
    Some(DriverPacket {
        direction: if outbound { Direction::Sent } else { Direction::Received },
        lost: word(offset_of!(PacketHeader, skipped_since_last))?,
        datagram,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use datadog_driver_sys::{AF_INET, INBOUND, signature};

    use super::*;

    /// What the driver gives for a packet.
    pub(in super::super) fn read(lost: u64, direction: u64, size: u64, packet: &[u8]) -> Vec<u8> {
        let words = [signature(0x17), 72, lost, 5, direction, size, AF_INET, u64::MAX, 0];
        let header = words.iter().flat_map(|word| word.to_le_bytes());
        header.chain(packet.iter().copied()).collect()
    }

    #[test]
    fn the_packet_is_what_follows_the_header() {
        let bytes = read(3, INBOUND, 4, &[0x45, 1, 2, 3]);
        assert_eq!(
            parse(&bytes),
            Some(DriverPacket { direction: Direction::Received, lost: 3, datagram: &[0x45, 1, 2, 3] })
        );
        let sent = read(0, OUTBOUND, 1, &[0x45]);
        assert_eq!(parse(&sent).map(|packet| packet.direction), Some(Direction::Sent));
    }

    #[test]
    fn what_is_left_of_an_earlier_packet_is_not_part_of_it() {
        let bytes = read(0, INBOUND, 2, &[0x45, 1, 0xee, 0xee]);
        assert_eq!(parse(&bytes).map(|packet| packet.datagram), Some(&[0x45, 1][..]));
    }

    #[test]
    fn a_packet_that_is_longer_than_its_buffer_is_cut() {
        for size in [9000, u64::MAX] {
            let bytes = read(0, INBOUND, size, &[0x45, 1]);
            assert_eq!(parse(&bytes).map(|packet| packet.datagram), Some(&[0x45, 1][..]));
        }
    }

    #[test]
    fn what_is_no_header_with_a_packet_is_none() {
        let whole = read(0, INBOUND, 1, &[0x45]);
        for length in 0..=HEADER_LEN {
            assert_eq!(parse(&whole[..length]), None, "{length} bytes");
        }
        let mut other_size = whole.clone();
        other_size[8] = 80;
        assert_eq!(parse(&other_size), None);
        assert_eq!(parse(&read(0, INBOUND, 0, &[0x45])), None, "an empty one");
    }
}
