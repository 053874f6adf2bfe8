//! Windows: raw sockets, the network driver of the Datadog Agent, and what the system does for everybody.

#[cfg(windows)]
pub(super) mod sockets;

mod answers;
mod conclusion;
mod driver;
mod icmp_status;

#[cfg(windows)]
mod connect;
#[cfg(windows)]
mod echo;
#[cfg(windows)]
mod open;
#[cfg(windows)]
mod raw;
#[cfg(windows)]
mod reader;
#[cfg(windows)]
mod sys;

#[cfg(all(test, windows))]
mod testing;

#[cfg(windows)]
pub(crate) use self::open::{OFFERED, Prepared, open, prepare};
