//! Handles of the driver: opened with filters, read from, written to.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::windows::io::{AsHandle, OwnedHandle};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use datadog_driver_sys::{DATA_DEVICE, SERVICE, SET_DATA_FILTER, VERSIONS};
use tokio::task::spawn_blocking;
use traceroute_core::{Destination, Sink, Stamp, TracerouteError};
use traceroute_wire::{Datagram, QuotedTcp, protocol};
use tracing::debug;
use windows_sys::Win32::System::Services::SERVICE_RUNNING;

use super::super::reader::{Asker, Handler, Opened, Reader, Reading, Role};
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
        service::start(&Service).map_err(|(step, error)| Unavailable::Service(step, error.into()))?;
        let flows = Arc::<Mutex<Flows>>::default();
        let handler = DriverHandler { clock, inbox, flows: Arc::clone(&flows) };
        let reader = Reader::start(handler).map_err(|error| Unavailable::Reading(error.into()))?;
        let (version, icmp) =
            newest(|version| read_from(&reader, Wanted::Icmp, version, READS_ICMP, Role::All))?;
        debug!(version, "the driver's interface");
        Ok(Arc::new(Self { version, reader, _icmp: icmp, flows }))
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
        let asked =
            spawn_blocking(move || read_from(&driver.reader, wanted, driver.version, READS_FLOW, role)).await;
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

/// What `open` makes of the newest version of the interface that the driver knows; the error is that of the oldest.
fn newest<T>(mut open: impl FnMut(u16) -> Result<T, Unavailable>) -> Result<(u16, T), Unavailable> {
    let [newest, oldest] = VERSIONS;
    let mut open = |version| open(version).map(|opened| (version, opened));
    open(newest).or_else(|_| open(oldest))
}

fn read_from(
    reader: &Reader,
    wanted: Wanted,
    version: u16,
    reads: usize,
    role: Role,
) -> Result<Reading, Unavailable> {
    let handle = device::open(DATA_DEVICE, device::Operation::Overlapped)
        .map_err(|error| Unavailable::Opening(error.into()))?;
    for filter in filters(wanted, version) {
        let mut number = [0; size_of::<i64>()];
        device::control(handle.as_handle(), SET_DATA_FILTER, &filter, &mut number)
            .map_err(|error| Unavailable::Filtering(error.into()))?;
    }
    let began = reader.read_from(Opened::Device(handle), reads, role);
    began.map_err(|error| Unavailable::Reading(error.into()))
}

/// What of the driver's is not to be had, and why.
#[derive(Clone, Copy, Debug)]
enum Unavailable {
    Service(Step, Number),
    Opening(Number),
    Filtering(Number),
    Reading(Number),
}

/// The number of an error.
#[derive(Clone, Copy, Debug)]
struct Number(i32);

impl From<io::Error> for Number {
    fn from(error: io::Error) -> Self {
        // What has no number of the system's is found out here: `ERROR_TIMEOUT` and `ERROR_BROKEN_PIPE`.
        let ours = if error.kind() == io::ErrorKind::TimedOut { 1460 } else { 109 };
        Self(error.raw_os_error().unwrap_or(ours))
    }
}

impl From<Unavailable> for TracerouteError {
    fn from(unavailable: Unavailable) -> Self {
        let (step, Number(errno)) = match unavailable {
            Unavailable::Service(Step::Ask, errno) => ("asking for its service", errno),
            Unavailable::Service(Step::Enable, errno) => ("enabling its service", errno),
            Unavailable::Service(Step::Start, errno) => ("starting its service", errno),
            Unavailable::Opening(errno) => ("opening it", errno),
            Unavailable::Filtering(errno) => ("asking it for packets", errno),
            Unavailable::Reading(errno) => ("reading from it", errno),
        };
        let remedy = match unavailable {
            Unavailable::Filtering(_) => service::remedy_for_filters(errno),
            _ => service::remedy(errno),
        };
        Self::DriverUnavailable { step, errno, remedy }
    }
}

/// The driver's service, as the service control manager knows it.
struct Service;

impl ServiceControl for Service {
    fn state(&self) -> io::Result<State> {
        Ok(if services::state(SERVICE)? == SERVICE_RUNNING { State::Running } else { State::Other })
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

    fn pause(&self) {
        thread::sleep(Duration::from_millis(100));
    }
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
        let device = device::open(DATA_DEVICE, device::Operation::Synchronous)
            .map_err(|error| Unavailable::Opening(error.into()))?;
        Ok(Self { clock, driver, device })
    }
}

impl Sink for DriverSink {
    async fn send(&self, datagram: &[u8], to: Destination) -> Result<Stamp, TracerouteError> {
        if let Some(flow) = tcp_flow(datagram) {
            self.driver.admit(flow).await?;
        }
        let stamp = Stamp::user(self.clock.now());
        let written = device::write(self.device.as_handle(), datagram);
        written.map_err(|error| not_sent(&error, to.address, datagram.len()))?;
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
