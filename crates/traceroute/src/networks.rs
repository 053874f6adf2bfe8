//! The packet I/O of a tracer: what requests use that ask for nothing else, and what single ones ask for.

use std::num::NonZeroU16;
use std::sync::Arc;

use tokio::sync::OnceCell;
use traceroute_core::TracerouteError;
use traceroute_packets::{Access, Backend, Network, NetworkOptions};

/// The networks of a tracer, of which there is one for each [`Access`].
pub(crate) struct Networks {
    usual: Arc<Network>,
    /// Opened when the first request asks for it.
    driver: OnceCell<Network>,
    connections: OnceCell<Network>,
    first_port: Option<NonZeroU16>,
}

impl Networks {
    pub(crate) const fn new(usual: Arc<Network>, first_port: Option<NonZeroU16>) -> Self {
        Self { usual, driver: OnceCell::const_new(), connections: OnceCell::const_new(), first_port }
    }

    /// What requests use that ask for nothing else.
    pub(crate) const fn usual(&self) -> &Arc<Network> {
        &self.usual
    }

    /// What a request uses. A network that was put together by somebody else is the only one.
    pub(crate) async fn of(&self, access: Access) -> Result<&Network, TracerouteError> {
        let cell = match access {
            Access::Driver if self.usual.backend() != Backend::Assembled => &self.driver,
            Access::Connections if self.usual.backend() != Backend::Assembled => &self.connections,
            _ => return Ok(&self.usual),
        };
        let mut options = NetworkOptions::default();
        (options.access, options.first_port) = (access, self.first_port);
        // One that could not be opened is tried again by the next request.
        cell.get_or_try_init(|| Network::open(options)).await
    }

    /// Those that are open.
    pub(crate) fn open(&self) -> impl Iterator<Item = &Network> {
        [Some(&*self.usual), self.driver.get(), self.connections.get()].into_iter().flatten()
    }
}
