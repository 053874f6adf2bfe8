//! A TCP server that says what its applications receive.

use std::io::{self, Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::Namespace;
use crate::error::Error;
use crate::sys;

/// How long connections are waited for that should have ended.
const ENDED_WITHIN: Duration = Duration::from_secs(10);
/// How many connections may wait to be accepted: Linux allows no more unless told to. The standard library's 128 are not
/// enough for two hundred at once, and the SYN of one that finds no room comes again only after a second.
const BACKLOG: i32 = 4096;

/// A server on a port of both families. It reads from each connection until that ends.
#[derive(Debug)]
pub struct TcpServer {
    listener: TcpListener,
    seen: Arc<Seen>,
    acceptor: Option<JoinHandle<()>>,
}

/// What a server has seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpCounts {
    /// Connections accepted.
    pub accepted: usize,
    /// Connections that have ended.
    pub ended: usize,
    /// Those of them that were reset.
    pub reset: usize,
    /// Bytes received by all applications together.
    pub received: usize,
}

#[derive(Debug, Default)]
struct Seen {
    counts: Mutex<TcpCounts>,
    ended: Condvar,
}

impl Seen {
    fn counts(&self) -> MutexGuard<'_, TcpCounts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TcpServer {
    /// A server that only reads.
    pub fn listen(namespace: &Namespace, port: u16) -> Result<Self, Error> {
        Self::speaking(namespace, port, &[])
    }

    /// A server that sends `banner` to whoever connects, and then reads.
    pub fn speaking(namespace: &Namespace, port: u16, banner: &'static [u8]) -> Result<Self, Error> {
        let bind = || {
            let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))?;
            sys::set_backlog(listener.as_fd(), BACKLOG)?;
            Ok((listener.try_clone()?, listener))
        };
        let (accepting, listener) = namespace.run(bind).map_err(Error::system("listening"))?;
        let seen = Arc::<Seen>::default();
        let acceptor = {
            let seen = Arc::clone(&seen);
            thread::spawn(move || {
                // The first error says that the listener was shut down.
                while let Ok((connection, _)) = accepting.accept() {
                    seen.counts().accepted += 1;
                    let seen = Arc::clone(&seen);
                    thread::spawn(move || serve(connection, banner, &seen));
                }
            })
        };
        Ok(Self { listener, seen, acceptor: Some(acceptor) })
    }

    /// What it has seen so far.
    #[must_use]
    pub fn counts(&self) -> TcpCounts {
        *self.seen.counts()
    }

    /// Waits until so many connections have ended, and says what it has seen then.
    pub fn await_ended(&self, connections: usize) -> Result<TcpCounts, Error> {
        let fewer = |counts: &mut TcpCounts| counts.ended < connections;
        let waited = self.seen.ended.wait_timeout_while(self.seen.counts(), ENDED_WITHIN, fewer);
        let (counts, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() {
            let what = format!("{connections} connections have not ended: {:?}", *counts);
            return Err(Error::NotReady { what, waited: ENDED_WITHIN });
        }
        Ok(*counts)
    }
}

impl Drop for TcpServer {
    fn drop(&mut self) {
        // An error means that it is shut down already; a panic of the acceptor has been told.
        let _ = sys::shut_down(self.listener.as_fd());
        let _ = self.acceptor.take().map(JoinHandle::join);
    }
}

fn serve(mut connection: TcpStream, banner: &[u8], seen: &Seen) {
    let ending = converse(&mut connection, banner, seen).err();
    let mut counts = seen.counts();
    counts.ended += 1;
    counts.reset += usize::from(ending.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionReset));
    seen.ended.notify_all();
}

fn converse(connection: &mut TcpStream, banner: &[u8], seen: &Seen) -> io::Result<()> {
    connection.write_all(banner)?;
    let mut buffer = [0; 4096];
    loop {
        match connection.read(&mut buffer)? {
            0 => return Ok(()),
            received => seen.counts().received += received,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_received_and_how_it_ends_is_counted() {
        let namespace = Namespace::new().expect("root");
        let server = TcpServer::speaking(&namespace, 80, b"ready").expect("a free port");
        for (address, reset) in [("127.0.0.1:80", false), ("[::1]:80", true)] {
            let mut connection = namespace.run(|| TcpStream::connect(address)).expect("it listens");
            connection.write_all(b"four").expect("connected");
            // What is closed with a banner that was not read is reset.
            let mut banner = [0; 5];
            let length = if reset { connection.peek(&mut banner) } else { connection.read(&mut banner) };
            assert_eq!(length.expect("a banner"), 5);
            assert_eq!(banner, *b"ready");
        }
        let counts = server.await_ended(2).expect("both are closed");
        assert_eq!((counts.accepted, counts.ended, counts.reset), (2, 2, 1));
        // What was sent before a reset may be lost with it.
        assert!((4..=8).contains(&counts.received), "{counts:?}");
    }
}
