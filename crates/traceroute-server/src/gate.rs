//! How many requests are carried out, and how many wait, at one time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Lets so many requests in at one time; some more wait in a queue, each for a while.
#[derive(Debug)]
pub(crate) struct Gate {
    permits: Arc<Semaphore>,
    concurrent: usize,
    queue: usize,
    patience: Duration,
    queued: AtomicUsize,
}

/// Why nobody is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    /// All places are taken, in the queue too.
    #[error("{concurrent} requests are under way and {queue} wait, which is all that may")]
    Queue {
        /// How many are carried out.
        concurrent: usize,
        /// How many wait.
        queue: usize,
    },
    /// No place became free in time.
    #[error("{concurrent} requests were under way for {} ms, and no more may be", waited.as_millis())]
    Waited {
        /// How many are carried out.
        concurrent: usize,
        /// For how long one waits at most.
        waited: Duration,
    },
    /// Nobody is let in any more.
    #[error("the service is shutting down")]
    Closed,
}

/// Counts one who waits while it lives.
struct Queued<'a>(&'a AtomicUsize);

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gate {
    pub(crate) fn new(concurrent: usize, queue: usize, patience: Duration) -> Self {
        let concurrent = concurrent.clamp(1, Semaphore::MAX_PERMITS);
        let permits = Arc::new(Semaphore::new(concurrent));
        Self { permits, concurrent, queue, patience, queued: AtomicUsize::new(0) }
    }

    /// A place, which is given back by dropping it. Those who wait are served in their order.
    pub(crate) async fn enter(&self) -> Result<OwnedSemaphorePermit, Full> {
        let &Self { concurrent, queue, patience, .. } = self;
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(permit);
        }
        if self.permits.is_closed() {
            return Err(Full::Closed);
        }
        let _queued = self.queue_up().ok_or(Full::Queue { concurrent, queue })?;
        match timeout(patience, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(permit) => permit.map_err(|_| Full::Closed),
            Err(_) => Err(Full::Waited { concurrent, waited: patience }),
        }
    }

    fn queue_up(&self) -> Option<Queued<'_>> {
        let room = |queued: usize| (queued < self.queue).then_some(queued + 1);
        self.queued.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok()?;
        Some(Queued(&self.queued))
    }

    /// Lets nobody in any more; those who wait are told at once.
    pub(crate) fn close(&self) {
        self.permits.close();
    }

    /// How many wait.
    pub(crate) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn so_many_are_in_some_wait_and_the_others_are_refused_at_once() {
        let gate = Arc::new(Gate::new(2, 1, Duration::from_secs(5)));
        let first = gate.enter().await.expect("room");
        let second = gate.enter().await.expect("room");
        let third = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter().await }
        });
        while gate.queued() == 0 {
            tokio::task::yield_now().await;
        }
        let started = Instant::now();
        let full = gate.enter().await.expect_err("full");
        assert_eq!(full, Full::Queue { concurrent: 2, queue: 1 });
        assert_eq!(started.elapsed(), Duration::ZERO);
        drop(first);
        let third = third.await.expect("no panic").expect("the place that became free");
        assert_eq!(gate.queued(), 0);
        let full = gate.enter().await.expect_err("nobody leaves");
        assert_eq!(started.elapsed(), Duration::from_secs(5));
        assert_eq!(full.to_string(), "2 requests were under way for 5000 ms, and no more may be");
        drop((second, third));
        assert!(gate.enter().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_gate_tells_those_who_wait() {
        let gate = Gate::new(1, 1, Duration::from_secs(5));
        let _first = gate.enter().await.expect("room");
        let (waiting, ()) = tokio::join!(gate.enter(), async { gate.close() });
        assert_eq!(waiting.expect_err("closed"), Full::Closed);
        assert_eq!(gate.enter().await.expect_err("closed"), Full::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_give_up_leave_the_queue() {
        let gate = Gate::new(1, 1, Duration::from_secs(5));
        let _first = gate.enter().await.expect("room");
        assert!(timeout(Duration::from_secs(1), gate.enter()).await.is_err());
        assert_eq!(gate.queued(), 0);
    }
}
