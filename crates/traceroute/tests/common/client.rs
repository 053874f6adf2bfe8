//! The host of a tracer in a network that is not real.

use std::net::IpAddr;

use traceroute::Protocol;
use traceroute_core::{Destination, TracerouteError};
use traceroute_packets::{Host, Job, PortHold};

/// The client of a simulated network: it has all ports, and one route.
pub(crate) struct Client(pub(crate) traceroute_testnet::DualStack);

impl Host for Client {
    fn source_address(
        &self,
        _protocol: Protocol,
        to: Destination,
        _port: u16,
    ) -> Result<IpAddr, TracerouteError> {
        Ok(self.0.of_family(to.address))
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
}
