//! The ports that the kernel takes for sockets that do not ask for one.

use std::ops::RangeInclusive;

const DEFAULT: RangeInclusive<u16> = 49_152..=65_535;

/// The range between `net.inet.ip.portrange.first` and `net.inet.ip.portrange.last`, which may be the higher one: the kernel
/// then takes ports downwards (`in_pcbbind`, `bsd/netinet/in_pcb.c` of XNU).
pub(super) fn ports(first: Option<i32>, last: Option<i32>) -> RangeInclusive<u16> {
    let port = |value: Option<i32>| u16::try_from(value?).ok().filter(|port| *port > 0);
    match (port(first), port(last)) {
        (Some(first), Some(last)) => first.min(last)..=first.max(last),
        _ => DEFAULT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_range_is_taken() {
        assert_eq!(ports(Some(10_000), Some(20_000)), 10_000..=20_000);
        assert_eq!(ports(Some(20_000), Some(10_000)), 10_000..=20_000);
        for (first, last) in [(None, Some(1)), (Some(1), None), (Some(0), Some(9)), (Some(9), Some(70_000))] {
            assert_eq!(ports(first, last), 49_152..=65_535);
        }
    }
}
