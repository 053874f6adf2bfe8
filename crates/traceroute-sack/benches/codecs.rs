//! The TCP SACK method's codecs.

#[path = "../../traceroute-core/benches/method/mod.rs"]
mod method;

use method::{Ends, LOCAL, captured};
use traceroute_core::{Direction, MAX_PROBE_LEN};
use traceroute_sack::{Handshake, SackProbes};
use traceroute_wire::{Datagram, Endpoints, IpHeader, TcpFlags, TcpSegment, TcpTimestamps, protocol, tcp};

const PORT: u16 = 443;
const TIMESTAMPS: TcpTimestamps = TcpTimestamps { value: 8, echo: 7 };

fn main() {
    method::bench("sack", connected, acknowledgement);
}

/// The probes of a connection that has been made.
fn connected(ends: Ends) -> SackProbes {
    let mut handshake = Handshake::new(ends.client, PORT, &ends.identity()).expect("one family");
    let options = [&[1, 1, 4, 2][..], &TIMESTAMPS.to_bytes()].concat();
    let syn_ack = from_target(ends, TcpFlags::SYN | TcpFlags::ACK, &options);
    handshake.observe(&captured(Direction::Received, &syn_ack));
    handshake.complete().expect("the target permits SACK")
}

/// A selective acknowledgement of a probe's byte.
fn acknowledgement(ends: Ends, probe: &[u8]) -> Vec<u8> {
    let datagram = Datagram::parse(probe).expect("an IP datagram");
    let left = TcpSegment::parse(datagram.payload).expect("a segment").sequence;
    let block = [[1, 1, 5, 10], left.to_be_bytes(), (left + 1).to_be_bytes()].concat();
    from_target(ends, TcpFlags::ACK, &[&TIMESTAMPS.to_bytes()[..], &block].concat())
}

fn from_target(ends: Ends, flags: TcpFlags, options: &[u8]) -> Vec<u8> {
    let header = IpHeader {
        endpoints: Endpoints::new(ends.target, ends.client).expect("one family"),
        ttl: 60,
        protocol: protocol::TCP,
        label: 0,
        dont_fragment: true,
        traffic_class: 0,
    };
    let segment = TcpSegment {
        source_port: PORT,
        destination_port: LOCAL,
        sequence: 5,
        acknowledgement: 1_000_001,
        flags,
        window: 65_535,
        options,
        payload: &[],
    };
    let mut buffer = [0; MAX_PROBE_LEN];
    let length = tcp::write_segment(&header, &segment, &mut buffer);
    buffer[..length].to_vec()
}
