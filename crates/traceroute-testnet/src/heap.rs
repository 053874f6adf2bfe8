//! Allocations, counted.
//!
//! A program that wants to know has this allocator:
//!
//! ```
//! #[global_allocator]
//! static ALLOCATOR: traceroute_testnet::heap::Counting = traceroute_testnet::heap::Counting;
//!
//! let before = traceroute_testnet::heap::live();
//! let block = vec![0_u8; 1 << 20];
//! assert!(traceroute_testnet::heap::live() >= before + (1 << 20));
//! # drop(block);
//! ```
#![allow(clippy::missing_const_for_thread_local, reason = "found where it is const, on Windows")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
static FREED: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    #[allow(clippy::missing_const_for_thread_local, reason = "found where it is const, on Windows")]
    static OF_THREAD: Cell<Counts> = const { Cell::new(Counts { allocations: 0, live: 0 }) };
}

/// What a thread has allocated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// How often it has allocated.
    pub allocations: usize,
    /// The bytes that it has allocated, without those that it has freed, whoever allocated these; modulo 2^64.
    pub live: usize,
}

/// The bytes that the process has allocated and not freed.
#[must_use]
pub fn live() -> usize {
    loop {
        // What is freed was allocated before: read in this order, the difference is never negative. If this thread loses its core
        // in between, others go on, and the two are not of one moment.
        let freed = FREED.load(Ordering::Acquire);
        let allocated = ALLOCATED.load(Ordering::Acquire);
        if FREED.load(Ordering::Acquire) == freed {
            return allocated.wrapping_sub(freed);
        }
    }
}

/// What the calling thread has allocated. Tests that run beside others in one program look at this.
#[must_use]
pub fn of_thread() -> Counts {
    OF_THREAD.get()
}

/// How many allocations `work` makes in this thread.
pub fn allocations(work: impl FnOnce()) -> usize {
    let before = of_thread().allocations;
    work();
    of_thread().allocations - before
}

/// The system's allocator, counting.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counting;

impl Counting {
    fn allocated(bytes: usize) {
        ALLOCATED.fetch_add(bytes, Ordering::AcqRel);
        let Counts { allocations, live } = OF_THREAD.get();
        OF_THREAD.set(Counts { allocations: allocations + 1, live: live.wrapping_add(bytes) });
    }

    fn freed(bytes: usize) {
        FREED.fetch_add(bytes, Ordering::AcqRel);
        let counts = OF_THREAD.get();
        OF_THREAD.set(Counts { live: counts.live.wrapping_sub(bytes), ..counts });
    }
}

// SAFETY: every call is passed on to the system's allocator as it is; counting neither allocates nor unwinds, since the
// cell of a thread needs neither initialisation nor a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::allocated(layout.size());
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::allocated(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        Self::freed(layout.size());
        // SAFETY: as above; the block came from the system's allocator.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        Self::allocated(new_size);
        Self::freed(layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, new_size) }
    }
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    #[test]
    fn a_thread_is_counted_alone() {
        let before = of_thread().live;
        let mut block = Vec::with_capacity(1000);
        let other = std::thread::spawn(|| vec![0_u8; 5000]);
        let other = other.join().expect("no panic");
        block.extend_from_slice(&[0_u8; 1000]);
        assert_eq!(of_thread().live.wrapping_sub(before) / 1000, 1, "and a few bytes of the thread's handle");
        drop(other);
        assert_eq!(allocations(|| drop(black_box(Box::new(1)))), 1);
    }
}
