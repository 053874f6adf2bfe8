//! Whose turn it is among the locals of a block.

use alloc::collections::VecDeque;

/// A block of local ports or echo ids.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub(super) first: u16,
    /// At least one, and no more than there are up to 65,535.
    pub(super) len: u16,
}

impl Block {
    fn at(self, offset: u16) -> u16 {
        self.first + offset
    }

    /// The place behind a local of the block, the first behind the last.
    pub(super) fn offset_behind(self, local: u16) -> u16 {
        self.wrapped(local - self.first)
    }

    fn wrapped(self, offset: u16) -> u16 {
        if offset + 1 < self.len { offset + 1 } else { 0 }
    }
}

/// The locals of a block that are free toward one target, the one that was lent longest ago first. Who is next is known
/// without looking at those that are live.
#[derive(Debug)]
pub(super) struct Locals {
    /// The first of those that were not lent yet.
    next: u16,
    unlent: u16,
    returned: VecDeque<u16>,
}

impl Locals {
    /// All of the block, in their order from `start` places behind the first on.
    pub(super) const fn all(block: Block, start: u16) -> Self {
        Self { next: start, unlent: block.len, returned: VecDeque::new() }
    }

    /// Whether none is live.
    pub(super) fn is_all_of(&self, block: Block) -> bool {
        self.len() == block.len.into()
    }

    fn len(&self) -> usize {
        usize::from(self.unlent) + self.returned.len()
    }

    /// Takes the first that `accept` has something for. Those that it refuses go to the end of the queue.
    pub(super) fn lend<T>(
        &mut self,
        block: Block,
        mut accept: impl FnMut(u16) -> Option<T>,
    ) -> Option<(u16, T)> {
        for _ in 0..self.len() {
            let local = self.take(block)?;
            if let Some(accepted) = accept(local) {
                return Some((local, accepted));
            }
            self.take_back(local);
        }
        None
    }

    fn take(&mut self, block: Block) -> Option<u16> {
        if self.unlent == 0 {
            return self.returned.pop_front();
        }
        let local = block.at(self.next);
        self.next = block.wrapped(self.next);
        self.unlent -= 1;
        Some(local)
    }

    /// Puts one at the end of the queue that was taken.
    pub(super) fn take_back(&mut self, local: u16) {
        self.returned.push_back(local);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: Block = Block { first: 55_536, len: 10_000 };

    /// What is lent, and how many locals were looked at for that.
    fn lend(locals: &mut Locals) -> (Option<u16>, usize) {
        let mut looked_at = 0;
        let lent = locals.lend(BLOCK, |_| {
            looked_at += 1;
            Some(())
        });
        (lent.map(|(local, ())| local), looked_at)
    }

    #[test]
    fn one_local_is_looked_at_however_many_are_live() {
        let mut locals = Locals::all(BLOCK, 9_999);
        let order = core::iter::once(65_535).chain(55_536..65_535);
        for local in order {
            assert_eq!(lend(&mut locals), (Some(local), 1));
        }
        assert_eq!(lend(&mut locals), (None, 0), "all are live");
        // Far behind the one lent last.
        locals.take_back(60_000);
        assert_eq!(lend(&mut locals), (Some(60_000), 1));
    }

    #[test]
    fn those_refused_are_tried_again_after_all_others() {
        let block = Block { first: 7, len: 3 };
        let mut locals = Locals::all(block, 0);
        let mut refuse = |refused: u16| locals.lend(block, |local| (local != refused).then_some(()));
        assert_eq!(refuse(7), Some((8, ())));
        assert_eq!(refuse(0), Some((9, ())));
        assert_eq!(refuse(7), None);
        assert_eq!(refuse(0), Some((7, ())));
        assert_eq!(locals.len(), 0);
    }
}
