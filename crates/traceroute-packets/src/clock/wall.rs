//! Wall-clock stamps on the time line.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use traceroute_core::Timestamp;

use super::Clock;

/// A reading of both clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClockPair {
    /// Nanoseconds since the Unix epoch.
    pub(crate) wall: u64,
    /// The time line just before the wall clock was read.
    pub(crate) before: Timestamp,
    /// The time line just after.
    pub(crate) after: Timestamp,
}

/// What is known of a system's wall clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Behaviour {
    /// How fast the kernel may slew it while it leaves the time line alone, in millionths.
    pub(crate) slew: u32,
    /// What its readings are rounded down to: it may be ahead of them by nearly as much.
    pub(crate) resolution: Duration,
}

/// Converts the kernel's wall-clock stamps to the time line.
///
/// Where the kernel slews both clocks alike, as Linux does, their difference changes only when somebody sets the wall clock.
/// It is therefore taken once and kept, which makes the difference of two converted stamps exact; every reading checks it.
/// Where it slews only the wall clock, the difference is corrected by as much as a reading proves it to be wrong.
/// The packets that waited to be read while a step went unnoticed lose their kernel stamps, because nobody knows on
/// which side of the step they were taken.
#[derive(Debug)]
pub(crate) struct WallClock {
    /// What to add to the time line to get the wall clock; modulo 2^64.
    offset: u64,
    behaviour: Behaviour,
    /// When the offset was last checked.
    checked: Timestamp,
    /// When the last step was noticed. Stamps that seem to be older may be of the time before it.
    stepped: Timestamp,
}

/// Nanoseconds since the Unix epoch.
fn wall_clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Two readings of an unchanged offset differ by less: each is off by half the time between `before` and `after`, and
/// readings that were interrupted for longer prove nothing.
const STEP: Duration = Duration::from_micros(50);

/// How many readings the first one is chosen from: a process seldom loses its core in all of them.
const READINGS: usize = 32;

impl ClockPair {
    /// Reads the wall clock between two readings of the time line.
    pub(crate) fn read(clock: Clock) -> Self {
        let before = clock.now();
        let wall = wall_clock();
        Self { wall, before, after: clock.now() }
    }

    /// How long the reading took, within which the wall clock was read.
    const fn took(&self) -> Duration {
        self.after.saturating_since(self.before)
    }
}

impl WallClock {
    /// Starts from the first reading that was not interrupted: any other would look like a step to the next one, and cost the
    /// first packets their stamps.
    pub(crate) fn new(behaviour: Behaviour, mut read: impl FnMut() -> ClockPair) -> Self {
        let mut best = read();
        for _ in 1..READINGS {
            if best.took() <= STEP {
                break;
            }
            let next = read();
            if next.took() < best.took() {
                best = next;
            }
        }
        let offset = best.wall.wrapping_sub(best.before.as_nanos());
        Self { offset, behaviour, checked: best.after, stepped: Timestamp::ZERO }
    }

    /// A kernel stamp on the time line; `None` if it cannot be trusted. `now` is read after the packet.
    pub(crate) fn convert(&mut self, wall: u64, now: ClockPair) -> Option<Timestamp> {
        let earliest = now.wall.wrapping_sub(now.after.as_nanos());
        let Behaviour { slew, resolution } = self.behaviour;
        let resolution = u64::try_from(resolution.as_nanos()).unwrap_or(u64::MAX);
        let latest = now.wall.wrapping_add(resolution).wrapping_sub(now.before.as_nanos());
        // The true offset lies between the two; compare as signed distances from the one in use.
        let below = earliest.wrapping_sub(self.offset).cast_signed();
        let above = latest.wrapping_sub(self.offset).cast_signed();
        let slewed = now.after.saturating_since(self.checked).saturating_mul(slew) / 1_000_000;
        self.checked = now.after;
        let step = i64::try_from((STEP + slewed).as_nanos()).unwrap_or(i64::MAX);
        if below > step || above < -step {
            self.offset = latest;
            self.stepped = now.after;
        } else if slew > 0 {
            self.offset = self.offset.wrapping_add_signed(0.clamp(below, above));
        }
        let at = Timestamp::from_nanos(wall.wrapping_sub(self.offset));
        (self.stepped..=now.after + STEP).contains(&at).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: u64 = 1_790_000_000_000_000_000;
    const STEADY: Behaviour = Behaviour { slew: 0, resolution: Duration::ZERO };
    const SLEWED: Behaviour = Behaviour { slew: 500, resolution: Duration::ZERO };

    /// Both clocks read at `at` nanoseconds on the time line, `taking` nanoseconds, the wall clock `ahead` of the
    /// epoch.
    fn pair(at: u64, taking: u64, ahead: i64) -> ClockPair {
        ClockPair {
            wall: EPOCH.wrapping_add_signed(ahead) + at,
            before: Timestamp::from_nanos(at),
            after: Timestamp::from_nanos(at + taking),
        }
    }

    #[test]
    fn differences_are_exact_whatever_the_readings_jitter() {
        let mut clock = WallClock::new(STEADY, || pair(1_000, 40, 0));
        let first = clock.convert(EPOCH + 2_000, pair(5_000, 90, 0)).expect("steady");
        let second = clock.convert(EPOCH + 2_777, pair(9_000, 20_000, 0)).expect("steady");
        assert_eq!(second.saturating_since(first), Duration::from_nanos(777));
    }

    #[test]
    fn a_step_costs_one_packet_its_stamp() {
        for step in [3_600_000_000_000, -3_600_000_000_000, 1_000_000, -1_000_000] {
            let mut clock = WallClock::new(STEADY, || pair(0, 50, 0));
            let sent = clock.convert(EPOCH + 1_000, pair(2_000, 50, 0)).expect("before the step");
            assert_eq!(clock.convert(EPOCH + 5_000, pair(10_000, 50, step)), None, "ambiguous");
            let stamp = EPOCH.wrapping_add_signed(step) + 12_000;
            let answered = clock.convert(stamp, pair(13_000, 50, step)).expect("after the step");
            assert_eq!(answered.saturating_since(sent), Duration::from_micros(11), "and it is still true");
        }
    }

    #[test]
    fn a_slewed_wall_clock_is_followed() {
        const SECOND: u64 = 1_000_000_000;
        let mut clock = WallClock::new(SLEWED, || pair(0, 50, 0));
        // 100 millionths fast: the true offset grows by 100 us a second.
        for (second, ahead) in [(1, 100_000_i64), (2, 200_000), (3_600, 360_000_000)] {
            let at = second * SECOND;
            let stamp = EPOCH.wrapping_add_signed(ahead) + at - 1_000;
            let converted = clock.convert(stamp, pair(at, 50, ahead));
            // The wall clock may have been read at any time within the 50 ns.
            let off = converted.expect("no step").saturating_since(Timestamp::from_nanos(at - 1_000));
            assert!(off <= Duration::from_nanos(50), "{second}: {off:?}");
        }
        let stepped = pair(3_601 * SECOND, 50, 361_000_000);
        assert_eq!(clock.convert(stepped.wall, stepped), None, "a millisecond a second is more than slewing");
        let stamp = EPOCH + 361_000_000 + 3_602 * SECOND;
        assert!(clock.convert(stamp, pair(3_602 * SECOND, 50, 361_000_000)).is_some(), "and then it is used");
    }

    #[test]
    fn a_wall_clock_that_is_rounded_down_is_not_followed_into_the_rounding() {
        let coarse = Behaviour { resolution: Duration::from_micros(1), ..SLEWED };
        // The clocks differ by EPOCH all the time, and the first reading falls on a whole microsecond.
        let mut clock = WallClock::new(coarse, || pair(1_000, 50, 0));
        // Nearly a microsecond is cut off. The wall clock was read at 1,999,999 ns at the earliest: 1,999,000 ns may mean 1,999,999.
        let cut = pair(1_999_999, 50, -999);
        let converted = clock.convert(EPOCH + 1_500_000, cut);
        assert_eq!(converted, Some(Timestamp::from_nanos(1_500_000)));
        // What is more than that has been slewed: the offset is at most 1,000 ns less than the 2,500 ns that are missing.
        let slewed = pair(20_000_000, 50, -2_500);
        let converted = clock.convert(EPOCH + 19_000_000, slewed);
        assert_eq!(converted, Some(Timestamp::from_nanos(19_001_500)));
    }

    #[test]
    fn slewing_explains_no_more_than_the_time_since_the_last_reading() {
        let mut clock = WallClock::new(SLEWED, || pair(0, 50, 0));
        let read = pair(1_000_000, 50, 60_000);
        assert_eq!(clock.convert(read.wall, read), None, "60 us within a millisecond");
    }

    #[test]
    fn packets_that_waited_through_a_step_lose_their_stamps() {
        const MINUTE: u64 = 60_000_000_000;
        const MS: u64 = 1_000_000;
        for step in [10_000_000_000, -10_000_000_000, 2_000_000, -2_000_000] {
            let mut clock = WallClock::new(STEADY, || pair(0, 50, 0));
            // Three packets are stamped, then the clock is set, then all are read.
            for number in 1..=3 {
                let read = pair(MINUTE + (20 + number) * MS, 50, step);
                assert_eq!(
                    clock.convert(EPOCH + MINUTE + number * MS, read),
                    None,
                    "{step}: packet {number}"
                );
            }
            let stamp = EPOCH.wrapping_add_signed(step) + MINUTE + 30 * MS;
            let after = clock.convert(stamp, pair(MINUTE + 31 * MS, 50, step));
            assert_eq!(after, Some(Timestamp::from_nanos(MINUTE + 30 * MS)));
        }
    }

    #[test]
    fn an_interrupted_reading_is_no_step() {
        let mut clock = WallClock::new(STEADY, || pair(0, 50, 0));
        // Ten milliseconds passed between reading the one clock and the other.
        let late = ClockPair { wall: EPOCH + 10_000_000, ..pair(0, 10_000_100, 0) };
        assert!(clock.convert(EPOCH + 5_000, late).is_some());
    }

    #[test]
    fn an_interrupted_first_reading_is_taken_again() {
        let late = |at| ClockPair { wall: EPOCH + at + 10_000_000, ..pair(at, 10_000_100, 0) };
        let readings = [late(0), pair(20_000_000, 50, 0)];
        let mut clock = WallClock::new(STEADY, {
            let mut readings = readings.into_iter();
            move || readings.next().expect("the second is good enough")
        });
        let stamp = clock.convert(EPOCH + 21_000_000, pair(22_000_000, 50, 0));
        assert_eq!(stamp, Some(Timestamp::from_nanos(21_000_000)));
        // Where all are, the best is as good as it gets.
        let mut read = 0;
        WallClock::new(STEADY, || {
            read += 1;
            late(read)
        });
        assert_eq!(read, u64::try_from(READINGS).expect("a few"));
    }

    #[test]
    fn a_stamp_from_the_future_is_not_believed() {
        let mut clock = WallClock::new(STEADY, || pair(0, 50, 0));
        assert_eq!(clock.convert(EPOCH + 1_000_000_000, pair(2_000, 50, 0)), None);
    }
}
