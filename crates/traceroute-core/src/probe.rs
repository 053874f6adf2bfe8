//! The vocabulary: TTLs, probes, flows and answers.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::num::NonZeroU8;

use serde::{Serialize, Serializer};
use traceroute_wire::{
    Datagram, IcmpError, IcmpErrorKind, InterfaceInfo, InterfaceRole, MplsLabel, Stamp, Unreachable,
};

use crate::{Captured, SackRefusal};

/// How many routers a probe may pass: the TTL of IPv4, the hop limit of IPv6; 1 to 255.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ttl(NonZeroU8);

impl Ttl {
    /// The first router.
    pub const FIRST: Self = Self(NonZeroU8::MIN);
    /// As far as IP goes.
    pub const MAX: Self = Self(NonZeroU8::MAX);

    /// The TTL `value`, unless it is zero.
    #[must_use]
    pub const fn new(value: u8) -> Option<Self> {
        match NonZeroU8::new(value) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    /// The value, 1 to 255.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0.get()
    }

    /// The TTL `steps` further on, at most 255.
    #[must_use]
    pub const fn plus(self, steps: u8) -> Self {
        Self(self.0.saturating_add(steps))
    }
}

impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl fmt::Debug for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl Serialize for Ttl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.get())
    }
}

/// How probes are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// UDP datagrams to a port on which nobody is expected to listen.
    Udp,
    /// ICMP echo requests.
    Icmp,
    /// TCP segments.
    Tcp,
}

impl Protocol {
    /// The name, in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Icmp => "icmp",
            Self::Tcp => "tcp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How TCP probes are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TcpMethod {
    /// SYN segments.
    #[default]
    Syn,
    /// Segments within a connection, acknowledged selectively (RFC 2018).
    Sack,
    /// The same, and SYN segments where the target does not support it.
    PreferSack,
    /// Connections with a TTL, which need no raw socket; Windows only.
    SynSocket,
}

impl TcpMethod {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Syn, Self::Sack, Self::PreferSack, Self::SynSocket];

    /// The name, in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Syn => "syn",
            Self::Sack => "sack",
            Self::PreferSack => "prefer_sack",
            Self::SynSocket => "syn_socket",
        }
    }
}

impl fmt::Display for TcpMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One probe of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProbeId {
    /// Index of the flow among the method's flows.
    pub flow: u16,
    /// The TTL it is sent with.
    pub ttl: Ttl,
    /// How many probes of this flow and TTL were sent before it; 0 to 254.
    pub attempt: u8,
}

impl ProbeId {
    /// The first probe of the first flow with this TTL.
    #[must_use]
    pub const fn first(ttl: Ttl) -> Self {
        Self { flow: 0, ttl, attempt: 0 }
    }

    /// The probe's number within its flow, 1 to 65,279: what a method hides in its 16-bit fields.
    #[must_use]
    pub const fn index(self) -> u16 {
        u16::from_be_bytes([self.attempt, self.ttl.get()])
    }

    /// The probe with this number in a flow; `None` for numbers that no probe has.
    #[must_use]
    pub const fn from_index(flow: u16, index: u16) -> Option<Self> {
        let [attempt, ttl] = index.to_be_bytes();
        match Ttl::new(ttl) {
            Some(ttl) if attempt < u8::MAX => Some(Self { flow, ttl, attempt }),
            _ => None,
        }
    }
}

/// What may be chosen about the bytes of probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Shape {
    /// The traffic class of IPv6, the type of service of IPv4.
    pub traffic_class: u8,
    /// The length of the whole datagram in bytes, where the method has data that can be longer; less than the method needs
    /// means as little as that.
    pub size: u16,
}

impl Shape {
    /// How many bytes of data there are behind `headers` bytes of headers, of which the method needs `least`.
    #[must_use]
    pub fn data_len(self, headers: usize, least: usize) -> usize {
        usize::from(self.size).saturating_sub(headers).max(least)
    }
}

/// The data that a method needs, and zeros up to `len` bytes: they change no checksum.
#[must_use]
pub fn padded(data: &[u8], len: usize) -> Cow<'_, [u8]> {
    if len <= data.len() {
        return Cow::Borrowed(data);
    }
    let mut padded = data.to_vec();
    padded.resize(len, 0);
    Cow::Owned(padded)
}

/// What tells the packets of one flow from all others: the key of the demultiplexer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// The method's protocol.
    pub protocol: Protocol,
    /// The local port or the echo id.
    pub local: u16,
    /// The target.
    pub remote: IpAddr,
    /// The IP header's identification or flow label: the part of the run's nonce that survives when a NAT rewrites
    /// source and port.
    pub label: u32,
}

/// How a probe was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReplyKind {
    /// The TTL ran out at a router.
    TimeExceeded,
    /// The datagram could not be delivered.
    Unreachable(Unreachable),
    /// The target echoed it.
    EchoReply,
    /// The target answered in UDP.
    UdpAnswer,
    /// The target accepts connections on the port.
    SynAck,
    /// The target refuses the segment: nobody accepts connections on the port, or not like this.
    Reset,
    /// The target acknowledged just this segment of a connection (RFC 2018).
    Sack,
}

impl fmt::Display for ReplyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimeExceeded => f.write_str("time exceeded"),
            Self::Unreachable(reason) => write!(f, "unreachable ({reason})"),
            Self::EchoReply => f.write_str("echo reply"),
            Self::UdpAnswer => f.write_str("UDP answer"),
            Self::SynAck => f.write_str("SYN-ACK"),
            Self::Reset => f.write_str("reset"),
            Self::Sack => f.write_str("selective acknowledgement"),
        }
    }
}

/// An interface of the answering router (RFC 5837).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// `incoming`, `sub_ip_component`, `outgoing` or `next_hop`.
    pub role: &'static str,
    /// Its index in the router's interface table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    /// Its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its MTU in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
}

impl From<InterfaceInfo<'_>> for Interface {
    fn from(info: InterfaceInfo<'_>) -> Self {
        Self {
            role: match info.role {
                InterfaceRole::Incoming => "incoming",
                InterfaceRole::SubIpComponent => "sub_ip_component",
                InterfaceRole::Outgoing => "outgoing",
                InterfaceRole::NextHop => "next_hop",
            },
            index: info.index,
            address: info.address,
            name: info.name.map(String::from),
            mtu: info.mtu,
        }
    }
}

/// What the ICMP error that answered a probe says beyond its type.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct QuotedFacts {
    /// The TTL with which the probe arrived at the sender of the error.
    pub ttl: u8,
    /// The source that the router saw, when a NAT on the way had rewritten it; the port is the echo id in ICMP.
    pub rewritten_source: Option<SocketAddr>,
    /// The MPLS label stack that the probe arrived with (RFC 4950), top first.
    pub mpls: Vec<MplsLabel>,
    /// The first interface that the router describes (RFC 5837).
    pub interface: Option<Interface>,
}

/// An answer to a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeResponse {
    /// The probe that it names. A UDP answer names none: a datagram of the target's own making. Nor do some resets.
    pub probe: Option<ProbeId>,
    /// Who sent it.
    pub from: IpAddr,
    /// What it says.
    pub kind: ReplyKind,
    /// When it arrived.
    pub stamp: Stamp,
    /// The index of the interface on which it was seen; 0 where that is not known.
    pub interface: u32,
    /// The TTL with which it arrived; 0 where that is not known.
    pub ttl: u8,
    /// What it quotes, if it is an ICMP error.
    pub quoted: Option<QuotedFacts>,
}

impl ProbeResponse {
    /// The answer that an ICMP error gives to `probe`, which left from `sent_from` and which the router saw come from
    /// `seen_from`; in ICMP the ports are echo ids.
    #[must_use]
    pub fn from_error(
        probe: ProbeId,
        packet: &Captured<'_>,
        datagram: &Datagram<'_>,
        error: &IcmpError<'_>,
        sent_from: SocketAddr,
        seen_from: SocketAddr,
    ) -> Self {
        let kind = match error.kind {
            IcmpErrorKind::TimeExceeded => ReplyKind::TimeExceeded,
            IcmpErrorKind::Unreachable(reason) => ReplyKind::Unreachable(reason),
        };
        let extensions = error.extensions;
        let quoted = QuotedFacts {
            ttl: error.quoted.header.ttl,
            rewritten_source: (seen_from != sent_from).then_some(seen_from),
            mpls: extensions.map(|e| e.mpls_labels().collect()).unwrap_or_default(),
            interface: extensions.and_then(|e| e.interfaces().next()).map(Interface::from),
        };
        Self { quoted: Some(quoted), ..Self::from_target(Some(probe), packet, datagram, kind) }
    }

    /// The answer that a packet gives which quotes nothing.
    #[must_use]
    pub fn from_target(
        probe: Option<ProbeId>,
        packet: &Captured<'_>,
        datagram: &Datagram<'_>,
        kind: ReplyKind,
    ) -> Self {
        Self {
            probe,
            from: datagram.source(),
            kind,
            stamp: packet.stamp,
            interface: packet.interface,
            ttl: datagram.header.ttl,
            quoted: None,
        }
    }
}

/// One method of probing: turns a probe into bytes and a captured packet into an answer. Pure.
pub trait ProbeProtocol: Send {
    /// The flows of this run, for the demultiplexer. [`ProbeId::flow`] is an index into it.
    fn flows(&self) -> &[FlowKey];

    /// The length of the longest probe in bytes, at least [`MAX_PROBE_LEN`].
    fn buffer_len(&self) -> usize {
        MAX_PROBE_LEN
    }

    /// Writes the whole IP datagram of a probe to the start of `buffer`, which is at least
    /// [`buffer_len`](Self::buffer_len) bytes long, and returns it.
    fn encode<'b>(&mut self, probe: ProbeId, buffer: &'b mut [u8]) -> &'b [u8];

    /// Which probe of this run the packet is, if it is one on its way out.
    fn match_sent(&self, own: &Captured<'_>) -> Option<ProbeId>;

    /// What the packet answers, if it answers a probe of this run.
    fn match_reply(&self, reply: &Captured<'_>) -> Option<ProbeResponse>;

    /// Why the method does not work, if a packet that answers no probe says so. Most methods always do.
    fn match_refusal(&self, reply: &Captured<'_>) -> Option<SackRefusal> {
        let _ = reply;
        None
    }
}

/// The longest probe that a method builds if no greater [size](Shape::size) is asked for, in bytes.
pub const MAX_PROBE_LEN: usize = 128;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn probes_are_their_index(ttl in 1u8.., attempt in 0u8..255) {
            let probe = ProbeId { flow: 3, ttl: Ttl::new(ttl).unwrap(), attempt };
            prop_assert_eq!(ProbeId::from_index(3, probe.index()), Some(probe));
        }

        #[test]
        fn an_index_is_one_probe_or_none(index: u16) {
            if let Some(probe) = ProbeId::from_index(0, index) {
                prop_assert_eq!(probe.index(), index);
            }
        }
    }
}
