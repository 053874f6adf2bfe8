//! Where packets come from and go to.

use alloc::sync::Arc;
use core::future::Future;
use core::net::IpAddr;
use core::sync::atomic::{AtomicU64, Ordering};

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
    /// The index of the interface that it passed; 0 where that is not known.
    pub interface: u32,
    /// The datagram from its IP header on; possibly cut short by the capture.
    pub datagram: &'a [u8],
}

/// Where the IP layer is told to send a datagram, and what it may not choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// The address in the datagram's header.
    pub address: IpAddr,
    /// The index of the interface that datagrams leave through: the one that was asked for, or that of a link-local IPv6
    /// address (RFC 4007). 0 leaves it to the routing table.
    pub interface: u32,
    /// The address to send from, where one was asked for: rules of the routing table may go by it.
    pub source: Option<IpAddr>,
}

impl Destination {
    /// An address that is reached as the routing table says.
    #[must_use]
    pub const fn routed(address: IpAddr) -> Self {
        Self { address, interface: 0, source: None }
    }
}

/// A count of lost packets, shared by whoever loses them and whoever wants to know.
#[derive(Clone, Debug, Default)]
pub struct DropCounter(Arc<AtomicU64>);

impl DropCounter {
    /// So many more were lost.
    pub fn add(&self, packets: u64) {
        self.0.fetch_add(packets, Ordering::Relaxed);
    }

    /// How many were lost so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A stream of captured packets.
pub trait Source: Send {
    /// Waits for the next packet, which borrows the source's buffer. `None` is the answer to
    /// [`catch_up`](Self::catch_up).
    ///
    /// Dropping the future loses no packet.
    fn recv(&mut self) -> impl Future<Output = Result<Option<Captured<'_>>, TracerouteError>> + Send;

    /// Lets [`recv`](Self::recv) return `None`, once, when it has returned every packet that had arrived before this call.
    /// Until then nobody can say of a packet that it did not come.
    fn catch_up(&mut self);

    /// Counts the packets that are lost because this source is not read fast enough.
    fn drop_counter(&self) -> DropCounter {
        DropCounter::default()
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

impl<S: Sink> Sink for &S {
    async fn send(&self, datagram: &[u8], to: Destination) -> Result<Stamp, TracerouteError> {
        (**self).send(datagram, to).await
    }
}
