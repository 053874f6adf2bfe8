//! The UDP method: datagrams to a port on which nobody is expected to listen.
//!
//! # What a probe carries
//!
//! | where | what | why |
//! |---|---|---|
//! | source port | leased by the run | names the run; hashed, so constant |
//! | IPv4 identification, IPv6 flow label | the nonce's label | names the run where a NAT rewrote the source |
//! | UDP checksum | the nonce's base plus the probe's number | names the probe within the 8 bytes that every router quotes |
//! | payload | `NSMNC`, 0, the probe's number, the nonce's token, a word that makes the checksum come out | names the probe where it is quoted or echoed |
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
use core::ops::Range;

use traceroute_core::{
    Captured, Direction, FlowKey, Identity, MAX_PROBE_LEN, ProbeId, ProbeProtocol, ProbeResponse, Protocol,
    ReplyKind, Shape, padded,
};
use traceroute_wire::{
    Datagram, Endpoints, IcmpError, IcmpMessage, IpHeader, Sum, Udp, protocol, quoted_part, udp,
};

const PREFIX: &[u8; 6] = b"NSMNC\0";
const NUMBER: Range<usize> = 6..8;
const TOKEN: Range<usize> = 8..16;
const PAYLOAD_LEN: usize = 18;

/// The probes of one run.
#[derive(Clone, Debug)]
pub struct UdpProbes {
    endpoints: Endpoints,
    port: u16,
    identity: Identity,
    shape: Shape,
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
            shape: Shape::default(),
            flows: [identity.flow_key(Protocol::Udp)],
        })
    }

    /// The same probes in another shape.
    #[must_use]
    pub fn shaped(mut self, shape: Shape) -> Self {
        self.shape = shape;
        self
    }

    fn label(&self) -> u32 {
        self.flows[0].label
    }

    fn data_len(&self) -> usize {
        self.shape.data_len(self.endpoints.header_len() + udp::HEADER_LEN, PAYLOAD_LEN)
    }

    fn payload(&self, probe: ProbeId) -> [u8; PAYLOAD_LEN] {
        let mut payload = [0; PAYLOAD_LEN];
        payload[..PREFIX.len()].copy_from_slice(PREFIX);
        // Complemented: a damaged number must not be what makes the sum come out.
        payload[NUMBER].copy_from_slice(&(!probe.index()).to_be_bytes());
        payload[TOKEN].copy_from_slice(&self.identity.nonce.token.to_be_bytes());
        let rest = self.sum_of(probe) - Sum::bytes(&payload);
        payload[TOKEN.end..].copy_from_slice(&rest.value().to_be_bytes());
        payload
    }

    /// What the words of a probe's payload add up to.
    fn sum_of(&self, probe: ProbeId) -> Sum {
        Sum::word(self.identity.nonce.base) + Sum::word(probe.index())
    }

    /// The probe whose payload has this sum.
    fn probe_with(&self, sum: Sum) -> Option<ProbeId> {
        ProbeId::from_index(0, (sum - Sum::word(self.identity.nonce.base)).value())
    }

    /// The probe with this payload, `None` if it is not one of ours.
    fn probe_carrying(&self, payload: &[u8; PAYLOAD_LEN]) -> Option<ProbeId> {
        let probe = self.probe_with(Sum::bytes(payload))?;
        (self.payload(probe) == *payload).then_some(probe)
    }

    /// The probe of which `udp` is a copy or a quote: by its payload where all of it is there, otherwise by label and
    /// checksum. Its source says nothing, a NAT may have rewritten it.
    fn probe_of(&self, header: &IpHeader, udp: &Udp<'_>) -> Option<ProbeId> {
        if header.endpoints.destination() != self.identity.remote || udp.destination_port != self.port {
            return None;
        }
        if let Some(probe) = udp.payload.first_chunk().and_then(|payload| self.probe_carrying(payload)) {
            return Some(probe);
        }
        if header.label != self.label() {
            return None;
        }
        let probe = self.probe_with(udp.payload_sum(header.endpoints)?)?;
        quoted_part(udp.payload, &self.payload(probe)).map(|_| probe)
    }

    fn match_error(
        &self,
        reply: &Captured<'_>,
        datagram: &Datagram<'_>,
        error: &IcmpError<'_>,
    ) -> Option<ProbeResponse> {
        let quoted = &error.quoted;
        let udp = quoted.udp()?;
        let probe = self.probe_of(&quoted.header, &udp)?;
        let sent_from = SocketAddr::new(self.endpoints.source(), self.identity.local);
        let seen_from = SocketAddr::new(quoted.source(), udp.source_port);
        Some(ProbeResponse::from_error(probe, reply, datagram, error, sent_from, seen_from))
    }

    fn match_answer(&self, reply: &Captured<'_>, datagram: &Datagram<'_>) -> Option<ProbeResponse> {
        let udp = Udp::parse(datagram.payload)?;
        // The capture sees it before the host's own masquerading gives it our address back.
        if datagram.source() != self.identity.remote
            || udp.source_port != self.port
            || udp.destination_port != self.identity.local
        {
            return None;
        }
        let echo = udp.payload.first_chunk().filter(|payload| {
            payload.starts_with(PREFIX)
                && udp.length.map(usize::from) == Some(udp::HEADER_LEN + self.data_len())
        });
        let probe = match echo {
            Some(payload) => Some(self.probe_carrying(payload)?),
            None => None,
        };
        Some(ProbeResponse::from_target(probe, reply, datagram, ReplyKind::UdpAnswer))
    }
}

impl ProbeProtocol for UdpProbes {
    fn flows(&self) -> &[FlowKey] {
        &self.flows
    }

    fn buffer_len(&self) -> usize {
        MAX_PROBE_LEN.max(self.shape.size.into())
    }

    fn encode<'b>(&mut self, probe: ProbeId, buffer: &'b mut [u8]) -> &'b [u8] {
        let header = IpHeader {
            endpoints: self.endpoints,
            ttl: probe.ttl.get(),
            protocol: protocol::UDP,
            label: self.label(),
            dont_fragment: true,
            traffic_class: self.shape.traffic_class,
        };
        let payload = self.payload(probe);
        let payload = padded(&payload, self.data_len());
        let length = udp::write_datagram(&header, self.identity.local, self.port, &payload, buffer);
        &buffer[..length]
    }

    fn match_sent(&self, own: &Captured<'_>) -> Option<ProbeId> {
        let datagram = Datagram::parse(own.datagram)?;
        if own.direction != Direction::Sent || datagram.header.protocol != protocol::UDP {
            return None;
        }
        let udp = Udp::parse(datagram.payload)?;
        self.probe_of(&datagram.header, &udp)
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

#[cfg(test)]
mod tests {
    use traceroute_core::{Nonce, Stamp, Timestamp, Ttl};

    use super::*;

    const SOURCE: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(192, 0, 2, 1));
    const TARGET: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(198, 51, 100, 9));
    const STRANGER: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(203, 0, 113, 5));

    fn probes() -> UdpProbes {
        let nonce = Nonce { label: 0x1234, base: 7, token: 0x0123_4567_89ab_cdef };
        UdpProbes::new(SOURCE, 53, Identity { local: 61_000, remote: TARGET, nonce }).expect("one family")
    }

    /// What a datagram from here to there is taken for.
    fn answer(from: IpAddr, from_port: u16, to_port: u16, payload: &[u8]) -> Option<ProbeResponse> {
        let header = IpHeader {
            endpoints: Endpoints::new(from, SOURCE)?,
            ttl: 60,
            protocol: protocol::UDP,
            label: 0,
            dont_fragment: false,
            traffic_class: 0,
        };
        let mut buffer = [0; 128];
        let length = udp::write_datagram(&header, from_port, to_port, payload, &mut buffer);
        let captured = Captured {
            direction: Direction::Received,
            stamp: Stamp::kernel(Timestamp::ZERO),
            interface: 1,
            datagram: &buffer[..length],
        };
        probes().match_reply(&captured)
    }

    #[test]
    fn only_the_probed_port_of_the_target_answers() {
        let response = answer(TARGET, 53, 61_000, b"hello").expect("an answer");
        assert_eq!((response.probe, response.kind), (None, ReplyKind::UdpAnswer));
        assert_eq!(answer(STRANGER, 53, 61_000, b"hello"), None, "another sender");
        assert_eq!(answer(TARGET, 54, 61_000, b"hello"), None, "another port of the target");
        assert_eq!(answer(TARGET, 53, 61_001, b"hello"), None, "for somebody else");
    }

    #[test]
    fn an_echo_names_its_probe_and_another_runs_echo_is_none() {
        let probe = ProbeId::first(Ttl::new(3).expect("not zero"));
        let mut payload = probes().payload(probe);
        assert_eq!(answer(TARGET, 53, 61_000, &payload).and_then(|response| response.probe), Some(probe));
        payload[TOKEN.start] ^= 1;
        assert_eq!(answer(TARGET, 53, 61_000, &payload), None, "yesterday's token");
    }
}
