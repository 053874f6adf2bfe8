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
    /// The address from which the host sends to `to`.
    fn source_address(&self, to: Destination) -> Result<IpAddr, TracerouteError>;

    /// The index of the interface with this name or index (RFC 4007 section 11), `None` if there is none.
    fn interface_index(&self, zone: &str) -> Result<Option<u32>, TracerouteError>;

    /// Runs a job that may block on a thread of its own, inside the host's network namespace. Nobody waits for it.
    fn spawn(&self, job: Job) -> Result<(), TracerouteError>;

    /// Takes a local port of `source` for ourselves; `None` if somebody else has it. `scope_id` is the interface of a
    /// link-local source, otherwise 0.
    fn hold_port(
        &self,
        protocol: Protocol,
        source: IpAddr,
        scope_id: u32,
        port: u16,
    ) -> Result<Option<PortHold>, TracerouteError>;
}
