//! Packet I/O: the shared capture, raw sinks, time stamps, leases.
//!
//! A [`Network`] is the packet I/O of one network namespace: **one capture** for all runs and both families, whose
//! packets a task hands to the runs they can concern ([`Capture`], [`Subscription`]); one **sink**; and the
//! **leases** of ports and echo ids ([`Leases`]). A [`PacketDriver`] brings a method, a subscription and the sink
//! together for one run.
//!
//! [`Queue`] and [`Watched`] are the channels that runs are made with: each of many idle runs has some, so they are small.
//!
//! [`Network::open`] is the real one. [`Network::assemble`] takes any source, sink and host instead: a simulated
//! network, a pcap file.

mod backend;
mod capture;
mod clock;
mod driver;
pub mod filter;
mod host;
#[cfg(any(windows, test))]
mod inbox;
mod lease;
mod network;
mod platform;
mod queue;
mod sink;
mod watched;

pub use backend::{Backend, Capabilities, Choice, Families, Technique};
pub use capture::{Capture, Losses, Subscription};
pub use clock::Clock;
pub use driver::PacketDriver;
pub use host::{ConnectError, Connecting, Connection, Connector, Host, Job, PortHold};
pub use lease::{Blocks, Entropy, Lease, Leases, Use};
pub use network::{Access, Network, NetworkOptions, Parts};
pub use queue::Queue;
pub use sink::SharedSink;
pub use watched::Watched;
