//! Whether the machine is quiet enough to conclude anything from times.
//!
//! Between the runs of a row every core counts for [`BUSY`] and then sleeps for [`SLEEP`]. On a quiet machine the
//! counting always takes the same time and the sleep ends on time; what else runs, on this machine or on others of the
//! same host, shows in both.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use crate::statistics::quantile;

/// How long a busy loop takes when undisturbed: longer than a scheduler's slice, lest it fits between two of others.
const BUSY: Duration = Duration::from_millis(8);
const SLEEP: Duration = Duration::from_millis(1);
const CALIBRATIONS: u32 = 20;

/// How much longer than the fastest the busy loops may take on average, in percent.
pub(crate) const SLOWER_BOUND: f64 = 10.0;
/// How late nine of ten sleeps may end at most, in milliseconds.
pub(crate) const LATE_BOUND: f64 = 0.5;

/// A busy loop of a known length, on as many cores as there are.
#[derive(Debug)]
pub(crate) struct Probe {
    cores: usize,
    rounds: u64,
}

/// What the probes of a row have seen.
#[derive(Debug, Default)]
pub(crate) struct Observations {
    /// The busy loops' times in milliseconds.
    busy: Vec<f64>,
    /// How late the sleeps ended, in milliseconds.
    late: Vec<f64>,
}

/// How much the machine was disturbed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Noise {
    /// How much longer than the fastest the busy loops took on average, in percent.
    pub(crate) slower: f64,
    /// How late nine of ten sleeps ended at most, in milliseconds.
    pub(crate) late: f64,
}

impl Probe {
    /// Finds the number of rounds that take [`BUSY`].
    pub(crate) fn calibrate() -> Self {
        let rounds = 200_000;
        let fastest = (0..CALIBRATIONS).map(|_| time(|| spin(rounds))).min().unwrap_or(BUSY);
        let rounds = u128::from(rounds) * BUSY.as_nanos() / fastest.as_nanos().max(1);
        Self {
            cores: thread::available_parallelism().map_or(1, usize::from),
            rounds: u64::try_from(rounds).unwrap_or(u64::MAX),
        }
    }

    /// Looks at every core for about 9 ms.
    pub(crate) fn observe(&self, observations: &mut Observations) {
        let one = || (time(|| spin(self.rounds)), time(|| thread::sleep(SLEEP)).saturating_sub(SLEEP));
        let seen: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..self.cores).map(|_| scope.spawn(one)).collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
        });
        for (busy, late) in seen {
            observations.busy.push(millis(busy));
            observations.late.push(millis(late));
        }
    }
}

impl Observations {
    /// What they say, of at least one.
    pub(crate) fn noise(&mut self) -> Noise {
        let Self { busy, late } = self;
        let fastest = busy.iter().copied().fold(f64::INFINITY, f64::min);
        let count = f64::from(u32::try_from(busy.len()).unwrap_or(u32::MAX));
        let mean = busy.iter().sum::<f64>() / count;
        late.sort_by(f64::total_cmp);
        Noise { slower: (mean / fastest - 1.0) * 100.0, late: quantile(late, 9, 10) }
    }
}

impl Noise {
    /// Whether the machine was too noisy to conclude.
    pub(crate) fn is_too_much(self) -> bool {
        // Not a number is too much, too.
        !(self.slower <= SLOWER_BOUND && self.late <= LATE_BOUND)
    }

    /// The worse of both in each respect.
    pub(crate) fn worse(self, other: Self) -> Self {
        Self { slower: self.slower.max(other.slower), late: self.late.max(other.late) }
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

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(busy: &[f64], late: &[f64]) -> Noise {
        Observations { busy: busy.into(), late: late.into() }.noise()
    }

    #[test]
    fn a_quiet_machine_is_quiet() {
        let quiet = noise(&[8.0, 8.1, 8.2], &[0.1, 0.1, 0.1]);
        assert!((quiet.slower - 1.25).abs() < 1e-9 && (quiet.late - 0.1).abs() < 1e-9, "{quiet:?}");
        assert!(!quiet.is_too_much());
    }

    #[test]
    fn a_core_shared_with_another_is_too_much() {
        assert!(noise(&[8.0, 8.0, 8.0, 16.0], &[0.1; 4]).is_too_much());
    }

    #[test]
    fn one_late_sleep_of_many_is_no_matter_but_two_of_ten_are() {
        let mut late = [0.1; 20];
        late[7] = 30.0;
        assert!(!noise(&[8.0; 20], &late).is_too_much());
        late[..4].fill(0.6);
        assert!(noise(&[8.0; 20], &late).is_too_much());
    }

    #[test]
    fn nothing_observed_is_no_ground_to_conclude() {
        assert!(noise(&[], &[]).is_too_much());
    }

    #[test]
    fn the_worse_counts() {
        let (a, b) = (Noise { slower: 3.0, late: 0.1 }, Noise { slower: 1.0, late: 0.2 });
        assert_eq!(a.worse(b), Noise { slower: 3.0, late: 0.2 });
    }

    #[test]
    fn a_probe_observes_every_core() {
        let probe = Probe::calibrate();
        let mut observations = Observations::default();
        probe.observe(&mut observations);
        assert_eq!((observations.busy.len(), observations.late.len()), (probe.cores, probe.cores));
    }
}
