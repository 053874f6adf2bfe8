//! Real Linux kernels as routers: network namespaces joined by veth pairs.
//!
//! A [`Namespace`] is anonymous: a descriptor holds it, nothing is left under `/run/netns`, and it vanishes, with its
//! interfaces, when the descriptor is closed, even if a test panics. A [`Chain`] is a client, any number of routers and
//! a target in namespaces of their own, configured with `ip` and `nft`. Root is needed.

mod chain;
mod commands;
mod daemon;
mod namespace;
mod node;
mod scratch;
mod server;

pub use chain::{Chain, ChainBuilder};
pub use daemon::Daemon;
pub use namespace::Namespace;
pub use node::{Node, Reject};
pub use scratch::Scratch;
pub use server::{TcpCounts, TcpServer};
