//! One host of a chain, and what can be done to it.

use std::net::IpAddr;
use std::ops::Deref;

use super::Namespace;
use crate::address_plan::DualStack;
use crate::error::Error;

/// The client, a router or the target of a [`Chain`](super::Chain); it derefs to its [`Namespace`].
///
/// Its interface toward the client is called `left`, the one toward the target `right`.
#[derive(Debug)]
pub struct Node {
    pub(super) namespace: Namespace,
    pub(super) left: Option<DualStack>,
    pub(super) right: Option<DualStack>,
    pub(super) target: DualStack,
}

/// The ICMP error with which a firewall rejects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reject {
    /// Network unreachable; no route to destination in IPv6.
    Network,
    /// Host unreachable; address unreachable in IPv6.
    Host,
    /// Port unreachable.
    Port,
    /// Communication administratively prohibited.
    AdminProhibited,
}

impl Reject {
    fn icmp(self) -> &'static str {
        match self {
            Self::Network => "net-unreachable",
            Self::Host => "host-unreachable",
            Self::Port => "port-unreachable",
            Self::AdminProhibited => "admin-prohibited",
        }
    }

    fn icmpv6(self) -> &'static str {
        match self {
            Self::Network => "no-route",
            Self::Host => "addr-unreachable",
            Self::Port => "port-unreachable",
            Self::AdminProhibited => "admin-prohibited",
        }
    }
}

const ICMP_ERRORS: &str = "{ destination-unreachable, time-exceeded, parameter-problem }";
const ICMPV6_ERRORS: &str = "{ destination-unreachable, packet-too-big, time-exceeded, parameter-problem }";

impl Node {
    /// Its addresses toward the client, from which a router answers; the client's own for the client.
    #[must_use]
    pub fn addresses(&self) -> DualStack {
        self.left.or(self.right).unwrap_or(self.target)
    }

    /// Its addresses toward the target; the target's own for the target.
    #[must_use]
    pub fn right_addresses(&self) -> DualStack {
        self.right.or(self.left).unwrap_or(self.target)
    }

    /// Keeps it from sending ICMP errors and echo replies.
    pub fn silence(&self) -> Result<(), Error> {
        self.add_chain(
            "silence",
            "type filter hook output priority 0",
            &[
                format!("icmp type {ICMP_ERRORS} drop"),
                "icmp type echo-reply drop".to_owned(),
                format!("icmpv6 type {ICMPV6_ERRORS} drop"),
                "icmpv6 type echo-reply drop".to_owned(),
            ],
        )
    }

    /// Lets it swallow, without a word, whatever it would forward to the target, or receive as the target.
    pub fn blackhole(&self) -> Result<(), Error> {
        self.filter_target("drop", "drop")
    }

    /// Answers whatever it would forward to the target, or receive as the target, with an ICMP error.
    ///
    /// A probe whose TTL ends at a router is not forwarded: it is answered with time exceeded.
    pub fn reject(&self, with: Reject) -> Result<(), Error> {
        self.filter_target(
            &format!("reject with icmp type {}", with.icmp()),
            &format!("reject with icmpv6 type {}", with.icmpv6()),
        )
    }

    /// Translates the destination `from` to `to`, of the same family, in what it forwards.
    ///
    /// Linux also gives the errors that come back, those of this router and of all behind it, the source `from`.
    pub fn dnat(&self, from: IpAddr, to: IpAddr) -> Result<(), Error> {
        let (family, name) = if from.is_ipv4() { ("ip", "dnat_v4") } else { ("ip6", "dnat_v6") };
        self.add_chain(
            name,
            "type nat hook prerouting priority -100",
            &[format!("{family} daddr {from} dnat {family} to {to}")],
        )
    }

    /// Gives what it forwards toward the target its own source address.
    pub fn masquerade(&self) -> Result<(), Error> {
        self.add_chain(
            "source_nat",
            "type nat hook postrouting priority 100",
            &["oifname \"right\" masquerade".to_owned()],
        )
    }

    fn filter_target(&self, verdict4: &str, verdict6: &str) -> Result<(), Error> {
        let rules = [
            format!("iifname \"left\" ip daddr {} {verdict4}", self.target.v4),
            format!("iifname \"left\" ip6 daddr {} {verdict6}", self.target.v6),
        ];
        self.add_chain("filter_forward", "type filter hook forward priority 0", &rules)?;
        self.add_chain("filter_input", "type filter hook input priority 0", &rules)
    }

    /// Adds rules to a chain at a netfilter hook, in a table of ours.
    fn add_chain(&self, name: &str, hook: &str, rules: &[String]) -> Result<(), Error> {
        self.nft(&format!("table inet testnet {{\nchain {name} {{\n{hook}\n{}\n}}\n}}\n", rules.join("\n")))
    }
}

impl Deref for Node {
    type Target = Namespace;

    fn deref(&self) -> &Namespace {
        &self.namespace
    }
}
