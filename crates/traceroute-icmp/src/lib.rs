//! The ICMP method: echo requests, which the target answers with echo replies.
//!
//! # What a probe carries
//!
//! | where | what | why |
//! |---|---|---|
//! | echo id | leased by the run | names the run; hashed, so constant |
//! | echo sequence | the nonce's base plus the probe's number | names the probe within the 8 bytes that every router quotes |
//! | ICMP checksum | constant, and different from run to run | hashed by load balancers as if it were a port; checked in quotes |
//! | IPv4 identification, IPv6 flow label | the nonce's label | names the run where a NAT rewrote the id |
//! | payload | the nonce's token, and the complement of the sequence, which keeps the checksum constant | checked in echo replies, and where it is quoted |
//!
//! # What answers
//!
//! Routers answer with time exceeded, the target with an echo reply. Only a reply from the target's own address with
//! the right id, sequence and payload counts.
#![no_std]
#![forbid(unsafe_code)]

use core::net::{IpAddr, SocketAddr};

use traceroute_core::{
    Captured, Direction, FlowKey, Identity, MAX_PROBE_LEN, ProbeId, ProbeProtocol, ProbeResponse, Protocol,
    ReplyKind, Shape, padded,
};
use traceroute_wire::{
    Datagram, Echo, Endpoints, IcmpError, IcmpMessage, IpHeader, QuotedEcho, Sum, icmp, quoted_part,
};

const TOKEN_LEN: usize = 8;
const PAYLOAD_LEN: usize = TOKEN_LEN + 2;

/// The probes of one run.
#[derive(Clone, Debug)]
pub struct IcmpProbes {
    endpoints: Endpoints,
    identity: Identity,
    shape: Shape,
    flows: [FlowKey; 1],
}

impl IcmpProbes {
    /// Probes from `source` to the identity's target. `None` if they are of different families.
    #[must_use]
    pub fn new(source: IpAddr, identity: Identity) -> Option<Self> {
        Some(Self {
            endpoints: Endpoints::new(source, identity.remote)?,
            identity,
            shape: Shape::default(),
            flows: [identity.flow_key(Protocol::Icmp)],
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
        self.shape.data_len(self.endpoints.header_len() + icmp::HEADER_LEN, PAYLOAD_LEN)
    }

    fn sequence(&self, probe: ProbeId) -> u16 {
        self.identity.nonce.base.wrapping_add(probe.index())
    }

    fn probe_with(&self, sequence: u16) -> Option<ProbeId> {
        ProbeId::from_index(0, sequence.wrapping_sub(self.identity.nonce.base))
    }

    fn payload(&self, sequence: u16) -> [u8; PAYLOAD_LEN] {
        let mut payload = [0; PAYLOAD_LEN];
        payload[..TOKEN_LEN].copy_from_slice(&self.identity.nonce.token.to_be_bytes());
        payload[TOKEN_LEN..].copy_from_slice(&(-Sum::word(sequence)).value().to_be_bytes());
        payload
    }

    /// The probe with this sequence, if all of its payload is there.
    fn probe_carrying(&self, sequence: u16, payload: &[u8]) -> Option<ProbeId> {
        if payload.starts_with(&self.payload(sequence)) { self.probe_with(sequence) } else { None }
    }

    /// The checksum of a quote says what the message was as a whole, whatever id a NAT has given it.
    fn checksum_agrees(&self, endpoints: Endpoints, id: u16, sequence: u16, checksum: u16) -> bool {
        let payload = Sum::bytes(&self.payload(sequence));
        Sum::covered_by(checksum) == icmp::echo_request_sum(endpoints, id, sequence, self.data_len(), payload)
    }

    fn match_error(
        &self,
        reply: &Captured<'_>,
        datagram: &Datagram<'_>,
        error: &IcmpError<'_>,
    ) -> Option<ProbeResponse> {
        let header = &error.quoted.header;
        let endpoints = header.endpoints;
        if endpoints.destination() != self.identity.remote {
            return None;
        }
        let QuotedEcho { checksum, id, sequence, payload } = error.quoted.echo_request()?;
        let (id, sequence) = (id?, sequence?);
        // By its payload where all of it is there, otherwise by label and checksum. Its source says nothing, a NAT may
        // have rewritten it.
        let probe = self.probe_carrying(sequence, payload).or_else(|| {
            let ours = header.label == self.label()
                && quoted_part(payload, &self.payload(sequence)).is_some()
                && self.checksum_agrees(endpoints, id, sequence, checksum);
            if ours { self.probe_with(sequence) } else { None }
        })?;
        let sent_from = SocketAddr::new(self.endpoints.source(), self.identity.local);
        let seen_from = SocketAddr::new(endpoints.source(), id);
        Some(ProbeResponse::from_error(probe, reply, datagram, error, sent_from, seen_from))
    }

    fn match_echo_reply(
        &self,
        reply: &Captured<'_>,
        datagram: &Datagram<'_>,
        echo: &Echo<'_>,
    ) -> Option<ProbeResponse> {
        // Its destination says nothing: the capture sees it before the host's own masquerading gives it our address back.
        let ours = datagram.source() == self.identity.remote && echo.id == self.identity.local;
        if !ours {
            return None;
        }
        let probe = self.probe_carrying(echo.sequence, echo.payload)?;
        Some(ProbeResponse::from_target(Some(probe), reply, datagram, ReplyKind::EchoReply))
    }
}

impl ProbeProtocol for IcmpProbes {
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
            protocol: icmp::protocol_number(self.endpoints),
            label: self.label(),
            // Whoever asks for a size wants to know whether it fits.
            dont_fragment: self.shape.size > 0,
            traffic_class: self.shape.traffic_class,
        };
        let sequence = self.sequence(probe);
        let payload = self.payload(sequence);
        let payload = padded(&payload, self.data_len());
        let length = icmp::write_echo_request(&header, self.identity.local, sequence, &payload, buffer);
        &buffer[..length]
    }

    fn match_sent(&self, own: &Captured<'_>) -> Option<ProbeId> {
        if own.direction != Direction::Sent {
            return None;
        }
        let datagram = Datagram::parse(own.datagram)?;
        match IcmpMessage::parse(&datagram)? {
            IcmpMessage::EchoRequest(echo) if datagram.destination() == self.identity.remote => {
                self.probe_carrying(echo.sequence, echo.payload)
            }
            _ => None,
        }
    }

    fn match_reply(&self, reply: &Captured<'_>) -> Option<ProbeResponse> {
        if reply.direction != Direction::Received {
            return None;
        }
        let datagram = Datagram::parse(reply.datagram)?;
        match IcmpMessage::parse(&datagram)? {
            IcmpMessage::Error(error) => self.match_error(reply, &datagram, &error),
            IcmpMessage::EchoReply(echo) => self.match_echo_reply(reply, &datagram, &echo),
            IcmpMessage::EchoRequest(_) => None,
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

    fn probes() -> IcmpProbes {
        let nonce = Nonce { label: 0x1234, base: 7, token: 0x0123_4567_89ab_cdef };
        IcmpProbes::new(SOURCE, Identity { local: 4242, remote: TARGET, nonce }).expect("one family")
    }

    /// An echo reply with the payload of the probe with TTL 3.
    fn reply(from: IpAddr, id: u16, flipped: Option<usize>) -> Option<ProbeId> {
        let mut probes = probes();
        let mut buffer = [0; 128];
        let probe = ProbeId::first(Ttl::new(3).expect("not zero"));
        let mut datagram = probes.encode(probe, &mut buffer).to_vec();
        let octets = |address| match address {
            IpAddr::V4(address) => core::net::Ipv4Addr::octets(&address),
            IpAddr::V6(_) => panic!("an IPv4 test"),
        };
        datagram[12..16].copy_from_slice(&octets(from));
        datagram[16..20].copy_from_slice(&octets(SOURCE));
        datagram[20] = 0;
        datagram[24..26].copy_from_slice(&id.to_be_bytes());
        if let Some(at) = flipped {
            datagram[at] ^= 1;
        }
        let captured = Captured {
            direction: Direction::Received,
            stamp: Stamp::kernel(Timestamp::ZERO),
            interface: 1,
            datagram: &datagram,
        };
        probes.match_reply(&captured).and_then(|response| response.probe)
    }

    #[test]
    fn only_the_targets_echo_of_our_own_payload_counts() {
        assert_eq!(reply(TARGET, 4242, None), Some(ProbeId::first(Ttl::new(3).expect("not zero"))));
        assert_eq!(reply(STRANGER, 4242, None), None, "another sender");
        assert_eq!(reply(TARGET, 4243, None), None, "another id");
        // Sequence, token, complement.
        for at in 26..38 {
            assert_eq!(reply(TARGET, 4242, Some(at)), None, "byte {at} differs");
        }
    }
}
