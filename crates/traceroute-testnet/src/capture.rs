//! What really went over an interface, by the kernel's own stamps.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use traceroute_core::Direction;

use crate::error::Error;
use crate::kernel::Namespace;
use crate::sys::packet::{self, PacketSocket};
use crate::sys::{interface, poll};

const STAMPED_WITHIN: Duration = Duration::from_secs(5);
const BUFFER: usize = 1 << 16;

/// A running capture of an interface's IP datagrams.
///
/// ```no_run
/// # use traceroute_testnet::{Capture, kernel::Chain};
/// let chain = Chain::builder().routers(2).build()?;
/// let capture = Capture::start(chain.router(1), "left")?;
/// // ... trace ...
/// for packet in capture.stop()? {
///     println!("{:?} {:?} {:?}", packet.at, packet.direction, packet.datagram);
/// }
/// # Ok::<(), traceroute_testnet::Error>(())
/// ```
#[derive(Debug)]
pub struct Capture {
    stop: UnixStream,
    reader: JoinHandle<io::Result<Vec<CapturedPacket>>>,
}

/// A captured datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapturedPacket {
    /// Which way it went, seen from the namespace.
    pub direction: Direction,
    /// When it passed, by the kernel's wall clock.
    pub at: SystemTime,
    /// The datagram from its IP header on.
    pub datagram: Vec<u8>,
}

impl Capture {
    /// Starts to capture. All that passes from now on is captured, and stamped by the kernel.
    pub fn start(namespace: &Namespace, interface: &str) -> Result<Self, Error> {
        Self::start_reading(namespace, interface, Reading::AtOnce)
    }

    /// Starts to capture the few hundred packets for which the kernel has room, and reads them when it is stopped: waking a
    /// reader would delay each packet by a microsecond after it was stamped.
    pub fn start_unread(namespace: &Namespace, interface: &str) -> Result<Self, Error> {
        Self::start_reading(namespace, interface, Reading::AtTheEnd)
    }

    fn start_reading(namespace: &Namespace, interface: &str, reading: Reading) -> Result<Self, Error> {
        let socket = namespace
            .run(|| {
                let index = interface::index(interface)?;
                // Kept until the capture itself asks for stamps, lest the kernel switches them off in between.
                let _stamped = await_stamps()?;
                let socket = PacketSocket::open(index)?;
                socket.enable_stamps()?;
                Ok(socket)
            })
            .map_err(Error::privileged("capturing packets"))?;
        let (stop, stopped) = UnixStream::pair().map_err(Error::system("making a socket pair"))?;
        let reader = thread::Builder::new()
            .name("capture".to_owned())
            .spawn(move || read(&socket, &stopped, reading))
            .map_err(Error::system("starting a thread"))?;
        Ok(Self { stop, reader })
    }

    /// Ends the capture and returns all that passed.
    pub fn stop(self) -> Result<Vec<CapturedPacket>, Error> {
        drop(self.stop);
        let outcome = self.reader.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload));
        outcome.map_err(Error::system("capturing packets"))
    }
}

/// When captured packets are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    AtOnce,
    AtTheEnd,
}

fn read(socket: &PacketSocket, stopped: &UnixStream, reading: Reading) -> io::Result<Vec<CapturedPacket>> {
    let mut packets = Vec::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        let waited_for = match reading {
            Reading::AtOnce => socket.as_fd(),
            Reading::AtTheEnd => stopped.as_fd(),
        };
        let [_, ended] = poll::wait_readable([waited_for, stopped.as_fd()], None)?;
        while let Some(received) = socket.receive(&mut buffer)? {
            if !received.is_ip() {
                continue;
            }
            let stamp =
                received.stamp.ok_or_else(|| io::Error::other("a packet without the kernel's stamp"))?;
            packets.push(CapturedPacket {
                direction: if received.outgoing { Direction::Sent } else { Direction::Received },
                at: UNIX_EPOCH + stamp,
                datagram: buffer[..received.len].to_vec(),
            });
        }
        if ended {
            return match socket.take_drops()? {
                0 => Ok(packets),
                drops => Err(io::Error::other(format!("{drops} packets were not read in time"))),
            };
        }
    }
}

/// Waits until the kernel stamps packets, which it does as long as the socket lives: a deferred job switches stamping on.
fn await_stamps() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    packet::enable_stamps(socket.as_fd())?;
    let start = Instant::now();
    while start.elapsed() < STAMPED_WITHIN {
        socket.send_to(b"stamped?", socket.local_addr()?)?;
        if let Some((_, Some(_))) = packet::receive_stamped(socket.as_fd(), &mut [0; 16], None)? {
            return Ok(socket);
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "the kernel does not stamp packets"))
}
