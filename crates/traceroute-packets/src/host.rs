//! What a network needs of the host beside packets: routes and ports.

use std::any::Any;
use std::net::IpAddr;

use traceroute_core::{Destination, Protocol, TracerouteError};

/// Keeps a local port from being used by others while it lives.
pub type PortHold = Box<dyn Any + Send>;

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

    /// Takes a local port of `source` for probes to `to`; `None` if somebody else has it.
    fn hold_port(
        &self,
        protocol: Protocol,
        source: IpAddr,
        to: Destination,
        port: u16,
    ) -> Result<Option<PortHold>, TracerouteError>;
}
