//! How many probes the wire saw in a second.

use std::collections::VecDeque;
use std::time::Duration;

use traceroute_core::Timestamp;

const SECOND: Duration = Duration::from_secs(1);

/// Counts probes, and finds the second with the most, wherever it starts.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    second: VecDeque<Timestamp>,
    pub(crate) most: usize,
    pub(crate) all: u64,
}

impl Pace {
    /// Takes the next probe on the wire.
    pub(crate) fn see(&mut self, at: Timestamp) {
        self.all += 1;
        self.second.push_back(at);
        while self.second.front().is_some_and(|first| at.saturating_since(*first) >= SECOND) {
            self.second.pop_front();
        }
        self.most = self.most.max(self.second.len());
    }
}

/// The most probes that a budget allows in any second: what it gives in a second, a tenth of that saved up, the one that
/// was just due; and what is due in the 10 ms by which one may reach the wire later than another after its turn.
pub(crate) fn most_allowed(budget: u32) -> u32 {
    budget + (budget / 10).max(1) + 1 + budget.div_ceil(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_second_starts_anywhere() {
        let mut pace = Pace::default();
        for millis in [0, 900, 950, 1_000, 1_850, 1_899, 1_900, 5_000] {
            pace.see(Timestamp::ZERO + Duration::from_millis(millis));
        }
        // From 900 on: 900, 950, 1000, 1850, 1899; at 1900 the second is over.
        assert_eq!((pace.most, pace.all), (5, 8));
    }

    #[test]
    fn a_burst_above_the_budget_is_found() {
        let mut pace = Pace::default();
        (0..200).for_each(|i| pace.see(Timestamp::ZERO + Duration::from_millis(5) * i));
        assert!(pace.most <= most_allowed(200) as usize);
        (0..30).for_each(|_| pace.see(Timestamp::ZERO + SECOND));
        assert!(pace.most > most_allowed(200) as usize, "{}", pace.most);
    }
}
