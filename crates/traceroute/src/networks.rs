//! The packet I/O of a tracer: what requests use that ask for nothing else, and what single ones ask for.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Mutex as AsyncMutex;
use traceroute_core::TracerouteError;
use traceroute_packets::{Access, Backend, Choice, Network, NetworkOptions, Technique};

/// The networks of a tracer.
pub(crate) struct Networks {
    usual: Arc<Network>,
    driver: Arc<OnDemand>,
    connections: Arc<OnDemand>,
    echo_requests: Arc<OnDemand>,
}

/// A network that is opened when the first request asks for it.
struct OnDemand {
    access: Access,
    first_port: Option<NonZeroU16>,
    opened: Mutex<Option<Arc<Network>>>,
    /// Held by who opens it.
    opening: AsyncMutex<()>,
}

/// What a request needs of a network.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// What it asks for.
    pub(crate) access: Access,
    pub(crate) technique: Technique,
    pub(crate) target: IpAddr,
    pub(crate) choices: Vec<Choice>,
}

/// By which access a request goes after all, where the usual network is of this backend and may have come to an end. One that
/// was put together by somebody else is the only one.
fn which(usual: Backend, has_ended: bool, echo_requests_are_offered: bool, wanted: &Wanted) -> Access {
    match (wanted.access, usual) {
        (_, Backend::Assembled) => Access::Usual,
        // Who may open raw sockets is not to see less than who may not.
        (Access::Usual, _)
            if echo_requests_are_offered
                && (usual.is_doubtful() || !wanted.is_possible(usual))
                && wanted.is_possible(Backend::EchoRequests) =>
        {
            Access::EchoRequests
        }
        // The driver was stopped, to be replaced perhaps.
        (Access::Usual | Access::Driver, Backend::Driver) if has_ended => Access::Driver,
        (Access::Usual, _)
        | (Access::Driver, Backend::Driver)
        | (Access::EchoRequests, Backend::EchoRequests) => Access::Usual,
        (asked_for, _) => asked_for,
    }
}

impl Wanted {
    /// Whether a backend can do all of it.
    fn is_possible(&self, backend: Backend) -> bool {
        let mut choices = self.choices.iter();
        backend.check(self.technique, self.target).is_ok()
            && choices.all(|choice| backend.check_choice(*choice, self.target).is_ok())
    }
}

impl Networks {
    pub(crate) fn new(usual: Arc<Network>, first_port: Option<NonZeroU16>) -> Self {
        let on_demand = |access| Arc::new(OnDemand::new(access, first_port));
        Self {
            usual,
            driver: on_demand(Access::Driver),
            connections: on_demand(Access::Connections),
            echo_requests: on_demand(Access::EchoRequests),
        }
    }

    /// What requests use that ask for nothing else.
    pub(crate) const fn usual(&self) -> &Arc<Network> {
        &self.usual
    }

    /// What a request uses, opened if nobody has used it before.
    pub(crate) async fn of(&self, wanted: &Wanted) -> Result<Arc<Network>, TracerouteError> {
        let offered = Access::EchoRequests.is_offered();
        let on_demand = match which(self.usual.backend(), self.usual.has_ended(), offered, wanted) {
            Access::Usual => return Ok(Arc::clone(&self.usual)),
            Access::Driver => &self.driver,
            Access::Connections => &self.connections,
            Access::EchoRequests => &self.echo_requests,
        };
        on_demand.get().await
    }

    /// Those that are open.
    pub(crate) fn open(&self) -> impl Iterator<Item = Arc<Network>> {
        let on_demand =
            [&self.driver, &self.connections, &self.echo_requests].map(|network| network.opened());
        std::iter::once(Arc::clone(&self.usual)).chain(on_demand.into_iter().flatten())
    }
}

impl OnDemand {
    fn new(access: Access, first_port: Option<NonZeroU16>) -> Self {
        Self { access, first_port, opened: Mutex::default(), opening: AsyncMutex::default() }
    }

    fn opened(&self) -> Option<Arc<Network>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The network, opened anew if it has come to an end, as when the driver is replaced by a newer one. Who gives up waiting leaves
    /// it to be opened for those who come later.
    async fn get(self: &Arc<Self>) -> Result<Arc<Network>, TracerouteError> {
        if let Some(network) = self.usable() {
            return Ok(network);
        }
        let this = Arc::clone(self);
        let opening = tokio::spawn(async move { this.open().await });
        // One that did not come to its end ended with the runtime.
        opening.await.map_err(|_| TracerouteError::CaptureEnded)?
    }

    fn usable(&self) -> Option<Arc<Network>> {
        self.opened().filter(|network| !network.has_ended())
    }

    /// Opens it, unless somebody else has done so meanwhile. One that could not be opened is tried again by the next request.
    async fn open(&self) -> Result<Arc<Network>, TracerouteError> {
        let _opening = self.opening.lock().await;
        if let Some(network) = self.usable() {
            return Ok(network);
        }
        let mut options = NetworkOptions::default();
        (options.access, options.first_port) = (self.access, self.first_port);
        let network = Arc::new(Network::open(options).await?);
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&network));
        Ok(network)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(access: Access, technique: Technique, target: &str, choices: &[Choice]) -> Wanted {
        let target = target.parse().expect("an address");
        Wanted { access, technique, target, choices: choices.into() }
    }

    /// What is used on Windows.
    fn on_windows(usual: Backend, wanted: &Wanted) -> Access {
        which(usual, false, true, wanted)
    }

    #[test]
    fn icmp_goes_by_echo_requests_where_they_can_do_it_and_raw_sockets_may_hear_nothing() {
        let (v4, v6) = ("192.0.2.1", "2001:db8::1");
        for (usual, technique, target, choices, expected) in [
            (Backend::RawSockets, Technique::Icmp, v4, &[][..], Access::EchoRequests),
            (Backend::RawSockets, Technique::Icmp, v6, &[], Access::EchoRequests),
            (Backend::RawSockets, Technique::Icmp, "fe80::1", &[Choice::Zone], Access::EchoRequests),
            (Backend::RawSockets, Technique::Icmp, v4, &[Choice::TrafficClass], Access::Usual),
            (Backend::RawSockets, Technique::Icmp, v6, &[Choice::TrafficClass], Access::Usual),
            (Backend::RawSockets, Technique::Udp, v4, &[], Access::Usual),
            (Backend::RawSockets, Technique::Syn, v4, &[], Access::Usual),
            (Backend::RawSockets, Technique::Udp, v6, &[], Access::Usual),
            (Backend::ClientRawSockets, Technique::Icmp, v4, &[], Access::EchoRequests),
            (Backend::ClientRawSockets, Technique::Icmp, v4, &[Choice::Interface], Access::Usual),
            (Backend::ClientRawSockets, Technique::Udp, v4, &[], Access::Usual),
            (Backend::EchoRequests, Technique::Udp, v4, &[], Access::Usual),
            (Backend::Driver, Technique::Icmp, v6, &[], Access::Usual),
            (Backend::Driver, Technique::Icmp, "fe80::1", &[Choice::Zone], Access::EchoRequests),
        ] {
            let wanted = wanted(Access::Usual, technique, target, choices);
            assert_eq!(on_windows(usual, &wanted), expected, "{usual:?} {wanted:?}");
        }
        let usual = wanted(Access::Usual, Technique::Icmp, v6, &[]);
        assert_eq!(which(Backend::RawSockets, false, false, &usual), Access::Usual, "they are not offered");
    }

    #[test]
    fn a_request_has_what_it_asks_for() {
        for (access, usual, expected) in [
            (Access::Driver, Backend::RawSockets, Access::Driver),
            (Access::Driver, Backend::EchoRequests, Access::Driver),
            (Access::Driver, Backend::Driver, Access::Usual),
            (Access::Connections, Backend::EchoRequests, Access::Connections),
            (Access::Connections, Backend::Driver, Access::Connections),
            (Access::EchoRequests, Backend::RawSockets, Access::EchoRequests),
            (Access::EchoRequests, Backend::EchoRequests, Access::Usual),
        ] {
            let wanted = wanted(access, Technique::Syn, "192.0.2.1", &[]);
            assert_eq!(on_windows(usual, &wanted), expected, "{access:?} {usual:?}");
            assert_eq!(on_windows(Backend::Assembled, &wanted), Access::Usual, "there is no other");
        }
    }

    #[test]
    fn a_driver_that_has_ended_is_opened_again() {
        for access in [Access::Usual, Access::Driver] {
            let wanted = wanted(access, Technique::Udp, "192.0.2.1", &[]);
            assert_eq!(which(Backend::Driver, true, true, &wanted), Access::Driver, "{access:?}");
            assert_eq!(
                which(Backend::RawSockets, true, true, &wanted) == Access::Driver,
                access == Access::Driver
            );
        }
    }
}
