//! How much one client has at one time.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::rate::client;

/// Lets each client have so much at one time. It remembers only those who have something.
#[derive(Clone, Debug)]
pub(crate) struct Shares {
    most: usize,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// Something that a client has while this lives.
#[derive(Debug)]
pub(crate) struct Share {
    client: IpAddr,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Shares {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, taken: Arc::default() }
    }

    /// A share of the client at this address; `None` if it has as many as it may.
    pub(crate) fn take(&self, address: IpAddr) -> Option<Share> {
        let client = client(address);
        let mut taken = lock(&self.taken);
        let count = taken.entry(client).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Share { client, taken: Arc::clone(&self.taken) })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = lock(&self.taken).entry(self.client) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

fn lock(taken: &Mutex<HashMap<IpAddr, usize>>) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_no_more_than_its_share_and_others_have_theirs() {
        let shares = Shares::new(2);
        let take = |text: &str| shares.take(text.parse().expect("an address"));
        let (first, second) = (take("192.0.2.1"), take("::ffff:192.0.2.1"));
        assert!(first.is_some() && second.is_some() && take("192.0.2.1").is_none());
        let _other = take("192.0.2.2").expect("another client");
        drop(first);
        assert!(take("192.0.2.1").is_some());
        let _network = [take("2001:db8::1"), take("2001:db8::2")];
        assert!(take("2001:db8::3").is_none(), "a network is one client");
        drop(second);
        assert_eq!(lock(&shares.taken).len(), 2, "who has nothing is forgotten");
    }
}
