//! When captured packets passed.

use std::time::Duration;

use traceroute_core::{Stamp, StampSource, Timestamp};

use crate::clock::{Behaviour, Clock, ClockPair, WallClock};

/// How long packets without a kernel stamp are taken for such as had come before somebody asked.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(1);

/// Puts the kernel's stamps on the time line.
#[derive(Debug)]
pub(super) struct Stamps {
    clock: Clock,
    wall_clock: WallClock,
}

impl Stamps {
    /// Stamps of a wall clock that behaves so.
    pub(super) fn new(clock: Clock, behaviour: Behaviour) -> Self {
        Self { clock, wall_clock: WallClock::new(behaviour, || ClockPair::read(clock)) }
    }

    /// The time now.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// When a packet passed that has just been read, and that the kernel has stamped with these nanoseconds since the Unix
    /// epoch.
    pub(super) fn stamp(&mut self, kernel: Option<u64>) -> Stamp {
        let now = ClockPair::read(self.clock);
        let kernel = kernel.and_then(|stamp| self.wall_clock.convert(stamp, now));
        kernel.map_or(Stamp::user(now.before), Stamp::kernel)
    }
}

/// Whether a packet came after somebody asked to be told when all until then were read.
pub(super) fn came_after(stamp: Stamp, asked: Timestamp) -> bool {
    match stamp.source {
        StampSource::Kernel => stamp.at > asked,
        // The time of reading only says that a flood of such packets has to have an end.
        StampSource::User => stamp.at > asked + CATCH_UP_WITHIN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kernels_stamp_says_that_a_packet_came_after_the_question() {
        let asked = Timestamp::from_nanos(5_000_000_000);
        let soon = asked + Duration::from_nanos(1);
        assert!(!came_after(Stamp::kernel(asked), asked));
        assert!(came_after(Stamp::kernel(soon), asked));
        assert!(!came_after(Stamp::user(soon), asked), "it is only read then");
        assert!(came_after(Stamp::user(soon + CATCH_UP_WITHIN), asked), "but not for ever");
    }
}
