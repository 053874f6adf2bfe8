//! A client that talks TCP with a simulated target.

use std::net::SocketAddr;

use traceroute_testnet::sim::{Network, TcpListener, TcpService, Topology};

use super::tcp::{In, Out, ack, syn};
use super::{at, families, micros};

/// The number of a first SYN.
pub const S: u32 = 1000;

/// A client next to its target, a millisecond away: what it sends is answered two milliseconds later.
pub struct Talk {
    pub network: Network,
    pub client: SocketAddr,
    pub target: SocketAddr,
    /// Milliseconds.
    pub now: u64,
    /// The number of the target's latest SYN-ACK.
    pub peer: u32,
}

impl Talk {
    pub fn new(service: TcpService) -> Self {
        Self::over(service, 0)
    }

    pub fn with(change: impl FnOnce(&mut TcpListener)) -> Self {
        let mut listener = TcpListener::default();
        change(&mut listener);
        Self::new(TcpService::Listening(listener))
    }

    /// Over IPv4 (0) or IPv6 (1).
    pub fn over(service: TcpService, family: usize) -> Self {
        let topology = Topology::chain(0).with_target(|t| t.services.tcp = service);
        let network = Network::new(topology, 1);
        let (client, target) = families(&network)[family];
        Self { network, client: (client, 50_000).into(), target: (target, 443).into(), now: 0, peer: 0 }
    }

    /// Sends a segment and gives what comes back at once.
    pub fn send(&mut self, out: &Out) -> Vec<In> {
        self.network.inject(at(self.now), &out.datagram(self.client, self.target)).unwrap();
        let answers = self.wait(2);
        assert!(answers.iter().all(|a| a.0 == self.now), "{answers:?}");
        answers.into_iter().map(|a| a.1).collect()
    }

    /// The same in lines.
    pub fn say(&mut self, out: &Out) -> Vec<String> {
        let answers = self.send(out);
        answers.iter().map(|answer| answer.line(S, self.peer)).collect()
    }

    /// What comes in the next milliseconds, and when.
    pub fn wait(&mut self, millis: u64) -> Vec<(u64, In)> {
        self.now += millis;
        let mut seen = Vec::new();
        while let Some(arrival) = self.network.poll(at(self.now)) {
            let segment = In::parse(&arrival.datagram);
            assert_eq!((segment.from, segment.to), (self.target, self.client));
            if segment.header.syn {
                self.peer = segment.header.sequence_number;
            }
            seen.push((micros(arrival.at) / 1000, segment));
        }
        seen
    }

    /// The same in lines.
    pub fn lines(&mut self, millis: u64) -> Vec<String> {
        let seen = self.wait(millis);
        seen.iter().map(|(at, segment)| format!("{at} {}", segment.line(S, self.peer))).collect()
    }

    /// Connects by a SYN and the acknowledgement of the SYN-ACK. What is acknowledged then, `A`, is returned.
    pub fn connect(&mut self, syn: &Out) -> u32 {
        assert_eq!(self.send(syn).len(), 1);
        let number = self.peer.wrapping_add(1);
        assert_eq!(self.say(&ack(S + 1, number)), [""; 0]);
        number
    }

    /// Connects with SACK and without timestamps.
    pub fn connect_with_sack(&mut self) -> u32 {
        self.connect(&syn(S).sack_permitted())
    }
}
