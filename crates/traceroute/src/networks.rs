//! The packet I/O of a tracer: what requests use that ask for nothing else, and what single ones ask for.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Mutex as AsyncMutex;
use traceroute_core::TracerouteError;
use traceroute_packets::{Access, Backend, Network, NetworkOptions, Technique};

/// The networks of a tracer, of which there is one for each [`Access`].
pub(crate) struct Networks {
    usual: Arc<Network>,
    driver: OnDemand,
    connections: OnDemand,
    echo_requests: OnDemand,
    first_port: Option<NonZeroU16>,
}

/// A network that is opened when the first request asks for it.
#[derive(Default)]
struct OnDemand {
    opened: Mutex<Option<Arc<Network>>>,
    /// Held by who opens it.
    opening: AsyncMutex<()>,
}

impl Networks {
    pub(crate) fn new(usual: Arc<Network>, first_port: Option<NonZeroU16>) -> Self {
        let [driver, connections, echo_requests] = [(); 3].map(|()| OnDemand::default());
        Self { usual, driver, connections, echo_requests, first_port }
    }

    /// What requests use that ask for nothing else.
    pub(crate) const fn usual(&self) -> &Arc<Network> {
        &self.usual
    }

    /// What a request uses that asks for this access, to probe an address by this technique. A network that was put together by
    /// somebody else is the only one.
    pub(crate) async fn of(
        &self,
        access: Access,
        technique: Technique,
        target: IpAddr,
    ) -> Result<Arc<Network>, TracerouteError> {
        let usual = self.usual.backend();
        let access = match access {
            // Who may open raw sockets is not to see less than who may not.
            Access::Usual
                if Access::EchoRequests.is_offered()
                    && usual.check(technique, target).is_err()
                    && Backend::EchoRequests.check(technique, target).is_ok() =>
            {
                Access::EchoRequests
            }
            access => access,
        };
        let network = match (access, usual) {
            // The driver was stopped, to be replaced perhaps.
            (Access::Usual | Access::Driver, Backend::Driver) if self.usual.has_ended() => &self.driver,
            (Access::Usual, _)
            | (_, Backend::Assembled)
            | (Access::Driver, Backend::Driver)
            | (Access::EchoRequests, Backend::EchoRequests) => return Ok(Arc::clone(&self.usual)),
            (Access::Driver, _) => &self.driver,
            (Access::Connections, _) => &self.connections,
            (Access::EchoRequests, _) => &self.echo_requests,
        };
        let access =
            if usual == Backend::Driver && access == Access::Usual { Access::Driver } else { access };
        network.get(access, self.first_port).await
    }

    /// Those that are open.
    pub(crate) fn open(&self) -> impl Iterator<Item = Arc<Network>> {
        let on_demand = [&self.driver, &self.connections, &self.echo_requests].map(OnDemand::opened);
        std::iter::once(Arc::clone(&self.usual)).chain(on_demand.into_iter().flatten())
    }
}

impl OnDemand {
    fn opened(&self) -> Option<Arc<Network>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The network, opened anew if it has come to an end, as when the driver is replaced by a newer one.
    async fn get(
        &self,
        access: Access,
        first_port: Option<NonZeroU16>,
    ) -> Result<Arc<Network>, TracerouteError> {
        let _opening = self.opening.lock().await;
        if let Some(network) = self.opened().filter(|network| !network.has_ended()) {
            return Ok(network);
        }
        let mut options = NetworkOptions::default();
        (options.access, options.first_port) = (access, first_port);
        // One that could not be opened is tried again by the next request.
        let network = Arc::new(Network::open(options).await?);
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&network));
        Ok(network)
    }
}
