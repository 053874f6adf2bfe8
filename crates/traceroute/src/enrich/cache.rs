//! What has been looked up, for a while.

use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The names of addresses.
pub type NameCache = Cache<IpAddr, Arc<[String]>>;

/// This host's public address.
pub type PublicIpCache = Cache<(), Ipv4Addr>;

/// Keeps what has been looked up. Clones share what they keep, so that several tracers may, if they are in one network
/// namespace. It takes no memory before something is asked for.
#[derive(Clone)]
pub struct Cache<K, V> {
    keep: Duration,
    capacity: u64,
    entries: Arc<OnceLock<moka::future::Cache<K, V>>>,
}

impl<K, V> Cache<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// A cache that keeps at most `capacity` answers, each for the time `keep`; none if that is zero.
    #[must_use]
    pub fn new(keep: Duration, capacity: u64) -> Self {
        Self { keep, capacity, entries: Arc::default() }
    }

    /// How long an answer is kept.
    #[must_use]
    pub const fn keep(&self) -> Duration {
        self.keep
    }

    /// What is kept for `key`, or else what `look_up` gives; while somebody looks that up, others wait for the answer. If
    /// they give up, one of those who wait looks it up itself. Failures are not kept.
    pub(crate) async fn get<E: Send + Sync + 'static>(
        &self,
        key: K,
        look_up: impl Future<Output = Result<V, E>>,
    ) -> Result<V, Arc<E>> {
        let entries = self.entries.get_or_init(|| {
            moka::future::Cache::builder().time_to_live(self.keep).max_capacity(self.capacity).build()
        });
        entries.try_get_with(key, look_up).await
    }
}

impl<K, V> fmt::Debug for Cache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("keep", &self.keep)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}
