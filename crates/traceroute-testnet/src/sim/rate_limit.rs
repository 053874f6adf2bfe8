//! Rate limits of ICMP errors.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use traceroute_wire::Timestamp;

/// A token bucket for each address to which errors are sent; all kinds of errors share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// How many errors may be sent at once.
    pub burst: u32,
    /// How long it takes until another may be sent.
    pub interval: Duration,
}

impl RateLimit {
    /// What Linux does by default: six at once, then one a second.
    pub const LINUX: Self = Self { burst: 6, interval: Duration::from_secs(1) };

    /// What Linux does by default in IPv6: six at once, then ten a second.
    pub const LINUX_V6: Self = Self { burst: 6, interval: Duration::from_millis(100) };
}

/// The buckets of one node.
#[derive(Debug, Default)]
pub(super) struct Buckets(HashMap<IpAddr, Bucket>);

#[derive(Debug)]
struct Bucket {
    credit: Duration,
    updated: Timestamp,
}

impl Buckets {
    /// Takes a token for `to` if there is one.
    pub(super) fn take(&mut self, limit: RateLimit, to: IpAddr, now: Timestamp) -> bool {
        let full = limit.interval * limit.burst;
        let bucket = self.0.entry(to).or_insert(Bucket { credit: full, updated: now });
        bucket.credit = (bucket.credit + now.saturating_since(bucket.updated)).min(full);
        bucket.updated = now;
        let Some(rest) = bucket.credit.checked_sub(limit.interval) else { return false };
        bucket.credit = rest;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_at_once_then_one_a_second_for_each_address() {
        let mut buckets = Buckets::default();
        let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut taken =
            |to, millis| buckets.take(RateLimit::LINUX, to, Timestamp::ZERO + Duration::from_millis(millis));
        assert_eq!((0..10).filter(|_| taken(a, 0)).count(), 6);
        assert_eq!((0..10).filter(|_| taken(b, 0)).count(), 6);
        assert!(!taken(a, 999));
        assert!(taken(a, 1000));
        assert!(!taken(a, 1001));
        assert_eq!((0..10).filter(|_| taken(a, 60_000)).count(), 6);
    }
}
