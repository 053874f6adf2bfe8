//! A value that changes, and those who wait for it to.

use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A value shared by those who change it and those who wait until it is what they want: tokio's watch channel in an
/// eighth of the memory, because every request has two.
#[derive(Debug, Default)]
pub struct Watched<T> {
    value: Mutex<T>,
    changed: Notify,
}

impl<T> Watched<T> {
    /// Starts with `value`.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self { value: Mutex::new(value), changed: Notify::new() }
    }

    /// Changes the value; `change` returns whether it did, and only then somebody is woken.
    pub fn change(&self, change: impl FnOnce(&mut T) -> bool) {
        if change(&mut self.lock()) {
            self.changed.notify_waiters();
        }
    }

    /// Waits until `find` finds what it looks for, now or after some change.
    pub async fn wait<R>(&self, mut find: impl FnMut(&T) -> Option<R>) -> R {
        loop {
            // Before the look, so that no change after it is missed.
            let changed = pin!(self.changed.notified());
            let found = find(&self.lock());
            match found {
                Some(found) => return found,
                None => changed.await,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::task::Poll;

    use super::*;

    #[tokio::test]
    async fn all_who_wait_hear_of_a_change_and_later_ones_see_it() {
        let watched = Arc::new(Watched::new(0));
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let watched = Arc::clone(&watched);
                tokio::spawn(async move { watched.wait(|value| (*value >= 2).then_some(*value)).await })
            })
            .collect();
        tokio::task::yield_now().await;
        for value in 1..=2 {
            watched.change(|old| {
                *old = value;
                true
            });
            tokio::task::yield_now().await;
        }
        for waiter in waiters {
            assert_eq!(waiter.await.expect("no panic"), 2);
        }
        assert_eq!(watched.wait(|value| Some(*value)).await, 2);
    }

    #[tokio::test]
    async fn a_change_after_the_look_is_not_missed() {
        let watched = Watched::new(0);
        let mut waiting = pin!(watched.wait(|value| (*value > 0).then_some(*value)));
        let looked = poll_fn(|context| Poll::Ready(waiting.as_mut().poll(context))).await;
        assert!(looked.is_pending());
        watched.change(|value| {
            *value = 1;
            true
        });
        assert_eq!(waiting.await, 1);
    }
}
