//! Linux: an `AF_PACKET` capture, raw sockets with the header included, routes and ports by ordinary sockets.

pub(super) mod sockets;

mod capture;
mod closing;
mod ephemeral;
mod namespace;
mod open;
mod sink;
mod sys;

pub(crate) use self::open::{OFFERED, Prepared, open, prepare};
