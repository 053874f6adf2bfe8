//! One end of an established connection, the same for a listener's and a client's.

use etherparse::TcpHeader;
use traceroute_wire::Timestamp;

use super::received::{Range, Received};
use super::segment::{self, Segment};
use super::{Challenges, Flow, WINDOW, after, before, milliseconds};

/// An established connection.
#[derive(Debug)]
pub(in crate::sim) struct Connection {
    agreed: Agreed,
    /// The number of the first byte it may send.
    first: u32,
    /// The number of the next byte it sends.
    next: u32,
    received: Received,
    /// What it acknowledged last.
    acknowledged: u32,
    challenges: Challenges,
    /// Whether its application has closed it.
    closed: bool,
}

/// What both ends of a connection have agreed on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Agreed {
    /// The direction in which this end sends.
    pub(super) flow: Flow,
    /// The TTL or hop limit with which it sends.
    pub(super) ttl: u8,
    /// Whether acknowledgements carry SACK blocks.
    pub(super) sack: bool,
    /// Its timestamps.
    pub(super) timestamps: Option<Clock>,
    /// How far the windows it states are shifted.
    pub(super) window_shift: u8,
}

/// The timestamps of one end (RFC 7323).
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// What its clock of milliseconds is ahead of the simulation's.
    pub(super) offset: u32,
    /// What it echoes: the other end's latest.
    pub(super) recent: u32,
}

impl Clock {
    /// `TSval` and `TSecr`.
    pub(super) fn read(self, now: Timestamp) -> (u32, u32) {
        (milliseconds(now).wrapping_add(self.offset), self.recent)
    }
}

/// What follows from a segment.
#[derive(Debug, Default)]
pub(super) struct Effect {
    /// What is sent.
    pub(super) reply: Option<Vec<u8>>,
    /// How many bytes the application can read.
    pub(super) delivered: usize,
    /// Whether the connection is gone.
    pub(super) gone: bool,
}

impl Effect {
    fn reply(reply: Option<Vec<u8>>) -> Self {
        Self { reply, ..Self::default() }
    }
}

impl Agreed {
    /// A segment of the connection without data.
    pub(super) fn segment(
        &self,
        now: Timestamp,
        flags: TcpHeader,
        blocks: &[Range],
        payload: &[u8],
    ) -> Vec<u8> {
        let header = TcpHeader { window_size: WINDOW >> self.window_shift, ..flags };
        let blocks = if self.sack { blocks } else { &[] };
        let options = segment::options(self.timestamps.map(|clock| clock.read(now)), blocks);
        segment::build(self.flow, self.ttl, header, &options, payload)
    }
}

impl Connection {
    /// A connection whose end sends its first byte with number `first` and expects `expected`.
    pub(super) fn new(agreed: Agreed, first: u32, expected: u32) -> Self {
        Self {
            agreed,
            first,
            next: first,
            received: Received::new(expected),
            acknowledged: expected,
            challenges: Challenges::default(),
            closed: false,
        }
    }

    /// Whether acknowledgements carry SACK blocks.
    pub(in crate::sim) fn uses_sack(&self) -> bool {
        self.agreed.sack
    }

    /// Its timestamps, where they are used.
    pub(in crate::sim) fn timestamps(&self, now: Timestamp) -> Option<(u32, u32)> {
        self.agreed.timestamps.map(|clock| clock.read(now))
    }

    /// The number of the next byte it sends.
    pub(in crate::sim) fn next(&self) -> u32 {
        self.next
    }

    /// The number of the next byte it expects.
    pub(in crate::sim) fn expected(&self) -> u32 {
        self.received.next()
    }

    /// Acknowledges what has arrived.
    pub(super) fn acknowledge(&mut self, now: Timestamp, duplicate: Option<Range>) -> Vec<u8> {
        self.acknowledged = self.received.next();
        let blocks: Vec<_> = duplicate.into_iter().chain(self.received.blocks().iter().copied()).collect();
        self.agreed.segment(now, self.flags(), &blocks, &[])
    }

    /// Sends data.
    pub(super) fn send(&mut self, now: Timestamp, payload: &[u8]) -> Vec<u8> {
        let flags = TcpHeader { psh: true, ..self.flags() };
        let length = u32::try_from(payload.len()).unwrap_or_default();
        self.next = self.next.wrapping_add(length);
        self.agreed.segment(now, flags, self.received.blocks(), payload)
    }

    /// The application closes: nothing is read any more.
    pub(super) fn close(&mut self, now: Timestamp) -> Vec<u8> {
        let flags = TcpHeader { fin: true, ..self.flags() };
        self.closed = true;
        self.next = self.next.wrapping_add(1);
        self.agreed.segment(now, flags, self.received.blocks(), &[])
    }

    /// The application aborts.
    pub(super) fn abort(&self, now: Timestamp) -> Vec<u8> {
        let flags = TcpHeader { rst: true, ..self.flags() };
        self.agreed.segment(now, flags, self.received.blocks(), &[])
    }

    /// Takes a segment, in the order of checks of Linux's `tcp_validate_incoming`, `tcp_ack` and `tcp_data_queue`.
    pub(super) fn receive(&mut self, now: Timestamp, segment: &Segment<'_>) -> Effect {
        let header = &segment.header;
        if !header.rst && (self.is_old(segment) || !self.is_within_window(segment)) {
            return Effect::reply(self.refuse(now, segment));
        }
        if header.rst {
            return match segment.seq() {
                seq if self.ends_at(seq) => Effect { gone: true, ..Effect::default() },
                _ if self.is_within_window(segment) => Effect::reply(self.challenge(now)),
                _ => Effect::default(),
            };
        }
        if header.syn {
            return Effect::reply(self.challenge(now));
        }
        if !header.ack || after(header.acknowledgment_number, self.next) {
            return Effect::default();
        }
        if before(header.acknowledgment_number, self.first) {
            return Effect::reply(self.challenge(now));
        }
        self.store_timestamp(segment);
        self.take_data(now, segment)
    }

    fn take_data(&mut self, now: Timestamp, segment: &Segment<'_>) -> Effect {
        let (seq, fin) = (segment.seq(), segment.header.fin);
        let end_of_data = seq.wrapping_add(segment.payload_len());
        if segment.end() == seq {
            return Effect::default();
        }
        if self.closed && after(end_of_data, self.received.next()) {
            let reply = segment.reset(self.agreed.ttl);
            return Effect { reply, gone: true, ..Effect::default() };
        }
        if self.received.ended() && after(segment.end(), self.received.next()) {
            return Effect::default();
        }
        let progress = self.received.take(seq, segment.payload_len(), fin);
        let reply = Some(self.acknowledge(now, progress.duplicate));
        Effect { reply, delivered: progress.delivered, gone: false }
    }

    /// Whether PAWS rejects it: its timestamp is older than the latest (RFC 7323, section 5.3).
    fn is_old(&self, segment: &Segment<'_>) -> bool {
        let recent = self.agreed.timestamps.map(|clock| clock.recent);
        let value = segment.options.timestamps.map(|(value, _)| value);
        recent.zip(value).is_some_and(|(recent, value)| before(value, recent))
    }

    fn is_within_window(&self, segment: &Segment<'_>) -> bool {
        let limit = self.received.next().wrapping_add(WINDOW.into());
        !before(segment.end(), self.acknowledged) && !after(segment.seq(), limit)
    }

    /// Whether an RST with this number is the peer's: the next one or, as Linux has it, the end of the farthest block.
    fn ends_at(&self, seq: u32) -> bool {
        let blocks = self.received.blocks().iter().map(|block| block.1);
        let farthest = blocks.reduce(super::later).filter(|_| self.agreed.sack);
        seq == self.received.next() || Some(seq) == farthest
    }

    /// What a segment gets that is not acceptable. Those with data are not limited.
    fn refuse(&mut self, now: Timestamp, segment: &Segment<'_>) -> Option<Vec<u8>> {
        let (seq, end) = (segment.seq(), segment.end());
        if segment.header.syn || seq == end {
            return self.challenge(now);
        }
        let next = self.received.next();
        let duplicate = before(seq, next).then_some((seq, super::earlier(end, next)));
        Some(self.acknowledge(now, duplicate))
    }

    fn challenge(&mut self, now: Timestamp) -> Option<Vec<u8>> {
        self.challenges.allow(now).then(|| self.acknowledge(now, None))
    }

    fn store_timestamp(&mut self, segment: &Segment<'_>) {
        if let Some(clock) = &mut self.agreed.timestamps
            && let Some((value, _)) = segment.options.timestamps
            && !after(segment.seq(), self.acknowledged)
        {
            clock.recent = value;
        }
    }

    /// The header of an acknowledgement.
    fn flags(&self) -> TcpHeader {
        TcpHeader {
            ack: true,
            sequence_number: self.next,
            acknowledgment_number: self.received.next(),
            ..TcpHeader::default()
        }
    }
}
