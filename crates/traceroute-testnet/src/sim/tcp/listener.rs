//! A target's TCP in operation.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use traceroute_wire::Timestamp;

use super::Flow;
use super::connection::Connection;
use super::handshake::{HalfOpen, Handshake, Next};
use super::segment::Segment;
use super::service::{Closing, ResetNumber, TcpListener, TcpService};

/// When an unanswered SYN-ACK is sent again.
const REPEATS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(7)];
/// When it is given up.
const GIVEN_UP: Duration = Duration::from_secs(15);

/// A node's TCP in operation.
#[derive(Debug)]
pub(in crate::sim) struct Service {
    config: TcpService,
    /// By the direction of what comes in.
    flows: BTreeMap<Flow, Entry>,
    entries: u64,
}

/// What a node sends, and when it wants to be woken.
#[derive(Debug, Default)]
pub(in crate::sim) struct Reaction {
    pub(in crate::sim) datagrams: Vec<Vec<u8>>,
    pub(in crate::sim) alarms: Vec<(Timestamp, Alarm)>,
}

/// What a node wants to be woken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::sim) struct Alarm {
    flow: Flow,
    /// The state that it concerns, of all that the flow has had.
    entry: u64,
    cause: Cause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    SynAckIsUnanswered,
    SynIsGivenUp,
    BannerIsDue,
    ClosingIsDue(Closing),
}

#[derive(Debug)]
struct Entry {
    number: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    HalfOpen(HalfOpen),
    Established(Connection),
}

impl Reaction {
    fn send(datagram: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self { datagrams: datagram.into_iter().collect(), alarms: Vec::new() }
    }
}

impl Service {
    pub(in crate::sim) fn new(config: TcpService) -> Self {
        Self { config, flows: BTreeMap::new(), entries: 0 }
    }

    /// Takes a datagram for its host, which answers from an address with a TTL.
    pub(in crate::sim) fn serve(
        &mut self,
        now: Timestamp,
        from: IpAddr,
        ttl: u8,
        datagram: &[u8],
    ) -> Reaction {
        let Some(mut segment) = Segment::parse(datagram) else { return Reaction::default() };
        segment.flow.destination = SocketAddr::new(from, segment.flow.destination.port());
        let is_syn = segment.header.syn && !segment.header.ack;
        match self.config.clone() {
            TcpService::Silent => Reaction::default(),
            TcpService::ClosedWithoutAck(number) if is_syn && !segment.header.rst => {
                let number = match number {
                    ResetNumber::Zero => 0,
                    ResetNumber::Mirrored => segment.seq(),
                };
                Reaction::send([segment.reset_with(ttl, number)])
            }
            TcpService::Closed | TcpService::ClosedWithoutAck(_) => Reaction::send(segment.reset(ttl)),
            TcpService::Listening(listener) => self.listen(&listener, now, ttl, &segment),
        }
    }

    /// Does what was put off, if its state is still there.
    pub(in crate::sim) fn wake(&mut self, now: Timestamp, alarm: Alarm) -> Reaction {
        let TcpService::Listening(listener) = &self.config else { return Reaction::default() };
        let entry = self.flows.get_mut(&alarm.flow).filter(|entry| entry.number == alarm.entry);
        let Some(entry) = entry else { return Reaction::default() };
        let (reply, gone) = match (alarm.cause, &mut entry.state) {
            (Cause::SynAckIsUnanswered, State::HalfOpen(half)) => (Some(half.syn_ack(now)), false),
            (Cause::SynIsGivenUp, State::HalfOpen(_)) => (None, true),
            (Cause::BannerIsDue, State::Established(connection)) => {
                (listener.banner.as_ref().map(|(_, banner)| connection.send(now, banner)), false)
            }
            (Cause::ClosingIsDue(Closing::Fin), State::Established(connection)) => {
                (Some(connection.close(now)), false)
            }
            (Cause::ClosingIsDue(Closing::Reset), State::Established(connection)) => {
                (Some(connection.abort(now)), true)
            }
            _ => (None, false),
        };
        if gone {
            self.flows.remove(&alarm.flow);
        }
        Reaction::send(reply)
    }

    fn listen(&mut self, listener: &TcpListener, now: Timestamp, ttl: u8, segment: &Segment<'_>) -> Reaction {
        match self.flows.get_mut(&segment.flow).map(|entry| &mut entry.state) {
            None => self.begin(listener, now, ttl, segment),
            Some(State::HalfOpen(half)) => match half.take(now, segment) {
                Next::Stay(reply) => Reaction::send(reply),
                Next::Gone(reply) => {
                    self.flows.remove(&segment.flow);
                    Reaction::send(reply)
                }
                Next::Established(handshake) => self.establish(listener, now, handshake, segment),
            },
            Some(State::Established(connection)) => {
                let effect = connection.receive(now, segment);
                listener.application.receive(effect.delivered);
                if effect.gone {
                    self.flows.remove(&segment.flow);
                }
                Reaction::send(effect.reply)
            }
        }
    }

    /// Takes a segment of a flow that has no state.
    fn begin(&mut self, listener: &TcpListener, now: Timestamp, ttl: u8, segment: &Segment<'_>) -> Reaction {
        let header = &segment.header;
        if header.rst {
            return Reaction::default();
        }
        if header.ack {
            let cookie = listener.syn_cookies && !header.syn;
            let handshake = cookie.then(|| Handshake::of_cookie(listener, ttl, segment)).flatten();
            return match handshake {
                Some(handshake) => self.establish(listener, now, handshake, segment),
                None => Reaction::send(segment.reset(ttl)),
            };
        }
        if !header.syn || header.fin {
            return Reaction::default();
        }
        let handshake = Handshake::of_syn(listener, ttl, segment);
        let reply = handshake.syn_ack(now);
        let mut reaction = Reaction::send([reply]);
        if !listener.syn_cookies {
            let alarm = self.enter(segment.flow, State::HalfOpen(HalfOpen::new(handshake)));
            let repeats = REPEATS.map(|after| (now + after, alarm(Cause::SynAckIsUnanswered)));
            reaction.alarms.extend(repeats);
            reaction.alarms.push((now + GIVEN_UP, alarm(Cause::SynIsGivenUp)));
        }
        reaction
    }

    /// Makes a connection of a handshake that `segment` completes.
    fn establish(
        &mut self,
        listener: &TcpListener,
        now: Timestamp,
        handshake: Handshake,
        segment: &Segment<'_>,
    ) -> Reaction {
        listener.application.accept();
        let mut connection = handshake.connection();
        let effect = connection.receive(now, segment);
        listener.application.receive(effect.delivered);
        let alarm = self.enter(segment.flow, State::Established(connection));
        let banner = listener.banner.as_ref().map(|(after, _)| (now + *after, alarm(Cause::BannerIsDue)));
        let closing =
            listener.closes.map(|(after, closing)| (now + after, alarm(Cause::ClosingIsDue(closing))));
        let alarms = banner.into_iter().chain(closing).collect();
        Reaction { datagrams: effect.reply.into_iter().collect(), alarms }
    }

    /// Enters a new state of a flow, and gives what makes its alarms.
    fn enter(&mut self, flow: Flow, state: State) -> impl Fn(Cause) -> Alarm + use<> {
        self.entries += 1;
        let entry = self.entries;
        self.flows.insert(flow, Entry { number: entry, state });
        move |cause| Alarm { flow, entry, cause }
    }
}
