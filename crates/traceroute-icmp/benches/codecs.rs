//! The ICMP method's codecs.

#[path = "../../traceroute-core/benches/method/mod.rs"]
mod method;

use method::Ends;
use traceroute_icmp::IcmpProbes;
use traceroute_testnet::sim::echo_reply;

fn main() {
    let probes = |ends: Ends| IcmpProbes::new(ends.client, ends.identity()).expect("one family");
    method::bench("icmp", probes, |ends, probe| echo_reply(ends.target, 60, probe));
}
