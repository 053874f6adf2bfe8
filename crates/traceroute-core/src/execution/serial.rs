//! One probe at a time.

use core::time::Duration;

use super::{Pace, Schedule, Wait};
use crate::Ttl;

impl Schedule {
    /// One probe at a time, each given the whole time-out: for networks that cannot bear more, and for drivers that
    /// cannot tell the answers of two probes apart.
    #[must_use]
    pub const fn serial(first_ttl: Ttl, max_ttl: Ttl, timeout: Duration) -> Self {
        Self {
            first_ttl,
            max_ttl,
            timeout,
            pace: Pace::OneByOne,
            wait: Wait::Full,
            trusts_guesses: false,
            sounding: false,
        }
    }
}
