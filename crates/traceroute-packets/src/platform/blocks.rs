//! The blocks of ports and echo ids of a process.

use std::num::NonZeroU16;
use std::ops::RangeInclusive;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::lease::Blocks;

/// As many ports, and so as many runs toward one target at one time, where there is room for them.
const LEN: u16 = 4096;
const FIRST_UNPRIVILEGED: u16 = 1024;

/// Ports from the first one asked for on, or outside of the range from which the system takes ports for sockets that do not ask
/// for one; and echo ids anywhere, so that `ping` and other processes rarely meet them.
pub(super) fn choose(random: u64, first_port: Option<NonZeroU16>, ephemeral: &RangeInclusive<u16>) -> Blocks {
    let [a, b, ..] = random.to_ne_bytes();
    let first_id = u16::from_ne_bytes([a, b]).min(u16::MAX - LEN);
    Blocks {
        ports: match first_port.map(NonZeroU16::get) {
            Some(first) => first..=first.saturating_add(LEN - 1),
            None => outside(ephemeral),
        },
        // 0 is what some translators treat as "no id".
        echo_ids: first_id.max(1)..=first_id + LEN,
        in_order: first_port.is_some(),
    }
}

/// The block above the range, where services are rare; below it if there is more room; and within it if it leaves
/// none, since the ports are held by sockets all the same.
fn outside(ephemeral: &RangeInclusive<u16>) -> RangeInclusive<u16> {
    let above = u16::MAX - ephemeral.end();
    let below = ephemeral.start().saturating_sub(FIRST_UNPRIVILEGED);
    let enough = LEN / 4;
    if above >= below.min(enough) && above > 0 {
        let first = ephemeral.end() + 1;
        first..=first.saturating_add(LEN - 1)
    } else if below >= enough {
        ephemeral.start() - LEN.min(below)..=ephemeral.start() - 1
    } else {
        u16::MAX - LEN + 1..=u16::MAX
    }
}

/// Random bits of the operating system.
pub(super) fn random_bits() -> u64 {
    // Without the system's generator (none known) the clock still differs from run to run.
    getrandom::u64().unwrap_or_else(|_| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(now.as_nanos()).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPHEMERAL: RangeInclusive<u16> = 32_768..=60_999;

    #[test]
    fn the_block_lies_outside_of_the_kernels_range_where_it_can() {
        assert_eq!(outside(&(32_768..=60_999)), 61_000..=65_095);
        assert_eq!(outside(&(49_152..=65_535)), 45_056..=49_151);
        assert_eq!(outside(&(10_000..=65_535)), 5_904..=9_999);
        assert_eq!(outside(&(1_024..=65_535)), 61_440..=65_535, "no room: inside of it");
        assert_eq!(outside(&(1_024..=64_999)), 65_000..=65_535, "a small block is better than one inside");
        assert_eq!(outside(&(30_000..=65_500)), 25_904..=29_999, "36 above are too few");
    }

    #[test]
    fn a_first_port_is_the_first() {
        let ports = |first| choose(0, NonZeroU16::new(first), &EPHEMERAL).ports;
        assert_eq!((ports(33_000), ports(65_000), ports(1)), (33_000..=37_095, 65_000..=65_535, 1..=4096));
    }

    #[test]
    fn echo_ids_never_wrap_and_are_never_zero() {
        for random in [0, 1, u64::MAX, 0xf000_f000_f000_f000] {
            let ids = choose(random, None, &EPHEMERAL).echo_ids;
            assert!(*ids.start() > 0 && ids.end() > ids.start());
        }
    }
}
