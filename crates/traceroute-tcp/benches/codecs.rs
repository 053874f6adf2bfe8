//! The TCP SYN method's codecs.

#[path = "../../traceroute-core/benches/method/mod.rs"]
mod method;

use method::Ends;
use traceroute_tcp::{Numbering, TcpProbes};
use traceroute_testnet::sim::tcp_answer;

fn main() {
    let probes = |ends: Ends| {
        TcpProbes::new(ends.client, 443, ends.identity(), Numbering::Ascending).expect("one family")
    };
    method::bench("tcp", probes, |ends, probe| tcp_answer(ends.target, 60, probe, true));
}
