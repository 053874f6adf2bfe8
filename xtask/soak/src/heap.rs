//! How many bytes are allocated.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

/// The system's allocator, and a count of the bytes that live in it.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static ALLOCATED: AtomicU64 = AtomicU64::new(0);
static FREED: AtomicU64 = AtomicU64::new(0);

/// The bytes that are allocated now.
pub(crate) fn live() -> u64 {
    // What is freed was allocated before: read in this order, the difference is never negative.
    let freed = FREED.load(Ordering::Acquire);
    ALLOCATED.load(Ordering::Acquire).saturating_sub(freed)
}

fn count(counter: &AtomicU64, bytes: usize) {
    counter.fetch_add(bytes as u64, Ordering::AcqRel);
}

// SAFETY: every call is passed on to the system's allocator, which is one.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(&ALLOCATED, layout.size());
        // SAFETY: the caller keeps to the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(&ALLOCATED, layout.size());
        // SAFETY: the caller keeps to the contract, which is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(&FREED, layout.size());
        // SAFETY: the caller keeps to the contract, which is the same.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(&ALLOCATED, new_size);
        count(&FREED, layout.size());
        // SAFETY: the caller keeps to the contract, which is the same.
        unsafe { System.realloc(block, layout, new_size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lives_is_counted() {
        const SIZE: u64 = 64 << 20;
        // Other tests allocate a little at the same time.
        let before = live();
        let mut block = vec![1_u8; 64 << 20];
        assert!(live() >= before + SIZE / 2);
        block.extend_from_within(..);
        assert!(live() >= before + SIZE);
        drop(block);
        assert!(live() < before + SIZE / 2);
    }
}
