//! Every kind of interface: a simulated network behind a veth pair and behind a TUN device, which has no link header.

use std::time::{Duration, Instant};

use traceroute::{Protocol, Tracer};
use traceroute_testnet::sim::Topology;
use traceroute_testnet::sim::real_time::SimulatedLink;

use crate::{addresses, hops, one_run};

const FIRST_LINK: Duration = Duration::from_millis(20);

fn topology() -> Topology {
    Topology::chain(5)
        .with_links(|link| link.set_delay(Duration::ZERO))
        .with_link(0, |link| link.set_delay(FIRST_LINK))
}

async fn traces_all_hops(link: &SimulatedLink) {
    let tracer = Tracer::builder().network_namespace(link.client().path()).build().await.expect("root");
    for target in [link.target().v4.to_string(), link.target().v6.to_string()] {
        for protocol in [Protocol::Udp, Protocol::Icmp] {
            let before = Instant::now();
            let trace = tracer.start(one_run(&target, protocol).build().expect("valid")).expect("room");
            let results = trace.finish().await.expect("a result");
            let took = before.elapsed();
            let hops = hops(&results);
            let expected: Vec<String> = (0..=5)
                .map(|link| {
                    let addresses = traceroute_testnet::AddressPlan::default().right(link);
                    if target.contains(':') { addresses.v6.to_string() } else { addresses.v4.to_string() }
                })
                .collect();
            assert_eq!(addresses(hops), expected, "{protocol} to {target}");
            for hop in hops {
                // The link delays everything by 40 ms; a kernel stamp cannot be earlier than that.
                assert!(hop.rtt >= 40.0 && hop.rtt < 1_000.0, "{hop:?}");
                assert_eq!(hop.rtt_source, None, "both stamps are the kernel's: {hop:?}");
            }
            assert!(took < Duration::from_secs(1), "two round trips are 80 ms: {took:?}");
        }
    }
    assert!(tracer.is_idle());
}

#[tokio::test]
async fn all_hops_appear_over_ethernet() {
    traces_all_hops(&SimulatedLink::veth(topology(), 1).expect("root")).await;
}

#[tokio::test]
async fn all_hops_appear_over_a_device_without_link_header() {
    traces_all_hops(&SimulatedLink::tun(topology(), 1).expect("root")).await;
}
