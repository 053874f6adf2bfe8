//! Ports and connections whose segments the driver captures.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use traceroute_core::{Destination, Protocol, TracerouteError};

use super::io::{Driver, Flow};
use crate::host::{ConnectError, Connecting, Connector, Host, Job, PortHold};
use crate::platform::here::Here;
use crate::platform::sockets::SocketHost;

/// The host's own ports and routes, and what the driver has to know of them.
pub(in super::super) struct DriverHost {
    sockets: SocketHost<Here>,
    driver: Arc<Driver>,
}

impl DriverHost {
    pub(in super::super) const fn new(sockets: SocketHost<Here>, driver: Arc<Driver>) -> Self {
        Self { sockets, driver }
    }

    fn release_on_drop(&self, source: IpAddr, port: u16) -> Release {
        Release { driver: Arc::clone(&self.driver), local: (source, port).into() }
    }
}

/// Ends the capture of a port's flows when it is dropped.
struct Release {
    driver: Arc<Driver>,
    local: SocketAddr,
}

impl Drop for Release {
    fn drop(&mut self) {
        self.driver.release(self.local);
    }
}

impl Host for DriverHost {
    fn source_address(
        &self,
        protocol: Protocol,
        to: Destination,
        port: u16,
    ) -> Result<IpAddr, TracerouteError> {
        self.sockets.source_address(protocol, to, port)
    }

    fn interface_index(&self, zone: &str) -> Result<Option<u32>, TracerouteError> {
        self.sockets.interface_index(zone)
    }

    fn spawn(&self, job: Job) -> Result<(), TracerouteError> {
        self.sockets.spawn(job)
    }

    fn hold_port(
        &self,
        protocol: Protocol,
        source: IpAddr,
        to: Destination,
        port: u16,
    ) -> Result<Option<PortHold>, TracerouteError> {
        let hold = self.sockets.hold_port(protocol, source, to, port)?;
        // A UDP run may have the port of a TCP run, whose flows are not its own.
        if protocol != Protocol::Tcp {
            return Ok(hold);
        }
        Ok(hold.map(|hold| -> PortHold { Box::new((self.release_on_drop(source, port), hold)) }))
    }

    fn open_connector(
        &self,
        source: IpAddr,
        to: Destination,
        port: u16,
    ) -> Result<Option<Box<dyn Connector>>, TracerouteError> {
        let connector = self.sockets.open_connector(source, to, port)?;
        Ok(connector.map(|connector| -> Box<dyn Connector> {
            Box::new(DriverConnector { release: self.release_on_drop(source, port), connector })
        }))
    }
}

/// A port from which a connection can be made that the driver shows.
struct DriverConnector {
    release: Release,
    connector: Box<dyn Connector>,
}

impl Connector for DriverConnector {
    fn connect(self: Box<Self>, to: Destination, port: u16, traffic_class: u8) -> Connecting {
        let Self { release, connector } = *self;
        Box::pin(async move {
            let flow = Flow { local: release.local, remote: (to.address, port).into() };
            let of_target = release.driver.admit_target(flow).await.map_err(ConnectError::Host)?;
            let connection = connector.connect(to, port, traffic_class).await?;
            // Its own handle is there before that of the target goes, so that nothing is missed.
            release.driver.admit(flow).await.map_err(ConnectError::Host)?;
            drop(of_target);
            Ok(Box::new((connection, release)) as _)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::filters::Wanted;
    use super::super::testing::{Asked, Fake, Meanwhile, TARGET, driver, flow, of_flow, opened, segment};
    use super::*;
    use crate::inbox::Inbox;
    use crate::platform::windows::testing::told;

    const PORT: u16 = 40_001;

    /// A connection that is made at once.
    struct AtOnce {
        fake: Arc<Fake>,
        /// What the driver has been asked before.
        asked_before: Arc<Mutex<Vec<Asked>>>,
    }

    impl Connector for AtOnce {
        fn connect(self: Box<Self>, _: Destination, _: u16, _: u8) -> Connecting {
            *self.asked_before.lock().expect("it is held for a line") = self.fake.asked();
            Box::pin(async { Ok(Box::new(()) as _) })
        }
    }

    #[tokio::test]
    async fn all_of_the_target_is_captured_from_before_a_connection_until_its_own_flow_is() {
        let (targets, flows) = (1, 2);
        let meanwhile = Meanwhile { asked: flows, given: targets, packet: segment(443, PORT) };
        let fake = Arc::new(Fake::giving(meanwhile));
        let (driver, inbox, _) = driver(&fake);
        let driver = driver.expect("it takes all filters");
        let mut source = inbox.source(Inbox::up_to_date);
        fake.asked();

        let asked_before = Arc::<Mutex<Vec<Asked>>>::default();
        let at_once = AtOnce { fake: Arc::clone(&fake), asked_before: Arc::clone(&asked_before) };
        let release = Release { driver: Arc::clone(&driver), local: flow(PORT).local };
        let connector = Box::new(DriverConnector { release, connector: Box::new(at_once) });
        let connecting = connector.connect(Destination::routed(TARGET.into()), 443, 0);
        let Ok(connection) = connecting.await else { panic!("it is made") };

        let of_target = Wanted::Target { remote: flow(PORT).remote };
        assert_eq!(*asked_before.lock().expect("nobody holds it"), opened(targets, of_target, 0x18));
        assert_eq!(fake.asked(), opened(flows, of_flow(PORT), 0x18));
        // Which came by the handle of the target when that of the flow was not there yet.
        assert_eq!(told(&mut source).await.expect("a packet").datagram, segment(443, PORT));

        drop(connection);
        driver.admit(flow(PORT)).await.expect("it takes all filters");
        assert_eq!(fake.asked(), opened(3, of_flow(PORT), 0x18), "its capture ended with the connection");
    }
}
