//! The UDP method's codecs.

#[path = "../../traceroute-core/benches/method/mod.rs"]
mod method;

use method::Ends;
use traceroute_testnet::sim::{IcmpError, Quote, Unreachable, icmp_error};
use traceroute_udp::UdpProbes;

fn main() {
    let probes = |ends: Ends| UdpProbes::new(ends.client, 33_434, ends.identity()).expect("one family");
    let port_unreachable = IcmpError::Unreachable(Unreachable::Port);
    method::bench("udp", probes, |ends, probe| {
        icmp_error(ends.target, 60, port_unreachable, probe, Quote::Full, None)
    });
}
