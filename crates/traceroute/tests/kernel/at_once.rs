//! A thousand traces at one time on one tracer.

use std::net::{IpAddr, Ipv4Addr};

use traceroute::{Limits, Protocol, Tracer};
use traceroute_testnet::kernel::Chain;

use crate::{addresses, hops, one_run};

const TRACES: u32 = 1000;

/// All are right, and see the round trips of the network and not those of a process that has much to do: the kernel's
/// stamps say when packets passed, whenever they are read.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_at_once_are_all_right_over_one_target_and_over_many() {
    let chain = Chain::builder().build().expect("root");
    chain.target().ip("route add local 10.72.0.0/16 dev lo").expect("a target of many addresses");
    let limits = Limits { probes_per_second: None, requests: usize::MAX };
    let builder = Tracer::builder().network_namespace(chain.client().path()).limits(limits);
    let tracer = builder.build().await.expect("root");

    let one = vec![IpAddr::from(chain.target().addresses().v4); 1000];
    let many = (1..=TRACES).map(|host| Ipv4Addr::from(0x0a48_0000 + host).into()).collect::<Vec<IpAddr>>();
    for targets in [one, many] {
        for protocol in [Protocol::Udp, Protocol::Icmp, Protocol::Tcp] {
            let start = |target: &IpAddr| {
                tracer.start(one_run(target, protocol).build().expect("valid")).expect("room")
            };
            let under_way: Vec<_> = targets.iter().map(start).collect();
            let mut round_trips = Vec::new();
            for (trace, target) in under_way.into_iter().zip(&targets) {
                let results = trace.finish().await.expect("a result");
                let mut expected: Vec<String> = (0..8).map(|link| format!("10.71.{link}.2")).collect();
                expected.push(target.to_string());
                assert_eq!(addresses(hops(&results)), expected, "{protocol}");
                assert!(hops(&results).iter().all(|hop| hop.rtt_source.is_none()), "{results:?}");
                round_trips.extend(hops(&results).iter().map(|hop| hop.rtt));
            }
            round_trips.sort_by(f64::total_cmp);
            let percentile99 = round_trips[round_trips.len() * 99 / 100];
            assert!(percentile99 < 5.0, "{protocol}: {percentile99} ms, where a packet takes some 0.02");
        }
    }
    assert_eq!(tracer.stats().capture_drops, 0);
    assert!(tracer.is_idle());
}
