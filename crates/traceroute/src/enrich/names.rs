//! Names of addresses: looked up once each, kept for a while, never waited for longer than a few seconds.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::debug;

use super::cache::{Cache, NameCache};
use super::dns::Dns;
use super::sockets::Sockets;

/// Knows the names of addresses.
pub trait ReverseLookup: Send + Sync {
    /// All names of an address, as they are to be shown. Dropping the future gives up.
    fn names(&self, address: IpAddr) -> LookingUp<'_>;
}

/// Names being looked up.
pub type LookingUp<'a> = Pin<Box<dyn Future<Output = Result<Vec<String>, LookupError>> + Send + 'a>>;

/// Why there are no names. It is logged, and nobody's failure.
pub type LookupError = Box<dyn Error + Send + Sync>;

/// Who is asked for names.
#[derive(Clone, Default)]
pub enum NameSource {
    /// The hosts file and, for what is not in it, the name servers of the system. They are asked from inside of the tracer's
    /// network namespace; the configuration is the process's.
    #[default]
    System,
    /// These name servers, over UDP, and over TCP what is too long for that.
    Servers(Vec<SocketAddr>),
    /// Somebody else.
    Custom(Arc<dyn ReverseLookup>),
}

impl fmt::Debug for NameSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("System"),
            Self::Servers(servers) => f.debug_tuple("Servers").field(servers).finish(),
            Self::Custom(_) => f.write_str("Custom"),
        }
    }
}

/// How a tracer looks up names, for requests that ask for them.
#[derive(Clone, Debug)]
pub struct NameOptions {
    /// Who is asked.
    pub source: NameSource,
    /// How long a request waits for the names of an address, from when it learnt of that.
    pub patience: Duration,
    /// How many addresses are looked up at one time, of all requests together.
    pub at_once: usize,
    /// What is known already.
    pub cache: NameCache,
}

impl Default for NameOptions {
    /// The system's names within 5 seconds, 128 look-ups at one time, 65,536 addresses kept for an hour.
    fn default() -> Self {
        Self {
            source: NameSource::System,
            patience: Duration::from_secs(5),
            at_once: 128,
            cache: Cache::new(Duration::from_hours(1), 1 << 16),
        }
    }
}

/// Looks names up.
pub(crate) struct Names {
    source: Arc<dyn ReverseLookup>,
    patience: Duration,
    at_once: Semaphore,
    cache: NameCache,
}

impl Names {
    pub(super) fn new(options: NameOptions, sockets: Sockets) -> Self {
        let NameOptions { source, patience, at_once, cache } = options;
        Self {
            source: match source {
                NameSource::System => Arc::new(Dns::of_system(sockets)),
                NameSource::Servers(servers) => Arc::new(Dns::of_servers(sockets, servers)),
                NameSource::Custom(source) => source,
            },
            patience,
            at_once: Semaphore::new(at_once.clamp(1, Semaphore::MAX_PERMITS)),
            cache,
        }
    }

    /// The names of an address; none if they cannot be had in time.
    pub(super) async fn of(&self, address: IpAddr) -> Arc<[String]> {
        let looking_up = async {
            // The semaphore is never closed; without a permit the look-up would only not be counted.
            let _permit = self.at_once.acquire().await.ok();
            self.source.names(address).await.map(Arc::from)
        };
        match timeout(self.patience, self.cache.get(address, looking_up)).await {
            Ok(Ok(names)) => return names,
            Ok(Err(error)) => debug!(%address, %error, "no names"),
            Err(_) => debug!(%address, after = ?self.patience, "no names in time"),
        }
        Arc::default()
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").field("patience", &self.patience).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrich::PublicIpOptions;

    #[test]
    fn the_defaults_are_the_references() {
        let names = NameOptions::default();
        assert_eq!((names.patience, names.cache.keep()), (Duration::from_secs(5), Duration::from_hours(1)));
        let public_ip = PublicIpOptions::default();
        assert_eq!(
            (public_ip.patience, public_ip.cache.keep()),
            (Duration::from_secs(2), Duration::from_hours(2))
        );
        assert_eq!(public_ip.providers.len(), 5);
    }
}
