//! TCP segments, built and read by `etherparse`.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use etherparse::{PacketBuilder, TcpHeader, TcpOptionElement};

use super::Seen;

/// A segment to send.
#[derive(Clone, Debug)]
pub struct Out {
    header: TcpHeader,
    options: Vec<TcpOptionElement>,
    payload: Vec<u8>,
    ttl: u8,
}

/// A segment without flags.
pub fn segment(seq: u32) -> Out {
    let header = TcpHeader { sequence_number: seq, window_size: 1024, ..TcpHeader::default() };
    Out { header, options: Vec::new(), payload: Vec::new(), ttl: 64 }
}

pub fn syn(seq: u32) -> Out {
    let mut out = segment(seq);
    out.header.syn = true;
    out
}

pub fn rst(seq: u32) -> Out {
    let mut out = segment(seq);
    out.header.rst = true;
    out
}

pub fn ack(seq: u32, number: u32) -> Out {
    segment(seq).with_ack(number)
}

impl Out {
    pub fn with_ack(mut self, number: u32) -> Self {
        (self.header.ack, self.header.acknowledgment_number) = (true, number);
        self
    }

    pub fn fin(mut self) -> Self {
        self.header.fin = true;
        self
    }

    pub fn data(mut self, payload: &[u8]) -> Self {
        self.header.psh = true;
        self.payload = payload.to_vec();
        self
    }

    /// Offers SACK.
    pub fn sack_permitted(mut self) -> Self {
        self.options.push(TcpOptionElement::SelectiveAcknowledgementPermitted);
        self
    }

    pub fn window_scale(mut self) -> Self {
        self.options.push(TcpOptionElement::WindowScale(7));
        self
    }

    /// Timestamps: `TSval` and `TSecr`.
    pub fn stamps(mut self, value: u32, echo: u32) -> Self {
        self.options.push(TcpOptionElement::Timestamp(value, echo));
        self
    }

    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    pub fn datagram(&self, from: SocketAddr, to: SocketAddr) -> Vec<u8> {
        let ip = match (from.ip(), to.ip()) {
            (IpAddr::V4(s), IpAddr::V4(t)) => PacketBuilder::ipv4(s.octets(), t.octets(), self.ttl),
            (IpAddr::V6(s), IpAddr::V6(t)) => PacketBuilder::ipv6(s.octets(), t.octets(), self.ttl),
            _ => panic!("two families"),
        };
        let mut header = self.header.clone();
        (header.source_port, header.destination_port) = (from.port(), to.port());
        header.set_options(&self.options).unwrap();
        let mut bytes = Vec::new();
        ip.tcp_header(header).write(&mut bytes, &self.payload).unwrap();
        bytes
    }
}

/// A segment that came in, with every checksum verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct In {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub ttl: u8,
    pub header: TcpHeader,
    pub payload: Vec<u8>,
    pub mss: Option<u16>,
    pub sack_permitted: bool,
    pub window_scale: Option<u8>,
    pub stamps: Option<(u32, u32)>,
    pub blocks: Vec<(u32, u32)>,
}

impl In {
    pub fn parse(datagram: &[u8]) -> Self {
        let seen = Seen::parse(datagram);
        assert_eq!(seen.protocol, etherparse::IpNumber::TCP);
        let (header, payload) = TcpHeader::from_slice(&seen.transport).unwrap();
        let mut segment = Self {
            from: (seen.from, header.source_port).into(),
            to: (seen.to, header.destination_port).into(),
            ttl: seen.ttl,
            payload: payload.to_vec(),
            mss: None,
            sack_permitted: false,
            window_scale: None,
            stamps: None,
            blocks: Vec::new(),
            header: header.clone(),
        };
        for option in header.options_iterator().map(Result::unwrap) {
            match option {
                TcpOptionElement::Noop => {}
                TcpOptionElement::MaximumSegmentSize(mss) => segment.mss = Some(mss),
                TcpOptionElement::WindowScale(shift) => segment.window_scale = Some(shift),
                TcpOptionElement::SelectiveAcknowledgementPermitted => segment.sack_permitted = true,
                TcpOptionElement::SelectiveAcknowledgement(first, more) => {
                    segment.blocks = [Some(first)].into_iter().chain(more).flatten().collect();
                }
                TcpOptionElement::Timestamp(value, echo) => segment.stamps = Some((value, echo)),
            }
        }
        segment
    }

    /// In a line: flags, numbers counted from the ends' initial ones (a zero is said as such), length, the stamp that is
    /// echoed, and SACK blocks.
    ///
    /// ```text
    /// syn-ack seq=+0 ack=+1 mss=1460 sack-permitted
    /// ack seq=+1 ack=+1 echo=70 sack=+5..+6,+3..+4
    /// ```
    pub fn line(&self, own: u32, peer: u32) -> String {
        let header = &self.header;
        let flags = [
            (header.syn, "syn"),
            (header.fin, "fin"),
            (header.rst, "rst"),
            (header.psh, "psh"),
            (header.ack, "ack"),
        ];
        let flags: Vec<_> = flags.iter().filter(|f| f.0).map(|f| f.1).collect();
        let mut line = format!("{} seq={}", flags.join("-"), relative(header.sequence_number, peer));
        if header.ack {
            let _ = write!(line, " ack={}", relative(header.acknowledgment_number, own));
        }
        if !self.payload.is_empty() {
            let _ = write!(line, " len={}", self.payload.len());
        }
        if let Some(mss) = self.mss {
            let _ = write!(line, " mss={mss}");
        }
        if self.sack_permitted {
            line.push_str(" sack-permitted");
        }
        if self.window_scale.is_some() {
            line.push_str(" window-scale");
        }
        if let Some((_, echo)) = self.stamps {
            let _ = write!(line, " echo={echo}");
        }
        let block = |b: &(u32, u32)| format!("{}..{}", relative(b.0, own), relative(b.1, own));
        let blocks: Vec<_> = self.blocks.iter().map(block).collect();
        if !blocks.is_empty() {
            let _ = write!(line, " sack={}", blocks.join(","));
        }
        line
    }
}

fn relative(number: u32, to: u32) -> String {
    if number == 0 { "0".to_owned() } else { format!("{:+}", number.wrapping_sub(to).cast_signed()) }
}
