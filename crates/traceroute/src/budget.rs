//! The budget of probes a second below all requests of a tracer.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};
use traceroute_core::{Destination, Sink, Stamp, TracerouteError};

/// A bucket of probes that refills at a steady rate. Waiters are served in turn.
#[derive(Debug)]
pub(crate) struct Budget {
    /// The time that one probe takes of the budget.
    cost: Duration,
    /// How much may be saved up.
    burst: Duration,
    /// When the bucket was, or will be, empty.
    empty_at: Mutex<Instant>,
    /// How many requests wait for a probe of theirs.
    waiting: AtomicU32,
    waits: AtomicU64,
}

impl Budget {
    /// `per_second` probes a second, up to a tenth of them at once.
    pub(crate) fn new(per_second: NonZeroU32) -> Self {
        let per_second = per_second.get();
        let cost = Duration::from_secs(1) / per_second;
        let burst = (cost * (per_second / 10).max(1)).max(cost);
        let now = Instant::now();
        Self {
            cost,
            burst,
            empty_at: Mutex::new(now.checked_sub(burst).unwrap_or(now)),
            waiting: AtomicU32::new(0),
            waits: AtomicU64::new(0),
        }
    }

    /// How long a request that comes now would wait for its first probe.
    pub(crate) fn backlog(&self) -> Duration {
        self.cost * self.waiting.load(Ordering::Relaxed)
    }

    /// How often a probe had to wait.
    pub(crate) fn waits(&self) -> u64 {
        self.waits.load(Ordering::Relaxed)
    }

    async fn take(&self) {
        let _waiting = Waiting::begin(&self.waiting);
        // The lock is fair, and held while its owner waits for the bucket to refill.
        let mut empty_at = self.empty_at.lock().await;
        let now = Instant::now();
        let saved = now.checked_sub(self.burst).unwrap_or(now);
        let next = (*empty_at).max(saved) + self.cost;
        if next > now {
            self.waits.fetch_add(1, Ordering::Relaxed);
            sleep_until(next).await;
        }
        *empty_at = next;
    }
}

/// Counts somebody while it lives.
struct Waiting<'a>(&'a AtomicU32);

impl<'a> Waiting<'a> {
    fn begin(waiting: &'a AtomicU32) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request's way to the network. Its runs take turns among themselves, and the requests of a tracer take turns at the
/// budget: one with many runs gets no larger share.
#[derive(Clone, Debug)]
pub(crate) struct BudgetedSink<S> {
    sink: S,
    budget: Option<Arc<Budget>>,
    turn: Arc<Mutex<()>>,
    /// Of all requests together.
    sent: Arc<AtomicU64>,
}

impl<S> BudgetedSink<S> {
    /// A way for one request, which adds what it sends to `sent`.
    pub(crate) fn new(sink: S, budget: Option<Arc<Budget>>, sent: Arc<AtomicU64>) -> Self {
        Self { sink, budget, turn: Arc::default(), sent }
    }

    /// Waits until a probe may be sent.
    async fn take_turn(&self) {
        if let Some(budget) = &self.budget {
            let _turn = self.turn.lock().await;
            budget.take().await;
        }
    }

    /// Waits until a run may send its first probe, before it takes a port for it.
    pub(crate) async fn begin(&self) -> BegunSink<'_, S> {
        self.take_turn().await;
        BegunSink { sink: self, begun: AtomicBool::new(false) }
    }
}

/// A run's way to the network, which has its turn for the first probe already.
#[derive(Debug)]
pub(crate) struct BegunSink<'a, S> {
    sink: &'a BudgetedSink<S>,
    begun: AtomicBool,
}

impl<S> BegunSink<'_, S> {
    /// Gives up the turn that it has: the first probe will wait for another.
    pub(crate) fn forgo_turn(&self) {
        self.begun.store(true, Ordering::Relaxed);
    }
}

impl<S: Sink> Sink for BegunSink<'_, S> {
    async fn send(&self, datagram: &[u8], to: Destination) -> Result<Stamp, TracerouteError> {
        if self.begun.swap(true, Ordering::Relaxed) {
            self.sink.take_turn().await;
        }
        let stamp = self.sink.sink.send(datagram, to).await?;
        self.sink.sent.fetch_add(1, Ordering::Relaxed);
        Ok(stamp)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as StdMutex;

    use super::*;

    /// Notes who sent when.
    struct Log {
        started: Instant,
        sent: Arc<StdMutex<Vec<(u8, u128)>>>,
    }

    impl Sink for Log {
        async fn send(&self, datagram: &[u8], _to: Destination) -> Result<Stamp, TracerouteError> {
            let at = self.started.elapsed().as_millis();
            self.sent.lock().expect("not poisoned").push((datagram[0], at));
            Ok(Stamp::user(traceroute_core::Timestamp::ZERO))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_take_turns_whatever_their_number_of_runs() {
        let to = Destination::routed([192, 0, 2, 1].into());
        let budget = Arc::new(Budget::new(NonZeroU32::new(10).expect("not zero")));
        let sent = Arc::new(StdMutex::new(Vec::new()));
        let sink = |sent: &Arc<_>| Log { started: Instant::now(), sent: Arc::clone(sent) };
        let large = Arc::new(BudgetedSink::new(sink(&sent), Some(Arc::clone(&budget)), Arc::default()));
        let small = Arc::new(BudgetedSink::new(sink(&sent), Some(Arc::clone(&budget)), Arc::default()));

        let mut runs = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let large = Arc::clone(&large);
            runs.spawn(async move { large.begin().await.send(&[1], to).await });
        }
        for _ in 0..2 {
            let small = Arc::clone(&small);
            runs.spawn(async move { small.begin().await.send(&[2], to).await });
        }
        assert!(runs.join_all().await.iter().all(Result::is_ok));

        // One at once, then one each 100 ms. The large request's second run waits before the small request comes; from
        // then on the two alternate as long as both have something to send.
        let expected = [(1, 0), (1, 100), (2, 200), (1, 300), (2, 400), (1, 500)];
        assert_eq!(*sent.lock().expect("not poisoned"), expected);
        assert_eq!(budget.waits(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_takes_its_first_turn_before_it_has_anything_to_send() {
        let to = Destination::routed([192, 0, 2, 1].into());
        let budget = Arc::new(Budget::new(NonZeroU32::new(10).expect("not zero")));
        let sent = Arc::new(StdMutex::new(Vec::new()));
        let log = Log { started: Instant::now(), sent: Arc::clone(&sent) };
        let sink = BudgetedSink::new(log, Some(Arc::clone(&budget)), Arc::default());
        let first = sink.begin().await;
        let second = sink.begin().await;
        second.send(&[1], to).await.expect("a log takes all");
        second.send(&[2], to).await.expect("a log takes all");
        // Two turns later, the first has long lost its own.
        first.forgo_turn();
        first.send(&[3], to).await.expect("a log takes all");
        assert_eq!(*sent.lock().expect("not poisoned"), [(1, 100), (2, 200), (3, 300)]);
    }
}
