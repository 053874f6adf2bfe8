//! Half-open connections and SYN cookies.

use etherparse::TcpHeader;
use traceroute_wire::Timestamp;

use super::connection::{Agreed, Clock, Connection};
use super::segment::{self, Options, Segment};
use super::service::{SackUse, TcpListener};
use super::{Challenges, WINDOW, WINDOW_SHIFT, after, before, scattered};

/// What tells numbers of one flow apart.
const CLOCKS: u64 = 1 << 32;
const NUMBERS: u64 = 2 << 32;

/// The low bits of a cookie's timestamp remember the options, as in Linux's `cookie_init_timestamp`.
const COOKIE_BITS: u32 = 0x3f;
const COOKIE_SACK: u32 = 0x10;
const COOKIE_WINDOW_SCALE: u32 = 0x0f;

/// What a listener has learnt from a SYN, and answers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handshake {
    agreed: Agreed,
    sack_permitted: bool,
    /// Whether this is all forgotten and must be learnt from the acknowledgement.
    is_cookie: bool,
    /// The number of its SYN-ACK.
    own: u32,
    /// The number of the peer's SYN.
    peer: u32,
}

/// A connection that waits for the acknowledgement of its SYN-ACK.
#[derive(Debug)]
pub(super) struct HalfOpen {
    handshake: Handshake,
    challenges: Challenges,
}

/// What becomes of a half-open connection.
#[derive(Debug)]
pub(super) enum Next {
    Stay(Option<Vec<u8>>),
    Gone(Option<Vec<u8>>),
    Established(Handshake),
}

impl Handshake {
    /// What a SYN asks for and gets.
    pub(super) fn of_syn(listener: &TcpListener, ttl: u8, syn: &Segment<'_>) -> Self {
        let timestamps = syn.options.timestamps.filter(|_| listener.timestamps);
        let has_room = !listener.syn_cookies || timestamps.is_some();
        let options = Options {
            sack_permitted: syn.options.sack_permitted && listener.sack != SackUse::NotPermitted && has_room,
            window_scale: syn.options.window_scale.filter(|_| has_room),
            timestamps,
        };
        Self::new(listener, ttl, syn, syn.seq(), options)
    }

    /// What the acknowledgement of a cookie tells, if it is one.
    pub(super) fn of_cookie(listener: &TcpListener, ttl: u8, ack: &Segment<'_>) -> Option<Self> {
        let echo = ack.options.timestamps.map_or(COOKIE_WINDOW_SCALE, |(_, echo)| echo);
        let options = Options {
            sack_permitted: echo & COOKIE_SACK != 0,
            window_scale: (echo & COOKIE_WINDOW_SCALE != COOKIE_WINDOW_SCALE).then_some(WINDOW_SHIFT),
            timestamps: ack.options.timestamps,
        };
        let handshake = Self::new(listener, ttl, ack, ack.seq().wrapping_sub(1), options);
        (ack.header.acknowledgment_number == handshake.first()).then_some(handshake)
    }

    fn new(listener: &TcpListener, ttl: u8, from: &Segment<'_>, peer: u32, options: Options) -> Self {
        let flow = from.flow.reversed();
        let clock = |(recent, _)| Clock { offset: scattered(flow, CLOCKS), recent };
        let agreed = Agreed {
            flow,
            ttl,
            sack: options.sack_permitted && listener.sack == SackUse::Full,
            timestamps: options.timestamps.map(clock),
            window_shift: options.window_scale.map_or(0, |_| WINDOW_SHIFT),
        };
        let own = scattered(flow, NUMBERS | u64::from(peer));
        Self { agreed, sack_permitted: options.sack_permitted, is_cookie: listener.syn_cookies, own, peer }
    }

    /// The SYN-ACK.
    pub(super) fn syn_ack(&self, now: Timestamp) -> Vec<u8> {
        let flow = self.agreed.flow;
        let header = TcpHeader {
            syn: true,
            ack: true,
            sequence_number: self.own,
            acknowledgment_number: self.expected(),
            // Not shifted yet (RFC 7323, section 2.2).
            window_size: WINDOW,
            ..TcpHeader::default()
        };
        let scaled = self.agreed.window_shift > 0;
        let options = Options {
            sack_permitted: self.sack_permitted,
            window_scale: scaled.then_some(WINDOW_SHIFT),
            timestamps: self.agreed.timestamps.map(|clock| {
                let (value, echo) = clock.read(now);
                (if self.is_cookie { self.remembering(value) } else { value }, echo)
            }),
        };
        segment::build(flow, self.agreed.ttl, header, &segment::syn_options(flow.mss(), options), &[])
    }

    /// The connection, once the SYN-ACK has been acknowledged.
    pub(super) fn connection(&self) -> Connection {
        Connection::new(self.agreed, self.first(), self.expected())
    }

    /// The latest timestamp, not in the future, that remembers the options.
    fn remembering(&self, value: u32) -> u32 {
        let scale = if self.agreed.window_shift > 0 { u32::from(WINDOW_SHIFT) } else { COOKIE_WINDOW_SCALE };
        let bits = scale | if self.sack_permitted { COOKIE_SACK } else { 0 };
        let remembering = value & !COOKIE_BITS | bits;
        if after(remembering, value) { remembering.wrapping_sub(COOKIE_BITS + 1) } else { remembering }
    }

    /// The number of the first byte to send.
    fn first(&self) -> u32 {
        self.own.wrapping_add(1)
    }

    /// The number of the first byte to come.
    fn expected(&self) -> u32 {
        self.peer.wrapping_add(1)
    }
}

impl HalfOpen {
    pub(super) fn new(handshake: Handshake) -> Self {
        Self { handshake, challenges: Challenges::default() }
    }

    /// The SYN-ACK.
    pub(super) fn syn_ack(&self, now: Timestamp) -> Vec<u8> {
        self.handshake.syn_ack(now)
    }

    /// Takes a segment, in the order of checks of Linux's `tcp_check_req`.
    pub(super) fn take(&mut self, now: Timestamp, segment: &Segment<'_>) -> Next {
        let (header, handshake) = (&segment.header, &mut self.handshake);
        let (seq, expected) = (segment.seq(), handshake.expected());
        let value = segment.options.timestamps.map(|(value, _)| value);
        let clock = &mut handshake.agreed.timestamps;
        let is_old = clock.zip(value).is_some_and(|(clock, value)| before(value, clock.recent));
        let is_known_syn = header.syn && seq == handshake.peer;
        if is_known_syn && !is_old && !header.ack && !header.rst && !header.fin {
            return Next::Stay(self.challenges.allow(now).then(|| handshake.syn_ack(now)));
        }
        if header.ack && header.acknowledgment_number != handshake.own.wrapping_add(1) {
            return Next::Stay(segment.reset(handshake.agreed.ttl));
        }
        let limit = expected.wrapping_add(WINDOW.into());
        let is_within = seq == expected || after(segment.end(), expected) && before(seq, limit);
        if is_old || !is_within {
            let is_answered = !header.rst && self.challenges.allow(now);
            return Next::Stay(is_answered.then(|| handshake.connection().acknowledge(now, None)));
        }
        if header.rst || header.syn && !is_known_syn {
            return Next::Gone(segment.reset(handshake.agreed.ttl));
        }
        if !header.ack {
            return Next::Stay(None);
        }
        if let Some((clock, value)) = clock.as_mut().zip(value)
            && !after(seq, expected)
        {
            clock.recent = value;
        }
        Next::Established(*handshake)
    }
}
