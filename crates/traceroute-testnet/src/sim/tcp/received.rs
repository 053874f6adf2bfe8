//! What has arrived of a connection's data, in order and not.

use super::{after, before, earlier, later};

/// How many SACK blocks a receiver remembers, as Linux does.
const BLOCKS: usize = 4;

/// A range of sequence numbers; the end does not belong to it.
pub(super) type Range = (u32, u32);

/// The receiving half of a connection.
#[derive(Debug)]
pub(super) struct Received {
    next: u32,
    /// What has arrived out of order, disjoint and in order.
    kept: Vec<Range>,
    /// What of it is told, the latest first.
    blocks: Vec<Range>,
    /// The number of a FIN that has arrived.
    fin: Option<u32>,
    ended: bool,
}

/// What a segment was good for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// How many bytes became readable.
    pub(super) delivered: usize,
    /// What of it had arrived before: the first block of the acknowledgement (RFC 2883).
    pub(super) duplicate: Option<Range>,
}

impl Received {
    pub(super) fn new(next: u32) -> Self {
        Self { next, kept: Vec::new(), blocks: Vec::new(), fin: None, ended: false }
    }

    /// The number of the next byte in order.
    pub(super) fn next(&self) -> u32 {
        self.next
    }

    /// The blocks to tell, the latest first.
    pub(super) fn blocks(&self) -> &[Range] {
        &self.blocks
    }

    /// Whether the stream has ended.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// Takes `len` bytes, and the FIN after them, from `seq` on.
    pub(super) fn take(&mut self, seq: u32, len: u32, fin: bool) -> Progress {
        let end = seq.wrapping_add(len).wrapping_add(u32::from(fin));
        if !after(end, self.next) {
            return Progress { delivered: 0, duplicate: Some((seq, end)) };
        }
        if fin {
            self.fin = Some(end.wrapping_sub(1));
        }
        if after(seq, self.next) { self.keep((seq, end)) } else { self.advance((seq, end)) }
    }

    /// Takes what is next in order, and what was kept for after it.
    fn advance(&mut self, (seq, end): Range) -> Progress {
        let first = self.next;
        let mut duplicate = before(seq, first).then_some((seq, first));
        self.next = end;
        while let Some(&(start, stop)) = self.kept.first()
            && !after(start, self.next)
        {
            if before(start, end) {
                duplicate = duplicate.or(Some((start, earlier(stop, end))));
            }
            self.next = later(self.next, stop);
            self.kept.remove(0);
        }
        self.ended = self.fin.is_some_and(|fin| after(self.next, fin));
        self.blocks.retain(|block| !self.ended && after(block.0, self.next));
        let taken = self.next.wrapping_sub(first).wrapping_sub(u32::from(self.ended));
        Progress { delivered: usize::try_from(taken).unwrap_or_default(), duplicate }
    }

    /// Keeps what arrived out of order.
    fn keep(&mut self, range: Range) -> Progress {
        let (seq, end) = range;
        let overlap = self.kept.iter().find(|k| before(k.0, end) && after(k.1, seq));
        let duplicate = overlap.map(|k| (later(k.0, seq), earlier(k.1, end)));
        let whole = merge(&mut self.kept, range);
        let place = self.kept.partition_point(|k| before(k.0, whole.0));
        self.kept.insert(place, whole);

        let block = merge(&mut self.blocks, range);
        self.blocks.insert(0, block);
        self.blocks.truncate(BLOCKS);
        Progress { delivered: 0, duplicate }
    }
}

/// Takes out of `ranges` those that touch `range`, and joins them with it.
fn merge(ranges: &mut Vec<Range>, range: Range) -> Range {
    let mut whole = range;
    ranges.retain(|r| {
        let apart = after(r.0, whole.1) || before(r.1, whole.0);
        if !apart {
            whole = (earlier(whole.0, r.0), later(whole.1, r.1));
        }
        apart
    });
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(segments: &[(u32, u32)]) -> (Received, Vec<Progress>) {
        let mut received = Received::new(100);
        let progress = segments.iter().map(|&(seq, len)| received.take(seq, len, false)).collect();
        (received, progress)
    }

    fn delivered(bytes: usize) -> Progress {
        Progress { delivered: bytes, duplicate: None }
    }

    #[test]
    fn the_latest_block_comes_first_and_neighbours_join() {
        let (all, _) = received(&[(110, 1), (120, 1), (130, 1), (121, 1)]);
        assert_eq!(all.blocks(), [(120, 122), (130, 131), (110, 111)]);
        // A fifth drives out the one told longest ago.
        let (all, _) = received(&[(110, 1), (120, 1), (130, 1), (140, 1), (150, 1)]);
        assert_eq!(all.blocks(), [(150, 151), (140, 141), (130, 131), (120, 121)]);
        // What joins two blocks makes one of them.
        let (all, _) = received(&[(110, 1), (112, 1), (111, 1)]);
        assert_eq!(all.blocks(), [(110, 113)]);
    }

    #[test]
    fn filled_gaps_deliver_what_was_kept() {
        let (all, progress) = received(&[(101, 1), (105, 5), (100, 1), (102, 3)]);
        assert_eq!(progress, [delivered(0), delivered(0), delivered(2), delivered(8)]);
        assert_eq!((all.next(), all.blocks()), (110, &[][..]));
    }

    #[test]
    fn repetitions_are_told() {
        let (all, progress) = received(&[(110, 2), (110, 2), (90, 5), (98, 4), (111, 9)]);
        let duplicates: Vec<_> = progress.iter().map(|p| p.duplicate).collect();
        assert_eq!(duplicates, [None, Some((110, 112)), Some((90, 95)), Some((98, 100)), Some((111, 112))]);
        assert_eq!((all.next(), all.blocks()), (102, &[(110, 120)][..]));
    }

    #[test]
    fn the_end_drops_what_is_beyond_it() {
        let mut all = received(&[(110, 1)]).0;
        assert_eq!(all.take(101, 0, true), delivered(0));
        assert!(!all.ended());
        assert_eq!(all.take(100, 1, false), delivered(1));
        assert!(all.ended());
        assert_eq!((all.next(), all.blocks()), (102, &[][..]));
    }

    #[test]
    fn numbers_wrap() {
        let mut all = Received::new(u32::MAX - 1);
        all.take(1, 1, false);
        assert_eq!(all.blocks(), [(1, 2)]);
        assert_eq!(all.take(u32::MAX - 1, 3, false), delivered(4));
        assert_eq!(all.next(), 2);
    }
}
