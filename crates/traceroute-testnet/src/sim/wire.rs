//! The devices behind which a simulated network can be.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::Error;
use crate::kernel::Namespace;
use crate::sys::packet::PacketSocket;
use crate::sys::{interface, tun};

/// The client's hardware address; the far end's has 02 for its last byte.
const CLIENT_STATION: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// A stamp older than this says that the clock was set, not that the datagram waited.
const MAX_AGE: Duration = Duration::from_millis(100);

/// The engine's end of the client's device.
#[derive(Debug)]
pub(super) enum Wire {
    Veth {
        socket: PacketSocket,
        /// Keeps the far end in being.
        _far: Namespace,
    },
    Tun(File),
}

impl Wire {
    /// Makes a veth pair whose far end is in a namespace of its own, where no kernel answers.
    pub(super) fn veth(client: &Namespace, name: &str) -> Result<Self, Error> {
        let far = Namespace::new()?;
        far.sysctl(&[("net.ipv6.conf.default.disable_ipv6", "1")])?;
        client.ip(&format!(
            "link add {name} address 02:00:00:00:00:01 type veth peer name far address 02:00:00:00:00:02 netns {}\n\
             link set {name} arp off\n",
            far.path().display()
        ))?;
        far.ip("link set far up")?;
        client.disable_checksum_offload(name)?;
        let socket = far
            .run(|| {
                let socket = PacketSocket::open(interface::index("far")?)?;
                socket.enable_stamps()?;
                Ok(socket)
            })
            .map_err(Error::privileged("opening a packet socket"))?;
        Ok(Self::Veth { socket, _far: far })
    }

    /// Makes a TUN device.
    pub(super) fn tun(client: &Namespace, name: &str) -> Result<Self, Error> {
        client.run(|| tun::create(name)).map(Self::Tun).map_err(Error::privileged("making a TUN device"))
    }

    /// A datagram from the client and how long ago it was sent, or `None` when none is waiting.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, Duration)>> {
        match self {
            Self::Veth { socket, .. } => loop {
                let Some(received) = socket.receive(buffer)? else { return Ok(None) };
                if !received.is_ip() {
                    continue;
                }
                return Ok(Some((received.len, received.stamp.map_or(Duration::ZERO, age))));
            },
            Self::Tun(file) => match (&*file).read(buffer) {
                Ok(len) => Ok(Some((len, Duration::ZERO))),
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
                Err(error) => Err(error),
            },
        }
    }

    /// Delivers a datagram to the client.
    pub(super) fn send(&self, datagram: &[u8]) -> io::Result<()> {
        match self {
            Self::Veth { socket, .. } => socket.send(datagram, CLIENT_STATION),
            Self::Tun(file) => (&*file).write(datagram).map(drop),
        }
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Veth { socket, .. } => socket.as_fd(),
            Self::Tun(file) => file.as_fd(),
        }
    }
}

fn age(stamp: Duration) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.checked_sub(stamp).filter(|&age| age < MAX_AGE).unwrap_or_default()
}
