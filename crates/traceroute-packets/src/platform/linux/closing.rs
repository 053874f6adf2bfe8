//! Closing a packet socket without waiting for the kernel.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;

use socket2::{SockFilter, SockRef};
use tracing::debug;

use super::sys;

/// The packet sockets of a namespace, a line each (`packet_seq_ops`, packet(7)).
const PACKET_SOCKETS: &str = "/proc/thread-self/net/packet";

/// With so many packet sockets in a namespace, closing waits as it would without us: the kernel closes what it is left
/// with one after the other, and each costs every packet of the host some time until then.
const CROWDED: usize = 16;

/// Closes a packet socket, if it is asked to before the socket is closed and dropped after that.
///
/// Whoever closes the last descriptor of a packet socket waits for an RCU grace period, 5 to 20 ms (`packet_release` of
/// the kernel), and with it a program that ends or a thread that carries a runtime. So the socket is put under way in a
/// pair of Unix sockets, together with the receiving end of that pair. When all three are closed nobody can reach what is
/// under way, and the kernel's collector of such garbage closes it (`unix_gc`): from Linux 6.9 on in a worker, before
/// that in the same call, as without us.
#[derive(Debug)]
pub(super) struct BackgroundClose {
    sockets: Option<File>,
    pair: Option<(UnixDatagram, UnixDatagram)>,
}

impl BackgroundClose {
    /// For packet sockets of the calling thread's namespace.
    pub(super) fn new() -> Self {
        Self { sockets: File::open(PACKET_SOCKETS).ok(), pair: None }
    }

    /// Prepares for `socket` to be closed.
    pub(super) fn prepare(&mut self, socket: BorrowedFd<'_>) {
        match self.is_crowded() {
            Ok(true) => debug!("many packet sockets: closing the capture waits for the kernel"),
            Ok(false) => match send_away(socket) {
                Ok(pair) => self.pair = Some(pair),
                Err(error) => debug!(%error, "closing the capture waits for the kernel"),
            },
            Err(error) => debug!(%error, "closing the capture waits for the kernel"),
        }
    }

    fn is_crowded(&mut self) -> io::Result<bool> {
        let Some(sockets) = &mut self.sockets else { return Err(io::ErrorKind::NotFound.into()) };
        sockets.rewind()?;
        let mut lines = String::new();
        sockets.read_to_string(&mut lines)?;
        // The first line is the heading.
        Ok(lines.lines().count() > CROWDED)
    }
}

fn send_away(socket: BorrowedFd<'_>) -> io::Result<(UnixDatagram, UnixDatagram)> {
    // What it still captures nobody will read.
    const BPF_RETURN: u16 = 0x06;
    SockRef::from(&socket).attach_filter(&[SockFilter::new(BPF_RETURN, 0, 0, 0)])?;
    let (sender, receiver) = UnixDatagram::pair()?;
    sys::pass(sender.as_fd(), [receiver.as_fd(), socket])?;
    Ok((sender, receiver))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::MetadataExt;
    use std::thread;
    use std::time::{Duration, Instant};

    use socket2::{Domain, Socket, Type};

    use super::*;

    /// Whether the namespace has a packet socket with this inode, the last column.
    fn is_open(inode: &str) -> bool {
        let sockets = fs::read_to_string(PACKET_SOCKETS).expect("procfs");
        sockets.lines().any(|line| line.split_whitespace().last() == Some(inode))
    }

    #[test]
    fn the_descriptor_that_is_closed_is_not_the_last_one() {
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, None).expect("root");
        let file = format!("/proc/self/fd/{}", socket.as_raw_fd());
        let inode = fs::metadata(file).expect("procfs").ino().to_string();
        let mut closing = BackgroundClose::new();
        closing.prepare(socket.as_fd());
        drop(socket);
        assert!(is_open(&inode), "so nobody has waited for it to be closed");

        drop(closing);
        let started = Instant::now();
        while is_open(&inode) {
            assert!(started.elapsed() < Duration::from_secs(10), "and then the kernel closes it");
            thread::yield_now();
        }
    }
}
