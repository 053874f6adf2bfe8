//! Many probes on the way at one time.

use core::time::Duration;

use super::{Pace, SEND_DELAY, Schedule, Wait};
use crate::Ttl;

impl Schedule {
    /// The usual schedule: up to two TTLs ahead of the farthest answer until the distance is known, then all at once.
    #[must_use]
    pub const fn parallel(first_ttl: Ttl, max_ttl: Ttl, timeout: Duration) -> Self {
        Self {
            first_ttl,
            max_ttl,
            timeout,
            pace: Pace::Ahead { ahead: 2, every: SEND_DELAY },
            wait: Wait::ADAPTIVE,
            trusts_guesses: true,
            sounding: false,
        }
    }

    /// A single probe with TTL `ttl`, as end-to-end probes are.
    #[must_use]
    pub const fn single(ttl: Ttl, timeout: Duration) -> Self {
        Self::parallel(ttl, ttl, timeout)
    }

    /// The same with another time from one probe to the next where answers stay out.
    #[must_use]
    pub const fn sending_each(mut self, delay: Duration) -> Self {
        if let Pace::Ahead { ahead, .. } = self.pace {
            self.pace = Pace::Ahead { ahead, every: delay };
        }
        self
    }

    /// The same, for a run that follows a sister run of the same request: it stays one TTL ahead of what any of them
    /// has heard, so that several runs together overshoot an unknown destination by one probe only, and leaves it to its
    /// sister to believe a guess. A destination's ICMP is rate limited; Linux answers six probes at once.
    #[must_use]
    pub const fn following(mut self) -> Self {
        if let Pace::Ahead { every, .. } = self.pace {
            self.pace = Pace::Ahead { ahead: 1, every };
        }
        self.trusts_guesses = false;
        self
    }
}
