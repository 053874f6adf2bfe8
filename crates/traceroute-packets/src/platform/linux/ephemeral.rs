//! The ports that the kernel takes for sockets that do not ask for one.

use std::fs;
use std::ops::RangeInclusive;

const FILE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
const DEFAULT: RangeInclusive<u16> = 32_768..=60_999;

/// The range of the calling thread's network namespace.
pub(super) fn ports() -> RangeInclusive<u16> {
    fs::read_to_string(FILE).ok().and_then(|text| parse(&text)).unwrap_or(DEFAULT)
}

fn parse(text: &str) -> Option<RangeInclusive<u16>> {
    let mut numbers = text.split_whitespace().map(str::parse);
    Some(numbers.next()?.ok()?..=numbers.next()?.ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_range_is_read() {
        assert_eq!(parse("32768\t60999\n"), Some(32_768..=60_999));
        assert_eq!(parse("32768"), None);
    }
}
