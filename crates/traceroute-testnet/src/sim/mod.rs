//! A simulated network of routers: deterministic, without clock or I/O.
//!
//! A [`Topology`] describes a client, a path of routers (with parallel branches, where there is load balancing) and a
//! target, and everything that goes wrong on the way. A [`Network`] puts it into operation on raw IP datagrams of both
//! families: [`inject`](Network::inject) takes what the client sends, [`poll`](Network::poll) gives what reaches it.
//! Whoever drives it brings the clock: `virtual_time` that of a tokio test, `real_time` that of the machine, where real
//! programs trace it through a veth pair or a TUN device.
//!
//! Datagrams go from node to node as on a real path: each router decrements the TTL, translates, refuses, balances or
//! answers, and answers take the same nodes back. Load balancers hash what the real ones do, the ICMP checksum
//! included. An ICMP error quotes the datagram as the router received it: with TTL 1 in a time exceeded, with what was
//! left of it in the target's port unreachable.
//!
//! Hosts speak TCP as Linux does: a [`TcpListener`] keeps half-open and established connections, whose answers depend on
//! what came before, and under virtual time the client has a kernel, which resets what belongs to no connection of its own.
//!
//! Packets are parsed and built with `etherparse`, never with the code under test.

mod describe;
mod extensions;
mod flow;
mod host;
mod link;
mod message;
mod nat;
mod network;
mod node;
mod packet;
mod quote;
mod random;
mod rate_limit;
#[cfg(target_os = "linux")]
pub mod real_time;
mod recorder;
mod sequence_shift;
mod tcp;
mod topology;
pub mod virtual_time;
#[cfg(target_os = "linux")]
mod wire;

pub use describe::describe;
pub use extensions::{Extensions, Format, Interface, InterfaceRole, MplsLabel, Object};
pub use link::{Lane, Link};
pub use message::{IcmpError, Unreachable, echo_reply, icmp_error, tcp_answer, udp_answer};
pub use nat::{DestinationNat, PortMapping, SourceNat};
pub use network::{Arrival, Network};
pub use node::{Answers, Refusal, Router, Services, Target, UdpService};
pub use packet::Malformed;
pub use quote::Quote;
pub use rate_limit::RateLimit;
pub use recorder::{Record, Recorder};
pub use sequence_shift::SequenceShift;
pub use tcp::{Closing, ResetNumber, SackUse, TcpApplication, TcpListener, TcpService};
pub use topology::{Balance, Forgery, Stage, Topology};
