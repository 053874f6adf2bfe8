//! Where packets come from and go to.

use core::future::Future;
use core::net::IpAddr;

use traceroute_wire::Stamp;

use crate::TracerouteError;

/// Which way a captured packet went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// It left this host: a copy of what we (or any other program) sent.
    Sent,
    /// It came in.
    Received,
}

/// A packet seen on its way out of or into this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured<'a> {
    /// Which way it went.
    pub direction: Direction,
    /// When it passed.
    pub stamp: Stamp,
    /// The datagram from its IP header on; possibly cut short by the capture.
    pub datagram: &'a [u8],
}

/// Where the IP layer is told to send a datagram: the address and, for link-local IPv6, the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// The address in the datagram's header.
    pub address: IpAddr,
    /// The index of the interface that a link-local IPv6 address belongs to (RFC 4007), otherwise 0.
    pub scope_id: u32,
}

/// A stream of captured packets.
pub trait Source: Send {
    /// Waits for the next packet, which borrows the source's buffer.
    ///
    /// Dropping the future loses no packet.
    fn recv(&mut self) -> impl Future<Output = Result<Captured<'_>, TracerouteError>> + Send;

    /// How many packets this source has lost so far because it was not read fast enough.
    fn drops(&self) -> u64 {
        0
    }
}

/// A way to put IP datagrams on the network.
pub trait Sink: Send + Sync {
    /// Sends one whole IP datagram, header included, and returns the time just before the system was asked to.
    fn send(
        &self,
        datagram: &[u8],
        to: Destination,
    ) -> impl Future<Output = Result<Stamp, TracerouteError>> + Send;
}
