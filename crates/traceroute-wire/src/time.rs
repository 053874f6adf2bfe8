//! Points in time: a run's monotonic [`Timestamp`] and a packet's [`Stamp`].

use core::fmt;
use core::ops::Add;
use core::time::Duration;

/// A point on one monotonic time line, in nanoseconds since an arbitrary origin.
///
/// All timestamps of a process share one origin; those of different processes cannot be compared.
/// The range is 584 years, so arithmetic saturates instead of failing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The origin of the time line.
    pub const ZERO: Self = Self(0);

    /// The point `nanos` nanoseconds after the origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`, zero when `earlier` is in fact later.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", Duration::from_nanos(self.0))
    }
}

/// Who took a [`Stamp`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StampSource {
    /// The kernel, when the packet passed its tap.
    Kernel,
    /// This process, before the send call or after the packet was read: later or earlier than the packet by the
    /// time that the scheduler took.
    User,
}

/// When a packet passed, and by whose clock that was read.
///
/// Kernel stamps are wall-clock readings; whoever captures them converts them to the process's time line, so that
/// stamps of both sources can be subtracted. The difference of two kernel stamps is exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// The time of passage.
    pub at: Timestamp,
    /// Who read the clock.
    pub source: StampSource,
}

impl Stamp {
    /// A stamp that the kernel took.
    #[must_use]
    pub const fn kernel(at: Timestamp) -> Self {
        Self { at, source: StampSource::Kernel }
    }

    /// A stamp that this process took.
    #[must_use]
    pub const fn user(at: Timestamp) -> Self {
        Self { at, source: StampSource::User }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        let late = Timestamp::from_nanos(u64::MAX - 1);
        assert_eq!(late + Duration::from_secs(1), Timestamp::from_nanos(u64::MAX));
        assert_eq!(late + Duration::MAX, Timestamp::from_nanos(u64::MAX));
        assert_eq!(Timestamp::ZERO.saturating_since(late), Duration::ZERO);
        assert_eq!(late.saturating_since(Timestamp::from_nanos(u64::MAX - 6)), Duration::from_nanos(5));
    }
}
