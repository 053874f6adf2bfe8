//! What a network needs of the host beside packets: routes, ports and connections.

use std::any::Any;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

use traceroute_core::{ConnectFailure, Destination, Protocol, TracerouteError};

/// Keeps a local port from being used by others while it lives.
pub type PortHold = Box<dyn Any + Send>;

/// A local port from which one connection can be made.
pub trait Connector: Send + Sync {
    /// Connects to `port` of `to`, with segments of this type of service or traffic class; the lower two bits are the
    /// system's (RFC 3168). Waits as long as the system does; dropping the future gives up.
    fn connect(self: Box<Self>, to: Destination, port: u16, traffic_class: u8) -> Connecting;
}

/// A connection being made.
pub type Connecting = Pin<Box<dyn Future<Output = Result<Connection, ConnectError>> + Send>>;

/// A connection. Dropping it resets it: not even its end reaches the application at the other side as data would.
pub type Connection = Box<dyn Any + Send>;

/// Why no connection was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// By the network or the target.
    Network(ConnectFailure),
    /// By this host.
    Host(TracerouteError),
}

/// Something to do on another thread.
pub type Job = Box<dyn FnOnce() + Send>;

/// The host's routing table and ports.
pub trait Host: Send + Sync {
    /// The address from which the host sends probes of `protocol` to `to`, and to that port where the protocol has
    /// ports.
    fn source_address(
        &self,
        protocol: Protocol,
        to: Destination,
        port: u16,
    ) -> Result<IpAddr, TracerouteError>;

    /// The index of the interface with this name or index (RFC 4007 section 11), `None` if there is none.
    fn interface_index(&self, zone: &str) -> Result<Option<u32>, TracerouteError>;

    /// Runs a job that may block on a thread of its own, inside the host's network namespace. Nobody waits for it.
    fn spawn(&self, job: Job) -> Result<(), TracerouteError>;

    /// Does a job that does not block, as making a socket, inside the host's network namespace before it returns. Where
    /// there are no namespaces it just does it.
    fn inside(&self, job: Job) -> Result<(), TracerouteError> {
        job();
        Ok(())
    }

    /// Takes a local port of `source` for probes to `to`; `None` if somebody else has it.
    fn hold_port(
        &self,
        protocol: Protocol,
        source: IpAddr,
        to: Destination,
        port: u16,
    ) -> Result<Option<PortHold>, TracerouteError>;

    /// Takes a local TCP port of `source` for one connection to `to`; `None` if somebody else has it.
    fn open_connector(
        &self,
        source: IpAddr,
        to: Destination,
        port: u16,
    ) -> Result<Option<Box<dyn Connector>>, TracerouteError>;
}
