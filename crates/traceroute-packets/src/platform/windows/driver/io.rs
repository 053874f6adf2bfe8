//! Handles of the driver: opened with filters, read from, written to.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::windows::io::{AsHandle, OwnedHandle};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datadog_driver_sys::VERSIONS;
use tokio::task::spawn_blocking;
use traceroute_core::{Destination, Sink, Stamp, TracerouteError};
use traceroute_wire::{Datagram, QuotedTcp, protocol};
use tracing::debug;

use super::super::reader::{Asker, Handler, Opened, Reader, Reading, Role};
use super::super::sys::device::Operation;
use super::devices::{Ddnpm, Devices};
use super::filters::{FilterBytes, Wanted, filters};
use super::unavailable::Unavailable;
use super::{packets, service};
use crate::clock::Clock;
use crate::inbox::{Inbox, Packet};

/// How many reads are under way for the ICMP of the whole host, and for the segments of one flow: what may come before the thread
/// that reads is given a core.
const READS_ICMP: usize = 256;
const READS_FLOW: usize = 8;

/// The driver, running, with the handles that are read from.
pub(in super::super) struct Driver {
    devices: Arc<dyn Devices>,
    version: u16,
    reader: Reader,
    _icmp: Reading,
    flows: Arc<Mutex<Flows>>,
}

/// The flows that are captured.
type Flows = HashMap<Flow, Reading>;

/// A TCP flow as we send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flow {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
}

impl Driver {
    /// Starts the driver if it does not run, and captures ICMP from now on. That may take seconds.
    pub(in super::super) fn start(clock: Clock, inbox: Inbox) -> Result<Arc<Self>, TracerouteError> {
        service::start(&Ddnpm).map_err(|(step, error)| Unavailable::Service(step, error.into()))?;
        Self::of(Arc::new(Ddnpm), clock, inbox)
    }

    pub(super) fn of(
        devices: Arc<dyn Devices>,
        clock: Clock,
        inbox: Inbox,
    ) -> Result<Arc<Self>, TracerouteError> {
        let flows = Arc::<Mutex<Flows>>::default();
        let handler = DriverHandler { clock, inbox, flows: Arc::clone(&flows) };
        let reader = Reader::start(handler).map_err(|error| Unavailable::Reading(error.into()))?;
        let (version, icmp) = newest(|version| {
            read_from(&*devices, &reader, filters(Wanted::Icmp, version), READS_ICMP, Role::All)
        })?;
        debug!(version, "the driver's interface");
        Ok(Arc::new(Self { devices, version, reader, _icmp: icmp, flows }))
    }

    /// Who may ask whether all has been handled.
    pub(in super::super) fn asker(&self) -> Asker {
        self.reader.asker()
    }

    /// Captures the segments of a flow until its port is [released](Self::release).
    pub(super) async fn admit(self: &Arc<Self>, flow: Flow) -> Result<(), TracerouteError> {
        if lock(&self.flows).contains_key(&flow) {
            return Ok(());
        }
        let Flow { local, remote } = flow;
        let reading = self.ask(Wanted::Flow { remote, local }, Role::Part).await?;
        // Of two who asked at one time the second counts, and the first reading ends outside of the lock.
        let before = lock(&self.flows).insert(flow, reading);
        drop(before);
        Ok(())
    }

    /// Captures all segments from the target's port of a flow until what is returned is dropped; of other flows those are left out
    /// that are captured themselves.
    pub(super) async fn admit_target(self: &Arc<Self>, flow: Flow) -> Result<Reading, TracerouteError> {
        self.ask(Wanted::Target { remote: flow.remote }, Role::Rest(flow.local.port())).await
    }

    /// Asks the driver for packets, which may take its time.
    async fn ask(self: &Arc<Self>, wanted: Wanted, role: Role) -> Result<Reading, TracerouteError> {
        let driver = Arc::clone(self);
        let asked = spawn_blocking(move || {
            let filters = filters(wanted, driver.version);
            read_from(&*driver.devices, &driver.reader, filters, READS_FLOW, role)
        })
        .await;
        // One that was not carried out ends with the runtime.
        let asked = asked.map_err(|_| TracerouteError::CaptureEnded)?;
        Ok(asked?)
    }

    /// Captures no flow of a port any more.
    pub(super) fn release(&self, local: SocketAddr) {
        let released: Vec<_> = lock(&self.flows).extract_if(|flow, _| flow.local == local).collect();
        // Not while others wait for the lock.
        drop(released);
    }
}

fn lock(flows: &Mutex<Flows>) -> MutexGuard<'_, Flows> {
    flows.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What `open` makes of the newest version of the interface that the driver knows: an older driver refuses its filters.
fn newest<T>(mut open: impl FnMut(u16) -> Result<T, Unavailable>) -> Result<(u16, T), Unavailable> {
    let [newest, oldest] = VERSIONS;
    let mut open = |version| open(version).map(|opened| (version, opened));
    match open(newest) {
        Err(Unavailable::Filtering(_)) => open(oldest),
        opened => opened,
    }
}

fn read_from(
    devices: &dyn Devices,
    reader: &Reader,
    filters: Vec<FilterBytes>,
    reads: usize,
    role: Role,
) -> Result<Reading, Unavailable> {
    let handle = devices.open(Operation::Overlapped).map_err(|error| Unavailable::Opening(error.into()))?;
    for filter in filters {
        let added = devices.add_filter(handle.as_handle(), &filter);
        added.map_err(|error| Unavailable::Filtering(error.into()))?;
    }
    let began = reader.read_from(Opened::Device(handle), reads, role);
    began.map_err(|error| Unavailable::Reading(error.into()))
}

/// Puts what the driver gives into an inbox.
struct DriverHandler {
    clock: Clock,
    inbox: Inbox,
    flows: Arc<Mutex<Flows>>,
}

impl Handler for DriverHandler {
    fn packet(&mut self, role: Role, bytes: &[u8]) {
        let stamp = Stamp::user(self.clock.now());
        let Some(packet) = packets::parse(bytes) else {
            debug!(length = bytes.len(), "the driver gave what is no packet");
            return;
        };
        self.inbox.count_lost(packet.lost);
        if let Role::Rest(port) = role
            && let Some(flow) = received_flow(packet.datagram)
            && flow.local.port() != port
            && lock(&self.flows).contains_key(&flow)
        {
            // Its own handle brings it, too.
            return;
        }
        self.inbox.put(Packet { direction: packet.direction, stamp, datagram: packet.datagram.into() });
    }

    fn lost(&mut self) {
        self.inbox.count_lost(1);
    }

    fn up_to_date(&mut self) {
        self.inbox.up_to_date();
    }

    fn ended(&mut self) {
        self.inbox.close();
    }
}

/// Gives the driver packets to send.
pub(in super::super) struct DriverSink {
    clock: Clock,
    driver: Arc<Driver>,
    device: OwnedHandle,
}

impl DriverSink {
    pub(in super::super) fn open(clock: Clock, driver: Arc<Driver>) -> Result<Self, TracerouteError> {
        let device = driver.devices.open(Operation::Synchronous);
        let device = device.map_err(|error| Unavailable::Opening(error.into()))?;
        Ok(Self { clock, driver, device })
    }
}

impl Sink for DriverSink {
    async fn send(&self, datagram: &[u8], _: Destination) -> Result<Stamp, TracerouteError> {
        if let Some(flow) = tcp_flow(datagram) {
            self.driver.admit(flow).await?;
        }
        let stamp = Stamp::user(self.clock.now());
        let written = self.driver.devices.write(self.device.as_handle(), datagram);
        written.map_err(|error| Unavailable::Sending(error.into()))?;
        Ok(stamp)
    }
}

/// The flow of a TCP segment that was received.
fn received_flow(datagram: &[u8]) -> Option<Flow> {
    tcp_flow(datagram).map(|Flow { local, remote }| Flow { local: remote, remote: local })
}

/// The flow of a TCP segment that is sent.
fn tcp_flow(datagram: &[u8]) -> Option<Flow> {
    let parsed = Datagram::parse(datagram)?;
    if parsed.header.protocol != protocol::TCP {
        return None;
    }
    let segment = QuotedTcp::parse(parsed.payload)?;
    Some(Flow {
        local: (parsed.source(), segment.source_port).into(),
        remote: (parsed.destination(), segment.destination_port).into(),
    })
}

#[cfg(test)]
mod tests;
