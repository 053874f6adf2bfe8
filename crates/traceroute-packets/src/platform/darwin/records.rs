//! What a read from a BPF device returns: packets, each behind a header (bpf(4), `struct bpf_hdr` of net/bpf.h).
//!
//! | offset | length | field |
//! |---|---|---|
//! | 0 | 4 | seconds since the Unix epoch |
//! | 4 | 4 | microseconds |
//! | 8 | 4 | how many bytes of the packet there are |
//! | 12 | 4 | how many it had |
//! | 16 | 2 | the length of this header, with the padding that aligns what is behind the link header |
//!
//! Numbers are in the byte order of the host. The next header follows the packet at a multiple of four bytes.

use std::ops::Range;

/// What the fields take; the kernel's headers have padding beside.
const HEADER_LEN: usize = 18;
/// `BPF_ALIGNMENT` of macOS.
const ALIGNMENT: usize = 4;

/// A captured packet among the bytes that were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// When it passed, in nanoseconds since the Unix epoch.
    pub(super) stamp: Option<u64>,
    /// Where it is, from its link header on, as far as it was kept.
    pub(super) packet: Range<usize>,
    /// Where the next record begins, if there is one.
    pub(super) next: usize,
}

impl Record {
    /// The record that begins at `start`; `None` at the end, and where no whole record follows.
    pub(super) fn at(bytes: &[u8], start: usize) -> Option<Self> {
        let header = bytes.get(start..start.checked_add(HEADER_LEN)?)?;
        let word =
            |at: usize| -> Option<u32> { header.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes) };
        let (seconds, microseconds, captured) = (word(0)?, word(4)?, usize::try_from(word(8)?).ok()?);
        let header_len = usize::from(u16::from_ne_bytes([header[16], header[17]]));
        if header_len < HEADER_LEN {
            return None;
        }
        let packet = start.checked_add(header_len)?;
        let end = packet.checked_add(captured)?;
        if end > bytes.len() {
            return None;
        }
        let stamp = (microseconds < 1_000_000)
            .then(|| u64::from(seconds) * 1_000_000_000 + u64::from(microseconds) * 1_000);
        Some(Self { stamp, packet: packet..end, next: start + (end - start).next_multiple_of(ALIGNMENT) })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A record as the kernel of macOS writes it, its header being `header_len` long.
    pub(in super::super) fn record(
        seconds: u32,
        microseconds: u32,
        header_len: u16,
        packet: &[u8],
    ) -> Vec<u8> {
        let length = u32::try_from(packet.len()).expect("short");
        let mut bytes = Vec::new();
        for word in [seconds, microseconds, length, 1_500] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(header_len.to_ne_bytes());
        bytes.resize(header_len.into(), 0xee);
        bytes.extend(packet);
        bytes
    }

    fn all(bytes: &[u8]) -> Vec<Record> {
        let mut start = 0;
        std::iter::from_fn(|| {
            let record = Record::at(bytes, start)?;
            start = record.next;
            Some(record)
        })
        .collect()
    }

    #[test]
    fn records_follow_each_other_at_words() {
        let mut bytes = record(10, 999_999, 18, &[1; 15]);
        assert_eq!(bytes.len(), 33);
        bytes.resize(36, 0);
        bytes.extend(record(11, 1, 20, &[2; 4]));
        bytes.extend(record(u32::MAX, 0, 18, &[]));
        assert_eq!(
            all(&bytes),
            [
                Record { stamp: Some(10_999_999_000), packet: 18..33, next: 36 },
                Record { stamp: Some(11_000_001_000), packet: 56..60, next: 60 },
                Record { stamp: Some(4_294_967_295_000_000_000), packet: 78..78, next: 80 },
            ]
        );
    }

    #[test]
    fn a_record_that_is_cut_short_is_the_end() {
        let first = record(1, 0, 18, &[7; 14]);
        let bytes = [first.clone(), record(2, 0, 20, &[8; 40])].concat();
        for len in 0..=bytes.len() {
            let whole = usize::from(len >= first.len()) + usize::from(len == bytes.len());
            assert_eq!(all(&bytes[..len]).len(), whole, "{len} bytes");
        }
    }

    #[test]
    fn impossible_lengths_are_the_end() {
        let mut short_header = record(1, 0, 18, &[0; 10]);
        short_header[16..18].copy_from_slice(&17_u16.to_ne_bytes());
        let mut long_header = record(1, 0, 18, &[0; 10]);
        long_header[16..18].copy_from_slice(&u16::MAX.to_ne_bytes());
        let mut long_packet = record(1, 0, 18, &[0; 10]);
        long_packet[8..12].copy_from_slice(&u32::MAX.to_ne_bytes());
        for bytes in [short_header, long_header, long_packet] {
            assert_eq!(Record::at(&bytes, 0), None);
        }
        assert_eq!(Record::at(&[0; 64], usize::MAX), None);
    }

    #[test]
    fn a_stamp_that_is_none_is_not_believed() {
        let stamp = |microseconds| Record::at(&record(1, microseconds, 18, &[]), 0).expect("a record").stamp;
        assert_eq!((stamp(999_999), stamp(1_000_000)), (Some(1_999_999_000), None));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_come_to_an_end(bytes: Vec<u8>) {
            for record in all(&bytes) {
                prop_assert!(record.packet.end <= bytes.len() && record.packet.start <= record.packet.end);
            }
        }

        #[test]
        fn whatever_is_written_is_read(
            packets in prop::collection::vec((18_u16..40, prop::collection::vec(any::<u8>(), 0..80)), 0..8)
        ) {
            let mut bytes = Vec::new();
            for (header_len, packet) in &packets {
                bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
                bytes.extend(record(1, 2, *header_len, packet));
            }
            let read: Vec<_> = all(&bytes).into_iter().map(|record| &bytes[record.packet]).collect();
            prop_assert_eq!(read, packets.iter().map(|(_, packet)| &packet[..]).collect::<Vec<_>>());
        }
    }
}
