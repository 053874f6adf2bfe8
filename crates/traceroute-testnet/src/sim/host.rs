//! What routers and targets answer.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::Range;

use traceroute_wire::Timestamp;

use super::message::{self, IcmpError};
use super::nat::DestinationNat;
use super::node::{Answers, Router, Services, Target, UdpService};
use super::packet::{self, Header};
use super::rate_limit::Buckets;
use super::tcp::{self, Alarm};
use crate::address_plan::DualStack;

/// A node as one that answers.
#[derive(Debug)]
pub(super) struct Host {
    addresses: DualStack,
    more: BTreeSet<IpAddr>,
    answers: Answers,
    services: Services,
    tcp: tcp::Service,
    alive: Range<Timestamp>,
    buckets: Buckets,
}

/// A datagram that a node sends.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) at: Timestamp,
    pub(super) datagram: Vec<u8>,
}

/// What follows from a datagram at a node.
#[derive(Debug, Default)]
pub(super) struct Reaction {
    pub(super) answers: Vec<Answer>,
    /// When the node wants to be woken, and for what.
    pub(super) alarms: Vec<(Timestamp, Alarm)>,
}

impl From<Vec<Answer>> for Reaction {
    fn from(answers: Vec<Answer>) -> Self {
        Self { answers, alarms: Vec::new() }
    }
}

impl Host {
    pub(super) fn from_router(router: Router) -> Self {
        Self {
            addresses: router.addresses,
            more: BTreeSet::new(),
            answers: router.answers,
            tcp: tcp::Service::new(router.services.tcp.clone()),
            services: router.services,
            alive: Timestamp::ZERO..Timestamp::from_nanos(u64::MAX),
            buckets: Buckets::default(),
        }
    }

    pub(super) fn from_target(target: Target) -> Self {
        Self {
            addresses: target.addresses,
            more: target.more,
            answers: target.answers,
            tcp: tcp::Service::new(target.services.tcp.clone()),
            services: target.services,
            alive: target.alive,
            buckets: Buckets::default(),
        }
    }

    pub(super) fn has(&self, address: IpAddr) -> bool {
        self.addresses.contains(address) || self.more.contains(&address)
    }

    /// Answers a datagram that reached its host, if it is for it and intact.
    pub(super) fn serve(&mut self, now: Timestamp, datagram: &[u8]) -> Reaction {
        let Some(header) = Header::parse(datagram) else { return Reaction::default() };
        if !self.speaks(now)
            || !self.has(header.destination)
            || header.later_fragment
            || !packet::transport_checksum_is_correct(datagram, &header)
        {
            return Reaction::default();
        }
        let (from, ttl) = (self.source(&header), self.answers.ttl);
        let transport = header.transport(datagram);
        let answer = match header.protocol {
            packet::UDP if transport.len() >= 8 => match &self.services.udp {
                UdpService::Unreachable(why) => {
                    return self.error(now, IcmpError::Unreachable(*why), datagram).into();
                }
                UdpService::Answer(payload) => message::udp_answer(from, ttl, datagram, payload),
                UdpService::Echo => message::udp_answer(from, ttl, datagram, &transport[8..]),
                UdpService::Silent => return Reaction::default(),
            },
            packet::TCP => {
                let reaction = self.tcp.serve(now, from, ttl, datagram);
                return self.react(now, reaction);
            }
            packet::ICMP | packet::ICMPV6 if self.services.echo && is_echo_request(&header, transport) => {
                message::echo_reply(from, ttl, datagram)
            }
            _ => return Reaction::default(),
        };
        self.answer(now, answer).into()
    }

    /// Does what was put off until now.
    pub(super) fn wake(&mut self, now: Timestamp, alarm: Alarm) -> Reaction {
        if !self.speaks(now) {
            return Reaction::default();
        }
        let reaction = self.tcp.wake(now, alarm);
        self.react(now, reaction)
    }

    fn react(&self, now: Timestamp, reaction: tcp::Reaction) -> Reaction {
        let tcp::Reaction { datagrams, alarms } = reaction;
        let answers = datagrams.into_iter().flat_map(|datagram| self.answer(now, datagram)).collect();
        Reaction { answers, alarms }
    }

    /// Answers a datagram with an ICMP error, if it is one that may be answered so and the rate limit allows it.
    pub(super) fn error(&mut self, now: Timestamp, error: IcmpError, datagram: &[u8]) -> Vec<Answer> {
        let Some(header) = Header::parse(datagram) else { return Vec::new() };
        if !self.speaks(now) || header.later_fragment || header.is_icmp_error(datagram) {
            return Vec::new();
        }
        if let Some(limit) = self.answers.rate_limit
            && !self.buckets.take(limit, header.source, now)
        {
            return Vec::new();
        }
        let Answers { ttl, quote, extensions, .. } = &self.answers;
        let from = self.source(&header);
        let message = message::icmp_error(from, *ttl, error, datagram, *quote, extensions.as_ref());
        self.answer(now, message)
    }

    fn speaks(&self, now: Timestamp) -> bool {
        !self.answers.silent && self.alive.contains(&now)
    }

    /// The address from which to answer a datagram.
    fn source(&self, header: &Header) -> IpAddr {
        match self.answers.source {
            Some(source) => source.of_family(header.source),
            None if self.more.contains(&header.destination) => header.destination,
            None => self.addresses.of_family(header.source),
        }
    }

    fn answer(&self, now: Timestamp, datagram: Vec<u8>) -> Vec<Answer> {
        let at = now + self.answers.delay;
        vec![Answer { at, datagram }; 1 + self.answers.duplicates]
    }
}

/// Answers of a router that translates destinations: it knows the target by its public address.
pub(super) fn translated(mut reaction: Reaction, nats: &[DestinationNat]) -> Reaction {
    for answer in &mut reaction.answers {
        for nat in nats {
            nat.inward(&mut answer.datagram);
        }
    }
    reaction
}

fn is_echo_request(header: &Header, transport: &[u8]) -> bool {
    let request = if header.is_v6() { packet::ICMPV6_ECHO_REQUEST } else { packet::ICMPV4_ECHO_REQUEST };
    transport.len() >= 8 && transport[0] == request
}
