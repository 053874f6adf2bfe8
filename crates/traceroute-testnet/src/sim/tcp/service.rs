//! What a node does with TCP segments for itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What a node does with TCP segments for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TcpService {
    /// No port is open: everything but RST is answered with RST, by the book (RFC 9293, section 3.10.7.1).
    Closed,
    /// SYN is answered with an RST that has no ACK flag; everything else as by [`Closed`](Self::Closed).
    ClosedWithoutAck(ResetNumber),
    /// Every port is open.
    Listening(TcpListener),
    /// Nothing.
    Silent,
}

/// The sequence number of an RST without ACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetNumber {
    /// Zero.
    Zero,
    /// That of the SYN.
    Mirrored,
}

/// An open port as Linux keeps it, with a state for each flow.
///
/// | state | segment | answer |
/// |---|---|---|
/// | listening | SYN | SYN-ACK, repeated after 1, 3 and 7 seconds, given up after 15 |
/// | listening | with ACK | RST with SEG.ACK for its number |
/// | half open | the same SYN | the same SYN-ACK |
/// | half open | another SYN in the window | RST-ACK, and the state is gone |
/// | half open | what is outside of the window | ACK |
/// | half open | RST in the window | the state is gone |
/// | half open | ACK of the SYN-ACK | the connection is established |
/// | established | data | ACK, with SACK blocks (RFC 2018) and D-SACK (RFC 2883) where negotiated |
/// | established | data with a timestamp older than the last (RFC 7323) | ACK, without a block for it |
/// | established | SYN; RST in the window, but not the next number (RFC 5961) | ACK |
/// | established | RST with the next number | the state is gone |
/// | established | acknowledges what was never sent | |
///
/// Answers to the same SYN again, to SYN in a connection, and to what is outside of the window and has no data are limited
/// to one each half second and flow (`tcp_invalid_ratelimit`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpListener {
    /// What becomes of selective acknowledgements.
    pub sack: SackUse,
    /// Whether timestamps are used where they are offered.
    pub timestamps: bool,
    /// Whether no state is kept of SYNs: each is answered with a SYN-ACK of its own, once. Without timestamps, which have
    /// room for it, neither SACK nor a window scale is negotiated then.
    pub syn_cookies: bool,
    /// What the application sends on its own, and how long after the connection was established. It is sent once.
    pub banner: Option<(Duration, Vec<u8>)>,
    /// How the application closes, and how long after the connection was established.
    pub closes: Option<(Duration, Closing)>,
    /// What the application sees.
    pub application: TcpApplication,
}

impl Default for TcpListener {
    /// Linux's defaults, and an application that only reads.
    fn default() -> Self {
        Self {
            sack: SackUse::Full,
            timestamps: true,
            syn_cookies: false,
            banner: None,
            closes: None,
            application: TcpApplication::default(),
        }
    }
}

/// What becomes of selective acknowledgements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SackUse {
    /// They are permitted and used.
    Full,
    /// They are permitted, but acknowledgements carry no blocks.
    PermittedUnused,
    /// They are not permitted.
    NotPermitted,
}

/// How an application closes a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Closing {
    /// With FIN. It reads no more: new data is answered with RST.
    Fin,
    /// With RST.
    Reset,
}

/// What the application behind a [`TcpListener`] has seen. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct TcpApplication(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicUsize,
    received: AtomicUsize,
}

impl TcpApplication {
    /// How many connections were established.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.0.accepted.load(Ordering::Relaxed)
    }

    /// How many bytes it has read, from all connections together.
    #[must_use]
    pub fn received(&self) -> usize {
        self.0.received.load(Ordering::Relaxed)
    }

    pub(super) fn accept(&self) {
        self.0.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn receive(&self, bytes: usize) {
        self.0.received.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl PartialEq for TcpApplication {
    /// Whether they are clones of one another.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for TcpApplication {}
