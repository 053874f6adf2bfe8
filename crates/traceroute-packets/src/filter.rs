//! What the capture of a process lets through, as a program for the kernel.
//!
//! One filter serves all runs and never changes: it knows the blocks that ports and echo identifiers are leased from,
//! not the leases. It admits what can concern a run (our own probes on their way out, answers, and errors about
//! anything) and leaves it to the demultiplexer to find out whether it does.
//!
//! Fields lie where RFC 791 (IPv4), RFC 8200 (IPv6), RFC 792 and RFC 4443 (ICMP), RFC 768 (UDP) and RFC 9293 (TCP) put
//! them; the ports of UDP and TCP are in the same place.

use std::ops::RangeInclusive;

use traceroute_wire::bpf::{Alu, Assembler, Field, Operand, Operation, Program, Size, Target, Test};
use traceroute_wire::protocol;

#[cfg(test)]
mod tests;

/// What a [`capture_filter`] is made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterSpec {
    /// What the filter sees of a packet.
    pub base: Base,
    /// The block that UDP and TCP ports are leased from.
    pub ports: RangeInclusive<u16>,
    /// The block that echo identifiers are leased from.
    pub echo_ids: RangeInclusive<u16>,
    /// How much of an admitted packet is kept.
    pub snap_lengths: SnapLengths,
}

/// How many bytes of an admitted packet are kept, counted from where the filter sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapLengths {
    /// Of an ICMP error, whose quote and extensions matter to the last byte, and of what may contain one.
    pub errors: u32,
    /// Of anything else, of which the headers matter.
    pub others: u32,
}

impl Default for SnapLengths {
    /// 2048 and 256: an Ethernet frame's worth and all headers with their options. Bulk TCP, which the block of ports
    /// may admit, comes in segments of up to 64 KiB where the network card puts them together.
    fn default() -> Self {
        Self { errors: 2048, others: 256 }
    }
}

/// What a filter sees of a packet: where its IP header is, and what tells its family and whom it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// A Linux packet socket of type `SOCK_DGRAM`: the packet starts at its IP header whatever the link is, and the
    /// kernel tells `EtherType` and addressee (packet(7)).
    LinuxDatagram,
    /// BSD's `DLT_EN10MB`: an Ethernet frame.
    Ethernet,
    /// BSD's `DLT_NULL`: the address family of macOS in the byte order of a little-endian host, then the packet. So are
    /// loopback and tunnels.
    Loopback,
    /// BSD's `DLT_RAW`: the packet starts at its IP header.
    Raw,
}

impl Base {
    /// The offset of the IP header.
    pub(crate) const fn ip_header(self) -> u32 {
        match self {
            Self::LinuxDatagram | Self::Raw => 0,
            Self::Ethernet => 14,
            Self::Loopback => 4,
        }
    }

    /// Jumps to `ipv4`, `ipv6` or `drop`.
    fn select_family(self, filter: &mut Assembler) {
        const ETHERTYPES: [(u32, &str); 2] = [(0x0800, "ipv4"), (0x86dd, "ipv6")];
        match self {
            Self::LinuxDatagram => {
                // linux/if_packet.h; not the packets of other hosts that a promiscuous interface shows.
                const PACKET_HOST: u32 = 0;
                const PACKET_OUTGOING: u32 = 4;
                filter.push(Operation::LoadField(Field::PacketType));
                filter.switch(&[(PACKET_HOST, "family"), (PACKET_OUTGOING, "family")], "drop");
                filter.label("family");
                filter.push(Operation::LoadField(Field::Protocol));
                filter.switch(&ETHERTYPES, "drop");
            }
            Self::Ethernet => {
                filter.push(Operation::LoadAbsolute(Size::Half, 12));
                filter.switch(&ETHERTYPES, "drop");
            }
            Self::Loopback => {
                // sys/socket.h of macOS. Filters load in network order.
                const AF_INET: u32 = 2_u32.swap_bytes();
                const AF_INET6: u32 = 30_u32.swap_bytes();
                filter.push(Operation::LoadAbsolute(Size::Word, 0));
                filter.switch(&[(AF_INET, "ipv4"), (AF_INET6, "ipv6")], "drop");
            }
            Self::Raw => {
                filter.push(Operation::LoadAbsolute(Size::Byte, 0));
                filter.push(Operation::Alu(Alu::And, Operand::Constant(0xf0)));
                filter.switch(&[(0x40, "ipv4"), (0x60, "ipv6")], "drop");
            }
        }
    }
}

/// The filter of a process's capture.
///
/// It admits, of the packets of both families to this host and from it:
/// * ICMP errors;
/// * echo requests and replies whose identifier is in the block;
/// * UDP and TCP from or to a port in the block;
/// * IPv6 packets with hop-by-hop options, a routing header or destination options, behind which anything may be.
///
/// Of a fragmented IPv4 datagram it admits the first fragment alone, which has the transport header. A packet that ends
/// before a field that decides is dropped.
#[expect(clippy::missing_panics_doc, reason = "which labels and jumps there are does not depend on the spec")]
#[must_use]
pub fn capture_filter(spec: &FilterSpec) -> Program {
    let mut filter = Assembler::new();
    let ip = spec.base.ip_header();
    spec.base.select_family(&mut filter);
    ipv4(&mut filter, ip);
    ipv6(&mut filter, ip);
    // From here on the transport header is at `ip` + X.
    icmp(&mut filter, ip);
    icmpv6(&mut filter, ip);
    echo(&mut filter, ip, &spec.echo_ids);
    ports(&mut filter, ip, &spec.ports);
    for (label, kept) in
        [("drop", 0), ("keep_error", spec.snap_lengths.errors), ("keep", spec.snap_lengths.others)]
    {
        filter.label(label);
        filter.push(Operation::ReturnConstant(kept));
    }
    filter.finish().expect("every label has its place")
}

fn ipv4(filter: &mut Assembler, ip: u32) {
    const FRAGMENT_OFFSET: u32 = 0x1fff;
    filter.label("ipv4");
    filter.push(Operation::LoadAbsolute(Size::Byte, ip));
    // Version 4 and a header of at least five words; the capture sees packets before the kernel has checked them.
    filter.jump_if_within(&(0x45..=0x4f), Target::Next, "drop");
    filter.push(Operation::LoadAbsolute(Size::Half, ip + 6));
    filter.jump_if(Test::AnyBit, FRAGMENT_OFFSET, "drop", Target::Next);
    filter.push(Operation::LoadXHeaderLength(ip));
    filter.push(Operation::LoadAbsolute(Size::Byte, ip + 9));
    filter.switch(
        &[(protocol::ICMP.into(), "icmp"), (protocol::UDP.into(), "ports"), (protocol::TCP.into(), "ports")],
        "drop",
    );
}

fn ipv6(filter: &mut Assembler, ip: u32) {
    const HEADER_LENGTH: u32 = 40;
    const HOP_BY_HOP_OPTIONS: u32 = 0;
    const ROUTING: u32 = 43;
    const DESTINATION_OPTIONS: u32 = 60;
    filter.label("ipv6");
    filter.push(Operation::LoadAbsolute(Size::Byte, ip));
    filter.push(Operation::Alu(Alu::And, Operand::Constant(0xf0)));
    filter.jump_if(Test::Equal, 0x60, Target::Next, "drop");
    filter.push(Operation::LoadXImmediate(HEADER_LENGTH));
    filter.push(Operation::LoadAbsolute(Size::Byte, ip + 6));
    filter.switch(
        &[
            (protocol::ICMPV6.into(), "icmpv6"),
            (protocol::UDP.into(), "ports"),
            (protocol::TCP.into(), "ports"),
            (HOP_BY_HOP_OPTIONS, "keep_error"),
            (ROUTING, "keep_error"),
            (DESTINATION_OPTIONS, "keep_error"),
        ],
        "drop",
    );
}

fn icmp(filter: &mut Assembler, ip: u32) {
    const ECHO_REPLY: u32 = 0;
    const UNREACHABLE: u32 = 3;
    const ECHO_REQUEST: u32 = 8;
    const TIME_EXCEEDED: u32 = 11;
    const PARAMETER_PROBLEM: u32 = 12;
    filter.label("icmp");
    filter.push(Operation::LoadIndirect(Size::Byte, ip));
    filter.switch(
        &[
            (TIME_EXCEEDED, "keep_error"),
            (UNREACHABLE, "keep_error"),
            (PARAMETER_PROBLEM, "keep_error"),
            (ECHO_REPLY, "echo"),
            (ECHO_REQUEST, "echo"),
        ],
        "drop",
    );
}

fn icmpv6(filter: &mut Assembler, ip: u32) {
    const ECHO_REQUEST: u32 = 128;
    const ECHO_REPLY: u32 = 129;
    // Unreachable, packet too big, time exceeded, parameter problem.
    const ERRORS: RangeInclusive<u32> = 1..=4;
    filter.label("icmpv6");
    filter.push(Operation::LoadIndirect(Size::Byte, ip));
    filter.jump_if_within(&ERRORS, "keep_error", Target::Next);
    filter.switch(&[(ECHO_REPLY, "echo"), (ECHO_REQUEST, "echo")], "drop");
}

fn echo(filter: &mut Assembler, ip: u32, ids: &RangeInclusive<u16>) {
    filter.label("echo");
    filter.push(Operation::LoadIndirect(Size::Half, ip + 4));
    filter.jump_if_within(&wide(ids), "keep", "drop");
}

fn ports(filter: &mut Assembler, ip: u32, ports: &RangeInclusive<u16>) {
    filter.label("ports");
    filter.push(Operation::LoadIndirect(Size::Half, ip));
    filter.jump_if_within(&wide(ports), "keep", Target::Next);
    filter.push(Operation::LoadIndirect(Size::Half, ip + 2));
    filter.jump_if_within(&wide(ports), "keep", "drop");
}

fn wide(range: &RangeInclusive<u16>) -> RangeInclusive<u32> {
    (*range.start()).into()..=(*range.end()).into()
}
