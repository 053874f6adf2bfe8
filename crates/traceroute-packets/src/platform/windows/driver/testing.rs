//! The driver, played by named pipes: what is written to the one end of a pipe at a time is read from the other at a time.

use std::io;
use std::net::Ipv4Addr;
use std::os::windows::io::{AsRawHandle, BorrowedHandle, OwnedHandle};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datadog_driver_sys::INBOUND;
use tokio::io::AsyncWriteExt;
use tokio::net::windows::named_pipe::NamedPipeServer;
use tokio::runtime::Handle;
use tokio::time::Instant;
use traceroute_core::TracerouteError;
use traceroute_wire::protocol;

use super::devices::Devices;
use super::filters::{FilterBytes, Wanted, filters};
use super::io::{Driver, Flow};
use super::packets::tests::read;
use crate::clock::Clock;
use crate::inbox::Inbox;
use crate::platform::windows::sys::device::Operation;
use crate::platform::windows::testing::{header, pipe, syn};

pub(super) const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(super) const TARGET: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

/// What has been asked of it, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The handle with this number, counted from 0.
    Open(usize),
    Filter(usize, FilterBytes),
    Write(Vec<u8>),
}

#[derive(Default)]
pub(super) struct Fake {
    state: Mutex<State>,
    /// Versions whose filters it refuses.
    refused: Vec<u8>,
    /// What it gives by the handle of a number when it is asked for the first filter of another.
    meanwhile: Option<Meanwhile>,
}

/// A packet that is given when something is asked.
pub(super) struct Meanwhile {
    pub(super) asked: usize,
    pub(super) given: usize,
    pub(super) packet: Vec<u8>,
}

#[derive(Default)]
struct State {
    asked: Vec<Asked>,
    /// Our ends, and what handles the others are.
    pipes: Vec<(Option<NamedPipeServer>, usize)>,
}

impl Fake {
    pub(super) fn refusing(versions: &[u8]) -> Self {
        Self { refused: versions.into(), ..Self::default() }
    }

    pub(super) fn giving(meanwhile: Meanwhile) -> Self {
        Self { meanwhile: Some(meanwhile), ..Self::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has been asked since.
    pub(super) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state().asked)
    }

    /// Gives a packet to who reads from a handle.
    pub(super) async fn give(&self, handle: usize, packet: &[u8]) {
        let pipe = self.state().pipes[handle].0.take();
        let mut pipe = pipe.expect("nobody else gives it something");
        pipe.connect().await.expect("its other end is there");
        pipe.write_all(&read(0, INBOUND, packet.len() as u64, packet)).await.expect("it is read");
        self.state().pipes[handle].0 = Some(pipe);
    }
}

impl Devices for Fake {
    fn open(&self, operation: Operation) -> io::Result<OwnedHandle> {
        let mut state = self.state();
        let number = state.pipes.len();
        let (server, client) = pipe(&format!("driver-{self:p}-{number}"), operation)?;
        state.pipes.push((Some(server), client.as_raw_handle().addr()));
        state.asked.push(Asked::Open(number));
        Ok(client)
    }

    fn add_filter(&self, handle: BorrowedHandle<'_>, filter: &FilterBytes) -> io::Result<()> {
        if self.refused.contains(&filter[0]) {
            return Err(io::Error::from_raw_os_error(87));
        }
        let mut state = self.state();
        let handle = handle.as_raw_handle().addr();
        // A handle that was closed may have had the same number.
        let number = state.pipes.iter().rposition(|(_, known)| *known == handle).expect("it was opened");
        let is_first = state.asked.last() == Some(&Asked::Open(number));
        state.asked.push(Asked::Filter(number, *filter));
        drop(state);
        if let Some(Meanwhile { asked, given, packet }) = &self.meanwhile
            && is_first
            && number == *asked
        {
            Handle::current().block_on(self.give(*given, packet));
        }
        Ok(())
    }

    fn write(&self, _: BorrowedHandle<'_>, packet: &[u8]) -> io::Result<()> {
        self.state().asked.push(Asked::Write(packet.to_vec()));
        Ok(())
    }
}

/// A driver that is played, and where its packets come to.
pub(super) fn driver(fake: &Arc<Fake>) -> (Result<Arc<Driver>, TracerouteError>, Inbox, Clock) {
    let (clock, inbox) = (Clock::since(Instant::now()), Inbox::new());
    (Driver::of(Arc::clone(fake) as _, clock, inbox.clone()), inbox, clock)
}

/// A segment between the host, whose ports are the high ones, and the target.
pub(super) fn segment(from: u16, to: u16) -> Vec<u8> {
    let (source, destination) = if from >= 40_000 { (HOST, TARGET) } else { (TARGET, HOST) };
    syn(&header(source, destination, protocol::TCP), from, to, 7)
}

pub(super) fn flow(local: u16) -> Flow {
    Flow { local: (HOST, local).into(), remote: (TARGET, 443).into() }
}

/// What a handle is opened with.
pub(super) fn opened(number: usize, wanted: Wanted, version: u16) -> Vec<Asked> {
    let filters = filters(wanted, version).into_iter().map(|filter| Asked::Filter(number, filter));
    std::iter::once(Asked::Open(number)).chain(filters).collect()
}

pub(super) fn of_flow(local: u16) -> Wanted {
    let Flow { local, remote } = flow(local);
    Wanted::Flow { local, remote }
}
