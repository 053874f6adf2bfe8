//! How often somebody may ask, or something be asked for.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How many keys are remembered. Where more of them ask within their times, some of those that have the least to wait for are
/// forgotten: so many clients are not to be held back by each one's rate.
const CAPACITY: usize = 1 << 16;
/// Among how many one to be forgotten is chosen.
const CHOICE: usize = 8;

/// How often those are looked for that need not be remembered any more.
const CLEARING: Duration = Duration::from_secs(1);

/// Requests a minute for each key: the generic cell rate algorithm, with room for a tenth of a minute's at once.
#[derive(Debug)]
pub(crate) struct RateLimit<K> {
    /// What is limited, for those who are told.
    what: &'static str,
    per_minute: NonZeroU32,
    due: Mutex<Due<K>>,
}

#[derive(Debug)]
struct Due<K> {
    /// When the next request of each key would be due, if all came evenly.
    next: HashMap<K, Instant>,
    /// When those whose time has come were last forgotten: that takes a look at each.
    cleared: Instant,
}

/// Somebody asked too often.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {per_minute} requests a minute {what}")]
pub(crate) struct TooMany {
    what: &'static str,
    per_minute: NonZeroU32,
    /// How long until one may be made again.
    pub(crate) retry_after: Duration,
}

impl<K: Copy + Eq + Hash> RateLimit<K> {
    pub(crate) fn new(what: &'static str, per_minute: NonZeroU32) -> Self {
        let due = Due { next: HashMap::new(), cleared: Instant::now() };
        Self { what, per_minute, due: Mutex::new(due) }
    }

    /// Counts a request, if it may be made now.
    pub(crate) fn check(&self, key: K) -> Result<(), TooMany> {
        let interval = Duration::from_mins(1) / self.per_minute.get();
        let tolerance = interval * (self.per_minute.get() / 10).saturating_sub(1);
        let now = Instant::now();
        let Due { next: due, cleared } = &mut *self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let next = due.get(&key).copied().unwrap_or(now).max(now);
        let early = (next - now).saturating_sub(tolerance);
        if !early.is_zero() {
            return Err(TooMany { what: self.what, per_minute: self.per_minute, retry_after: early });
        }
        if due.len() >= CAPACITY && now - *cleared >= CLEARING {
            due.retain(|_, due| *due > now);
            *cleared = now;
        }
        if due.len() >= CAPACITY && !due.contains_key(&key) {
            let forgotten = due.iter().take(CHOICE).min_by_key(|(_, due)| **due).map(|(key, _)| *key);
            forgotten.map(|key| due.remove(&key));
        }
        due.insert(key, next + interval);
        Ok(())
    }
}

/// Who asks: an IPv4 address, or the network of an IPv6 one, of which a client has 2^64.
pub(crate) fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// To be made inside of a runtime, whose time it goes by.
    fn limit(per_minute: u32) -> RateLimit<u32> {
        RateLimit::new("from you", NonZeroU32::new(per_minute).expect("not zero"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenth_may_come_at_once_and_the_rest_evenly() {
        let limit = limit(60);
        for _ in 0..6 {
            assert_eq!(limit.check(1), Ok(()));
        }
        let refused = limit.check(1).expect_err("the seventh");
        assert_eq!(refused.retry_after, Duration::from_secs(1));
        assert_eq!(refused.to_string(), "more than 60 requests a minute from you");
        assert_eq!(limit.check(2), Ok(()), "others are not affected");
        tokio::time::advance(Duration::from_millis(999)).await;
        assert_eq!(limit.check(1).expect_err("too early").retry_after, Duration::from_millis(1));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(limit.check(1), Ok(()));
        assert!(limit.check(1).is_err());
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!((0..60).filter(|_| limit.check(1).is_ok()).count(), 6, "no more is saved up");
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_a_minute_come_one_by_one() {
        let limit = limit(2);
        assert_eq!(limit.check(1), Ok(()));
        assert_eq!(limit.check(1).expect_err("too early").retry_after, Duration::from_secs(30));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_bounded() {
        let limit = limit(1);
        let keys = u32::try_from(CAPACITY).expect("few");
        assert!((0..2 * keys).all(|key| limit.check(key).is_ok()));
        assert!(limit.check(2 * keys - 1).is_err(), "the last is remembered though others are forgotten");
        assert_eq!(limit.due.lock().expect("not poisoned").next.len(), CAPACITY);
        tokio::time::advance(Duration::from_mins(1)).await;
        assert!(limit.check(0).is_ok());
        assert_eq!(limit.due.lock().expect("not poisoned").next.len(), 1, "those of the past are forgotten");
    }

    #[test]
    fn a_client_is_an_ipv4_address_or_an_ipv6_network() {
        let of = |text: &str| client(text.parse().expect("an address")).to_string();
        assert_eq!((of("192.0.2.1"), of("::ffff:192.0.2.1")), ("192.0.2.1".into(), "192.0.2.1".into()));
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }
}
