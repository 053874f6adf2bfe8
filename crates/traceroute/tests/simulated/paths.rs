//! What lies on real paths, simulated: translation, labels, load balancers, forgeries, captures that show too much or
//! too little.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use traceroute::{EndReason, Hop, Protocol, Request, Results, TracerouteError};
use traceroute_testnet::DualStack;
use traceroute_testnet::sim::{
    Extensions, IcmpError, Interface, MplsLabel, PortMapping, Quote, Refusal, SourceNat, Topology,
    Unreachable, echo_reply, icmp_error, tcp_answer, udp_answer,
};

use crate::lab::{Lab, addresses, one_run};

const MS: Duration = Duration::from_millis(1);
const METHODS: [Protocol; 3] = [Protocol::Udp, Protocol::Icmp, Protocol::Tcp];

fn hops(results: &Results, run: usize) -> &[Hop] {
    &results.traceroute.runs.as_ref().expect("there are runs")[run].hops
}

fn all(routers: u8) -> Vec<String> {
    (0..=routers).map(|hop| format!("10.71.{hop}.2")).collect()
}

fn outside() -> DualStack {
    DualStack { v4: [203, 0, 113, 7].into(), v6: "2001:db8:7::7".parse().expect("an address") }
}

#[tokio::test(start_paused = true)]
async fn quotes_with_a_rewritten_source_count_for_the_right_run() {
    for quote in [Quote::Transport(8), Quote::Full] {
        for protocol in METHODS {
            let nat = SourceNat {
                addresses: outside(),
                ports: PortMapping::From(30_000),
                translates_quotes: false,
            };
            let mut topology =
                Topology::chain(4).with_router(2, |router| router.source_nat = Some(nat.clone()));
            for router in 1..=4 {
                topology = topology.with_router(router, |router| router.answers.quote = quote);
            }
            let lab = Lab::new(topology).await;
            let (results, _) = lab.trace(one_run(4, protocol).traceroute_queries(3)).await;
            let mut seen = BTreeSet::new();
            for run in 0..3 {
                assert_eq!(addresses(&results, run), all(4), "{protocol} {quote:?}");
                let rtts: Vec<f64> = hops(&results, run).iter().map(|hop| hop.rtt).collect();
                assert_eq!(rtts, [2.0, 4.0, 6.0, 8.0, 10.0]);
                let sources: Vec<_> =
                    hops(&results, run).iter().map(|hop| hop.nat.as_ref().map(|nat| nat.source)).collect();
                assert_eq!(sources[..2], [None, None], "router 2 answers from before its own translation");
                let rewritten = sources[2].expect("router 3 saw the translated source");
                assert_eq!(rewritten.ip(), IpAddr::from(outside().v4));
                assert_eq!(sources[3], Some(rewritten));
                assert!(seen.insert(rewritten.port()), "each run has a mapping of its own");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn labels_and_interfaces_are_in_the_result() {
    let labels = [
        MplsLabel { label: 24_001, exp: 5, bottom: false, ttl: 1 },
        MplsLabel { label: 17, exp: 0, bottom: true, ttl: 253 },
    ];
    let interface =
        Interface { index: Some(7), name: Some("ge-0/0/1".into()), mtu: Some(9000), ..Interface::default() };
    let topology = Topology::chain(3)
        .with_router(1, |router| router.answers.extensions = Some(Extensions::mpls(&labels)))
        .with_router(2, |router| router.answers.extensions = Some(Extensions::interface(interface.clone())));
    let lab = Lab::new(topology).await;
    for protocol in METHODS {
        let (results, _) = lab.trace(one_run(3, protocol)).await;
        let json: Vec<String> = hops(&results, 0)
            .iter()
            .map(|hop| {
                let mut text = Vec::new();
                traceroute::write_json(hop, traceroute::Style::Compact, &mut text)
                    .expect("memory does not fail");
                String::from_utf8(text).expect("JSON is UTF-8")
            })
            .collect();
        let mpls = r#""mpls":[{"label":24001,"exp":5,"bottom":false,"ttl":1},{"label":17,"exp":0,"bottom":true,"ttl":253}]"#;
        assert!(json[0].contains(mpls), "{}", json[0]);
        let interface = r#""interface":{"role":"incoming","index":7,"name":"ge-0/0/1","mtu":9000}"#;
        assert!(json[1].contains(interface), "{}", json[1]);
        assert!(!json[2].contains("mpls") && !json[2].contains("interface"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_path_behind_destination_nat_is_not_cut_short() {
    let public = DualStack { v4: [198, 51, 100, 9].into(), v6: "2001:db8:9::9".parse().expect("an address") };
    for protocol in METHODS {
        let lab = Lab::new(Topology::chain(4).with_destination_nat(2, public)).await;
        let request =
            Request::builder("198.51.100.9").protocol(protocol).traceroute_queries(1).e2e_queries(0);
        let (results, _) = lab.trace(request).await;
        // From the translator on everything comes from the public address.
        let expected = ["10.71.0.2", "198.51.100.9", "198.51.100.9", "198.51.100.9", "198.51.100.9"];
        assert_eq!(addresses(&results, 0), expected, "{protocol}");
        let run = &results.traceroute.runs.as_ref().expect("there are runs")[0];
        assert_eq!((run.reached, run.end_reason), (true, EndReason::Destination));
    }
}

#[tokio::test(start_paused = true)]
async fn a_time_exceeded_of_the_target_is_the_destination_if_nothing_better_comes() {
    let public = DualStack { v4: [198, 51, 100, 9].into(), v6: "2001:db8:9::9".parse().expect("an address") };
    let topology =
        Topology::chain(4).with_destination_nat(2, public).with_target(|target| target.answers.silent = true);
    let lab = Lab::new(topology).await;
    let request = Request::builder("198.51.100.9").traceroute_queries(1).e2e_queries(0).max_ttl(8);
    let (results, _) = lab.trace(request).await;
    assert_eq!(addresses(&results, 0), ["10.71.0.2", "198.51.100.9"]);
    let run = &results.traceroute.runs.as_ref().expect("there are runs")[0];
    assert_eq!((run.reached, run.end_reason), (true, EndReason::DestinationTimeExceeded));
}

#[tokio::test(start_paused = true)]
async fn a_port_unreachable_of_a_stranger_ends_the_run_without_reaching() {
    let topology = Topology::chain(3)
        .with_router(2, |router| router.refuses = Some(Refusal::Firewall(Unreachable::Port)));
    let lab = Lab::new(topology).await;
    let (results, _) = lab.trace(one_run(3, Protocol::Udp).e2e_queries(2)).await;
    let run = &results.traceroute.runs.as_ref().expect("there are runs")[0];
    assert_eq!((run.reached, run.end_reason), (false, EndReason::Unreachable));
    assert_eq!(
        run.hops.last().and_then(|hop| hop.unreachable).map(|reason| reason.to_string()).as_deref(),
        Some("port")
    );
    assert_eq!(results.e2e_probe.packets_received, 0);
}

#[tokio::test(start_paused = true)]
async fn a_filter_on_the_target_is_the_targets_answer() {
    use traceroute_testnet::sim::UdpService;
    let prohibited = UdpService::Unreachable(Unreachable::AdminProhibited);
    let lab =
        Lab::new(Topology::chain(2).with_target(|target| target.services.udp = prohibited.clone())).await;
    let (results, _) = lab.trace(one_run(2, Protocol::Udp).e2e_queries(2)).await;
    let run = &results.traceroute.runs.as_ref().expect("there are runs")[0];
    assert_eq!((run.reached, run.end_reason), (true, EndReason::Destination));
    assert_eq!(run.hops[2].unreachable.map(|reason| reason.to_string()).as_deref(), Some("admin_prohibited"));
    assert_eq!(results.e2e_probe.packets_received, 2);
}

#[tokio::test(start_paused = true)]
async fn the_next_links_mtu_is_in_the_result() {
    let lab = Lab::new(
        Topology::chain(3).with_router(2, |router| router.refuses = Some(Refusal::TooBig { mtu: 1280 })),
    )
    .await;
    for protocol in METHODS {
        let (results, _) = lab.trace(one_run(3, protocol)).await;
        let last = hops(&results, 0).last().expect("there are hops");
        assert_eq!(
            (last.ttl.get(), last.mtu),
            (3, Some(1280)),
            "TTL 2 runs out at router 2, TTL 3 does not fit"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn one_run_takes_one_branch_of_a_load_balancer() {
    // Eight branches of four routers: router `j` of branch `b` is 10.71.1.bj. The balancer hashes all that any does, the
    // ICMP checksum too.
    let topology = Topology::chain(3).with_branches(2, &[4; 8]);
    for protocol in METHODS {
        let lab = Lab::new(topology.clone()).await;
        let mut branches = BTreeSet::new();
        for _ in 0..20 {
            let (results, _) = lab.trace(one_run(3, protocol)).await;
            let addresses = addresses(&results, 0);
            let branch = addresses[1].strip_suffix('1').expect("the first router of a branch").to_owned();
            let expected: Vec<String> = (1..=4).map(|router| format!("{branch}{router}")).collect();
            assert_eq!(addresses[1..5], expected, "{protocol}");
            branches.insert(branch);
        }
        assert!(branches.len() > 3, "runs of different flows take different branches: {branches:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn forgeries_are_ignored() {
    let liar: IpAddr = [10, 66, 6, 6].into();
    let target: IpAddr = [10, 71, 3, 2].into();
    let damaged = |probe: &[u8]| {
        // The same flow and sequence, another payload: what a stranger could know of a probe. Of a TCP probe he could not
        // know the sequence number.
        let mut probe = probe.to_vec();
        let token = if probe[9] == 6 { 24 } else { probe.len() - 6 };
        probe[token] ^= 0xff;
        probe
    };
    let mut topology = Topology::chain(3);
    for number in 1..=5 {
        topology = topology
            .with_forgery_after_probe(number, MS / 2, move |probe| match probe[9] {
                1 => echo_reply(target, 64, &damaged(probe)),
                6 => tcp_answer(target, 64, &damaged(probe), true),
                _ => udp_answer(liar, 64, probe, b"x"),
            })
            .with_forgery_after_probe(number, MS / 2, move |probe| match probe[9] {
                1 => echo_reply(liar, 64, probe),
                6 => tcp_answer(liar, 64, probe, false),
                _ => udp_answer(liar, 64, probe, &probe[28..]),
            })
            .with_forgery_after_probe(number, MS / 2, move |probe| {
                icmp_error(liar, 64, IcmpError::TimeExceeded, &damaged(probe), Quote::Full, None)
            })
            .with_forgery_after_probe(number, MS / 2, move |probe| {
                // Somebody else's probe to another target.
                let mut probe = probe.to_vec();
                probe[19] ^= 1;
                icmp_error(liar, 64, IcmpError::TimeExceeded, &probe, Quote::Transport(8), None)
            })
            .with_forgery_after_probe(number, MS / 2, move |probe| {
                // Another port, another id.
                let mut probe = probe.to_vec();
                let key = if probe[9] == 1 { 25 } else { 23 };
                probe[key] ^= 1;
                icmp_error(liar, 64, IcmpError::TimeExceeded, &probe, Quote::Transport(8), None)
            });
    }
    for protocol in METHODS {
        let lab = Lab::new(topology.clone()).await;
        let (results, _) = lab.trace(one_run(3, protocol)).await;
        assert_eq!(addresses(&results, 0), all(3), "{protocol}");
        let run = &results.traceroute.runs.as_ref().expect("there are runs")[0];
        assert_eq!((run.duplicates, run.late), (0, 0));
        assert_eq!(run.hops.iter().map(|hop| hop.rtt).collect::<Vec<_>>(), [2.0, 4.0, 6.0, 8.0]);
    }
}

#[tokio::test(start_paused = true)]
async fn replies_to_yesterdays_run_are_nobodys() {
    // Router 2 answers after 30 seconds. By then a thousand other runs have used up the block of a thousand ports, and
    // one of them is on the very port that the late answer is for.
    let lab =
        Lab::new(Topology::chain(2).with_router(2, |router| router.answers.delay = Duration::from_secs(30)))
            .await;
    for protocol in METHODS {
        let (yesterday, _) = lab.trace(one_run(2, protocol).timeout_ms(300)).await;
        assert_eq!(addresses(&yesterday, 0)[1], "");
        let mut traces = Vec::new();
        for _ in 0..1000 {
            let request = one_run(2, protocol).timeout_ms(60_000).wait(traceroute::Wait::Full);
            traces.push(lab.tracer.start(request.build().expect("valid")).expect("room"));
        }
        for trace in traces {
            let results = trace.finish().await.expect("a result");
            let run = &results.traceroute.runs.as_ref().expect("there are runs")[0];
            assert_eq!((run.hops[1].rtt, run.duplicates), (30_004.0, 0), "its own answer, not yesterday's");
        }
    }
    assert!(lab.tracer.is_idle());
}

#[tokio::test(start_paused = true)]
async fn kernel_stamps_are_used_and_their_absence_is_said() {
    let lab = Lab::new(Topology::chain(2)).await;
    let (results, _) = lab.trace(one_run(2, Protocol::Udp)).await;
    assert!(hops(&results, 0).iter().all(|hop| hop.rtt_source.is_none()));

    for change in [
        traceroute_testnet::sim::virtual_time::Attachment::withhold_sent,
        traceroute_testnet::sim::virtual_time::Attachment::user_stamps,
    ] {
        let lab = Lab::attached(Topology::chain(2), change).await;
        let (results, _) = lab.trace(one_run(2, Protocol::Udp)).await;
        assert_eq!(addresses(&results, 0), all(2));
        assert!(hops(&results, 0).iter().all(|hop| hop.rtt_source == Some("user")));
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_seen_twice_on_its_way_out_is_sent_once() {
    let lab =
        Lab::attached(Topology::chain(2), traceroute_testnet::sim::virtual_time::Attachment::duplicate_sent)
            .await;
    let (results, _) = lab.trace(one_run(2, Protocol::Icmp)).await;
    assert_eq!(addresses(&results, 0), all(2));
    assert_eq!(results.traceroute.runs.as_ref().expect("there are runs")[0].duplicates, 0);
}

#[tokio::test(start_paused = true)]
async fn the_first_refused_probe_fails_the_run_and_a_later_one_is_counted() {
    let error = TracerouteError::MessageTooLong { target: [10, 71, 2, 2].into(), size: 46 };
    let lab = Lab::attached(Topology::chain(2), |attachment| attachment.fail_send(1, error.clone())).await;
    let request = one_run(2, Protocol::Udp).build().expect("valid");
    let failed = lab.tracer.start(request).expect("room").finish().await.expect_err("nothing was sent");
    assert_eq!(
        failed.to_string(),
        "a probe of 46 bytes to 10.71.2.2 is longer than the interface can send (MTU)"
    );
    assert_eq!(failed.code(), traceroute::ErrorCode::InvalidRequest);

    let lab = Lab::attached(Topology::chain(2), |attachment| attachment.fail_send(2, error)).await;
    let (results, _) = lab.trace(one_run(2, Protocol::Udp)).await;
    let run = &results.traceroute.runs.as_ref().expect("there are runs")[0];
    assert_eq!(run.send_errors, 1);
    assert_eq!(addresses(&results, 0), ["", "10.71.1.2", "10.71.2.2"]);
}

#[tokio::test(start_paused = true)]
async fn what_some_runs_could_not_do_is_a_warning() {
    let error = TracerouteError::SendRejected { target: [10, 71, 2, 2].into() };
    // The first probe is the end-to-end probe, the second the first of run 0.
    let lab = Lab::attached(Topology::chain(2), |attachment| attachment.fail_send(2, error)).await;
    let (results, _) = lab.trace(one_run(2, Protocol::Udp).traceroute_queries(2).e2e_queries(1)).await;
    assert_eq!(results.traceroute.runs.as_ref().map(Vec::len), Some(1));
    let expected = "1 of 2 runs failed: sending to 10.71.2.2 is not permitted: a firewall or routing rule of this host forbids it";
    assert_eq!(results.warnings, [expected]);
}

#[tokio::test(start_paused = true)]
async fn udp_answers_find_their_probes_however_slow_or_silent_the_routers_are() {
    let silent = |topology: Topology, routers: &[usize]| {
        routers.iter().fold(topology, |topology, router| {
            topology.with_router(*router, |router| router.answers.silent = true)
        })
    };
    let slow = |topology: Topology, delay: u32| {
        (1..=5).fold(topology, |topology, router| {
            topology.with_router(router, |router| router.answers.delay = MS * delay)
        })
    };
    let chain = Topology::chain(5);
    for (what, topology) in [
        ("plain", chain.clone()),
        ("routers slower than the target", slow(chain.clone(), 13)),
        ("routers much slower than the target", slow(chain.clone(), 80)),
        ("a silent hop before the target", silent(chain.clone(), &[5])),
        ("three silent hops before the target", silent(chain.clone(), &[3, 4, 5])),
        ("all silent", silent(chain.clone(), &[1, 2, 3, 4, 5])),
    ] {
        // The answer's own TTL tells the distance rightly, not at all, or wrongly.
        for ttl in [64, 200, 40, 61, 68] {
            let answer = traceroute_testnet::sim::UdpService::Answer(b"hello".to_vec());
            let topology = topology.clone().with_target(|target| {
                target.services.udp = answer.clone();
                target.answers.ttl = ttl;
            });
            for queries in [0, 3] {
                let lab = Lab::new(topology.clone()).await;
                let (results, _) =
                    lab.trace(one_run(5, Protocol::Udp).traceroute_queries(3).e2e_queries(queries)).await;
                for run in results.traceroute.runs.as_ref().expect("there are runs") {
                    let what = format!("{what}, TTL {ttl}, {queries} end-to-end probes: {:?}", run.hops);
                    let last = run.hops.last().expect("there are hops");
                    assert_eq!((run.reached, run.hops.len()), (true, 6), "{what}");
                    assert_eq!(last.ip_address, Some([10, 71, 5, 2].into()), "{what}");
                    assert_eq!(last.rtt, 12.0, "{what}");
                    assert_eq!(run.duplicates, 0, "{what}");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn flows_of_unequal_length_all_reach() {
    // The balancer's branches have one router or six, all of them silent; which one the first probe of all takes must not
    // matter to the runs.
    let mut topology = Topology::chain(3).with_branches(2, &[1, 6, 1, 6]);
    for (branch, length) in [(1, 1), (2, 6), (3, 1), (4, 6)] {
        for router in 1..=length {
            topology = topology.with_branch_router(2, branch, router, |router| router.answers.silent = true);
        }
    }
    for protocol in METHODS {
        let lab = Lab::new(topology.clone()).await;
        let mut lengths = BTreeSet::new();
        for _ in 0..5 {
            let (results, _) = lab.trace(one_run(3, protocol).traceroute_queries(3).e2e_queries(1)).await;
            for run in results.traceroute.runs.as_ref().expect("there are runs") {
                assert_eq!(
                    (run.reached, run.end_reason),
                    (true, EndReason::Destination),
                    "{protocol}: {:?}",
                    run.hops
                );
                lengths.insert(run.hops.len());
            }
        }
        assert_eq!(lengths, [4, 9].into(), "{protocol}");
    }
}

#[tokio::test(start_paused = true)]
async fn rubbish_ends_no_run() {
    let mut topology = Topology::chain(3);
    let mut random = crate::lab::entropy(7);
    for number in 1..=5 {
        for length in 0..40 {
            let mut bytes: Vec<u8> = (0..length).map(|_| random().to_ne_bytes()[0]).collect();
            // Half of it begins like an IPv4 header, some of that like an ICMP error.
            if let [version, ..] = bytes.as_mut_slice()
                && length % 2 == 0
            {
                *version = 0x45;
            }
            topology = topology.with_forgery_after_probe(number, MS / 2, move |_| bytes.clone());
        }
        for cut in 0..56 {
            topology = topology.with_forgery_after_probe(number, MS / 2, move |probe| {
                let liar = [10, 66, 6, 6].into();
                let mut error =
                    icmp_error(liar, 64, IcmpError::TimeExceeded, &probe[..20], Quote::Full, None);
                error.truncate(cut);
                error
            });
        }
    }
    for protocol in METHODS {
        let lab = Lab::new(topology.clone()).await;
        let (results, _) = lab.trace(one_run(3, protocol)).await;
        assert_eq!(addresses(&results, 0), all(3), "{protocol}");
        assert_eq!(hops(&results, 0).iter().map(|hop| hop.rtt).collect::<Vec<_>>(), [2.0, 4.0, 6.0, 8.0]);
    }
}
