//! Bytes to values and back: IP, UDP, ICMP, quoted datagrams, ICMP extensions, packet filters.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod time;

pub use time::{Stamp, StampSource, Timestamp};
