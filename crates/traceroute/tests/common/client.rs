//! The host of a tracer in a network that is not real.

use std::net::{IpAddr, SocketAddr};

use traceroute::Protocol;
use traceroute_core::{ConnectFailure, Destination, Operation, TracerouteError};
use traceroute_packets::{ConnectError, Connecting, Connection, Connector, Host, Job, PortHold};
use traceroute_testnet::DualStack;
use traceroute_testnet::sim::Unreachable;
use traceroute_testnet::sim::virtual_time::{SimConnectError, SimTcp};

/// The client of a simulated network: it has all ports, and one route.
pub(crate) struct Client {
    pub(crate) addresses: DualStack,
    /// What makes its connections, if it can make any.
    pub(crate) tcp: Option<SimTcp>,
}

impl Client {
    pub(crate) const fn without_connections(addresses: DualStack) -> Self {
        Self { addresses, tcp: None }
    }
}

impl Host for Client {
    fn source_address(
        &self,
        _protocol: Protocol,
        to: Destination,
        _port: u16,
    ) -> Result<IpAddr, TracerouteError> {
        Ok(self.addresses.of_family(to.address))
    }

    fn interface_index(&self, _name: &str) -> Result<Option<u32>, TracerouteError> {
        Ok(None)
    }

    fn spawn(&self, job: Job) -> Result<(), TracerouteError> {
        std::thread::spawn(job);
        Ok(())
    }

    fn hold_port(
        &self,
        _protocol: Protocol,
        _source: IpAddr,
        _to: Destination,
        _port: u16,
    ) -> Result<Option<PortHold>, TracerouteError> {
        Ok(Some(Box::new(())))
    }

    fn open_connector(
        &self,
        source: IpAddr,
        _to: Destination,
        port: u16,
    ) -> Result<Option<Box<dyn Connector>>, TracerouteError> {
        let tcp = self.tcp.clone().ok_or(TracerouteError::Unsupported { operation: Operation::Connect })?;
        Ok(Some(Box::new(ClientPort { tcp, local: SocketAddr::new(source, port) })))
    }
}

/// A port of the client's, from which it connects once.
struct ClientPort {
    tcp: SimTcp,
    local: SocketAddr,
}

impl Connector for ClientPort {
    fn connect(self: Box<Self>, to: Destination, port: u16, _traffic_class: u8) -> Connecting {
        Box::pin(async move {
            let outcome = self.tcp.connect(self.local, SocketAddr::new(to.address, port)).await;
            outcome.map(|connection| -> Connection { Box::new(connection) }).map_err(|error| match error {
                SimConnectError::Refused => ConnectError::Network(ConnectFailure::Refused),
                SimConnectError::Unreachable(Unreachable::Network) => {
                    ConnectError::Network(ConnectFailure::NetworkUnreachable)
                }
                SimConnectError::Unreachable(_) => ConnectError::Network(ConnectFailure::HostUnreachable),
                other => panic!("a port that is lent once, of an address that is there: {other}"),
            })
        })
    }
}
