//! The capture: a packet socket that sees every interface.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use socket2::{Domain, SockFilter, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep};
use traceroute_core::{
    Captured, Direction, DropCounter, Operation, Source, Stamp, Timestamp, TracerouteError,
};
use traceroute_wire::bpf::Program;
use tracing::{debug, warn};

use super::closing::BackgroundClose;
use super::namespace::Namespace;
use super::sys;
use super::sys::Received;
use crate::clock::{Behaviour, Clock};
use crate::platform::errors::refused;
use crate::platform::sockets::Place;
use crate::platform::stamps::{Stamps, came_after};
use crate::platform::unix;

/// The longest packet kept whole: the filter's snap length is not above.
const BUFFER_LEN: usize = 2048;
/// Room for the answers of a thousand runs that come all at once, a kilobyte each with the kernel's accounting.
const RECEIVE_BUFFER: usize = 8 << 20;
/// Linux slews the monotonic clock as it does the wall clock (`clock_gettime(2)`).
const WALL_CLOCK: Behaviour = Behaviour { slew: 0, resolution: Duration::ZERO };

/// The packets of a network namespace that its filter admits.
#[derive(Debug)]
pub(super) struct LinuxCapture {
    socket: AsyncFd<OwnedFd>,
    stamps: Stamps,
    buffer: Box<[u8; BUFFER_LEN]>,
    drops: DropCounter,
    /// When somebody asked to be told that all packets until then were read.
    catching_up: Option<Timestamp>,
    /// A packet in the buffer that came after that.
    kept: Option<Seen>,
    /// After the socket: fields are dropped in this order.
    closing: BackgroundClose,
}

/// A packet whose bytes are in the buffer.
#[derive(Clone, Copy, Debug)]
struct Seen {
    direction: Direction,
    stamp: Stamp,
    interface: u32,
    len: usize,
}

impl Seen {
    /// `None` for a packet that is neither ours nor for us.
    const fn of(received: &Received, stamp: Stamp) -> Option<Self> {
        let direction = match received.packet_type {
            libc::PACKET_OUTGOING => Direction::Sent,
            libc::PACKET_HOST => Direction::Received,
            _ => return None,
        };
        Some(Self { direction, stamp, interface: received.interface, len: received.len })
    }
}

impl LinuxCapture {
    pub(super) fn open(
        clock: Clock,
        namespace: &Namespace,
        filter: &Program,
        prepared: Option<Socket>,
    ) -> Result<Self, TracerouteError> {
        let filter: Vec<SockFilter> =
            filter.instructions().iter().map(|i| SockFilter::new(i.code, i.jt, i.jf, i.k)).collect();
        let (socket, closing) = namespace
            .run(move || {
                let socket = prepared.map_or_else(prepare_socket, Ok)?;
                Ok((begin(socket, &filter)?, BackgroundClose::new()))
            })?
            .map_err(|error: io::Error| refused(Operation::Capture, &error))?;
        Ok(Self {
            socket: unix::register(socket, Interest::READABLE)
                .map_err(|error| refused(Operation::Capture, &error))?,
            stamps: Stamps::new(clock, WALL_CLOCK),
            buffer: Box::new([0; BUFFER_LEN]),
            drops: DropCounter::default(),
            catching_up: None,
            kept: None,
            closing,
        })
    }

    /// Waits until the kernel stamps packets.
    ///
    /// It switches stamping on by a deferred job (`net_enable_timestamp` in net/core/dev.c), so the first packets after
    /// the socket option would carry none. Packets of our own over loopback show when it is done: a few
    /// milliseconds, unless somebody else on the host has had it on all along. Where loopback is down, that wait is all
    /// that can be done.
    pub(super) async fn await_stamps(&mut self, namespace: &Namespace, ports: &RangeInclusive<u16>) {
        const LIMIT: Duration = Duration::from_millis(20);
        let ports = ports.clone();
        let beacon = namespace.run(move || loopback_beacon(ports)).ok().flatten();
        let started = Instant::now();
        while let Some(beacon) = &beacon {
            if beacon.send(&[]).is_err() || started.elapsed() > LIMIT {
                break;
            }
            // Loopback delivers before the call returns.
            while let Ok(received) = sys::receive(self.socket.get_ref().as_fd(), &mut self.buffer[..]) {
                if received.stamp.is_some() {
                    debug!(after = ?started.elapsed(), "the kernel stamps packets");
                    return;
                }
            }
            sleep(Duration::from_millis(1)).await;
        }
        sleep(LIMIT).await;
        debug!("no stamped packet seen on loopback");
    }

    fn count_drops(&mut self) {
        if let Ok(drops) = sys::packet_drops(self.socket.get_ref().as_fd()) {
            self.drops.add(drops.into());
        }
    }

    /// The next packet; `None` when all that had come before [`catch_up`](Source::catch_up) have been returned.
    async fn next(&mut self) -> io::Result<Option<Seen>> {
        if let Some(seen) = self.kept.take() {
            return Ok(Some(seen));
        }
        loop {
            let result = if self.catching_up.is_some() {
                // The runtime may not have noticed yet that there is something to read.
                sys::receive(self.socket.get_ref().as_fd(), &mut self.buffer[..])
            } else {
                // No system call as long as the socket is not known to be empty.
                let mut ready = self.socket.readable().await?;
                let result = sys::receive(self.socket.get_ref().as_fd(), &mut self.buffer[..]);
                if result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
                    ready.clear_ready();
                }
                result
            };
            match result {
                Ok(received) => {
                    let stamp = self.stamps.stamp(received.stamp);
                    let seen = Seen::of(&received, stamp);
                    if self.catching_up.take_if(|asked| came_after(stamp, *asked)).is_some() {
                        self.kept = seen;
                        return Ok(None);
                    }
                    if seen.is_some() {
                        return Ok(seen);
                    }
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => {
                        self.count_drops();
                        if self.catching_up.take().is_some() {
                            return Ok(None);
                        }
                    }
                    // An interface that went down, or a signal.
                    Some(libc::ENETDOWN | libc::EINTR) => {}
                    // What the kernel could not hand out this time is lost, but no end of the capture.
                    Some(libc::ENOMEM | libc::ENOBUFS) => self.drops.add(1),
                    _ => return Err(error),
                },
            }
        }
    }
}

impl Drop for LinuxCapture {
    fn drop(&mut self) {
        self.closing.prepare(self.socket.get_ref().as_fd());
    }
}

impl Source for LinuxCapture {
    async fn recv(&mut self) -> Result<Option<Captured<'_>>, TracerouteError> {
        let next = self.next().await.map_err(|error| refused(Operation::Capture, &error))?;
        Ok(next.map(|Seen { direction, stamp, interface, len }| Captured {
            direction,
            stamp,
            interface,
            datagram: &self.buffer[..len],
        }))
    }

    fn catch_up(&mut self) {
        self.catching_up = Some(self.stamps.now());
    }

    fn drop_counter(&self) -> DropCounter {
        self.drops.clone()
    }
}

/// A socket that captures nothing: of protocol 0, and not bound.
pub(super) fn prepare_socket() -> io::Result<Socket> {
    let socket = Socket::new(Domain::PACKET, Type::DGRAM, None)?;
    enlarge_buffer(&socket);
    Ok(socket)
}

/// Nothing arrives before the filter is in place and the socket is bound.
fn begin(socket: Socket, filter: &[SockFilter]) -> io::Result<OwnedFd> {
    warn_of_small_buffer(&socket);
    socket.set_nonblocking(true)?;
    socket.attach_filter(filter)?;
    let stamps = libc::SOF_TIMESTAMPING_RX_SOFTWARE | libc::SOF_TIMESTAMPING_SOFTWARE;
    unix::set_option(
        socket.as_fd(),
        libc::SOL_SOCKET,
        libc::SO_TIMESTAMPING,
        [libc::c_int::try_from(stamps).unwrap_or_default()],
    )?;
    sys::bind_to_all(socket.as_fd())?;
    Ok(socket.into())
}

/// As large as we may make it: beyond the host's limit only with `CAP_NET_ADMIN`.
fn enlarge_buffer(socket: &Socket) {
    let size = libc::c_int::try_from(RECEIVE_BUFFER).unwrap_or(libc::c_int::MAX);
    let enlarged = unix::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, [size])
        .or_else(|_| socket.set_recv_buffer_size(RECEIVE_BUFFER));
    if let Err(error) = enlarged {
        debug!(%error, "the capture keeps its default buffer");
    }
}

/// Says if the buffer is not as large as it is to be.
fn warn_of_small_buffer(socket: &Socket) {
    // The kernel says twice as much as it was asked for (socket(7)).
    let bytes = socket.recv_buffer_size().unwrap_or_default() / 2;
    if bytes < RECEIVE_BUFFER {
        warn!(
            bytes,
            wanted = RECEIVE_BUFFER,
            "the capture's buffer is small: of many traces at one time answers may be lost; \
             `sysctl net.core.rmem_max` shows and raises the limit, or run with CAP_NET_ADMIN"
        );
    }
}

/// A loopback socket connected to itself, on a port that the filter admits.
fn loopback_beacon(ports: RangeInclusive<u16>) -> Option<UdpSocket> {
    let socket =
        ports.into_iter().take(64).find_map(|port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).ok())?;
    socket.connect(socket.local_addr().ok()?).ok()?;
    Some(socket)
}
