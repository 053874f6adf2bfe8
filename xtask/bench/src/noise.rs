//! Whether the machine is quiet enough to conclude anything from times.
//!
//! Before and after each turn of a row every core counts for [`BUSY`] and then sleeps for [`SLEEP`]. On a quiet machine
//! the counting always takes the same time and the sleep ends on time; what else runs, on this machine or on others of
//! the same host, shows in one or the other.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

/// How long a busy loop takes when undisturbed: longer than a scheduler's slice, lest it fits between two of others.
const BUSY: Duration = Duration::from_millis(8);
const SLEEP: Duration = Duration::from_millis(1);
const CALIBRATIONS: u32 = 20;

/// How much longer than the fastest a busy loop may take, in percent.
const SLOWER_BOUND: u32 = 10;
/// How late a sleep may end.
const LATE_BOUND: Duration = Duration::from_micros(500);

/// The bounds in words.
pub(crate) fn bounds() -> String {
    format!(
        "a busy loop of {BUSY:?} on each core took more than {SLOWER_BOUND} % longer than the fastest, \
         or a sleep of {SLEEP:?} ended more than {LATE_BOUND:?} late"
    )
}

/// A busy loop of a known length, on as many cores as there are.
#[derive(Debug)]
pub(crate) struct Probe {
    cores: usize,
    rounds: u64,
    /// The fastest busy loop so far.
    fastest: Duration,
}

/// What a core has seen.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// How long the busy loop took.
    busy: Duration,
    /// How late the sleep ended.
    late: Duration,
}

impl Probe {
    /// Finds the number of rounds that take [`BUSY`].
    pub(crate) fn calibrate() -> Self {
        let rounds = 200_000;
        let fastest = (0..CALIBRATIONS).map(|_| time(|| spin(rounds))).min().unwrap_or(BUSY);
        let rounds = u128::from(rounds) * BUSY.as_nanos() / fastest.as_nanos().max(1);
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let mut probe =
            Self { cores, rounds: u64::try_from(rounds).unwrap_or(u64::MAX), fastest: Duration::MAX };
        for _ in 0..CALIBRATIONS {
            probe.is_quiet();
        }
        probe
    }

    /// Looks at every core for about 9 ms.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let seen = self.observe();
        self.fastest = seen.iter().map(|seen| seen.busy).fold(self.fastest, Duration::min);
        seen.into_iter().all(|seen| seen.is_quiet(self.fastest))
    }

    fn observe(&self) -> Vec<Seen> {
        let one = || Seen {
            busy: time(|| spin(self.rounds)),
            late: time(|| thread::sleep(SLEEP)).saturating_sub(SLEEP),
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..self.cores).map(|_| scope.spawn(one)).collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
        })
    }
}

impl Seen {
    fn is_quiet(self, fastest: Duration) -> bool {
        self.busy * 100 <= fastest * (100 + SLOWER_BOUND) && self.late <= LATE_BOUND
    }
}

fn time<T>(work: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn spin(rounds: u64) -> u64 {
    // Each round needs the one before: this is as fast as a multiplier is.
    (0..rounds).fold(1, |state: u64, round| black_box(state.wrapping_mul(0x5851_f42d_4c95_7f2d) ^ round))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MICROSECOND: Duration = Duration::from_micros(1);

    fn is_quiet(busy: u32, late: u32) -> bool {
        Seen { busy: MICROSECOND * busy, late: MICROSECOND * late }.is_quiet(MICROSECOND * 8000)
    }

    #[test]
    fn a_core_is_quiet_up_to_both_bounds() {
        assert!(is_quiet(8000, 0));
        assert!(is_quiet(8800, 500));
        assert!(!is_quiet(8801, 0), "a core shared with another");
        assert!(!is_quiet(8000, 501), "a late sleep");
    }

    #[test]
    fn every_core_is_observed() {
        let probe = Probe::calibrate();
        assert_eq!(probe.observe().len(), probe.cores);
        assert!(probe.fastest < Duration::MAX);
    }

    #[test]
    fn bounds_are_said_in_words() {
        let bounds = bounds();
        assert!(bounds.contains("loop of 8ms") && bounds.contains("more than 10 % longer"), "{bounds}");
        assert!(bounds.contains("sleep of 1ms") && bounds.contains("more than 500µs late"), "{bounds}");
    }
}
