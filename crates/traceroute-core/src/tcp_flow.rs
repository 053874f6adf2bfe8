//! What the two TCP methods have in common: which segments are of a run's flow.

use core::net::{IpAddr, SocketAddr};

use traceroute_wire::{
    Datagram, Endpoints, IcmpError, IcmpMessage, IpHeader, QuotedTcp, TcpFlags, TcpSegment, protocol, tcp,
};

use crate::{Captured, Direction, FlowKey, Identity, ProbeId, ProbeResponse, Protocol, ReplyKind, Ttl};

/// A TCP flow between a run and its target.
///
/// A quote is of one of its probes if that was going to the target's port, and has the flow's label: a NAT may have rewritten
/// the source. Where the label was rewritten, source and control bits do instead; without the latter, it might be a segment
/// of this host's kernel, whose numbers are next to the probes'. Which probe it is of is for the sequence number to say,
/// a run's first of which is drawn at random.
#[derive(Clone, Debug)]
pub struct TcpFlow {
    endpoints: Endpoints,
    port: u16,
    flags: TcpFlags,
    traffic_class: u8,
    keys: [FlowKey; 1],
}

/// The receive window that probes state, in bytes.
const WINDOW: u16 = 1024;

/// What a probe's segment has of its own.
#[derive(Clone, Copy, Debug)]
pub struct ProbeSegment<'a> {
    /// The sequence number.
    pub sequence: u32,
    /// The acknowledgement number.
    pub acknowledgement: u32,
    /// The options as they are on the wire; a multiple of four bytes.
    pub options: &'a [u8],
    /// The data.
    pub payload: &'a [u8],
}

/// A packet that the flow has to do with.
#[derive(Clone, Copy, Debug)]
pub enum TcpPacket<'a> {
    /// An ICMP error about a segment of the flow.
    Error(QuotedSegment<'a>),
    /// A segment of the target's.
    Segment(Datagram<'a>, TcpSegment<'a>),
}

/// A segment of the flow as an ICMP error quotes it.
#[derive(Clone, Copy, Debug)]
pub struct QuotedSegment<'a> {
    datagram: Datagram<'a>,
    error: IcmpError<'a>,
    /// Where it came from when the router saw it.
    source: SocketAddr,
    /// Its sequence number.
    pub sequence: u32,
}

impl TcpFlow {
    /// The flow from `source` to `port` of the identity's target, of probes with these control bits. `None` if source and
    /// target are of different families.
    #[must_use]
    pub fn new(source: IpAddr, port: u16, identity: &Identity, flags: TcpFlags) -> Option<Self> {
        let endpoints = Endpoints::new(source, identity.remote)?;
        Some(Self { endpoints, port, flags, traffic_class: 0, keys: [identity.flow_key(Protocol::Tcp)] })
    }

    /// The same flow with another label in its IP headers.
    #[must_use]
    pub fn labelled(mut self, label: u32) -> Self {
        self.keys[0].label = label;
        self
    }

    /// The same flow with another traffic class.
    #[must_use]
    pub fn classed(mut self, traffic_class: u8) -> Self {
        self.traffic_class = traffic_class;
        self
    }

    /// What the demultiplexer knows the flow by.
    #[must_use]
    pub const fn keys(&self) -> &[FlowKey] {
        &self.keys
    }

    /// The local end.
    #[must_use]
    pub const fn local(&self) -> SocketAddr {
        SocketAddr::new(self.endpoints.source(), self.keys[0].local)
    }

    /// The target and its port.
    #[must_use]
    pub const fn remote(&self) -> SocketAddr {
        SocketAddr::new(self.endpoints.destination(), self.port)
    }

    /// Writes a probe with this TTL; returns the datagram.
    pub fn write<'b>(&self, ttl: Ttl, segment: &ProbeSegment<'_>, buffer: &'b mut [u8]) -> &'b [u8] {
        let [FlowKey { local, label, .. }] = self.keys;
        let header = IpHeader {
            endpoints: self.endpoints,
            ttl: ttl.get(),
            protocol: protocol::TCP,
            label,
            dont_fragment: false,
            traffic_class: self.traffic_class,
        };
        let &ProbeSegment { sequence, acknowledgement, options, payload } = segment;
        let segment = TcpSegment {
            source_port: local,
            destination_port: self.port,
            sequence,
            acknowledgement,
            flags: self.flags,
            window: WINDOW,
            options,
            payload,
        };
        let length = tcp::write_segment(&header, &segment, buffer);
        &buffer[..length]
    }

    /// A segment that was seen on its way out, from this flow's own port: a probe, or one of the kernel's. With its IP header.
    #[must_use]
    pub fn sent<'a>(&self, own: &Captured<'a>) -> Option<(IpHeader, TcpSegment<'a>)> {
        let (header, segment) = self.toward_target(own)?;
        self.is_source(&header, segment.source_port).then_some((header, segment))
    }

    /// The probe's sequence number, if this is a probe that was seen on its way out.
    #[must_use]
    pub fn sent_probe(&self, own: &Captured<'_>) -> Option<u32> {
        let (header, segment) = self.toward_target(own)?;
        // The host's own masquerading may have rewritten the source.
        let ours = header.label == self.keys[0].label || self.is_source(&header, segment.source_port);
        (ours && segment.flags == self.flags).then_some(segment.sequence)
    }

    fn toward_target<'a>(&self, own: &Captured<'a>) -> Option<(IpHeader, TcpSegment<'a>)> {
        let Datagram { header, payload } = Datagram::parse(own.datagram)?;
        let to_target = own.direction == Direction::Sent
            && header.protocol == protocol::TCP
            && header.endpoints.destination() == self.endpoints.destination();
        let segment = TcpSegment::parse(payload).filter(|_| to_target)?;
        (segment.destination_port == self.port).then_some((header, segment))
    }

    /// What a packet that was received has to do with this flow.
    #[must_use]
    pub fn received<'a>(&self, packet: &Captured<'a>) -> Option<TcpPacket<'a>> {
        if packet.direction != Direction::Received {
            return None;
        }
        let datagram = Datagram::parse(packet.datagram)?;
        if datagram.header.protocol != protocol::TCP {
            let IcmpMessage::Error(error) = IcmpMessage::parse(&datagram)? else { return None };
            return self.quoted(datagram, error).map(TcpPacket::Error);
        }
        let segment = TcpSegment::parse(datagram.payload)?;
        // The capture sees it before the host's own masquerading gives it our address back.
        let ours = datagram.source() == self.endpoints.destination()
            && segment.source_port == self.port
            && segment.destination_port == self.keys[0].local;
        ours.then_some(TcpPacket::Segment(datagram, segment))
    }

    fn quoted<'a>(&self, datagram: Datagram<'a>, error: IcmpError<'a>) -> Option<QuotedSegment<'a>> {
        let header = &error.quoted.header;
        let QuotedTcp { source_port, destination_port, sequence, flags } = error.quoted.tcp()?;
        let [FlowKey { remote, label, .. }] = self.keys;
        let as_sent = match flags {
            // Where extensions follow, a short quote is filled up with zeros (RFC 4884 section 4.6).
            Some(flags) if flags != TcpFlags::default() => flags == self.flags,
            _ => header.label == label,
        };
        let ours = header.endpoints.destination() == remote
            && destination_port == self.port
            && as_sent
            && (header.label == label || self.is_source(header, source_port));
        let source = SocketAddr::new(header.endpoints.source(), source_port);
        ours.then_some(QuotedSegment { datagram, error, source, sequence: sequence? })
    }

    /// Whether a quote is of this flow whatever its sequence number is: it has the source, or the source was rewritten and it
    /// has the label, which no other live run of the process has toward this target. In IPv6 the label may be the kernel's,
    /// and that of others too.
    #[must_use]
    pub fn is_surely_of(&self, quoted: &QuotedSegment<'_>) -> bool {
        let local = self.local();
        let header = &quoted.error.quoted.header;
        let labelled = local.is_ipv4() && header.label == self.keys[0].label;
        quoted.source == local || (labelled && quoted.source.ip() != local.ip())
    }

    fn is_source(&self, header: &IpHeader, port: u16) -> bool {
        SocketAddr::new(header.endpoints.source(), port) == self.local()
    }

    /// What a packet answers, by a method that knows which probe has a sequence number, and which probe a segment of the
    /// target's answers; of the latter it says `None` for the probe where that cannot be told.
    pub fn response(
        &self,
        packet: &Captured<'_>,
        probe_with: impl FnOnce(u32) -> Option<ProbeId>,
        answered_by: impl FnOnce(&TcpSegment<'_>) -> Option<(Option<ProbeId>, ReplyKind)>,
    ) -> Option<ProbeResponse> {
        Some(match self.received(packet)? {
            TcpPacket::Error(QuotedSegment { datagram, error, source, sequence }) => {
                let probe = probe_with(sequence)?;
                ProbeResponse::from_error(probe, packet, &datagram, &error, self.local(), source)
            }
            TcpPacket::Segment(datagram, segment) => {
                let (probe, kind) = answered_by(&segment)?;
                ProbeResponse::from_target(probe, packet, &datagram, kind)
            }
        })
    }
}
