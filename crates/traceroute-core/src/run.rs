//! The state machine of one run: what to send when, what an answer means, and when it is over.
//!
//! A [`Run`] does no I/O and reads no clock. Its driver asks [`poll_send`](Run::poll_send) for probes until there is
//! none, waits for the next event or [`poll_timeout`](Run::poll_timeout), and reports what happened. Serial and
//! parallel runs are the same machine with another [`Schedule`].
//!
//! # Pace
//!
//! The first probe may be a *sounding*: the highest TTL, sent first to hear from the destination how far it is. An
//! ICMP unreachable quotes the TTL with which the probe arrived, which gives the distance exactly; any other answer gives
//! a guess from its own remaining TTL. What one run of a request learns its sisters are told
//! ([`Knowledge`]), so a path of any length is known in about two round trips. As long as the distance is unknown, a
//! run stays close to the farthest answer (see [`Pace`]).
//!
//! # End
//!
//! A run is over when nothing more can be learnt: the destination answered, and every lower TTL has answered or has
//! been given its [`Wait`](crate::Wait). Without an answer that ends the path, the time-out counts from the last
//! probe. Where the destination has answered sisters, and told them its distance exactly, the run takes no longer: it
//! spreads the probes beyond over that time, for the destination may send so many ICMP errors a second only.

mod ending;
mod path;
mod report;
mod unnamed;

use alloc::collections::VecDeque;
use core::net::IpAddr;
use core::time::Duration;

use traceroute_wire::{Stamp, StampSource, Timestamp};

pub use self::ending::{Distance, Knowledge};
pub use self::report::{EndReason, HopAnswer, HopReport, PortState, RunReport};

use self::path::{Booked, Path};
use self::report::{Refusal, Verdict};
use crate::{Pace, ProbeId, ProbeResponse, Protocol, ReplyKind, SackRefusal, Schedule, TracerouteError, Ttl};

/// Something that happened in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEvent {
    /// A probe was handed to the system.
    Sent(ProbeId),
    /// A TTL was answered for the first time.
    Answered(Ttl),
    /// What is known about an answered TTL has changed: a better answer, a better time, or an answer after the end.
    Updated(Ttl),
}

/// One trace of a path.
#[derive(Debug)]
pub struct Run {
    schedule: Schedule,
    path: Path,
    shared: Knowledge,
    sounded: bool,
    last_sent: Option<Timestamp>,
    slowest: Duration,
    over: Option<Over>,
    port_open: bool,
    refused: Option<Refused>,
    target_speaks: bool,
    late: u32,
    duplicates: u32,
    send_errors: u32,
    events: VecDeque<RunEvent>,
}

/// That the method does not work, as packets said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Refused {
    /// What the first of them said.
    reason: SackRefusal,
    /// When that came which weighs most.
    at: Timestamp,
    /// How many said that the method is not used, two at most.
    unused: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Complete,
    Refused,
    Interrupted,
}

impl Run {
    /// A run toward `target` that has sent nothing yet.
    #[must_use]
    pub fn new(protocol: Protocol, target: IpAddr, schedule: Schedule) -> Self {
        Self {
            path: Path::new(protocol, target, schedule.first_ttl, schedule.max_ttl),
            sounded: !schedule.sounding,
            schedule,
            shared: Knowledge::default(),
            last_sent: None,
            slowest: Duration::ZERO,
            over: None,
            port_open: false,
            refused: None,
            target_speaks: false,
            late: 0,
            duplicates: 0,
            send_errors: 0,
            events: VecDeque::new(),
        }
    }

    /// The probe to send now, if any. Each is returned once; the caller sends it and says so with
    /// [`handle_sent`](Self::handle_sent) or [`handle_send_error`](Self::handle_send_error).
    pub fn poll_send(&mut self, now: Timestamp) -> Option<ProbeId> {
        if self.is_finished() {
            return None;
        }
        let ttl = if self.sounded {
            let (ttl, at) = self.next_send()?;
            if at > now {
                return None;
            }
            ttl
        } else {
            self.sounded = true;
            self.schedule.max_ttl
        };
        self.path.mark_sent(ttl, now);
        self.last_sent = Some(now);
        Some(ProbeId::first(ttl))
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) at the latest, if nothing happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let send = self.next_send().map(|(_, at)| at);
        send.into_iter().chain(self.ends_at()).chain(self.gives_up_at()).min()
    }

    /// Looks at the clock.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        if self.over.is_some() {
            return;
        }
        if self.gives_up_at().is_some_and(|end| end <= now) {
            self.over = Some(Over::Refused);
        } else if self.ends_at().is_some_and(|end| end <= now) {
            self.over = Some(Over::Complete);
        }
    }

    /// The probe was handed to the system, or was seen on its way out: `stamp` is the best that is known of when. The
    /// last copy seen before the answer counts, for it is the one nearest to the wire.
    pub fn handle_sent(&mut self, probe: ProbeId, stamp: Stamp) {
        let Some(first) = self.path.improve_sent(probe, stamp) else { return };
        if stamp.source == StampSource::User {
            self.last_sent = self.last_sent.max(Some(stamp.at));
        }
        if first {
            self.events.push_back(RunEvent::Sent(probe));
        } else if self.path.is_answered(probe.ttl) {
            self.events.push_back(RunEvent::Updated(probe.ttl));
        }
    }

    /// The system refused to send the probe. The first probe's error ends the run; a later one is counted, and the
    /// probe stays unanswered.
    pub fn handle_send_error(
        &mut self,
        _probe: ProbeId,
        error: TracerouteError,
    ) -> Result<(), TracerouteError> {
        self.send_errors += 1;
        if self.path.any_sent() { Ok(()) } else { Err(error) }
    }

    /// A packet answers a probe of this run.
    pub fn handle_reply(&mut self, response: ProbeResponse) {
        let at = response.stamp.at;
        let over = self.is_finished();
        if matches!(response.kind, ReplyKind::SynAck | ReplyKind::Sack) {
            self.handle_port_open();
        }
        let (ttl, event) = match self.path.book(response) {
            None => return,
            Some(Booked::Duplicate) => {
                self.duplicates += 1;
                return;
            }
            Some(Booked::New { ttl, rtt }) => {
                self.slowest = self.slowest.max(rtt);
                (ttl, RunEvent::Answered(ttl))
            }
            Some(Booked::Replaced { ttl }) => (ttl, RunEvent::Updated(ttl)),
        };
        if over {
            // The answers to probes that went beyond the end of the path are no news.
            if self.path.ending().is_none_or(|ending| ttl <= ending.ttl) {
                self.late += 1;
                self.events.push_back(RunEvent::Updated(ttl));
            }
        } else {
            self.events.push_back(event);
            self.handle_timeout(at);
        }
    }

    /// A packet to the target and its answer took so long before the run began.
    pub fn handle_round_trip(&mut self, rtt: Duration) {
        self.slowest = self.slowest.max(rtt);
    }

    /// A packet says that the method does not work. Numbers that are shifted end the run at once. All else is a suspicion, for
    /// a proxy on the way may have sent the packet, or the target before it got a probe. A target that does not use the method
    /// sends one for each probe: from the second on, or when all probes have been sent, the suspicion ends the run when the
    /// destination does not answer what should have reached it for as long as a silent hop is waited for.
    pub fn handle_refusal(&mut self, reason: SackRefusal, now: Timestamp) {
        self.target_speaks |= reason == SackRefusal::SpeaksFirst;
        if self.is_finished() {
            return;
        }
        if reason == SackRefusal::SequenceShifted {
            self.refused = None;
            self.over = Some(Over::Refused);
        }
        let refused = self.refused.get_or_insert(Refused { reason, at: now, unused: 0 });
        if reason == SackRefusal::NotUsed && refused.unused < 2 {
            *refused = Refused { at: now, unused: refused.unused + 1, ..*refused };
        }
    }

    /// Why a run that is over has no result: the method does not work.
    #[must_use]
    pub fn refusal(&self) -> Option<SackRefusal> {
        let refused = self.refused.filter(|_| self.over == Some(Over::Refused))?;
        Some(match refused.reason {
            // Which of the two came first is chance.
            SackRefusal::NotUsed if self.target_speaks => SackRefusal::SpeaksFirst,
            reason => reason,
        })
    }

    /// The target accepts connections on the port, whatever resets say: a listening port that has answered one SYN
    /// resets what it has half opened when the next one comes.
    pub fn handle_port_open(&mut self) {
        self.port_open = true;
    }

    /// A sister run of the same request has learnt something.
    pub fn handle_learnt(&mut self, knowledge: Knowledge) {
        self.shared.merge(knowledge);
        self.path.told = self.shared.distance.filter(|distance| distance.exact).map(|distance| distance.ttl);
    }

    /// Ends the run now, with what it knows.
    pub fn interrupt(&mut self) {
        self.over.get_or_insert(Over::Interrupted);
    }

    /// Whether the run is over. Answers that come later are still booked.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        self.over.is_some()
    }

    /// What has happened since the last call.
    pub fn poll_event(&mut self) -> Option<RunEvent> {
        self.events.pop_front()
    }

    /// What this run itself has learnt, for its sisters.
    #[must_use]
    pub fn knowledge(&self) -> Knowledge {
        Knowledge { port: self.port_state(None), ..self.path.knowledge() }
    }

    /// What the target said of the port; where that is doubtful, what it said to sister runs.
    fn port_state(&self, sisters: Option<PortState>) -> Option<PortState> {
        if self.port_open {
            return Some(PortState::Open);
        }
        match self.path.refusal()? {
            Refusal::Certain => Some(PortState::Closed),
            Refusal::Doubtful => sisters,
        }
    }

    /// The result so far.
    #[must_use]
    pub fn report(&self) -> RunReport {
        let interrupted = self.over == Some(Over::Interrupted);
        // A time exceeded of the target counts as the destination only once nothing better can come.
        let verdict = match self.path.verdict() {
            Verdict::TargetHop(_) if interrupted => Verdict::Open,
            verdict => verdict,
        };
        RunReport {
            hops: self.path.hops(verdict),
            end_reason: if interrupted { EndReason::Interrupted } else { verdict.end_reason() },
            reached: verdict.reached(),
            port_state: self.port_state(self.shared.port),
            target_speaks: self.target_speaks,
            late: self.late,
            duplicates: self.duplicates,
            send_errors: self.send_errors,
        }
    }

    /// What is known about one answered TTL.
    #[must_use]
    pub fn hop(&self, ttl: Ttl) -> Option<HopReport> {
        self.path.hop(ttl)
    }

    /// The lowest TTL not sent yet and the time from which it may be.
    fn next_send(&self) -> Option<(Ttl, Timestamp)> {
        if self.is_finished() {
            return None;
        }
        let ttl = self.path.lowest_unsent()?;
        if self.path.ending().is_some_and(|ending| ttl > ending.ttl) {
            return None;
        }
        let at = match self.schedule.pace {
            Pace::OneByOne => self.path.previous_outstanding(ttl).map(|sent| sent + self.schedule.timeout),
            Pace::Ahead { ahead, every } => self.ahead_at(ttl, ahead, every),
        };
        Some((ttl, at.unwrap_or(Timestamp::ZERO)))
    }

    /// When `ttl` may be sent; `None` is at once.
    fn ahead_at(&self, ttl: Ttl, ahead: u8, every: Duration) -> Option<Timestamp> {
        let last_sent = self.last_sent?;
        match self.destination_ahead() {
            Some(distance) if ttl <= distance.ttl => None,
            Some(distance) => {
                let waited = self.path.sent_at(distance.ttl)? + self.patience();
                Some(waited.max(last_sent + self.interval_beyond(distance, last_sent, every)?))
            }
            None => {
                let farthest = self.farthest().max(self.schedule.first_ttl.get() - 1);
                if ttl.get() <= farthest.saturating_add(ahead) { None } else { Some(last_sent + every) }
            }
        }
    }

    /// The time from the last probe to the next one beyond `destination`. One that has answered sisters and not this run may send
    /// so many ICMP errors a second only: the probes are spread over the time that the run would take anyway.
    fn interval_beyond(
        &self,
        destination: Distance,
        last_sent: Timestamp,
        every: Duration,
    ) -> Option<Duration> {
        if !destination.exact {
            return Some(every);
        }
        let spare = self.usual_end(destination, every)?.saturating_since(last_sent);
        let unsent = u32::from(self.path.unsent()).max(1);
        Some(every.max(spare.saturating_sub(self.patience()) / unsent))
    }

    /// When the run would be over if it sent a probe `every` so often beyond `destination`, and nobody answered.
    fn usual_end(&self, destination: Distance, every: Duration) -> Option<Timestamp> {
        let beyond = self.schedule.max_ttl.get().saturating_sub(destination.ttl.get());
        Some(self.path.sent_at(destination.ttl)? + every * beyond.into() + self.schedule.timeout)
    }

    /// The time at which the run is over if nothing more happens, where that can be told yet.
    fn ends_at(&self) -> Option<Timestamp> {
        let unsent = self.path.lowest_unsent();
        if let Some(ending) = self.path.ending() {
            if unsent.is_some_and(|ttl| ttl <= ending.ttl) {
                return None;
            }
            let latest = self.path.latest_unanswered(ending.ttl);
            return Some(latest.map_or(Timestamp::ZERO, |sent| sent + self.patience()));
        }
        if unsent.is_some() {
            return None;
        }
        match self.path.latest_unanswered(self.schedule.max_ttl) {
            Some(_) => {
                let last_sent = self.last_sent?;
                let end = last_sent + self.schedule.timeout;
                Some(self.spread_end(last_sent).map_or(end, |spread| spread.min(end)))
            }
            None => Some(Timestamp::ZERO),
        }
    }

    /// When a run is over that has spread its last probes.
    fn spread_end(&self, last_sent: Timestamp) -> Option<Timestamp> {
        let Pace::Ahead { every, .. } = self.schedule.pace else { return None };
        let destination = self.destination_ahead().filter(|distance| distance.exact)?;
        Some(self.usual_end(destination, every)?.max(last_sent + self.patience()))
    }

    /// When the method is given up, if it is said not to work: when the destination has not shown for long enough that it does,
    /// though a probe should have reached it.
    fn gives_up_at(&self) -> Option<Timestamp> {
        let works = self.path.ending().is_some_and(|ending| ending.destination);
        let refused = self.refused.filter(|_| !works)?;
        let known = self.path.distance().or(self.shared.distance);
        let distance =
            known.map_or(self.schedule.max_ttl, |distance| distance.ttl.min(self.schedule.max_ttl));
        let reached = if self.path.lowest_unsent().is_none() {
            self.last_sent?
        } else if refused.unused >= 2 {
            self.path.first_sent_beyond(distance)?
        } else {
            return None;
        };
        Some(refused.at.max(reached) + self.patience())
    }

    /// How far the destination is, if somebody knows and no answer of this run belies it.
    fn destination_ahead(&self) -> Option<Distance> {
        let mut known = Knowledge { distance: self.path.distance(), ..Knowledge::default() };
        known.merge(self.shared);
        let trusted = |distance: &Distance| distance.exact || self.schedule.trusts_guesses;
        let known =
            known.distance.filter(trusted).filter(|distance| distance.ttl.get() > self.path.farthest())?;
        // One that is nearer is reached by all probes.
        Some(Distance { ttl: known.ttl.max(self.schedule.first_ttl), ..known })
    }

    fn farthest(&self) -> u8 {
        self.path.farthest().max(self.shared.farthest)
    }

    fn patience(&self) -> Duration {
        self.schedule.patience(self.slowest)
    }
}
