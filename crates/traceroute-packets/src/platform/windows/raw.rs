//! Raw sockets, which Administrators may open: IPv4 only, for IPv6 ones neither give nor take headers.
//!
//! One socket sends all probes and is given all that comes in. A port that a socket of ours has keeps its answers to itself, so the
//! ports of probes are held by nobody. The socket has no address before it has sent something, and cannot be read from before it
//! has one, so reading begins with the first probe. Windows' firewall drops ICMP errors before a raw socket sees them, unless a rule
//! allows them in.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use traceroute_core::{Destination, Direction, Family, Operation, Sink, Stamp, TracerouteError};
use traceroute_wire::{Datagram, protocol};
use windows_sys::Win32::Networking::WinSock::{IPPROTO_IP, WSAEINVAL};

use super::reader::{Handler, Opened, Reader, Reading, Role};
use super::sockets::leave_through;
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
        if sockets.reading.is_some() {
            return Ok(());
        }
        match self.reader.read_from(Opened::Socket(Arc::clone(socket)), READS, Role::All) {
            Ok(reading) => sockets.reading = Some(reading),
            Err(error) => {
                // It is the port's already, and cannot be again: the next probe opens another.
                sockets.by_interface.retain(|_, other| !Arc::ptr_eq(other, socket));
                return Err(refused(Operation::Capture, &error));
            }
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
        sent.map_err(|error| rejected(&error, target, datagram))?;
        self.begin(&socket)?;
        Ok(stamp)
    }
}

fn rejected(error: &io::Error, target: IpAddr, datagram: &[u8]) -> TracerouteError {
    let is_tcp = Datagram::parse(datagram).is_some_and(|datagram| datagram.header.protocol == protocol::TCP);
    match error.raw_os_error() {
        // What clients say to TCP, and perhaps some that call themselves servers.
        Some(WSAEINVAL) if is_tcp => TracerouteError::NotCapable {
            technique: "TCP by raw sockets",
            family: Family::V4,
            remedy: &"this Windows does not send it: use --tcp-method syn_socket, or --windows-driver",
        },
        _ => not_sent(error, target, datagram.len()),
    }
}

/// Puts what the socket is given into an inbox, of all that comes to this host what can be an answer.
pub(super) struct RawHandler {
    clock: Clock,
    inbox: Inbox,
    /// The ports that probes come from.
    ports: RangeInclusive<u16>,
}

impl RawHandler {
    pub(super) const fn new(clock: Clock, inbox: Inbox, ports: RangeInclusive<u16>) -> Self {
        Self { clock, inbox, ports }
    }
}

/// Whether a packet can be an answer to probes from these ports.
fn can_be_an_answer(bytes: &[u8], ports: &RangeInclusive<u16>) -> bool {
    Datagram::parse(bytes).is_some_and(|datagram| match datagram.header.protocol {
        protocol::ICMP => true,
        protocol::UDP | protocol::TCP => {
            let port = datagram.payload.get(2..4).and_then(|port| port.try_into().ok());
            port.is_some_and(|port| ports.contains(&u16::from_be_bytes(port)))
        }
        _ => false,
    })
}

impl Handler for RawHandler {
    fn packet(&mut self, _: Role, bytes: &[u8]) {
        let stamp = Stamp::user(self.clock.now());
        if can_be_an_answer(bytes, &self.ports) {
            self.inbox.put(Packet { direction: Direction::Received, stamp, datagram: bytes.into() });
        }
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

#[cfg(test)]
mod tests {
    use tokio::time::Instant;
    use traceroute_core::Source;
    use traceroute_wire::IcmpMessage;
    use windows_sys::Win32::Networking::WinSock::IPPROTO_ICMP;

    use super::super::testing::{echo_request, loopback, loopback_header, told};
    use super::*;

    /// A socket for ICMP stands for that for everything, which Wine does not have.
    #[tokio::test]
    async fn what_has_been_sent_is_answered_and_read() {
        let (clock, inbox) = (Clock::since(Instant::now()), Inbox::new());
        let reader = Reader::start(RawHandler::new(clock, inbox.clone(), 40_000..=40_099)).expect("a thread");
        let asker = reader.asker();
        let mut source = inbox.source(move |_| asker.ask());
        let socket = open(IPPROTO_ICMP).expect("it takes an Administrator");
        let sink = RawSink::new(clock, socket, reader);
        for sequence in 1..4 {
            sink.send(&echo_request(sequence), loopback()).await.expect("loopback takes it");
            loop {
                let Some(captured) = told(&mut source).await else { continue };
                let parsed = Datagram::parse(captured.datagram).expect("with its IP header");
                if let Some(IcmpMessage::EchoReply(echo)) = IcmpMessage::parse(&parsed)
                    && (echo.id, echo.sequence) == (0x4321, sequence)
                {
                    break;
                }
            }
        }
        source.catch_up();
        while told(&mut source).await.is_some() {}
    }

    /// The header of a datagram of a protocol, and the ports behind it.
    fn packet(number: u8, from: u16, to: u16) -> Vec<u8> {
        let payload = [from.to_be_bytes(), to.to_be_bytes(), [0; 2], [0; 2]].concat();
        let mut datagram = vec![0; 28];
        let start = loopback_header(number).write(payload.len(), &mut datagram);
        datagram[start..].copy_from_slice(&payload);
        datagram
    }

    #[test]
    fn what_comes_to_other_ports_is_passed_over() {
        let ports = 40_000..=40_099;
        for (number, to, expected) in [
            (protocol::ICMP, 0, true),
            (protocol::UDP, 40_099, true),
            (protocol::UDP, 53, false),
            (protocol::TCP, 40_000, true),
            (protocol::TCP, 443, false),
            (47, 40_000, false),
        ] {
            assert_eq!(can_be_an_answer(&packet(number, 443, to), &ports), expected, "{number} to {to}");
        }
        assert!(!can_be_an_answer(&packet(protocol::UDP, 443, 40_000)[..22], &ports));
    }

    #[test]
    fn tcp_that_a_system_does_not_send_is_told_so() {
        let invalid = io::Error::from_raw_os_error(WSAEINVAL);
        let said = |number| rejected(&invalid, loopback().address, &packet(number, 1, 2)).to_string();
        assert!(said(protocol::TCP).contains("syn_socket"), "{}", said(protocol::TCP));
        assert!(!said(protocol::UDP).contains("TCP"), "{}", said(protocol::UDP));
    }
}
