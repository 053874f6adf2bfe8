//! Runs in simulated networks under virtual time, compared as timelines.
//!
//! Every link takes 1 ms each way unless the test says otherwise, so hop `n` answers after `2n` ms.

use std::time::Duration;

use traceroute::{EndReason, Protocol, RunResult, Tracer};
use traceroute_testnet::sim::{RateLimit, Refusal, Topology, UdpService, Unreachable};

use crate::lab::{Lab, addresses, one_run};

const MS: Duration = Duration::from_millis(1);

fn run(results: &traceroute::Results) -> &RunResult {
    &results.traceroute.runs.as_ref().expect("there are runs")[0]
}

#[tokio::test(start_paused = true)]
async fn all_answer() {
    let lab = Lab::new(Topology::chain(3)).await;
    let (results, took) = lab.trace(one_run(3, Protocol::Udp)).await;
    // The sounding first, then two ahead of what has answered; the sounding's answer tells that 4 is the last.
    assert_eq!(
        lab.recorder.outline(),
        "0.000 > udp ttl=30\n\
         0.000 > udp ttl=1\n\
         0.000 > udp ttl=2\n\
         2.000 < time-exceeded from 10.71.0.2\n\
         2.000 > udp ttl=3\n\
         4.000 < time-exceeded from 10.71.1.2\n\
         4.000 > udp ttl=4\n\
         8.000 < port-unreachable from 10.71.3.2\n\
         8.000 < time-exceeded from 10.71.2.2\n\
         12.000 < port-unreachable from 10.71.3.2\n"
    );
    assert_eq!(took, 12 * MS);
    assert_eq!(addresses(&results, 0), ["10.71.0.2", "10.71.1.2", "10.71.2.2", "10.71.3.2"]);
    let rtts: Vec<f64> = run(&results).hops.iter().map(|hop| hop.rtt).collect();
    assert_eq!(rtts, [2.0, 4.0, 6.0, 8.0]);
    assert_eq!((run(&results).reached, run(&results).end_reason), (true, EndReason::Destination));
}

#[tokio::test(start_paused = true)]
async fn a_long_path_is_known_in_two_round_trips() {
    for (routers, protocol) in
        [(5, Protocol::Udp), (5, Protocol::Icmp), (24, Protocol::Udp), (24, Protocol::Icmp)]
    {
        // The first link takes 20 ms, the others nothing: every round trip is 40 ms.
        let topology = Topology::chain(routers)
            .with_links(|link| link.set_delay(Duration::ZERO))
            .with_link(0, |link| link.set_delay(20 * MS));
        let lab = Lab::new(topology).await;
        let (results, took) = lab.trace(one_run(routers, protocol)).await;
        assert_eq!(run(&results).hops.len(), usize::from(routers) + 1);
        assert!(run(&results).hops.iter().all(|hop| hop.reachable));
        assert!(took <= 80 * MS + 30 * MS, "{routers} routers, {protocol}: {took:?}");
        let beyond: usize = lab.recorder.sent_per_ttl().range(routers + 2..).map(|(_, count)| count).sum();
        assert_eq!(beyond, 1, "the sounding, and nothing else, goes beyond the destination");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_middle_is_given_its_wait() {
    let topology = Topology::chain(5)
        .with_router(2, |router| router.answers.silent = true)
        .with_router(3, |router| router.answers.silent = true);
    let lab = Lab::new(topology).await;
    let (results, took) = lab.trace(one_run(5, Protocol::Udp)).await;
    assert_eq!(addresses(&results, 0), ["10.71.0.2", "", "", "10.71.3.2", "10.71.4.2", "10.71.5.2"]);
    // Hop 3 was sent when hop 1 answered, at 2 ms, and is given 200 ms: ten round trips are less.
    assert_eq!(took, 202 * MS);
    assert_eq!(run(&results).end_reason, EndReason::Destination);
}

#[tokio::test(start_paused = true)]
async fn the_wait_grows_with_the_round_trip() {
    let topology = Topology::chain(3)
        .with_link(0, |link| link.set_delay(40 * MS))
        .with_router(1, |router| router.answers.silent = true);
    let lab = Lab::new(topology).await;
    let (_, took) = lab.trace(one_run(3, Protocol::Udp)).await;
    // The slowest round trip is the target's, 86 ms; hop 1 was sent at the start.
    assert_eq!(took, 860 * MS);
}

#[tokio::test(start_paused = true)]
async fn a_full_wait_is_the_time_out() {
    let lab = Lab::new(Topology::chain(3).with_router(1, |router| router.answers.silent = true)).await;
    let (_, took) = lab.trace(one_run(3, Protocol::Udp).wait(traceroute::Wait::Full)).await;
    assert_eq!(took, 3000 * MS);
}

#[tokio::test(start_paused = true)]
async fn a_dead_target_ends_one_time_out_after_the_last_probe() {
    let lab = Lab::new(Topology::chain(3).with_target(|target| target.answers.silent = true)).await;
    let (results, took) = lab.trace(one_run(3, Protocol::Udp).max_ttl(10)).await;
    // Three hops answer by 8 ms (sent at 0, 0, 2); 4 follows the second answer at 4, 5 the third at 8, and then one
    // each 50 ms: 6 at 58, 7, 8, and 9 at 208. 10 was the sounding.
    assert_eq!(took, 208 * MS + 3000 * MS);
    assert_eq!(lab.recorder.sent_per_ttl(), (1..=10).map(|ttl| (ttl, 1)).collect());
    assert_eq!((run(&results).reached, run(&results).end_reason), (false, EndReason::MaxTtl));
    assert_eq!(run(&results).hops.len(), 10);
    assert_eq!(results.traceroute.hop_count.max, 3.0);
}

#[tokio::test(start_paused = true)]
async fn nobody_at_all_answers() {
    let topology = Topology::chain(1).with_router(1, |router| {
        router.answers.silent = true;
        router.refuses = Some(Refusal::Firewall(Unreachable::Network));
    });
    let lab = Lab::new(topology).await;
    let (results, took) = lab.trace(one_run(1, Protocol::Icmp)).await;
    // Two at once, then one each 50 ms up to 29: 27 steps.
    assert_eq!(took, 27 * 50 * MS + 3000 * MS);
    assert_eq!(results.traceroute.hop_count.max, 30.0, "the number of hops when none answered");
    assert_eq!(run(&results).hops.len(), 30);
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_sounding_is_no_hindrance() {
    // The sounding is the first datagram to enter the last link.
    let lab = Lab::new(Topology::chain(3).with_link(3, |link| link.forward.drop = [1].into())).await;
    let (results, took) = lab.trace(one_run(3, Protocol::Udp)).await;
    assert_eq!(addresses(&results, 0).len(), 4);
    // Hop 4 was sent when hop 2 had answered, at 4 ms, and takes 8. Hop 5 was sent at 8: one probe of overshoot.
    assert_eq!(took, 12 * MS);
    assert_eq!(lab.recorder.sent_per_ttl().keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4, 5, 30]);
}

#[tokio::test(start_paused = true)]
async fn the_destinations_lost_answer_is_shown_by_the_sounding() {
    // The target's second answer, that to hop 4's own probe, is lost.
    let lab = Lab::new(Topology::chain(3).with_link(3, |link| link.back.drop = [2].into())).await;
    let (results, took) = lab.trace(one_run(3, Protocol::Udp)).await;
    assert_eq!(addresses(&results, 0), ["10.71.0.2", "10.71.1.2", "10.71.2.2", "10.71.3.2"]);
    assert_eq!(took, 204 * MS, "hop 4 was sent at 4 ms");
    assert!(run(&results).reached);
}

#[tokio::test(start_paused = true)]
async fn a_lost_hop_stays_empty() {
    let lab = Lab::new(Topology::chain(3).with_link(1, |link| link.back.drop = [1].into())).await;
    let (results, took) = lab.trace(one_run(3, Protocol::Udp)).await;
    assert_eq!(addresses(&results, 0), ["10.71.0.2", "", "10.71.2.2", "10.71.3.2"]);
    assert_eq!(took, 200 * MS);
}

#[tokio::test(start_paused = true)]
async fn duplicates_are_counted_and_the_first_counts() {
    let lab = Lab::new(Topology::chain(2).with_router(2, |router| router.answers.duplicates = 2)).await;
    let (results, _) = lab.trace(one_run(2, Protocol::Udp)).await;
    assert_eq!(run(&results).duplicates, 2);
    assert_eq!(run(&results).hops[1].rtt, 4.0);
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_is_booked_while_the_request_goes_on() {
    // Router 2 thinks for 900 ms, the run waits 200, the end-to-end probes go on for two seconds.
    let lab = Lab::new(Topology::chain(3).with_router(2, |router| router.answers.delay = 900 * MS)).await;
    let (results, _) = lab.trace(one_run(3, Protocol::Udp).e2e_queries(3)).await;
    assert_eq!(addresses(&results, 0)[1], "10.71.1.2");
    assert_eq!(run(&results).hops[1].rtt, 904.0);
    assert_eq!(run(&results).late, 1);
}

#[tokio::test(start_paused = true)]
async fn reordered_answers_name_their_own_probes() {
    let lab = Lab::new(Topology::chain(6).with_links(|link| {
        link.back.reorder = 0.5;
        link.back.reorder_delay = 7 * MS;
    }))
    .await;
    for protocol in [Protocol::Udp, Protocol::Icmp, Protocol::Tcp] {
        let (results, _) = lab.trace(one_run(6, protocol)).await;
        let expected: Vec<String> = (0..=6).map(|hop| format!("10.71.{hop}.2")).collect();
        assert_eq!(addresses(&results, 0), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_in_the_middle_ends_the_path_there() {
    for protocol in [Protocol::Udp, Protocol::Icmp, Protocol::Tcp] {
        let topology = Topology::chain(5)
            .with_router(3, |router| router.refuses = Some(Refusal::Firewall(Unreachable::AdminProhibited)));
        let lab = Lab::new(topology).await;
        let (results, took) = lab.trace(one_run(5, protocol)).await;
        let run = run(&results);
        // TTL 3 runs out at router 3, TTL 4 is refused there.
        assert_eq!(addresses(&results, 0), ["10.71.0.2", "10.71.1.2", "10.71.2.2", "10.71.2.2"]);
        assert_eq!((run.reached, run.end_reason), (false, EndReason::Unreachable));
        assert_eq!(
            run.hops[3].unreachable.map(|reason| reason.to_string()).as_deref(),
            Some("admin_prohibited")
        );
        assert!(lab.recorder.sent_per_ttl().keys().all(|ttl| *ttl <= 4 || *ttl == 30));
        assert_eq!(took, 10 * MS);
    }
}

#[tokio::test(start_paused = true)]
async fn a_path_longer_than_the_last_ttl() {
    let lab = Lab::new(Topology::chain(5)).await;
    let (results, took) = lab.trace(one_run(5, Protocol::Icmp).max_ttl(3)).await;
    assert_eq!(addresses(&results, 0), ["10.71.0.2", "10.71.1.2", "10.71.2.2"]);
    assert_eq!(run(&results).end_reason, EndReason::MaxTtl);
    assert_eq!(took, 6 * MS, "all have answered: there is nothing to wait for");
}

#[tokio::test(start_paused = true)]
async fn the_default_request_bears_linux_rate_limits() {
    for routers in [0, 1, 8] {
        for protocol in [Protocol::Udp, Protocol::Icmp, Protocol::Tcp] {
            let mut topology = Topology::chain(routers)
                .with_target(|target| target.answers.rate_limit = Some(RateLimit::LINUX));
            for router in 1..=routers {
                topology = topology
                    .with_router(router.into(), |router| router.answers.rate_limit = Some(RateLimit::LINUX));
            }
            let lab = Lab::new(topology).await;
            let (results, _) =
                lab.trace(one_run(routers, protocol).traceroute_queries(3).e2e_queries(50)).await;
            assert_eq!(results.e2e_probe.packets_received, 50, "{routers} routers, {protocol}");
            for run in 0..3 {
                let expected: Vec<String> = (0..=routers).map(|hop| format!("10.71.{hop}.2")).collect();
                assert_eq!(addresses(&results, run), expected, "{routers} routers, {protocol}, run {run}");
            }
        }
    }
}

/// The first trace has used up what the target may send at once, so that only some of the probes are answered, late in their runs.
#[tokio::test(start_paused = true)]
async fn a_target_that_has_few_icmp_errors_left_is_where_it_is() {
    let topology =
        Topology::chain(2).with_target(|target| target.answers.rate_limit = Some(RateLimit::LINUX));
    let lab = Lab::new(topology).await;
    let request = || one_run(2, Protocol::Udp).traceroute_queries(3).e2e_queries(3);
    let (first, _) = lab.trace(request()).await;
    assert_eq!(first.warnings, [] as [&str; 0]);
    let (second, took) = lab.trace(request()).await;
    let runs = second.traceroute.runs.as_ref().expect("there are runs");
    // In 4.4 s there are four errors, of which end-to-end probes get two.
    let reached: Vec<_> = (0..3).filter(|run| runs[*run].reached).collect();
    assert_eq!(reached.len(), 2, "{}", lab.recorder.outline());
    for run in reached {
        assert_eq!(addresses(&second, run), ["10.71.0.2", "10.71.1.2", "10.71.2.2"]);
    }
    assert!(took <= 3_000 * MS + 30 * 50 * MS, "no longer than otherwise: {took:?}");
    let [warning] = &second.warnings[..] else { panic!("{:?}", second.warnings) };
    assert!(warning.contains("need not be loss"), "{warning}");
}

#[tokio::test(start_paused = true)]
async fn a_lost_packet_makes_no_run_longer_than_its_sisters() {
    for protocol in [Protocol::Udp, Protocol::Icmp, Protocol::Tcp] {
        for lost in 0..8 {
            let topology =
                Topology::chain(3).with_link(3, |link| link.forward.drop = [lost, lost + 1].into());
            let lab = Lab::new(topology).await;
            let (results, _) = lab.trace(one_run(3, protocol).traceroute_queries(3)).await;
            for run in 0..3 {
                let path = addresses(&results, run);
                assert_eq!(path, ["10.71.0.2", "10.71.1.2", "10.71.2.2", "10.71.3.2"], "{protocol} {lost}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn loss_is_not_excused_where_nothing_is_limited() {
    let lossy = |topology: Topology| topology.with_link(2, |link| link.set_loss(0.3));
    let answers = lossy(Topology::chain(2).with_target(|target| target.services.udp = UdpService::Echo));
    let refuses = Some(Refusal::NoRoute(Unreachable::Host));
    let barred = Topology::chain(2).with_router(2, |router| router.refuses = refuses);
    for (topology, protocol) in
        [(answers, Protocol::Udp), (lossy(Topology::chain(2)), Protocol::Icmp), (barred, Protocol::Udp)]
    {
        let lab = Lab::new(topology).await;
        let (results, _) = lab.trace(one_run(2, protocol).traceroute_queries(2).e2e_queries(30)).await;
        assert!(results.e2e_probe.packets_received < 30, "{protocol}");
        assert_eq!(results.warnings, [] as [&str; 0], "{protocol}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_udp_answer_is_the_destination() {
    for service in [UdpService::Answer(b"hello".to_vec()), UdpService::Echo] {
        let lab =
            Lab::new(Topology::chain(3).with_target(|target| target.services.udp = service.clone())).await;
        let (results, took) = lab.trace(one_run(3, Protocol::Udp)).await;
        let expected = ["10.71.0.2", "10.71.1.2", "10.71.2.2", "10.71.3.2"];
        assert_eq!(addresses(&results, 0), expected, "{service:?}");
        assert_eq!(run(&results).end_reason, EndReason::Destination);
        assert_eq!(run(&results).hops[3].rtt, 8.0);
        assert_eq!(took, 12 * MS);
    }
}

#[tokio::test(start_paused = true)]
async fn e2e_probes_are_answered_by_the_destination_only() {
    let lab = Lab::new(Topology::chain(5)).await;
    let (results, _) = lab.trace(one_run(5, Protocol::Icmp).max_ttl(3).e2e_queries(4)).await;
    assert_eq!(results.e2e_probe.packets_received, 0, "router 3 is not the destination");
    assert_eq!(results.e2e_probe.rtts, Some(vec![0.0; 4]));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_left_behind() {
    let lab = Lab::new(Topology::chain(3).with_target(|target| target.answers.silent = true)).await;
    let dropped: Tracer = lab.tracer.clone();
    let trace = dropped.start(one_run(3, Protocol::Udp).build().expect("valid")).expect("room");
    tokio::time::sleep(20 * MS).await;
    drop(trace);
    tokio::task::yield_now().await;
    let sent = lab.recorder.sent().len();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(lab.recorder.sent().len(), sent, "dropping a trace stops its probes");
    assert!(lab.tracer.is_idle());
    assert_eq!(lab.tracer.stats().requests, 0);
}

#[tokio::test(start_paused = true)]
async fn stopping_gives_what_was_learnt() {
    let lab = Lab::new(Topology::chain(3).with_target(|target| target.answers.silent = true)).await;
    let request = one_run(3, Protocol::Udp).e2e_queries(50).build().expect("valid");
    let trace = lab.tracer.start(request).expect("room");
    tokio::time::sleep(20 * MS).await;
    let results = trace.stop().await.expect("a result");
    assert_eq!(run(&results).end_reason, EndReason::Interrupted);
    assert_eq!(addresses(&results, 0)[..3], ["10.71.0.2", "10.71.1.2", "10.71.2.2"]);
    assert_eq!(
        results.e2e_probe.packets_sent, 0,
        "nobody knows what would have become of the probe under way"
    );
    assert!(lab.tracer.is_idle());
}

#[tokio::test(start_paused = true)]
async fn three_runs_toward_a_neighbour_send_five_probes() {
    let lab = Lab::new(Topology::chain(0)).await;
    let (results, took) = lab.trace(one_run(0, Protocol::Udp).traceroute_queries(3)).await;
    assert_eq!(
        lab.recorder.outline(),
        "0.000 > udp ttl=30\n\
         0.000 > udp ttl=1\n\
         0.000 > udp ttl=1\n\
         0.000 > udp ttl=1\n\
         0.000 > udp ttl=2\n\
         2.000 < port-unreachable from 10.71.0.2\n\
         2.000 < port-unreachable from 10.71.0.2\n\
         2.000 < port-unreachable from 10.71.0.2\n\
         2.000 < port-unreachable from 10.71.0.2\n\
         2.000 < port-unreachable from 10.71.0.2\n"
    );
    assert_eq!(took, 2 * MS);
    assert!((0..3).all(|run| addresses(&results, run) == ["10.71.0.2"]));
}

#[tokio::test(start_paused = true)]
async fn a_run_keeps_its_id_from_its_event_to_the_result() {
    let lab = Lab::new(Topology::chain(1)).await;
    let mut trace = lab.tracer.start(one_run(1, Protocol::Udp).build().expect("valid")).expect("room");
    let mut id = None;
    while let Some(event) = trace.next_event().await {
        if let traceroute::TraceEvent::RunFinished { result, .. } = event {
            id = Some(result.run_id);
        }
    }
    assert_eq!(id, Some(run(&trace.finish().await.expect("a result")).run_id.clone()));
}

#[tokio::test(start_paused = true)]
async fn events_tell_what_happens_as_it_happens() {
    use traceroute::TraceEvent;

    let lab = Lab::new(Topology::chain(1).with_router(1, |router| router.answers.delay = 300 * MS)).await;
    let request = one_run(1, Protocol::Icmp).e2e_queries(2).build().expect("valid");
    let mut trace = lab.tracer.start(request).expect("room");
    let mut told = Vec::new();
    while let Some(event) = trace.next_event().await {
        told.push(match event {
            TraceEvent::Resolved { target, source } => format!("from {source} to {target}"),
            TraceEvent::ProbeSent { ttl, .. } => format!("sent {ttl}"),
            TraceEvent::HopAnswered { hop, .. } => format!("answered {} {}", hop.ttl, hop.rtt),
            TraceEvent::HopUpdated { hop, .. } => format!("updated {} {}", hop.ttl, hop.rtt),
            TraceEvent::RunFinished { result, .. } => format!("finished with {} hops", result.hops.len()),
            TraceEvent::EndToEnd { probe, rtt } => format!("end to end {probe} {rtt:?}"),
            other => format!("{other:?}"),
        });
    }
    let expected = [
        "from 10.71.0.1 to 10.71.1.2",
        "sent 1",
        "sent 2",
        "end to end 0 Some(4ms)",
        "answered 2 4",
        // Hop 1 is given 200 ms and answers after 302.
        "finished with 2 hops",
        "updated 1 302",
        "end to end 1 Some(4ms)",
    ];
    assert_eq!(told, expected);
    assert_eq!(trace.lost_events(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_first_ttl_probed_may_be_chosen() {
    for protocol in [Protocol::Udp, Protocol::Icmp, Protocol::Tcp] {
        let lab = Lab::new(Topology::chain(5)).await;
        let (results, _) = lab.trace(one_run(5, protocol).first_ttl(3)).await;
        let run = run(&results);
        assert_eq!(run.hops.iter().map(|hop| hop.ttl.get()).collect::<Vec<_>>(), [3, 4, 5, 6], "{protocol}");
        assert_eq!(
            addresses(&results, 0),
            ["10.71.2.2", "10.71.3.2", "10.71.4.2", "10.71.5.2"],
            "{protocol}"
        );
        assert_eq!((run.reached, results.traceroute.hop_count.max), (true, 6.0), "{protocol}");
        assert_eq!(lab.recorder.sent_per_ttl().range(..3).count(), 0, "{protocol}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_destination_before_the_first_ttl_is_shown_there() {
    for protocol in [Protocol::Udp, Protocol::Icmp, Protocol::Tcp] {
        let lab = Lab::new(Topology::chain(3)).await;
        let (results, took) = lab.trace(one_run(3, protocol).first_ttl(10)).await;
        assert_eq!(addresses(&results, 0), ["10.71.3.2"], "{protocol}");
        let run = run(&results);
        assert_eq!((run.hops[0].ttl.get(), run.reached), (10, true), "{protocol}");
        assert!(took < 100 * MS, "{protocol}: {took:?}");
        assert_eq!(lab.recorder.sent_per_ttl().range(..10).count(), 0, "{protocol}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_between_probes_may_be_chosen() {
    let lab = Lab::new(Topology::chain(1).with_router(1, |router| {
        router.answers.silent = true;
        router.refuses = Some(Refusal::Firewall(Unreachable::Network));
    }));
    let (_, took) = lab.await.trace(one_run(1, Protocol::Icmp).send_delay_ms(500)).await;
    // As in `nobody_at_all_answers`: two at once, then 27 steps.
    assert_eq!(took, 27 * 500 * MS + 3000 * MS);
}

#[tokio::test(start_paused = true)]
async fn the_time_between_end_to_end_probes_may_be_chosen() {
    for protocol in [Protocol::Udp, Protocol::Icmp, Protocol::Tcp] {
        let lab = Lab::new(Topology::chain(3)).await;
        let request = one_run(3, protocol).traceroute_queries(0).e2e_queries(4).e2e_interval_ms(70);
        let (results, took) = lab.trace(request).await;
        assert_eq!(results.e2e_probe.packets_received, 4, "{protocol}");
        // The last begins after three intervals; its round trip is 8 ms.
        assert_eq!(took, 3 * 70 * MS + 8 * MS, "{protocol}");
    }
}
