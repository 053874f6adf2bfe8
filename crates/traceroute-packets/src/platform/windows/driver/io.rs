//! Handles of the driver: opened with filters, read from, written to.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::SocketAddr;
use std::os::windows::io::{AsHandle, OwnedHandle};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datadog_driver_sys::{DATA_DEVICE, SERVICE, SET_DATA_FILTER, VERSIONS};
use traceroute_core::{Destination, Sink, Stamp, TracerouteError};
use traceroute_wire::{Datagram, QuotedTcp, protocol};
use tracing::debug;

use super::super::reader::{Asker, Handler, Opened, Reader, Reading};
use super::super::sys::{device, services};
use super::filters::{Wanted, filters};
use super::packets;
use super::service::{self, ServiceControl, State, Step};
use crate::clock::Clock;
use crate::inbox::{Inbox, Packet};
use crate::platform::errors::not_sent;

/// How many reads are under way for the ICMP of the whole host, and for the segments of one flow: what may come before the thread
/// that reads is given a core.
const READS_ICMP: usize = 256;
const READS_FLOW: usize = 8;

/// The driver, running, with the handles that are read from.
pub(in super::super) struct Driver {
    version: u16,
    reader: Reader,
    _icmp: Reading,
    flows: Mutex<HashMap<Flow, Reading>>,
}

/// A TCP flow as we send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flow {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
}

impl Driver {
    /// Starts the driver if it does not run, and captures ICMP from now on.
    pub(in super::super) fn start(clock: Clock, inbox: Inbox) -> Result<Arc<Self>, TracerouteError> {
        service::start(&Service).map_err(|(step, error)| {
            let step = match step {
                Step::Ask => "asking for its service",
                Step::Enable => "enabling its service",
                Step::Start => "starting its service",
            };
            unavailable(step, &error)
        })?;
        let handler = DriverHandler { clock, inbox };
        let reader =
            Reader::start(handler).map_err(|error| unavailable("starting to read from it", &error))?;
        let (version, icmp) = newest(|version| read_from(&reader, Wanted::Icmp, version, READS_ICMP))
            .map_err(|error| unavailable("asking it for ICMP", &error))?;
        debug!(version, "the driver's interface");
        Ok(Arc::new(Self { version, reader, _icmp: icmp, flows: Mutex::default() }))
    }

    /// Who may ask whether all has been handled.
    pub(in super::super) fn asker(&self) -> Asker {
        self.reader.asker()
    }

    /// Captures the segments of a flow, and keeps them from this host's own stack, until its port is [released](Self::release).
    pub(super) fn admit(&self, flow: Flow) -> io::Result<()> {
        if let Entry::Vacant(place) = self.lock().entry(flow) {
            let Flow { local, remote } = flow;
            place.insert(self.read_from(Wanted::Flow { remote, local })?);
        }
        Ok(())
    }

    /// Captures all segments from a target's port until what is returned is dropped.
    pub(super) fn admit_target(&self, remote: SocketAddr) -> io::Result<Reading> {
        self.read_from(Wanted::Target { remote })
    }

    /// Captures no flow of a port any more.
    pub(super) fn release(&self, local: SocketAddr) {
        self.lock().retain(|flow, _| flow.local != local);
    }

    fn read_from(&self, wanted: Wanted) -> io::Result<Reading> {
        read_from(&self.reader, wanted, self.version, READS_FLOW)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Flow, Reading>> {
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What `open` makes of the newest version of the interface that the driver knows; the error is that of the oldest.
fn newest<T>(mut open: impl FnMut(u16) -> io::Result<T>) -> io::Result<(u16, T)> {
    let mut result = Err(io::ErrorKind::Unsupported.into());
    for version in VERSIONS {
        result = open(version).map(|opened| (version, opened));
        if result.is_ok() {
            break;
        }
    }
    result
}

fn read_from(reader: &Reader, wanted: Wanted, version: u16, reads: usize) -> io::Result<Reading> {
    let handle = device::open(DATA_DEVICE, device::Operation::Overlapped)?;
    for filter in filters(wanted, version) {
        let mut number = [0; size_of::<i64>()];
        device::control(handle.as_handle(), SET_DATA_FILTER, &filter, &mut number)?;
    }
    reader.read_from(Opened::Device(handle), reads)
}

fn unavailable(step: &'static str, error: &io::Error) -> TracerouteError {
    let errno = error.raw_os_error().unwrap_or_default();
    TracerouteError::DriverUnavailable { step, errno, remedy: service::remedy(errno) }
}

/// The driver's service, as the service control manager knows it.
struct Service;

impl ServiceControl for Service {
    fn state(&self) -> io::Result<State> {
        Ok(if services::is_running(SERVICE)? { State::Running } else { State::Other })
    }

    fn is_disabled(&self) -> io::Result<bool> {
        services::is_disabled(SERVICE)
    }

    fn enable(&self) -> io::Result<()> {
        services::enable(SERVICE)
    }

    fn start(&self) -> io::Result<()> {
        services::start(SERVICE)
    }
}

/// Puts what the driver gives into an inbox.
struct DriverHandler {
    clock: Clock,
    inbox: Inbox,
}

impl Handler for DriverHandler {
    fn packet(&mut self, bytes: &[u8]) {
        let stamp = Stamp::user(self.clock.now());
        let Some(packet) = packets::parse(bytes) else {
            debug!(length = bytes.len(), "the driver gave what is no packet");
            return;
        };
        self.inbox.count_lost(packet.lost);
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
        let device = device::open(DATA_DEVICE, device::Operation::Synchronous)
            .map_err(|error| unavailable("opening it to send", &error))?;
        Ok(Self { clock, driver, device })
    }
}

impl Sink for DriverSink {
    async fn send(&self, datagram: &[u8], to: Destination) -> Result<Stamp, TracerouteError> {
        if let Some(flow) = tcp_flow(datagram) {
            self.driver.admit(flow).map_err(|error| unavailable("asking it for a flow", &error))?;
        }
        let stamp = Stamp::user(self.clock.now());
        let written = device::write(self.device.as_handle(), datagram);
        written.map_err(|error| not_sent(&error, to.address, datagram.len()))?;
        Ok(stamp)
    }
}

/// The flow of a TCP segment.
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
