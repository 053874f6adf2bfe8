//! The UDP method: datagrams to a port on which nobody is expected to listen.
//!
//! # What a probe carries
//!
//! | where | what | why |
//! |---|---|---|
//! | source port | leased by the run | names the run; hashed, so constant |
//! | IPv4 identification, IPv6 flow label | the nonce's label | names the run where a NAT rewrote the source |
//! | UDP checksum | the nonce's base plus the probe's number | names the probe within the 8 bytes that every router quotes |
//! | payload | `NSMNC`, 0, the nonce's token, a word that makes the checksum come out | checked where it is quoted or echoed |
//!
//! Load balancers hash addresses, ports and the flow label, but not the UDP checksum, so all probes of a run take one
//! path. A NAT that rewrites addresses and ports corrects the checksum by the difference (RFC 1624): subtracting the
//! quoted header from the quoted checksum gives the sum of the payload whatever the header has become.
//!
//! # What answers
//!
//! Routers answer with time exceeded, the target with port unreachable, or with a datagram from the port probed. The
//! latter names no probe, unless it echoes ours.
#![no_std]
#![forbid(unsafe_code)]

use core::net::{IpAddr, SocketAddr};

use traceroute_core::{
    Captured, Direction, FlowKey, Identity, ProbeId, ProbeProtocol, ProbeResponse, Protocol, ReplyKind,
};
use traceroute_wire::{
    Datagram, Endpoints, IcmpError, IcmpMessage, IpHeader, Quoted, Sum, Udp, protocol, udp,
};

const PREFIX: &[u8; 6] = b"NSMNC\0";
const TOKEN: core::ops::Range<usize> = 6..14;
const PAYLOAD_LEN: usize = 16;

/// The probes of one run.
#[derive(Clone, Debug)]
pub struct UdpProbes {
    endpoints: Endpoints,
    port: u16,
    identity: Identity,
    flows: [FlowKey; 1],
}

impl UdpProbes {
    /// Probes from `source` to `port` of the identity's target. `None` if source and target are of different families.
    #[must_use]
    pub fn new(source: IpAddr, port: u16, identity: Identity) -> Option<Self> {
        Some(Self {
            endpoints: Endpoints::new(source, identity.remote)?,
            port,
            identity,
            flows: [identity.flow_key(Protocol::Udp)],
        })
    }

    fn label(&self) -> u32 {
        self.flows[0].label
    }

    /// All of the payload but the last word, which makes its sum come out as `sum`.
    fn payload(&self, sum: Sum) -> [u8; PAYLOAD_LEN] {
        let mut payload = [0; PAYLOAD_LEN];
        payload[..PREFIX.len()].copy_from_slice(PREFIX);
        payload[TOKEN].copy_from_slice(&self.identity.nonce.token.to_be_bytes());
        let rest = sum - Sum::bytes(&payload);
        payload[TOKEN.end..].copy_from_slice(&rest.value().to_be_bytes());
        payload
    }

    fn payload_sum(&self, probe: ProbeId) -> Sum {
        Sum::word(self.identity.nonce.base) + Sum::word(probe.index())
    }

    /// The probe whose payload has this sum.
    fn probe_with(&self, sum: Sum) -> Option<ProbeId> {
        ProbeId::from_index(0, (sum - Sum::word(self.identity.nonce.base)).value())
    }

    /// The probe with this payload, `None` if it is not one of ours.
    fn probe_carrying(&self, payload: &[u8; PAYLOAD_LEN]) -> Option<ProbeId> {
        let probe = self.probe_with(Sum::bytes(payload))?;
        (self.payload(self.payload_sum(probe)) == *payload).then_some(probe)
    }

    /// The probe of which a copy or a quote has this header: by its payload where all of it is there, otherwise by
    /// its checksum.
    fn probe_of(&self, udp: &Udp<'_>, endpoints: Endpoints) -> Option<ProbeId> {
        match udp.payload.first_chunk::<PAYLOAD_LEN>() {
            Some(payload) => self.probe_carrying(payload),
            None => self.probe_with(udp.payload_sum(endpoints)?),
        }
    }

    /// Whether header and ports are those of our probes. A source that is not ours can be a NAT's doing; then the
    /// label must be right.
    fn is_ours(&self, header: &IpHeader, udp: &Udp<'_>) -> Option<Source> {
        if header.endpoints.destination() != self.identity.remote || udp.destination_port != self.port {
            return None;
        }
        if header.endpoints.source() == self.endpoints.source() && udp.source_port == self.identity.local {
            Some(Source::AsSent)
        } else if header.label == self.label() {
            Some(Source::Rewritten(SocketAddr::new(header.endpoints.source(), udp.source_port)))
        } else {
            None
        }
    }

    fn match_error(
        &self,
        reply: &Captured<'_>,
        datagram: &Datagram<'_>,
        error: &IcmpError<'_>,
    ) -> Option<ProbeResponse> {
        let quoted: &Quoted<'_> = &error.quoted;
        let udp = quoted.udp()?;
        let source = self.is_ours(&quoted.header, &udp)?;
        let probe = self.probe_of(&udp, quoted.header.endpoints)?;
        Some(ProbeResponse::from_error(probe, reply, datagram, error, source.rewritten()))
    }

    fn match_answer(&self, reply: &Captured<'_>, datagram: &Datagram<'_>) -> Option<ProbeResponse> {
        let udp = Udp::parse(datagram.payload)?;
        if datagram.source() != self.identity.remote
            || datagram.destination() != self.endpoints.source()
            || udp.source_port != self.port
            || udp.destination_port != self.identity.local
        {
            return None;
        }
        let probe = match <&[u8; PAYLOAD_LEN]>::try_from(udp.payload) {
            Ok(payload) if payload.starts_with(PREFIX) => Some(self.probe_carrying(payload)?),
            _ => None,
        };
        Some(ProbeResponse {
            probe,
            from: datagram.source(),
            kind: ReplyKind::UdpAnswer,
            stamp: reply.stamp,
            ttl: datagram.header.ttl,
            quoted: None,
        })
    }
}

/// The source of a copy or quote of a probe.
enum Source {
    AsSent,
    Rewritten(SocketAddr),
}

impl Source {
    const fn rewritten(self) -> Option<SocketAddr> {
        match self {
            Self::AsSent => None,
            Self::Rewritten(source) => Some(source),
        }
    }
}

impl ProbeProtocol for UdpProbes {
    fn flows(&self) -> &[FlowKey] {
        &self.flows
    }

    fn encode<'b>(&mut self, probe: ProbeId, buffer: &'b mut [u8]) -> &'b [u8] {
        let header = IpHeader {
            endpoints: self.endpoints,
            ttl: probe.ttl.get(),
            protocol: protocol::UDP,
            label: self.label(),
            dont_fragment: true,
        };
        let payload = self.payload(self.payload_sum(probe));
        let length = udp::write_datagram(&header, self.identity.local, self.port, &payload, buffer);
        &buffer[..length]
    }

    fn match_sent(&self, own: &Captured<'_>) -> Option<ProbeId> {
        let datagram = Datagram::parse(own.datagram)?;
        if own.direction != Direction::Sent || datagram.header.protocol != protocol::UDP {
            return None;
        }
        let udp = Udp::parse(datagram.payload)?;
        self.is_ours(&datagram.header, &udp)?;
        self.probe_carrying(udp.payload.first_chunk()?)
    }

    fn match_reply(&self, reply: &Captured<'_>) -> Option<ProbeResponse> {
        if reply.direction != Direction::Received {
            return None;
        }
        let datagram = Datagram::parse(reply.datagram)?;
        if datagram.header.protocol == protocol::UDP {
            return self.match_answer(reply, &datagram);
        }
        match IcmpMessage::parse(&datagram)? {
            IcmpMessage::Error(error) => self.match_error(reply, &datagram, &error),
            _ => None,
        }
    }
}
