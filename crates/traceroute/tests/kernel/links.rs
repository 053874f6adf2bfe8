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
        for protocol in [Protocol::Udp, Protocol::Icmp, Protocol::Tcp] {
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

#[tokio::test]
async fn a_bridge_shows_every_packet_twice_and_nothing_is_a_duplicate() {
    let link = SimulatedLink::veth(topology(), 1).expect("root");
    let (client, address) = (link.client(), topology().client);
    // The address moves from the port to the bridge. The simulated side takes any MAC address for its own.
    let script = format!(
        "link add bridge0 type bridge\nlink set {port} master bridge0\naddress flush dev {port}\nlink set bridge0 arp off\n\
         address add {v4}/24 dev bridge0\nlink set bridge0 up\nroute add default dev bridge0\n",
        port = link.interface(),
        v4 = address.v4
    );
    client.ip(&script).expect("bridges are known");
    let tracer = Tracer::builder().network_namespace(client.path()).build().await.expect("root");
    for protocol in [Protocol::Udp, Protocol::Icmp, Protocol::Tcp] {
        let request = one_run(link.target().v4, protocol).build().expect("valid");
        let results = tracer.start(request).expect("room").finish().await.expect("a result");
        let run = &results.traceroute.runs.as_ref().expect("there are runs")[0];
        assert_eq!((run.reached, run.hops.len()), (true, 6), "{protocol}: {run:?}");
        assert_eq!((run.duplicates, run.late), (0, 0), "{protocol}");
    }
}
