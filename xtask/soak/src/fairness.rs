//! Whether requests that wait for the budget are served in turn, as the wire shows it.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use traceroute_core::Timestamp;

/// When each request sent a probe. `K` names the request.
#[derive(Debug)]
pub(crate) struct Fairness<K> {
    sent: HashMap<K, Vec<Timestamp>>,
}

/// What happened while all requests had something to send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Served {
    pub(crate) requests: usize,
    /// From the last request's first probe to the first request's last.
    pub(crate) window: Duration,
    /// Probes of all requests in it.
    pub(crate) probes: usize,
    /// The fewest and the most of one request.
    pub(crate) fewest: usize,
    pub(crate) most: usize,
    /// The longest time from one probe of a request to its next.
    pub(crate) longest_gap: Duration,
}

impl<K> Default for Fairness<K> {
    fn default() -> Self {
        Self { sent: HashMap::new() }
    }
}

impl<K: Eq + Hash> Fairness<K> {
    /// Takes the next probe on the wire.
    pub(crate) fn see(&mut self, at: Timestamp, request: K) {
        self.sent.entry(request).or_default().push(at);
    }

    /// `None` when there was no time at which all requests had something to send.
    pub(crate) fn served(&self) -> Option<Served> {
        let start = *self.sent.values().filter_map(|times| times.first()).max()?;
        let end = *self.sent.values().filter_map(|times| times.last()).min()?;
        if start >= end {
            return None;
        }
        let within = |times: &Vec<Timestamp>| times.iter().filter(|at| (start..=end).contains(*at)).count();
        let counts: Vec<_> = self.sent.values().map(within).collect();
        // Each has a probe at the start of the window or before, and one at its end or after.
        let gaps = self.sent.values().flat_map(|times| {
            times.windows(2).filter(|pair| pair[0] <= end && pair[1] >= start).map(|pair| (pair[0], pair[1]))
        });
        Some(Served {
            requests: counts.len(),
            window: end.saturating_since(start),
            probes: counts.iter().sum(),
            fewest: counts.iter().copied().min()?,
            most: counts.iter().copied().max()?,
            longest_gap: gaps.map(|(one, next)| next.saturating_since(one)).max()?,
        })
    }
}

/// How far the numbers of probes of two requests may be apart that both always have one to send.
///
/// Between two probes of the one, a queue that is fair lets the other send exactly once, which makes 1 in any window. A
/// request joins the queue anew after it was served, a moment later, in which at most one place is lost to another that
/// was served just after it; that is the other 1.
pub(crate) const APART: usize = 2;

impl Served {
    /// Whether all were served nearly equally often.
    pub(crate) const fn is_fair(&self) -> bool {
        self.most - self.fewest <= APART
    }

    /// The longest gap that is right: each of the others once, and as much again for what is late.
    pub(crate) fn gap_allowed(&self, budget: u32) -> Duration {
        2 * Duration::from_secs(1) * u32::try_from(self.requests).unwrap_or(u32::MAX) / budget
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_millis(millis)
    }

    /// Three requests that are served in turn each 10 ms, except where `other` says otherwise.
    fn turns(other: impl Fn(u64) -> Option<u64>) -> Fairness<u64> {
        let mut fairness = Fairness::default();
        for turn in 0..300 {
            fairness.see(at(10 * turn), other(turn).unwrap_or(turn % 3));
        }
        fairness
    }

    #[test]
    fn turns_are_fair() {
        let served = turns(|_| None).served().unwrap();
        // The third's first probe is at 20 ms, the first's last at 2970 ms.
        assert_eq!(
            served,
            Served {
                requests: 3,
                window: Duration::from_millis(2_950),
                probes: 296,
                fewest: 98,
                most: 99,
                longest_gap: Duration::from_millis(30),
            }
        );
        assert!(served.is_fair());
        // 100 probes a second and 3 requests: every 30 ms.
        assert_eq!(served.gap_allowed(100), Duration::from_millis(60));
    }

    #[test]
    fn a_request_with_a_larger_share_is_found() {
        let served = turns(|turn| turn.is_multiple_of(10).then_some(2)).served().unwrap();
        assert!(!served.is_fair(), "{served:?}");
    }

    #[test]
    fn starvation_is_found() {
        let served = turns(|turn| (100..200).contains(&turn).then_some(turn % 2)).served().unwrap();
        assert!(!served.is_fair(), "{served:?}");
        assert!(served.longest_gap > served.gap_allowed(100), "{served:?}");
    }

    #[test]
    fn requests_that_never_compete_show_nothing() {
        let mut fairness = Fairness::default();
        fairness.see(at(1), 'a');
        fairness.see(at(2), 'b');
        assert_eq!(fairness.served(), None);
        assert_eq!(Fairness::<char>::default().served(), None);
    }
}
