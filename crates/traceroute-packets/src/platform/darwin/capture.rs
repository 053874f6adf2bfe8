//! The capture: the devices of all interfaces that are used, read as one.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use traceroute_core::{
    Captured, Direction, DropCounter, Operation, Source, Stamp, Timestamp, TracerouteError,
};
use tracing::debug;

use super::devices::Settings;
use super::interfaces::Interfaces;
use super::links;
use super::records::Record;
use crate::clock::{Behaviour, Clock};
use crate::filter::Base;
use crate::platform::stamps::{Stamps, came_after};

/// XNU slews the wall clock and leaves the time line alone, which is `mach_absolute_time`: by up to 500 millionths of frequency
/// (`MAXFREQ`) and up to 5,000 by which `adjtime` catches up more than a second (`ntp_update_second`,
/// `bsd/kern/kern_ntptime.c`). What the phase-locked loop adds is small where the clock is kept: 500 more. `clock_gettime` says
/// whole microseconds.
const WALL_CLOCK: Behaviour = Behaviour { slew: 6_000, resolution: Duration::from_micros(1) };
/// The interface of a device is gone: `ENXIO` of sys/errno.h.
const INTERFACE_GONE: i32 = 6;

/// Where records come from.
pub(super) trait Device: Send + Sync + 'static {
    /// Fills `buffer`, of the device's own length, with what has been captured; at least a byte. The task that asked last is
    /// woken.
    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>>;

    /// The same, but without waiting, also for the runtime to notice that there is something.
    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// How many packets did not fit the device's buffer, modulo 2^32.
    fn drops(&self) -> io::Result<u32>;
}

/// A device and what has been read from it.
#[derive(Debug)]
pub(super) struct Link<D> {
    device: Arc<D>,
    interface: u32,
    loopback: bool,
    base: Base,
    buffer: Box<[u8]>,
    /// The records in the buffer that nobody has looked at.
    unread: Range<usize>,
    /// A packet in the buffer that is to be returned.
    ready: Option<Ready>,
    drops: u32,
    /// Whether it may hold packets that came before somebody asked to be told that all were read.
    behind: bool,
}

/// A packet whose bytes are in the buffer.
#[derive(Clone, Debug)]
struct Ready {
    datagram: Range<usize>,
    stamp: Stamp,
    /// It is returned once for each.
    directions: &'static [Direction],
}

impl<D: Device> Link<D> {
    /// The device of an interface.
    pub(super) fn new(device: Arc<D>, settings: Settings, interface: u32, loopback: bool) -> Self {
        Self {
            device,
            interface,
            loopback,
            base: settings.base,
            buffer: vec![0; settings.buffer_length].into(),
            unread: 0..0,
            ready: None,
            drops: 0,
            behind: false,
        }
    }

    /// Finds the next packet among what has been read; whether there is one.
    fn find(&mut self, stamps: &mut Stamps, ours: &Interfaces) -> bool {
        while self.ready.is_none()
            && let Some(record) = Record::at(&self.buffer[..self.unread.end], self.unread.start)
        {
            self.unread.start = record.next;
            self.ready = links::datagram(self.base, record.packet).map(|datagram| Ready {
                stamp: stamps.stamp(record.stamp),
                directions: links::directions(&self.buffer[datagram.clone()], self.loopback, |address| {
                    ours.have(address)
                }),
                datagram,
            });
        }
        self.ready.is_some()
    }

    /// What a read has brought, and what was lost until then.
    fn take_in(&mut self, len: usize, lost: &DropCounter) {
        self.unread = 0..len.min(self.buffer.len());
        self.count_drops(lost);
    }

    fn count_drops(&mut self, lost: &DropCounter) {
        if let Ok(drops) = self.device.drops() {
            lost.add(drops.wrapping_sub(self.drops).into());
            self.drops = drops;
        }
    }

    /// The packet that is ready, in the next of its directions.
    fn hand_out(&mut self) -> Option<Captured<'_>> {
        let Ready { datagram, stamp, directions } = self.ready.take()?;
        let (&direction, rest) = directions.split_first()?;
        if !rest.is_empty() {
            self.ready = Some(Ready { datagram: datagram.clone(), stamp, directions: rest });
        }
        Some(Captured { direction, stamp, interface: self.interface, datagram: &self.buffer[datagram] })
    }
}

/// The packets of all interfaces that are used, as far as their filters admit them.
#[derive(Debug)]
pub(super) struct DarwinCapture<D> {
    arriving: UnboundedReceiver<Link<D>>,
    links: Vec<Link<D>>,
    /// The one that had the last packet.
    last: usize,
    ours: Interfaces,
    stamps: Stamps,
    lost: DropCounter,
    /// When somebody asked to be told that all packets until then were read.
    catching_up: Option<Timestamp>,
}

impl<D: Device> DarwinCapture<D> {
    /// Reads the links that come through `arriving`. What comes from an address that interfaces of `ours` have was sent by this host.
    pub(super) fn new(clock: Clock, ours: Interfaces, arriving: UnboundedReceiver<Link<D>>) -> Self {
        Self {
            arriving,
            links: Vec::new(),
            last: 0,
            ours,
            stamps: Stamps::new(clock, WALL_CLOCK),
            lost: DropCounter::default(),
            catching_up: None,
        }
    }

    /// Takes a link in; instead of an earlier one of its interface, which had gone.
    fn adopt(&mut self, link: Link<D>) {
        self.links.retain(|old| old.interface != link.interface);
        self.links.push(link);
    }

    /// Which link has a packet that is to be returned; `None` when all that had come before
    /// [`catch_up`](Source::catch_up) have been.
    async fn next(&mut self) -> io::Result<Option<usize>> {
        loop {
            if let Some(asked) = self.catching_up {
                let Some(at) = self.links.iter().position(|link| link.behind) else {
                    self.catching_up = None;
                    return Ok(None);
                };
                match self.read_now(at) {
                    Ok(Some(stamp)) if !came_after(stamp, asked) => return Ok(Some(at)),
                    Ok(_) => self.links[at].behind = false,
                    Err(error) => self.lose(at, error)?,
                }
                continue;
            }
            let mut in_turn = self.in_turn();
            let Self { links, stamps, ours, .. } = self;
            if let Some(at) = in_turn.find(|at| links[*at].find(stamps, ours)) {
                self.last = at;
                return Ok(Some(at));
            }
            match poll_fn(|cx| self.poll(cx)).await {
                Event::Link(link) => self.adopt(*link),
                Event::Read(at, Ok(len)) => self.links[at].take_in(len, &self.lost),
                Event::Read(at, Err(error)) => self.lose(at, error)?,
            }
        }
    }

    /// All links, the one after the last first: a flood on one must not keep others from being read.
    fn in_turn(&self) -> impl Iterator<Item = usize> + use<D> {
        let (last, count) = (self.last, self.links.len());
        (1..=count).map(move |step| (last + step) % count)
    }

    /// The stamp of the next packet of a link that is behind, where there is one already.
    fn read_now(&mut self, at: usize) -> io::Result<Option<Stamp>> {
        let Self { links, stamps, ours, lost, .. } = self;
        let link = &mut links[at];
        while !link.find(stamps, ours) {
            match link.device.try_read(&mut link.buffer) {
                Ok(len) => link.take_in(len, lost),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    link.count_drops(lost);
                    return Ok(None);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(link.ready.as_ref().map(|ready| ready.stamp))
    }

    /// Waits for a link, or for a device that has something to read. All buffers are read out.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event<D>> {
        // When the host is gone no links come any more, but those that are there stay.
        if let Poll::Ready(Some(link)) = self.arriving.poll_recv(cx) {
            return Poll::Ready(Event::Link(Box::new(link)));
        }
        for at in self.in_turn() {
            let link = &mut self.links[at];
            if let Poll::Ready(result) = link.device.poll_read(cx, &mut link.buffer) {
                return Poll::Ready(Event::Read(at, result));
            }
        }
        Poll::Pending
    }

    /// Goes on without a device whose interface is gone; any other error is one of the capture.
    fn lose(&mut self, at: usize, error: io::Error) -> io::Result<()> {
        if error.kind() == ErrorKind::Interrupted {
            return Ok(());
        }
        if error.raw_os_error() != Some(INTERFACE_GONE) {
            return Err(error);
        }
        let link = self.links.remove(at);
        debug!(interface = link.interface, "the interface is gone");
        Ok(())
    }
}

/// What the capture waits for.
enum Event<D> {
    Link(Box<Link<D>>),
    Read(usize, io::Result<usize>),
}

impl<D: Device> Source for DarwinCapture<D> {
    async fn recv(&mut self) -> Result<Option<Captured<'_>>, TracerouteError> {
        let next = self.next().await.map_err(|error| TracerouteError::System {
            operation: Operation::Capture,
            errno: error.raw_os_error().unwrap_or_default(),
        })?;
        Ok(next.and_then(|at| self.links[at].hand_out()))
    }

    fn catch_up(&mut self) {
        while let Ok(link) = self.arriving.try_recv() {
            self.adopt(link);
        }
        self.links.iter_mut().for_each(|link| link.behind = true);
        self.catching_up = Some(self.stamps.now());
    }

    fn drop_counter(&self) -> DropCounter {
        self.lost.clone()
    }
}

#[cfg(test)]
mod tests;
