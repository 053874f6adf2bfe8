//! A bounded queue whose writers never wait.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A bounded queue with one reader. What does not fit is lost, and counted. It takes no memory for items that are not
/// there, where a tokio channel takes it for 32: each of many idle runs has one.
#[derive(Debug)]
pub struct Queue<T> {
    capacity: usize,
    state: Mutex<State<T>>,
    lost: AtomicU64,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    reader: Option<Waker>,
    closed: bool,
}

impl<T> Queue<T> {
    /// An empty queue with room for `capacity` items.
    #[must_use]
    pub const fn new(capacity: usize) -> Self {
        let state = State { items: VecDeque::new(), reader: None, closed: false };
        Self { capacity, state: Mutex::new(state), lost: AtomicU64::new(0) }
    }

    /// Adds what `make` makes. Where the queue is full nothing is made, and that counts as lost; where it is closed
    /// nothing happens. Returns whether nothing was lost.
    pub fn push(&self, make: impl FnOnce() -> T) -> bool {
        let mut state = self.lock();
        if state.closed {
            return true;
        }
        let fits = state.items.len() < self.capacity;
        if fits {
            state.items.push_back(make());
            wake(state);
        } else {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        fits
    }

    /// Adds an item though the queue be full, unless it is closed.
    pub fn insist(&self, item: T) {
        let mut state = self.lock();
        if !state.closed {
            state.items.push_back(item);
            wake(state);
        }
    }

    /// Ends the queue. The items in it can still be read.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        wake(state);
    }

    /// Ends the queue and throws away what is in it.
    pub fn discard(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.items = VecDeque::new();
        wake(state);
    }

    /// The next item; `None` after the last one of a closed queue. Dropping the future loses no item.
    pub async fn pop(&self) -> Option<T> {
        poll_fn(|context| self.poll_pop(context)).await
    }

    fn poll_pop(&self, context: &Context<'_>) -> Poll<Option<T>> {
        let mut state = self.lock();
        let item = state.items.pop_front();
        if item.is_none() && !state.closed {
            state.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        if state.items.is_empty() {
            state.items = VecDeque::new();
        }
        Poll::Ready(item)
    }

    /// How many items were lost so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the reader once the lock is released.
fn wake<T>(mut state: MutexGuard<'_, State<T>>) {
    let reader = state.reader.take();
    drop(state);
    if let Some(reader) = reader {
        reader.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn items_come_in_order_to_a_reader_that_waits_and_end_with_the_queue() {
        let queue = Arc::new(Queue::new(3));
        let reader = tokio::spawn({
            let queue = Arc::clone(&queue);
            async move {
                let mut read = Vec::new();
                while let Some(item) = queue.pop().await {
                    read.push(item);
                }
                read
            }
        });
        tokio::task::yield_now().await;
        for item in 1..=5 {
            queue.push(|| item);
            tokio::task::yield_now().await;
        }
        queue.push(|| 6);
        queue.close();
        queue.push(|| 7);
        assert_eq!(reader.await.expect("no panic"), [1, 2, 3, 4, 5, 6]);
        assert_eq!(queue.lost(), 0);
    }

    #[tokio::test]
    async fn what_does_not_fit_is_not_made_but_counted() {
        let queue = Queue::new(2);
        let mut made = 0;
        for _ in 0..5 {
            queue.push(|| made += 1);
        }
        assert_eq!((made, queue.lost()), (2, 3));
        queue.discard();
        assert_eq!(queue.pop().await, None);
        queue.push(|| unreachable!("nobody reads it"));
        assert_eq!(queue.lost(), 3, "nor is it missed");
    }

    #[tokio::test]
    async fn a_read_that_is_given_up_loses_nothing() {
        let queue = Queue::new(2);
        {
            let mut read = pin!(queue.pop());
            let looked = poll_fn(|context| Poll::Ready(read.as_mut().poll(context))).await;
            assert!(looked.is_pending());
            queue.push(|| 1);
        }
        assert_eq!(queue.pop().await, Some(1));
    }

    #[tokio::test]
    async fn an_empty_queue_keeps_no_memory() {
        let queue = Queue::new(1000);
        (0..1000).for_each(|item| assert!(queue.push(|| item)));
        while queue.lock().items.len() > 1 {
            queue.pop().await;
        }
        assert!(queue.lock().items.capacity() >= 1000);
        queue.pop().await;
        assert_eq!(queue.lock().items.capacity(), 0);
    }
}
