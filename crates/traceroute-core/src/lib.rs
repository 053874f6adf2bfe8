//! Vocabulary, results and the run state machine of a path trace. Pure: no I/O, no clock, no runtime.
//!
//! # The model
//!
//! A *request* has several *runs* toward one target and some *end-to-end probes*, each a run of one probe. A [`Run`]
//! decides which probes go out when and what their answers mean. A *method* ([`ProbeProtocol`]) turns a probe into
//! bytes and a captured packet into an answer. A *driver* ([`TracerouteDriver`]) owns the clock and the I/O between
//! them; [`trace`] is the loop that brings the three together.
//!
//! # What probes carry, and what load balancers hash
//!
//! Routers choose between equal paths by a hash over addresses, protocol and the first transport bytes: ports, or
//! ICMP type, code, checksum and id; for IPv6 over the flow label too. All probes of a flow are equal in these, so that
//! one run is one path. What tells the probes apart lies elsewhere: in the UDP checksum, in the TCP sequence number, in
//! the echo sequence (whose effect on the ICMP checksum the payload makes up for). What tells the *runs* apart is their [`Identity`].
//!
//! # What is where
//!
//! [`Schedule`] holds the pace, [`Run`] the decisions, [`Demultiplexer`] finds the runs of a packet, [`IdentityPool`]
//! lends identities, [`Results`] is what comes out.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod demux;
mod driver;
mod error;
mod execution;
mod family;
mod identity;
mod packet_io;
mod probe;
mod results;
mod run;
mod tcp_flow;

pub use demux::{Demultiplexer, PacketKeys};
pub use driver::{Event, TracerouteDriver, linger, settle, trace};
pub use error::{ConnectFailure, ErrorCode, InterfaceName, Operation, Remedy, SackRefusal, TracerouteError};
pub use execution::{Pace, SEND_DELAY, Schedule, Wait};
pub use family::Family;
pub use identity::{Identity, IdentityPool, Nonce, QUARANTINE};
pub use packet_io::{Captured, Destination, Direction, DropCounter, Sink, Source};
pub use probe::{
    FlowKey, Interface, MAX_PROBE_LEN, ProbeId, ProbeProtocol, ProbeResponse, Protocol, QuotedFacts,
    ReplyKind, Shape, TcpMethod, Ttl, padded,
};
pub use results::{
    EndToEnd, Hop, Mode, Nat, RequestDestination, RequestSource, Results, RunDestination, RunResult,
    RunSource, Spread, Traceroute, milliseconds,
};
pub use run::{Distance, EndReason, HopAnswer, HopReport, Knowledge, PortState, Run, RunEvent, RunReport};
pub use tcp_flow::{ProbeSegment, QuotedSegment, TcpFlow, TcpPacket};
pub use traceroute_wire::{MplsLabel, Stamp, StampSource, Timestamp, Unreachable};
