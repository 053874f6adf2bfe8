//! Windows: raw sockets, the network driver of the Datadog Agent, and what the system does for everybody.

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
pub(super) use open::{
    CONNECTING, DESCRIPTORS_EXHAUSTED, FAMILY_NOT_SUPPORTED, HELD_PORTS_LISTEN, HOST_DOWN, MESSAGE_TOO_LONG,
    PORT_WITHHELD, descriptor_limit, interface_index, leave_through, leave_unlabelled, routed_socket,
    set_traffic_class_v6,
};
#[cfg(windows)]
pub(crate) use open::{OFFERED, Prepared, open, prepare};
