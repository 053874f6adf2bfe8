//! The process's time line, and how wall-clock stamps get onto it.

#[cfg(any(unix, test))]
mod wall;

use std::time::Duration;

use tokio::time::Instant;
use traceroute_core::Timestamp;

#[cfg(any(unix, test))]
pub(crate) use self::wall::{Behaviour, ClockPair, WallClock};

/// The origin of all [`Timestamp`]s of a network.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A time line that starts at `origin`.
    #[must_use]
    pub const fn since(origin: Instant) -> Self {
        Self { origin }
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::ZERO + self.origin.elapsed()
    }

    /// The runtime's name for a time. Times too far away for it are a day ahead.
    #[must_use]
    pub fn instant(&self, at: Timestamp) -> Instant {
        const DAY: Duration = Duration::from_hours(24);
        self.origin.checked_add(Duration::from_nanos(at.as_nanos())).unwrap_or_else(|| Instant::now() + DAY)
    }
}
