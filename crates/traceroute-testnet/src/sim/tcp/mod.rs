//! TCP as hosts speak it: what a target serves, and what the client's kernel does.

mod client;
mod connection;
mod handshake;
mod listener;
mod received;
mod segment;
mod service;

pub(super) use client::{ClientKernel, Offers, Unconnected};
pub(super) use listener::{Alarm, Reaction, Service};
pub(super) use segment::Flow;
pub use service::{Closing, ResetNumber, SackUse, TcpApplication, TcpListener, TcpService};

use std::time::Duration;

use traceroute_wire::Timestamp;

use super::random::mix;

/// How many bytes beyond what has arrived a host accepts.
const WINDOW: u16 = u16::MAX;
/// The shift of a window scale option, as of Linux with default buffers.
const WINDOW_SHIFT: u8 = 7;
/// The least time between two answers of a flow to segments that are not acceptable: Linux's `tcp_invalid_ratelimit`.
const CHALLENGE_INTERVAL: Duration = Duration::from_millis(500);

/// Whether sequence number `a` is before `b`.
fn before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() < 0
}

/// Whether sequence number `a` is after `b`.
fn after(a: u32, b: u32) -> bool {
    before(b, a)
}

/// The earlier of two sequence numbers.
fn earlier(a: u32, b: u32) -> u32 {
    if before(a, b) { a } else { b }
}

/// The later of two sequence numbers.
fn later(a: u32, b: u32) -> u32 {
    if before(a, b) { b } else { a }
}

/// A number that looks random, the same for the same flow and salt.
fn scattered(flow: Flow, salt: u64) -> u32 {
    let mut state = mix(salt);
    for end in [flow.source, flow.destination] {
        let address = match end.ip() {
            std::net::IpAddr::V4(v4) => u128::from(v4.to_bits()),
            std::net::IpAddr::V6(v6) => v6.to_bits(),
        };
        for word in address.to_be_bytes().chunks_exact(4) {
            state = mix(state ^ u64::from(u32::from_be_bytes([word[0], word[1], word[2], word[3]])));
        }
        state = mix(state ^ u64::from(end.port()));
    }
    low_half(state)
}

/// A clock of milliseconds, as timestamps count them.
fn milliseconds(now: Timestamp) -> u32 {
    low_half(now.as_nanos() / 1_000_000)
}

fn low_half(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).unwrap_or_default()
}

/// A limit of one each half second.
#[derive(Debug, Default)]
struct Challenges {
    last: Option<Timestamp>,
}

impl Challenges {
    fn allow(&mut self, now: Timestamp) -> bool {
        let allowed = self.last.is_none_or(|last| now.saturating_since(last) >= CHALLENGE_INTERVAL);
        if allowed {
            self.last = Some(now);
        }
        allowed
    }
}
