//! What differs from system to system: one implementation, chosen here, and what they share.

#[cfg(target_os = "linux")]
mod blocks;
#[cfg(target_os = "linux")]
mod connector;
#[cfg(target_os = "linux")]
mod errors;
#[cfg(target_os = "linux")]
mod sockets;
#[cfg(unix)]
mod unix;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as imp;

// What needs no kernel is tested on every system.
#[cfg(any(windows, test))]
mod windows;

#[cfg(not(target_os = "linux"))]
mod fallback;
#[cfg(not(target_os = "linux"))]
use fallback as imp;

pub(crate) use imp::{Prepared, open, prepare};
