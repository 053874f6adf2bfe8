//! Names to addresses, by the system's resolver, without ever delaying anybody else.
//!
//! `getaddrinfo` blocks, cannot be cancelled, and takes as long as it likes. It therefore runs on threads of its own,
//! inside the tracer's network namespace, which nobody joins: a time-out gives up waiting, and the process may end
//! while they still ask.

use std::any::Any;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;
use traceroute_core::Family;
use traceroute_packets::Network;

use crate::error::Error;

/// How long a name may take. The system's resolver gives its first server 5 s before it asks the second.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many threads may ask at one time.
const THREADS: usize = 256;

/// Something that lives as long as the work for a request.
pub(crate) type Held = Arc<dyn Any + Send + Sync>;

#[derive(Clone, Debug)]
pub(crate) struct Resolver {
    threads: Arc<Semaphore>,
}

impl Resolver {
    pub(crate) fn new() -> Self {
        Self { threads: Arc::new(Semaphore::new(THREADS)) }
    }

    /// The first address of `name` in a family. `held` is kept until the system has answered, though nobody waits any more.
    pub(crate) async fn resolve(
        &self,
        network: &Network,
        name: &str,
        family: Family,
        held: Option<Held>,
    ) -> Result<IpAddr, Error> {
        let mut addresses = self.addresses(network, name, held).await?.into_iter();
        let found = addresses.find(|address| Family::of(*address) == family);
        found.ok_or_else(|| Error::NoAddress { name: name.to_owned(), family })
    }

    /// All addresses of `name`.
    pub(crate) async fn addresses(
        &self,
        network: &Network,
        name: &str,
        held: Option<Held>,
    ) -> Result<Vec<IpAddr>, Error> {
        let addresses = timeout(PATIENCE, self.ask(network, name, held))
            .await
            .map_err(|_| failed(name, format!("no answer within {} seconds", PATIENCE.as_secs())))??;
        addresses.map_err(|error| failed(name, reason(&error)))
    }

    async fn ask(
        &self,
        network: &Network,
        name: &str,
        held: Option<Held>,
    ) -> Result<io::Result<Vec<IpAddr>>, Error> {
        // The semaphore is never closed; without a permit the thread would only not be counted.
        let permit = Arc::clone(&self.threads).acquire_owned().await.ok();
        let (answer, addresses) = oneshot::channel();
        let host = name.to_owned();
        network.spawn(move || {
            let found = (host.as_str(), 0).to_socket_addrs();
            let found = found
                .map(|addresses| addresses.map(|address: SocketAddr| address.ip().to_canonical()).collect());
            drop((permit, held));
            // Nobody listens any more if the request has ended.
            answer.send(found).unwrap_or_default();
        })?;
        Ok(addresses.await.unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into())))
    }
}

fn failed(name: &str, reason: String) -> Error {
    Error::Resolve { name: name.to_owned(), reason }
}

/// The resolver's words without the standard library's preface.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.strip_prefix("failed to lookup address information: ").unwrap_or(&text).to_owned()
}
