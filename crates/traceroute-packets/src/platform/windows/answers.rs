//! What the system says became of a probe, as the packet that it would not show.
//!
//! Where Windows sends probes itself, as echo requests or connections, it tells who answered and how. Made into packets again, its
//! answers go the way of all that is captured. What it does not tell is zero in them: the TTL that the probe had left, and for
//! connections the TTL with which the answer came.

use std::net::IpAddr;

use traceroute_wire::checksum::pseudo_header;
use traceroute_wire::{Datagram, Endpoints, IpHeader, Sum, TcpFlags, TcpSegment, icmp, protocol, tcp};

/// How much of a probe is quoted at most: what routers quote (RFC 1812 section 4.3.2.3), and more than is looked at.
const QUOTED: usize = 548;

/// What answered a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Who sent it.
    pub(super) from: IpAddr,
    /// The TTL with which it arrived; 0 where that is not known.
    pub(super) ttl: u8,
    pub(super) kind: AnswerKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerKind {
    /// The reply to an echo request.
    EchoReply,
    /// An ICMP error, by the numbers of the family.
    Error { kind: u8, code: u8 },
    /// The port is open.
    SynAck,
    /// The port is closed.
    Reset,
}

/// The answer to `probe` as a packet. `None` if `probe` is none that can have such an answer.
pub(super) fn packet(probe: &[u8], answer: &Answer) -> Option<Vec<u8>> {
    let datagram = Datagram::parse(probe)?;
    let endpoints = Endpoints::new(answer.from, datagram.source())?;
    match answer.kind {
        AnswerKind::Error { kind, code } => {
            let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
            message.extend_from_slice(&probe[..probe.len().min(QUOTED)]);
            let ttl = match endpoints {
                Endpoints::V4 { .. } => 8,
                Endpoints::V6 { .. } => 7,
            };
            *message.get_mut(icmp::HEADER_LEN + ttl)? = 0;
            Some(icmp_packet(endpoints, answer.ttl, message))
        }
        AnswerKind::EchoReply => {
            const ECHO_REPLY_V4: u8 = 0;
            const ECHO_REPLY_V6: u8 = 129;
            let mut message = datagram.payload.to_vec();
            let [kind, code, high, low, ..] = &mut message[..] else { return None };
            (*code, *high, *low) = (0, 0, 0);
            *kind = match endpoints {
                Endpoints::V4 { .. } => ECHO_REPLY_V4,
                Endpoints::V6 { .. } => ECHO_REPLY_V6,
            };
            Some(icmp_packet(endpoints, answer.ttl, message))
        }
        AnswerKind::SynAck => segment(&datagram, endpoints, answer.ttl, TcpFlags::SYN | TcpFlags::ACK),
        AnswerKind::Reset => segment(&datagram, endpoints, answer.ttl, TcpFlags::RST | TcpFlags::ACK),
    }
}

fn header(endpoints: Endpoints, ttl: u8, protocol: u8) -> IpHeader {
    IpHeader { endpoints, ttl, protocol, label: 0, dont_fragment: false, traffic_class: 0 }
}

/// A datagram with an ICMP message whose checksum is zero as yet.
fn icmp_packet(endpoints: Endpoints, ttl: u8, mut message: Vec<u8>) -> Vec<u8> {
    let protocol = icmp::protocol_number(endpoints);
    let covered = Sum::bytes(&message)
        + match endpoints {
            Endpoints::V4 { .. } => Sum::default(),
            Endpoints::V6 { source, destination } => {
                let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
                pseudo_header(source.into(), destination.into(), protocol, length)
            }
        };
    message[2..4].copy_from_slice(&(!covered.value()).to_be_bytes());
    let mut packet = vec![0; endpoints.header_len() + message.len()];
    let start = header(endpoints, ttl, protocol).write(message.len(), &mut packet);
    packet[start..].copy_from_slice(&message);
    packet
}

/// A segment that acknowledges the probe's.
fn segment(probe: &Datagram<'_>, endpoints: Endpoints, ttl: u8, flags: TcpFlags) -> Option<Vec<u8>> {
    let probe = TcpSegment::parse(probe.payload)?;
    let answer = TcpSegment {
        source_port: probe.destination_port,
        destination_port: probe.source_port,
        sequence: 0,
        acknowledgement: probe.sequence.wrapping_add(1),
        flags,
        window: 0,
        options: &[],
        payload: &[],
    };
    let mut packet = vec![0; endpoints.header_len() + tcp::HEADER_LEN];
    tcp::write_segment(&header(endpoints, ttl, protocol::TCP), &answer, &mut packet);
    Some(packet)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use etherparse::{Icmpv4Slice, Icmpv6Slice, IpSlice, TcpSlice};
    use traceroute_wire::{IcmpErrorKind, IcmpMessage, Unreachable};

    use super::*;

    const V4: Endpoints = Endpoints::V4 {
        source: std::net::Ipv4Addr::new(192, 0, 2, 1),
        destination: std::net::Ipv4Addr::new(198, 51, 100, 7),
    };
    const V6: Endpoints = Endpoints::V6 {
        source: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
        destination: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7),
    };

    fn probe_header(endpoints: Endpoints, protocol: u8) -> IpHeader {
        IpHeader { endpoints, ttl: 9, protocol, label: 0x1234, dont_fragment: true, traffic_class: 0 }
    }

    fn echo(endpoints: Endpoints) -> Vec<u8> {
        let mut buffer = vec![0; 128];
        let header = probe_header(endpoints, icmp::protocol_number(endpoints));
        let length = icmp::write_echo_request(&header, 0x4321, 7, b"payload", &mut buffer);
        buffer.truncate(length);
        buffer
    }

    fn syn(endpoints: Endpoints) -> Vec<u8> {
        let mut buffer = vec![0; 128];
        let segment = TcpSegment {
            source_port: 40_000,
            destination_port: 443,
            sequence: u32::MAX,
            acknowledgement: 0,
            flags: TcpFlags::SYN,
            window: 1024,
            options: &[],
            payload: &[],
        };
        let length = tcp::write_segment(&probe_header(endpoints, protocol::TCP), &segment, &mut buffer);
        buffer.truncate(length);
        buffer
    }

    fn answered(probe: &[u8], from: IpAddr, kind: AnswerKind) -> Vec<u8> {
        packet(probe, &Answer { from, ttl: 61, kind }).expect("such a probe has such an answer")
    }

    /// The kernel of a host would believe it.
    #[track_caller]
    fn assert_valid(packet: &[u8]) {
        let ip = IpSlice::from_slice(packet).expect("an IP datagram");
        match (&ip, ip.payload_ip_number().0) {
            (IpSlice::Ipv4(ip), protocol::ICMP) => {
                let icmp = Icmpv4Slice::from_slice(ip.payload().payload).expect("ICMP");
                assert_eq!(icmp.header().icmp_type.calc_checksum(icmp.payload()), icmp.checksum());
                assert_eq!(ip.header().header_checksum(), ip.header().to_header().calc_header_checksum());
            }
            (IpSlice::Ipv6(ip), protocol::ICMPV6) => {
                let icmp = Icmpv6Slice::from_slice(ip.payload().payload).expect("ICMPv6");
                let (source, destination) = (ip.header().source(), ip.header().destination());
                assert!(icmp.is_checksum_valid(source, destination));
            }
            (IpSlice::Ipv4(ip), protocol::TCP) => {
                let tcp = TcpSlice::from_slice(ip.payload().payload).expect("TCP");
                let sum = tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination());
                assert_eq!(sum.expect("short"), tcp.checksum());
            }
            (_, other) => panic!("protocol {other}"),
        }
    }

    #[test]
    fn an_error_quotes_the_whole_probe_with_no_ttl_left() {
        let router: IpAddr = [203, 0, 113, 3].into();
        let router_v6: IpAddr = "2001:db8::3".parse().expect("an address");
        for (probe, from, kind, meaning) in [
            (echo(V4), router, (11, 0), IcmpErrorKind::TimeExceeded),
            (syn(V4), router, (3, 13), IcmpErrorKind::Unreachable(Unreachable::AdminProhibited)),
            (echo(V6), router_v6, (3, 0), IcmpErrorKind::TimeExceeded),
            (syn(V6), router_v6, (1, 3), IcmpErrorKind::Unreachable(Unreachable::Host)),
        ] {
            let (kind, code) = kind;
            let packet = answered(&probe, from, AnswerKind::Error { kind, code });
            assert_valid(&packet);
            let datagram = Datagram::parse(&packet).expect("a datagram");
            assert_eq!((datagram.source(), datagram.header.ttl), (from, 61));
            let Some(IcmpMessage::Error(error)) = IcmpMessage::parse(&datagram) else { panic!("no error") };
            let sent = Datagram::parse(&probe).expect("the probe");
            assert_eq!((error.kind, error.quoted.header.ttl), (meaning, 0));
            assert_eq!(error.quoted.header, IpHeader { ttl: 0, ..sent.header });
            assert!(packet.ends_with(sent.payload));
        }
    }

    #[test]
    fn the_longest_probe_is_quoted_in_part() {
        for endpoints in [V4, V6] {
            let mut probe = vec![0; usize::from(u16::MAX)];
            let header = probe_header(endpoints, icmp::protocol_number(endpoints));
            let room = probe.len() - endpoints.header_len() - icmp::HEADER_LEN;
            icmp::write_echo_request(&header, 0x4321, 7, &vec![7; room], &mut probe);
            let packet = answered(&probe, endpoints.destination(), AnswerKind::Error { kind: 3, code: 0 });
            assert_eq!(packet.len(), endpoints.header_len() + icmp::HEADER_LEN + QUOTED);
            let reply = answered(&probe, endpoints.destination(), AnswerKind::EchoReply);
            assert_eq!(reply.len(), probe.len());
        }
    }

    #[test]
    fn a_reply_has_what_the_request_had() {
        for endpoints in [V4, V6] {
            let probe = echo(endpoints);
            let packet = answered(&probe, endpoints.destination(), AnswerKind::EchoReply);
            assert_valid(&packet);
            let datagram = Datagram::parse(&packet).expect("a datagram");
            let Some(IcmpMessage::EchoReply(echo)) = IcmpMessage::parse(&datagram) else {
                panic!("no reply")
            };
            assert_eq!((echo.id, echo.sequence, echo.payload), (0x4321, 7, &b"payload"[..]));
        }
    }

    #[test]
    fn a_segment_acknowledges_the_syn() {
        for (kind, flags) in [
            (AnswerKind::SynAck, TcpFlags::SYN | TcpFlags::ACK),
            (AnswerKind::Reset, TcpFlags::RST | TcpFlags::ACK),
        ] {
            let packet = answered(&syn(V4), V4.destination(), kind);
            assert_valid(&packet);
            let datagram = Datagram::parse(&packet).expect("a datagram");
            let segment = TcpSegment::parse(datagram.payload).expect("a segment");
            assert_eq!((segment.flags, segment.acknowledgement), (flags, 0), "the number wraps");
            assert_eq!((segment.source_port, segment.destination_port), (443, 40_000));
        }
    }

    #[test]
    fn what_has_no_such_answer_has_none() {
        let none = |probe: &[u8], kind| packet(probe, &Answer { from: V4.destination(), ttl: 0, kind });
        assert_eq!(none(&echo(V4)[..19], AnswerKind::EchoReply), None, "no datagram");
        assert_eq!(none(&echo(V4), AnswerKind::SynAck), None, "no segment");
        assert_eq!(none(&echo(V6), AnswerKind::EchoReply), None, "another family");
    }
}
