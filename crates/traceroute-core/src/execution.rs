//! How a run spends its probes: which TTLs, how fast, and how long it waits.

mod parallel;
mod serial;

use core::time::Duration;

use crate::Ttl;

/// The pace, range and patience of one run. [`Schedule::parallel`] and [`Schedule::serial`] make them; single fields
/// can be changed afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The first TTL probed.
    pub first_ttl: Ttl,
    /// The last TTL probed; not below `first_ttl`.
    pub max_ttl: Ttl,
    /// How long an answer may take, where nothing better is known.
    pub timeout: Duration,
    /// When the next probe may go out.
    pub pace: Pace,
    /// How long to wait for silent hops once the path has been seen to its end.
    pub wait: Wait,
    /// Whether a distance that is only guessed is believed, and all is sent up to there at once.
    pub trusts_guesses: bool,
    /// Whether the first probe goes out with `max_ttl`, to hear from the destination how far it is.
    pub sounding: bool,
}

/// When a run's next probe may go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// At once up to the destination, where its distance is known. Otherwise at most `ahead` TTLs beyond the farthest
    /// answer, and one more each `every`.
    Ahead {
        /// TTLs beyond the farthest answer; at least 1.
        ahead: u8,
        /// The time from one probe to the next where answers stay out.
        every: Duration,
    },
    /// One probe at a time: the next when this one was answered or its time-out has passed.
    OneByOne,
}

/// How long a silent hop is waited for once the path has been seen to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The whole time-out.
    Full,
    /// `factor` times the slowest round trip of the run, but at least `at_least` and at most the time-out.
    Adaptive {
        /// The shortest wait.
        at_least: Duration,
        /// Multiple of the slowest round trip.
        factor: u32,
    },
}

impl Wait {
    /// What a run does unless told otherwise: ten times its slowest round trip, at least 200 ms.
    pub const ADAPTIVE: Self = Self::Adaptive { at_least: Duration::from_millis(200), factor: 10 };
}

/// The time between two probes where answers stay out.
pub const SEND_DELAY: Duration = Duration::from_millis(50);

impl Schedule {
    /// How long a silent hop is waited for when the slowest answer so far took `slowest`.
    pub(crate) fn patience(&self, slowest: Duration) -> Duration {
        match self.wait {
            Wait::Full => self.timeout,
            Wait::Adaptive { at_least, factor } => {
                slowest.saturating_mul(factor).max(at_least).min(self.timeout)
            }
        }
    }
}
