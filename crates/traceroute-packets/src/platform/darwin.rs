//! macOS: a capture of BPF devices, raw sockets, routes and ports by ordinary sockets.
//!
//! A BPF device sees one interface. The device of an interface is opened when a route first leads through it, before the first
//! probe goes there, and stays open; one [`capture`] reads them all.
//!
//! The devices are read by the runtime, which waits for them with kqueue: `pcap_get_selectable_fd(3PCAP)` says that it works
//! with BPF devices from Mac OS X 10.7 on. A thread that blocks in `read` instead could not say that it has read everything
//! that had arrived until now, which is what runs ask for when their time is over.
//!
//! What needs no kernel of macOS is compiled, and tested, wherever tests are.

#[cfg(target_os = "macos")]
pub(super) mod sockets;

mod capture;
mod control;
mod datagrams;
mod devices;
mod ephemeral;
mod interfaces;
mod links;
mod records;

#[cfg(target_os = "macos")]
mod device;
#[cfg(target_os = "macos")]
mod host;
#[cfg(target_os = "macos")]
mod open;
#[cfg(target_os = "macos")]
mod sink;
#[cfg(target_os = "macos")]
mod sys;

#[cfg(target_os = "macos")]
pub(crate) use self::open::{OFFERED, Prepared, open, prepare};
