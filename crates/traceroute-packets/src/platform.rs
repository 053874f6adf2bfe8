//! What differs from system to system: one implementation, chosen here, and what they share.

#[cfg(any(target_os = "linux", windows))]
mod blocks;
#[cfg(any(target_os = "linux", windows))]
mod connector;
#[cfg(any(target_os = "linux", windows))]
mod errors;
#[cfg(any(target_os = "linux", windows))]
mod sockets;
#[cfg(any(target_os = "linux", test))]
mod stamps;
#[cfg(unix)]
mod unix;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as imp;

// What needs no kernel is tested on every system.
#[cfg(any(windows, test))]
mod windows;
#[cfg(windows)]
use windows as imp;

#[cfg(not(any(target_os = "linux", windows)))]
mod fallback;
#[cfg(not(any(target_os = "linux", windows)))]
use fallback as imp;

pub(crate) use imp::{Prepared, open, prepare};
