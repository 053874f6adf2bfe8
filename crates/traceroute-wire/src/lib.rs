//! Bytes to values and back: IP, UDP, TCP, ICMP, quoted datagrams, ICMP extensions, packet filters.
//!
//! Everything here is a view of bytes that somebody else may have cut short, padded, rewritten or made up. Parsers
//! return `None` for what is not there and never panic, allocate nothing, and leave it to their caller whether a
//! packet is believed. Transport checksums of captured packets are not verified: the kernel hands out packets whose
//! checksum the network card is still to fill in. Those of ICMP extensions are, because nothing else tells an
//! extension from the tail of a long quote.
//!
//! Start with [`Datagram`], then [`IcmpMessage`] and [`Quoted`].
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod bpf;
pub mod checksum;
mod extensions;
pub mod icmp;
mod ip;
mod quoted;
pub mod tcp;
mod time;
pub mod udp;

pub use checksum::Sum;
pub use extensions::{Extensions, InterfaceInfo, InterfaceRole, MplsLabel};
pub use icmp::{Echo, IcmpError, IcmpErrorKind, IcmpMessage, Unreachable};
pub use ip::{Datagram, Endpoints, IpHeader, protocol};
pub use quoted::{Quoted, QuotedEcho, quoted_part};
pub use tcp::{QuotedTcp, SackBlock, SackBlocks, TcpFlags, TcpOption, TcpSegment, TcpTimestamps};
pub use time::{Stamp, StampSource, Timestamp};
pub use udp::Udp;
