//! Routes and ports by ordinary sockets, and a device of the capture for every interface that a route leads through.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedSender;
use traceroute_core::{Destination, Operation, Protocol, TracerouteError};
use tracing::debug;

use super::capture::Link;
use super::device::BpfDevice;
use super::devices::OpenDevices;
use super::interfaces::{Interface, Interfaces, gather, on_the_way, refuse_broadcast, refuse_translation};
use super::sys;
use crate::filter::{FilterSpec, capture_filter};
use crate::host::{Connector, Host, Job, PortHold};
use crate::platform::errors::refused;
use crate::platform::here::Here;
use crate::platform::sockets::SocketHost;

/// Routes go by no port, and no socket connects to port 0: this is the discard service's (RFC 863).
const ANY_PORT: u16 = 9;

/// The routes and ports of this host, whose interfaces are captured on as soon as they are used.
#[derive(Debug)]
pub(super) struct DarwinHost {
    sockets: SocketHost<Here>,
    filter: FilterSpec,
    interfaces: Interfaces,
    capture: UnboundedSender<Link<BpfDevice>>,
    devices: Mutex<OpenDevices<BpfDevice>>,
    runtime: Handle,
}

impl DarwinHost {
    /// A host whose capture has the filter of `filter` with the base of each link, reads the links that are sent to `capture`,
    /// and knows the interfaces that routes are looked for with by `interfaces`.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub(super) fn new(
        filter: FilterSpec,
        interfaces: Interfaces,
        capture: UnboundedSender<Link<BpfDevice>>,
    ) -> Self {
        Self {
            sockets: SocketHost::new(Here, |socket| Box::new(socket)),
            filter,
            interfaces,
            capture,
            devices: Mutex::default(),
            runtime: Handle::current(),
        }
    }

    /// Captures on all interfaces that probes from `source` and their answers pass.
    fn capture_on_the_way(&self, source: IpAddr, to: Destination) -> Result<(), TracerouteError> {
        let interfaces = self.interfaces.now();
        let on_the_way = on_the_way(&interfaces, source, to);
        if on_the_way.is_empty() {
            return Err(TracerouteError::SourceAddressGone { source_address: source, target: to.address });
        }
        on_the_way.into_iter().try_for_each(|interface| self.capture_on(interface))
    }

    fn capture_on(&self, interface: &Interface) -> Result<(), TracerouteError> {
        // Held until the device is the capture's: no probe may go out before.
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        if devices.has(interface.index, BpfDevice::has_interface) {
            return Ok(());
        }
        let _runtime = self.runtime.enter();
        let opened = BpfDevice::open(&interface.name, |base| {
            capture_filter(&FilterSpec { base, ..self.filter.clone() })
        });
        let (device, settings) = opened.map_err(|reason| reason.error(&interface.name))?;
        debug!(interface = ?interface.name, ?settings, "capturing");
        let device = Arc::new(device);
        let link = Link::new(Arc::clone(&device), settings, interface.index, interface.loopback);
        self.capture.send(link).map_err(|_| TracerouteError::CaptureEnded)?;
        devices.add(interface.index, &device);
        Ok(())
    }
}

impl Host for DarwinHost {
    fn source_address(
        &self,
        protocol: Protocol,
        to: Destination,
        _port: u16,
    ) -> Result<IpAddr, TracerouteError> {
        let target = to.address;
        // The kernel would say that there is no route.
        if matches!(target, IpAddr::V6(v6) if v6.is_unicast_link_local()) && to.interface == 0 {
            return Err(TracerouteError::ScopeMissing { target });
        }
        let source = self.sockets.source_address(protocol, to, ANY_PORT)?;
        let entries = sys::interface_entries().map_err(|error| refused(Operation::FindRoute, &error))?;
        let interfaces = gather(entries);
        refuse_broadcast(&interfaces, to)?;
        refuse_translation(&interfaces, source, to)?;
        self.interfaces.are(interfaces.into());
        self.capture_on_the_way(source, to)?;
        Ok(source)
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
        self.sockets.hold_port(protocol, source, to, port)
    }

    fn open_connector(
        &self,
        source: IpAddr,
        to: Destination,
        port: u16,
    ) -> Result<Option<Box<dyn Connector>>, TracerouteError> {
        self.sockets.open_connector(source, to, port)
    }
}
