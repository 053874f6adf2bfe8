//! What a request says beyond what the probes have learnt, under virtual time.

use std::net::IpAddr;

use traceroute::{Request, TraceEvent};
use traceroute_testnet::AddressPlan;
use traceroute_testnet::sim::{Extensions, MplsLabel, Topology};

use crate::lab::{Lab, addresses};

/// Of a private hop nothing is left but its TTL, neither in events nor in the result; the count of hops stays.
#[tokio::test(start_paused = true)]
async fn of_private_hops_nothing_is_left_but_the_ttl() {
    let label = MplsLabel { label: 16, exp: 0, bottom: true, ttl: 1 };
    let private: IpAddr = [10, 9, 9, 9].into();
    let topology = Topology::chain_with(3, AddressPlan::Public).with_router(2, |router| {
        router.addresses.v4 = [10, 9, 9, 9].into();
        router.answers.extensions = Some(Extensions::mpls(&[label]));
    });
    let lab = Lab::new(topology).await;
    for skip in [false, true] {
        let request = Request::builder("198.18.3.2").traceroute_queries(1).e2e_queries(0);
        let request = request.skip_private_hops(skip).build().expect("valid");
        let mut trace = lab.tracer.start(request).expect("room");
        let mut told = Vec::new();
        while let Some(event) = trace.next_event().await {
            match event {
                TraceEvent::HopAnswered { hop, .. } | TraceEvent::HopUpdated { hop, .. } => told.push(hop),
                TraceEvent::RunFinished { result, .. } => told.extend(result.hops),
                _ => {}
            }
        }
        let results = trace.finish().await.expect("a result");
        let middle = if skip { "" } else { "10.9.9.9" };
        assert_eq!(addresses(&results, 0), ["198.18.0.2", middle, "198.18.2.2", "198.18.3.2"]);
        let hop = &results.traceroute.runs.as_ref().expect("a run")[0].hops[1];
        assert_eq!((hop.reachable, hop.rtt > 0.0, hop.mpls.is_empty()), (!skip, !skip, skip));
        assert_eq!(told.iter().any(|hop| hop.ip_address == Some(private)), !skip);
        assert_eq!(results.traceroute.hop_count.max, 4.0);
    }
}
