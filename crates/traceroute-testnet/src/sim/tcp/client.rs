//! The TCP of the client's kernel.

use std::collections::BTreeMap;

use etherparse::TcpHeader;
use traceroute_wire::Timestamp;

use super::super::message::Unreachable;
use super::super::packet::{self, Header, Side};
use super::connection::{Agreed, Clock, Connection};
use super::segment::{self, Options, Segment};
use super::{Flow, WINDOW, WINDOW_SHIFT, scattered};
use crate::address_plan::DualStack;

/// The TTL or hop limit of what a kernel sends.
const TTL: u8 = 64;

/// The connections of the client's kernel, by the direction in which it sends.
#[derive(Debug)]
pub(in crate::sim) struct ClientKernel {
    addresses: DualStack,
    sockets: BTreeMap<Flow, Socket>,
    resets: bool,
    attempts: u64,
}

/// What a client offers in its SYN.
#[derive(Clone, Copy, Debug)]
pub(in crate::sim) struct Offers {
    pub(in crate::sim) sack: bool,
    pub(in crate::sim) timestamps: bool,
}

/// Why a client is not connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum Unconnected {
    /// It still waits.
    Waiting,
    Refused,
    Unreachable(Unreachable),
}

#[derive(Debug)]
enum Socket {
    SynSent(Attempt),
    Failed(Unconnected),
    Established(Connection),
    /// The peer has reset the connection.
    Reset,
}

#[derive(Clone, Copy, Debug)]
struct Attempt {
    flow: Flow,
    offers: Offers,
    /// The number of the SYN.
    number: u32,
    offset: u32,
}

impl ClientKernel {
    /// A kernel without connections, which answers what belongs to none with resets or not.
    pub(in crate::sim) fn new(addresses: DualStack, resets: bool) -> Self {
        Self { addresses, sockets: BTreeMap::new(), resets, attempts: 0 }
    }

    /// Begins to connect, unless the flow is in use: [`syn`](Self::syn) is what to send.
    pub(in crate::sim) fn begin(&mut self, flow: Flow, offers: Offers) -> bool {
        if self.sockets.contains_key(&flow) {
            return false;
        }
        self.attempts += 1;
        let [number, offset] = [1, 2].map(|salt| scattered(flow, salt << 32 | self.attempts));
        self.sockets.insert(flow, Socket::SynSent(Attempt { flow, offers, number, offset }));
        true
    }

    /// The SYN of a flow that waits for its SYN-ACK.
    pub(in crate::sim) fn syn(&self, now: Timestamp, flow: Flow) -> Option<Vec<u8>> {
        match self.sockets.get(&flow)? {
            Socket::SynSent(attempt) => Some(attempt.syn(now)),
            _ => None,
        }
    }

    /// Whether a flow has become connected.
    pub(in crate::sim) fn outcome(&self, flow: Flow) -> Result<(), Unconnected> {
        match self.sockets.get(&flow) {
            Some(Socket::Failed(why)) => Err(*why),
            Some(Socket::SynSent(_)) | None => Err(Unconnected::Waiting),
            Some(Socket::Established(_) | Socket::Reset) => Ok(()),
        }
    }

    /// The connection of a flow, unless it was reset.
    pub(in crate::sim) fn connection(&self, flow: Flow) -> Option<&Connection> {
        match self.sockets.get(&flow)? {
            Socket::Established(connection) => Some(connection),
            _ => None,
        }
    }

    /// Forgets a flow, and gives the reset with which its connection ends, if it has one.
    pub(in crate::sim) fn abort(&mut self, now: Timestamp, flow: Flow) -> Option<Vec<u8>> {
        match self.sockets.remove(&flow)? {
            Socket::Established(connection) => self.reset(Some(connection.abort(now))),
            _ => None,
        }
    }

    /// Takes a datagram that reached the client, and gives what the kernel sends on account of it.
    pub(in crate::sim) fn take(&mut self, now: Timestamp, datagram: &[u8]) -> Option<Vec<u8>> {
        let Some(segment) = Segment::parse(datagram) else {
            self.take_error(datagram);
            return None;
        };
        let flow = segment.flow.reversed();
        if !self.addresses.contains(flow.source.ip()) {
            return None;
        }
        match self.sockets.get_mut(&flow) {
            Some(Socket::SynSent(attempt)) => {
                let (next, reply) = attempt.take(now, &segment);
                if let Some(socket) = next {
                    self.sockets.insert(flow, socket);
                    return reply;
                }
                self.reset(reply)
            }
            Some(Socket::Established(connection)) => {
                let effect = connection.receive(now, &segment);
                if effect.gone {
                    self.sockets.insert(flow, Socket::Reset);
                }
                effect.reply
            }
            Some(Socket::Failed(_) | Socket::Reset) | None => self.reset(segment.reset(TTL)),
        }
    }

    fn reset(&self, datagram: Option<Vec<u8>>) -> Option<Vec<u8>> {
        datagram.filter(|_| self.resets)
    }

    /// Takes an ICMP error: one that quotes a SYN ends the attempt, as in Linux.
    fn take_error(&mut self, datagram: &[u8]) {
        let Some((quote, why)) = unreachable(datagram) else { return };
        let Some(header) = Header::parse(quote).filter(|h| h.protocol == packet::TCP) else { return };
        let ports = header.port(quote, Side::Source).zip(header.port(quote, Side::Destination));
        let Some((from, to)) = ports else { return };
        let flow =
            Flow { source: (header.source, from).into(), destination: (header.destination, to).into() };
        let number = header.transport(quote).get(4..8);
        if let Some(Socket::SynSent(attempt)) = self.sockets.get(&flow)
            && number == Some(&attempt.number.to_be_bytes())
        {
            self.sockets.insert(flow, Socket::Failed(Unconnected::Unreachable(why)));
        }
    }
}

impl Attempt {
    fn syn(&self, now: Timestamp) -> Vec<u8> {
        let header = TcpHeader {
            syn: true,
            sequence_number: self.number,
            window_size: WINDOW,
            ..TcpHeader::default()
        };
        let options = Options {
            sack_permitted: self.offers.sack,
            window_scale: Some(WINDOW_SHIFT),
            timestamps: self.offers.timestamps.then(|| self.clock(0).read(now)),
        };
        segment::build(self.flow, TTL, header, &segment::syn_options(self.flow.mss(), options), &[])
    }

    /// Takes a segment as RFC 9293, section 3.10.7.3, says: what the socket becomes, and what is sent.
    fn take(&self, now: Timestamp, segment: &Segment<'_>) -> (Option<Socket>, Option<Vec<u8>>) {
        let header = &segment.header;
        let first = self.number.wrapping_add(1);
        if header.ack && header.acknowledgment_number != first {
            return (None, segment.reset(TTL));
        }
        match (header.rst, header.syn, header.ack) {
            (true, _, true) => (Some(Socket::Failed(Unconnected::Refused)), None),
            (false, true, true) => {
                let mut connection = Connection::new(self.agree(segment.options), first, segment.end());
                let reply = connection.acknowledge(now, None);
                (Some(Socket::Established(connection)), Some(reply))
            }
            _ => (None, None),
        }
    }

    fn agree(&self, answered: Options) -> Agreed {
        Agreed {
            flow: self.flow,
            ttl: TTL,
            sack: self.offers.sack && answered.sack_permitted,
            timestamps: answered
                .timestamps
                .filter(|_| self.offers.timestamps)
                .map(|(recent, _)| self.clock(recent)),
            window_shift: if answered.window_scale.is_some() { WINDOW_SHIFT } else { 0 },
        }
    }

    fn clock(&self, recent: u32) -> Clock {
        Clock { offset: self.offset, recent }
    }
}

/// The quote of a destination unreachable, and what it says.
fn unreachable(datagram: &[u8]) -> Option<(&[u8], Unreachable)> {
    let header = Header::parse(datagram).filter(|h| h.is_icmp_error(datagram))?;
    if !packet::transport_checksum_is_correct(datagram, &header) {
        return None;
    }
    let transport = header.transport(datagram);
    let (bytes, quote) = transport.split_at_checked(8)?;
    Some((quote, Unreachable::read(header.is_v6(), bytes[0], bytes[1])?))
}
