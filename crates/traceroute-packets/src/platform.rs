//! What differs from system to system: one implementation, chosen here, and what they share.

#[cfg(any(target_os = "linux", target_os = "macos", windows))]
mod blocks;
#[cfg(any(target_os = "linux", target_os = "macos", windows))]
mod connector;
#[cfg(any(target_os = "linux", target_os = "macos", windows))]
mod errors;
#[cfg(any(target_os = "macos", windows))]
mod here;
#[cfg(any(target_os = "linux", target_os = "macos", windows))]
mod sockets;
#[cfg(any(target_os = "linux", target_os = "macos", test))]
mod stamps;
#[cfg(any(target_os = "linux", target_os = "macos"))]
mod unix;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as imp;

// What needs no kernel is tested on every system.
#[cfg(any(target_os = "macos", test))]
mod darwin;
#[cfg(target_os = "macos")]
use darwin as imp;

#[cfg(any(windows, test))]
mod windows;
#[cfg(windows)]
use windows as imp;

#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
mod fallback;
#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
use fallback as imp;

pub(crate) use imp::{OFFERED, Prepared, open, prepare};
