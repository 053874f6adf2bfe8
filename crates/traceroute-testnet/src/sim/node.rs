//! Routers and targets, and how they answer.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use traceroute_wire::Timestamp;

use super::extensions::Extensions;
use super::link::Link;
use super::message::Unreachable;
use super::nat::{DestinationNat, SourceNat};
use super::quote::Quote;
use super::rate_limit::RateLimit;
use super::sequence_shift::SequenceShift;
use super::tcp::TcpService;
use crate::address_plan::DualStack;

/// A router of a path.
#[derive(Clone, Debug)]
pub struct Router {
    /// Its addresses, from which it answers.
    pub addresses: DualStack,
    /// The link toward the client.
    pub link: Link,
    /// How it answers.
    pub answers: Answers,
    /// What it serves at its own addresses.
    pub services: Services,
    /// Why it forwards nothing away from the client.
    pub refuses: Option<Refusal>,
    /// Translation of the source of what it forwards away from the client.
    pub source_nat: Option<SourceNat>,
    /// Translation of the destination of what comes in from the client.
    pub destination_nat: Vec<DestinationNat>,
    /// Translation of the sequence numbers of what it forwards away from the client.
    pub sequence_shift: Option<SequenceShift>,
}

impl Router {
    /// A well-behaved router.
    #[must_use]
    pub fn new(addresses: DualStack) -> Self {
        Self {
            addresses,
            link: Link::default(),
            answers: Answers::default(),
            services: Services::default(),
            refuses: None,
            source_nat: None,
            destination_nat: Vec::new(),
            sequence_shift: None,
        }
    }
}

/// Why a router forwards nothing, and what it answers instead.
///
/// The kinds differ in when they are found out, in Linux as here: before or after the TTL is looked at and decremented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It has no route. Even what comes in with a TTL of 1 is answered so, and quoted as it came in.
    NoRoute(Unreachable),
    /// The next link is too narrow, for datagrams of any length. A TTL of 1 is answered with time exceeded; what is
    /// refused is quoted as it came in.
    TooBig {
        /// The MTU of the next link.
        mtu: u16,
    },
    /// A firewall rejects it. A TTL of 1 is answered with time exceeded; what is refused is quoted with its TTL
    /// decremented.
    Firewall(Unreachable),
}

/// The target of a path.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its addresses.
    pub addresses: DualStack,
    /// Further addresses of its own, of either family. What is sent to one of them is answered from it.
    pub more: BTreeSet<IpAddr>,
    /// The link toward the client.
    pub link: Link,
    /// How it answers.
    pub answers: Answers,
    /// What it serves.
    pub services: Services,
    /// When it answers at all.
    pub alive: Range<Timestamp>,
}

impl Target {
    /// A target that answers everything: port unreachable, echo reply, RST.
    #[must_use]
    pub fn new(addresses: DualStack) -> Self {
        Self {
            addresses,
            more: BTreeSet::new(),
            link: Link::default(),
            answers: Answers::default(),
            services: Services::default(),
            alive: Timestamp::ZERO..Timestamp::from_nanos(u64::MAX),
        }
    }
}

/// How a node answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Answers {
    /// Whether it sends nothing at all.
    pub silent: bool,
    /// The limit on ICMP errors; other answers are free.
    pub rate_limit: Option<RateLimit>,
    /// How much its ICMP errors quote.
    pub quote: Quote,
    /// The extensions of its ICMP errors.
    pub extensions: Option<Extensions>,
    /// The TTL or hop limit with which its answers start, 64 unless set.
    pub ttl: u8,
    /// How long it takes to answer.
    pub delay: Duration,
    /// How many more times it sends every answer.
    pub duplicates: usize,
    /// The addresses from which it answers instead of its own.
    pub source: Option<DualStack>,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            silent: false,
            rate_limit: None,
            quote: Quote::default(),
            extensions: None,
            ttl: 64,
            delay: Duration::ZERO,
            duplicates: 0,
            source: None,
        }
    }
}

/// What a node does with datagrams for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Services {
    /// Whether it answers echo requests.
    pub echo: bool,
    /// What it does with UDP.
    pub udp: UdpService,
    /// What it does with TCP.
    pub tcp: TcpService,
}

impl Default for Services {
    fn default() -> Self {
        Self { echo: true, udp: UdpService::Unreachable(Unreachable::Port), tcp: TcpService::Closed }
    }
}

/// What a node does with UDP datagrams for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UdpService {
    /// It answers with an ICMP error.
    Unreachable(Unreachable),
    /// It answers in UDP with these bytes.
    Answer(Vec<u8>),
    /// It sends the payload back.
    Echo,
    /// Nothing.
    Silent,
}
