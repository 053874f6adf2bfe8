//! The network driver of the Datadog Agent: packets that it is asked for by filters, and packets that it is given to send.
//!
//! A handle's filters live as long as it does, and there is no way to take one back. So ICMP has a handle for the process, and
//! every TCP flow one of its own, from its first probe until its port is returned. All are read at one completion port.

mod filters;
mod packets;
mod service;
mod unavailable;

#[cfg(windows)]
mod devices;
#[cfg(windows)]
mod host;
#[cfg(windows)]
mod io;

#[cfg(all(test, windows))]
mod testing;

#[cfg(windows)]
pub(super) use host::DriverHost;
#[cfg(windows)]
pub(super) use io::{Driver, DriverSink};
