//! The driver, played by named pipes: what is written to the one end of a pipe at a time is read from the other at a time.

use std::io;
use std::net::Ipv4Addr;
use std::os::windows::io::{AsRawHandle, BorrowedHandle};

use datadog_driver_sys::INBOUND;
use tokio::io::AsyncWriteExt;
use tokio::net::windows::named_pipe::NamedPipeServer;
use tokio::time::Instant;

use super::super::super::testing::{header, pipe, syn, told};
use super::super::packets::tests::read;
use super::*;

const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const TARGET: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

/// What has been asked of it, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    /// The handle with this number, counted from 0.
    Open(usize),
    Filter(usize, FilterBytes),
    Write(Vec<u8>),
}

#[derive(Default)]
struct Fake {
    state: Mutex<State>,
    /// Versions whose filters it refuses.
    refused: Vec<u8>,
}

#[derive(Default)]
struct State {
    asked: Vec<Asked>,
    /// Our ends, and what handles the others are.
    pipes: Vec<(Option<NamedPipeServer>, usize)>,
}

impl Fake {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has been asked since.
    fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state().asked)
    }

    /// Gives a packet to who reads from a handle.
    async fn give(&self, handle: usize, packet: &[u8]) {
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
        state.asked.push(Asked::Filter(number, *filter));
        Ok(())
    }

    fn write(&self, _: BorrowedHandle<'_>, packet: &[u8]) -> io::Result<()> {
        self.state().asked.push(Asked::Write(packet.to_vec()));
        Ok(())
    }
}

fn driver(fake: &Arc<Fake>) -> (Result<Arc<Driver>, TracerouteError>, Inbox, Clock) {
    let (clock, inbox) = (Clock::since(Instant::now()), Inbox::new());
    (Driver::of(Arc::clone(fake) as _, clock, inbox.clone()), inbox, clock)
}

/// A segment between the host, whose ports are the high ones, and the target.
fn segment(from: u16, to: u16) -> Vec<u8> {
    let (source, destination) = if from >= 40_000 { (HOST, TARGET) } else { (TARGET, HOST) };
    syn(&header(source, destination, protocol::TCP), from, to, 7)
}

fn flow(local: u16) -> Flow {
    Flow { local: (HOST, local).into(), remote: (TARGET, 443).into() }
}

fn target() -> Destination {
    Destination::routed(TARGET.into())
}

/// What a handle is opened with.
fn opened(number: usize, wanted: Wanted, version: u16) -> Vec<Asked> {
    let filters = filters(wanted, version).into_iter().map(|filter| Asked::Filter(number, filter));
    std::iter::once(Asked::Open(number)).chain(filters).collect()
}

fn of_flow(local: u16) -> Wanted {
    let Flow { local, remote } = flow(local);
    Wanted::Flow { local, remote }
}

#[tokio::test]
async fn icmp_is_captured_from_the_start() {
    let fake = Arc::new(Fake::default());
    let (driver, inbox, _) = driver(&fake);
    let _driver = driver.expect("it takes all filters");
    assert_eq!(fake.asked(), opened(0, Wanted::Icmp, 0x18));
    let mut source = inbox.source(Inbox::up_to_date);
    fake.give(0, &segment(443, 40_000)).await;
    let captured = told(&mut source).await.expect("a packet");
    assert_eq!(captured.datagram, segment(443, 40_000));
}

#[tokio::test]
async fn an_older_driver_is_asked_in_its_version_and_one_that_is_too_old_is_told_so() {
    let fake = Arc::new(Fake { refused: vec![0x18], ..Fake::default() });
    let (driver, ..) = driver(&fake);
    let driver = driver.expect("it takes the older ones");
    assert_eq!(fake.asked(), [vec![Asked::Open(0)], opened(1, Wanted::Icmp, 0x17)].concat());
    driver.admit(flow(40_000)).await.expect("it takes the older ones");
    assert_eq!(fake.asked(), opened(2, of_flow(40_000), 0x17));

    let fake = Arc::new(Fake { refused: vec![0x18, 0x17], ..Fake::default() });
    let (driver, ..) = self::driver(&fake);
    let error = driver.err().expect("it takes none").to_string();
    assert!(error.contains("asking it for packets") && error.contains("too old"), "{error}");
}

#[tokio::test]
async fn a_flow_is_captured_before_its_first_probe_and_until_its_port_is_free() {
    let fake = Arc::new(Fake::default());
    let (driver, _, clock) = driver(&fake);
    let driver = driver.expect("it takes all filters");
    let sink = DriverSink::open(clock, Arc::clone(&driver)).expect("it can be opened");
    fake.asked();
    let (first, second) = (segment(40_000, 443), segment(40_001, 443));
    sink.send(&first, target()).await.expect("sent");
    assert_eq!(fake.asked(), [opened(2, of_flow(40_000), 0x18), vec![Asked::Write(first.clone())]].concat());
    sink.send(&first, target()).await.expect("sent");
    assert_eq!(fake.asked(), [Asked::Write(first)]);
    sink.send(&second, target()).await.expect("sent");
    assert_eq!(fake.asked(), [opened(3, of_flow(40_001), 0x18), vec![Asked::Write(second)]].concat());
    driver.release(flow(40_000).local);
    assert_eq!(lock(&driver.flows).keys().copied().collect::<Vec<_>>(), [flow(40_001)]);
}

#[tokio::test]
async fn what_two_handles_bring_comes_once() {
    let fake = Arc::new(Fake::default());
    let (driver, inbox, _) = driver(&fake);
    let driver = driver.expect("it takes all filters");
    let mut source = inbox.source(Inbox::up_to_date);
    driver.admit(flow(40_000)).await.expect("asked");
    // While a connection is made from 40001, all of the target's segments are brought.
    let _target = driver.admit_target(flow(40_001)).await.expect("asked");
    driver.admit(flow(40_001)).await.expect("asked");
    let (flow_handle, target_handle) = (1, 2);
    fake.give(target_handle, &segment(443, 40_000)).await;
    fake.give(target_handle, &segment(443, 40_001)).await;
    fake.give(flow_handle, &segment(443, 40_000)).await;
    for port in [40_001, 40_000] {
        let captured = told(&mut source).await.expect("a packet");
        assert_eq!(captured.datagram, segment(443, port));
    }
    driver.asker().ask();
    assert!(told(&mut source).await.is_none(), "and no more");
}
