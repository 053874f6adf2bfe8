//! Raw sockets, which Administrators may open: IPv4 only, for IPv6 ones neither give nor take headers.
//!
//! One socket sends all probes and is given all that comes in. A port that a socket of ours has keeps its answers to itself, so the
//! ports of probes are held by nobody. The socket has no address before it has sent something, and cannot be read from before it
//! has one, so reading begins with the first probe. Windows' firewall drops ICMP errors before a raw socket sees them, unless a rule
//! allows them in.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use traceroute_core::{Destination, Direction, Operation, Sink, Stamp, TracerouteError};
use windows_sys::Win32::Networking::WinSock::IPPROTO_IP;

use super::leave_through;
use super::reader::{Handler, Opened, Reader, Reading};
use crate::clock::Clock;
use crate::inbox::{Inbox, Packet};
use crate::platform::errors::{not_sent, refused};

/// How many reads are under way: what may come before the thread that reads is given a core.
const READS: usize = 64;

/// Opens the socket; `protocol` 0 is given everything that comes in.
pub(super) fn open(protocol: i32) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(protocol)))?;
    socket.set_header_included_v4(true)?;
    Ok(socket)
}

/// Sends through raw sockets, and begins to read from the first that has sent something.
pub(super) struct RawSink {
    clock: Clock,
    reader: Reader,
    sockets: Mutex<Sockets>,
}

struct Sockets {
    /// By the interface that they send through, which is an option of the socket; 0 leaves it to the routing table.
    by_interface: HashMap<u32, Arc<Socket>>,
    reading: Option<Reading>,
}

impl RawSink {
    pub(super) fn new(clock: Clock, socket: Socket, reader: Reader) -> Self {
        let by_interface = HashMap::from([(0, Arc::new(socket))]);
        Self { clock, reader, sockets: Mutex::new(Sockets { by_interface, reading: None }) }
    }

    fn lock(&self) -> MutexGuard<'_, Sockets> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The socket that sends through an interface.
    fn socket(&self, to: Destination) -> Result<Arc<Socket>, TracerouteError> {
        let mut sockets = self.lock();
        if let Some(socket) = sockets.by_interface.get(&to.interface) {
            return Ok(Arc::clone(socket));
        }
        let opened = open(IPPROTO_IP).and_then(|socket| leave_through(&socket, to).map(|()| socket));
        let socket = Arc::new(opened.map_err(|error| refused(Operation::OpenRawSocket, &error))?);
        sockets.by_interface.insert(to.interface, Arc::clone(&socket));
        Ok(socket)
    }

    /// Reads from a socket that has sent something, if none is read from yet: all are given the same packets.
    fn begin(&self, socket: &Arc<Socket>) -> Result<(), TracerouteError> {
        let mut sockets = self.lock();
        if sockets.reading.is_none() {
            let began = self.reader.read_from(Opened::Socket(Arc::clone(socket)), READS);
            sockets.reading = Some(began.map_err(|error| refused(Operation::Capture, &error))?);
        }
        Ok(())
    }
}

impl Sink for RawSink {
    async fn send(&self, datagram: &[u8], to: Destination) -> Result<Stamp, TracerouteError> {
        let target = to.address;
        let IpAddr::V4(address) = target else { return Err(TracerouteError::NoSourceAddress { target }) };
        let socket = self.socket(to)?;
        let stamp = Stamp::user(self.clock.now());
        let sent = socket.send_to(datagram, &SockAddr::from(SocketAddrV4::new(address, 0)));
        sent.map_err(|error| rejected(&error, target, datagram.len()))?;
        self.begin(&socket)?;
        Ok(stamp)
    }
}

/// `WSAEINVAL`: what editions for clients say to TCP.
const INVALID: i32 = 10_022;

fn rejected(error: &io::Error, target: IpAddr, length: usize) -> TracerouteError {
    match error.raw_os_error() {
        Some(INVALID) => TracerouteError::NotCapable {
            technique: "TCP by raw sockets",
            family: "IPv4",
            remedy: "editions of Windows that are not for servers do not send it: use --tcp-method syn_socket, or \
                     --windows-driver",
        },
        _ => not_sent(error, target, length),
    }
}

/// Puts what the socket is given into an inbox.
pub(super) struct RawHandler {
    clock: Clock,
    inbox: Inbox,
}

impl RawHandler {
    pub(super) const fn new(clock: Clock, inbox: Inbox) -> Self {
        Self { clock, inbox }
    }
}

impl Handler for RawHandler {
    fn packet(&mut self, bytes: &[u8]) {
        let stamp = Stamp::user(self.clock.now());
        self.inbox.put(Packet { direction: Direction::Received, stamp, datagram: bytes.into() });
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
