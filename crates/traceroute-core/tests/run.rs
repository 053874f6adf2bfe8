//! The state machine of a run, step by step. Whole timelines are tested in `traceroute`, against simulated networks.

use std::net::IpAddr;
use std::time::Duration;

use traceroute_core::{
    Distance, EndReason, Knowledge, Operation, ProbeId, ProbeResponse, Protocol, QuotedFacts, ReplyKind, Run,
    RunEvent, Schedule, Stamp, Timestamp, TracerouteError, Ttl,
};
use traceroute_wire::Unreachable;

const TARGET: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 9));
const TIMEOUT: Duration = Duration::from_secs(3);

fn at(ms: u64) -> Timestamp {
    Timestamp::ZERO + Duration::from_millis(ms)
}

fn ttl(ttl: u8) -> Ttl {
    Ttl::new(ttl).expect("not zero")
}

fn router(hop: u8) -> IpAddr {
    [10, 0, hop, 1].into()
}

fn parallel(max_ttl: u8) -> Run {
    Run::new(Protocol::Udp, TARGET, Schedule::parallel(Ttl::FIRST, ttl(max_ttl), TIMEOUT))
}

/// Sends all that may be sent now, and says what that was.
fn send(run: &mut Run, now: u64) -> Vec<u8> {
    let mut sent = Vec::new();
    while let Some(probe) = run.poll_send(at(now)) {
        run.handle_sent(probe, Stamp::user(at(now)));
        run.handle_sent(probe, Stamp::kernel(at(now)));
        sent.push(probe.ttl.get());
    }
    sent
}

fn answer(probe: u8, from: IpAddr, kind: ReplyKind, now: u64, quoted_ttl: Option<u8>) -> ProbeResponse {
    ProbeResponse {
        probe: Some(ProbeId::first(ttl(probe))),
        from,
        kind,
        stamp: Stamp::kernel(at(now)),
        interface: 1,
        ttl: 64,
        quoted: quoted_ttl.map(|ttl| QuotedFacts { ttl, ..QuotedFacts::default() }),
    }
}

fn time_exceeded(run: &mut Run, hop: u8, now: u64) {
    run.handle_reply(answer(hop, router(hop), ReplyKind::TimeExceeded, now, Some(1)));
}

/// The destination at `distance` answers the probe with this TTL.
fn port_unreachable(run: &mut Run, probe: u8, distance: u8, now: u64) {
    let kind = ReplyKind::Unreachable(Unreachable::Port);
    run.handle_reply(answer(probe, TARGET, kind, now, Some(probe - distance + 1)));
}

fn answered(run: &Run) -> Vec<Option<IpAddr>> {
    run.report().hops.iter().map(|hop| hop.answer.as_ref().map(|answer| answer.address)).collect()
}

#[test]
fn a_serial_run_sends_one_probe_at_a_time() {
    let mut run = Run::new(Protocol::Udp, TARGET, Schedule::serial(Ttl::FIRST, ttl(4), TIMEOUT));
    assert_eq!(send(&mut run, 0), [1]);
    time_exceeded(&mut run, 1, 5);
    assert_eq!(send(&mut run, 5), [2]);
    // Hop 2 is silent and given the whole time-out.
    assert_eq!(run.poll_timeout(), Some(at(3005)));
    assert_eq!(send(&mut run, 3004), [] as [u8; 0]);
    assert_eq!(send(&mut run, 3005), [3]);
    port_unreachable(&mut run, 3, 3, 3010);
    assert!(run.is_finished());
    assert_eq!(answered(&run), [Some(router(1)), None, Some(TARGET)]);
}

#[test]
fn a_follower_stays_one_ahead_of_what_any_run_has_heard() {
    let schedule = Schedule::parallel(Ttl::FIRST, ttl(30), TIMEOUT).following();
    let mut run = Run::new(Protocol::Udp, TARGET, schedule);
    assert_eq!(send(&mut run, 0), [1]);
    run.handle_learnt(Knowledge { farthest: 3, distance: None, port: None });
    assert_eq!(send(&mut run, 1), [2, 3, 4]);
    // And one more each 50 ms.
    assert_eq!(run.poll_timeout(), Some(at(51)));
    assert_eq!(send(&mut run, 51), [5]);
    // A sister has found the destination.
    run.handle_learnt(Knowledge {
        farthest: 7,
        distance: Some(Distance { ttl: ttl(8), exact: true }),
        port: None,
    });
    assert_eq!(send(&mut run, 52), [6, 7, 8]);
}

#[test]
fn a_run_tells_what_it_has_learnt() {
    let mut run = parallel(30);
    send(&mut run, 0);
    time_exceeded(&mut run, 1, 5);
    assert_eq!(run.knowledge(), Knowledge { farthest: 1, distance: None, port: None });
    port_unreachable(&mut run, 2, 2, 6);
    let distance = Some(Distance { ttl: ttl(2), exact: true });
    assert_eq!(run.knowledge(), Knowledge { farthest: 1, distance, port: None });
}

#[test]
fn an_echo_reply_gives_a_guess_from_its_own_ttl() {
    for (initial, hops) in [(64, 7), (128, 7), (255, 7)] {
        let mut run = Run::new(Protocol::Icmp, TARGET, Schedule { sounding: true, ..parallel_schedule() });
        assert_eq!(send(&mut run, 0), [30, 1, 2]);
        let mut reply = answer(30, TARGET, ReplyKind::EchoReply, 10, None);
        reply.ttl = initial - (hops - 1);
        run.handle_reply(reply);
        assert_eq!(send(&mut run, 10), [3, 4, 5, 6, 7]);
    }
}

fn parallel_schedule() -> Schedule {
    Schedule::parallel(Ttl::FIRST, ttl(30), TIMEOUT)
}

#[test]
fn a_destination_that_others_know_but_that_is_silent_here_is_passed_after_its_wait() {
    let mut run = parallel(30);
    assert_eq!(send(&mut run, 0), [1, 2]);
    run.handle_learnt(Knowledge {
        farthest: 2,
        distance: Some(Distance { ttl: ttl(3), exact: true }),
        port: None,
    });
    assert_eq!(send(&mut run, 1), [3]);
    time_exceeded(&mut run, 1, 2);
    time_exceeded(&mut run, 2, 3);
    // Hop 3 has its 200 ms; then 27 probes are spread over the 4350 ms that it takes anyway, 200 of them for the last.
    assert_eq!(send(&mut run, 200), [] as [u8; 0]);
    assert_eq!(send(&mut run, 201), [4]);
    assert_eq!(send(&mut run, 352), [] as [u8; 0]);
    assert_eq!(send(&mut run, 353), [5]);
    // It answers the third: that names the distance, and so hop 3.
    port_unreachable(&mut run, 5, 3, 363);
    assert!(run.is_finished());
    assert_eq!(answered(&run), [Some(router(1)), Some(router(2)), Some(TARGET)]);
    assert_eq!(
        run.report().hops[2].answer.as_ref().map(|answer| answer.rtt),
        Some(Duration::from_millis(10))
    );
}

#[test]
fn what_another_flow_has_learnt_ends_nothing() {
    let mut run = parallel(12);
    send(&mut run, 0);
    run.handle_learnt(Knowledge {
        farthest: 1,
        distance: Some(Distance { ttl: ttl(2), exact: true }),
        port: None,
    });
    let mut now = 0;
    while !run.is_finished() {
        now += 50;
        send(&mut run, now);
        run.handle_timeout(at(now));
    }
    assert!((3_400..=3_600).contains(&now), "no longer than ten times 50 ms and the time-out: {now}");
    assert_eq!((run.is_finished(), run.report().end_reason), (true, EndReason::MaxTtl));
    assert_eq!(run.report().hops.len(), 12, "the last TTL was probed");
}

/// The destination is the last TTL, or all was sent before a sister told of it: the own answer may still be on its way.
#[test]
fn what_a_sister_knows_does_not_end_the_wait_for_the_last_probe() {
    for (max_ttl, distance, learnt) in [(6, 6, 500), (30, 9, 2_000)] {
        let mut run = parallel(max_ttl);
        let mut now = 0;
        while now < learnt {
            send(&mut run, now);
            if now == 0 {
                time_exceeded(&mut run, 1, 1);
            }
            now += 50;
        }
        let knowledge = Knowledge {
            farthest: 1,
            distance: Some(Distance { ttl: ttl(distance), exact: true }),
            port: None,
        };
        run.handle_learnt(knowledge);
        run.handle_timeout(at(learnt + 400));
        assert!(!run.is_finished(), "{max_ttl}");
        port_unreachable(&mut run, max_ttl, distance, learnt + 400);
        assert_eq!(run.report().hops.len(), usize::from(distance));
        assert!(run.report().reached);
    }
}

#[test]
fn a_destination_before_the_first_ttl_is_not_flooded() {
    let schedule = Schedule::parallel(ttl(10), ttl(30), TIMEOUT);
    let mut run = Run::new(Protocol::Udp, TARGET, schedule);
    run.handle_learnt(Knowledge {
        farthest: 3,
        distance: Some(Distance { ttl: ttl(4), exact: true }),
        port: None,
    });
    assert_eq!(send(&mut run, 0), [10]);
    assert_eq!(send(&mut run, 199), [] as [u8; 0]);
    assert_eq!(send(&mut run, 300), [11]);
    // The first is silent, and the destination shows where it would have been.
    port_unreachable(&mut run, 11, 4, 310);
    assert_eq!(answered(&run), [Some(TARGET)]);
}

#[test]
fn a_barrier_of_one_flow_is_no_news_to_another() {
    let mut run = parallel(30);
    send(&mut run, 0);
    run.handle_reply(answer(2, router(2), ReplyKind::Unreachable(Unreachable::AdminProhibited), 5, Some(1)));
    assert_eq!(run.knowledge().distance, None);
    run.handle_reply(answer(1, router(1), ReplyKind::TimeExceeded, 5, Some(1)));
    assert!(run.is_finished());
}

#[test]
fn a_target_hop_is_no_destination_if_the_path_goes_on_or_the_run_was_stopped() {
    let mut run = parallel(3);
    send(&mut run, 0);
    run.handle_reply(answer(2, TARGET, ReplyKind::TimeExceeded, 5, Some(1)));
    run.interrupt();
    assert_eq!((run.report().end_reason, run.report().reached), (EndReason::Interrupted, false));

    let mut run = parallel(3);
    send(&mut run, 0);
    run.handle_reply(answer(2, TARGET, ReplyKind::TimeExceeded, 5, Some(1)));
    send(&mut run, 5);
    time_exceeded(&mut run, 3, 10);
    run.handle_timeout(at(10_000));
    assert_eq!((run.report().end_reason, run.report().reached), (EndReason::MaxTtl, false));
    assert_eq!(run.report().hops.len(), 3);
}

#[test]
fn net_and_host_unreachable_are_a_barrier_even_from_the_target() {
    for (reason, reached) in [
        (Unreachable::Port, true),
        (Unreachable::Protocol, true),
        (Unreachable::AdminProhibited, true),
        (Unreachable::Host, false),
        (Unreachable::Network, false),
    ] {
        let mut run = parallel(1);
        send(&mut run, 0);
        run.handle_reply(answer(1, TARGET, ReplyKind::Unreachable(reason), 5, Some(1)));
        assert_eq!((run.is_finished(), run.report().reached), (true, reached), "{reason}");
    }
}

#[test]
fn an_implausible_guess_is_none() {
    // Twenty hops back where the probe went at most ten: it cannot have come from there.
    let mut run = Run::new(
        Protocol::Icmp,
        TARGET,
        Schedule { sounding: true, ..Schedule::parallel(Ttl::FIRST, ttl(10), TIMEOUT) },
    );
    assert_eq!(send(&mut run, 0), [10, 1, 2]);
    let mut reply = answer(10, TARGET, ReplyKind::EchoReply, 10, None);
    reply.ttl = 64 - 19;
    run.handle_reply(reply);
    assert_eq!(send(&mut run, 10), [] as [u8; 0]);
}

#[test]
fn a_follower_leaves_guesses_to_its_sister() {
    let mut run = Run::new(Protocol::Icmp, TARGET, parallel_schedule().following());
    assert_eq!(send(&mut run, 0), [1]);
    run.handle_learnt(Knowledge {
        farthest: 0,
        distance: Some(Distance { ttl: ttl(9), exact: false }),
        port: None,
    });
    assert_eq!(send(&mut run, 1), [] as [u8; 0]);
}

#[test]
fn a_path_longer_than_the_sisters_goes_on() {
    let mut run = parallel(30);
    send(&mut run, 0);
    run.handle_learnt(Knowledge {
        farthest: 1,
        distance: Some(Distance { ttl: ttl(2), exact: true }),
        port: None,
    });
    time_exceeded(&mut run, 2, 10);
    assert_eq!(send(&mut run, 10), [3, 4], "hop 2 is no destination here");
}

#[test]
fn a_better_send_time_may_come_after_the_answer() {
    let mut run = parallel(1);
    let probe = run.poll_send(at(0)).expect("the first probe");
    run.handle_sent(probe, Stamp::user(at(0)));
    time_exceeded(&mut run, 1, 20);
    let rtt = |run: &Run| run.report().hops[0].answer.as_ref().map(|answer| (answer.rtt, answer.rtt_source));
    assert_eq!(rtt(&run), Some((Duration::from_millis(20), traceroute_core::StampSource::User)));
    run.handle_sent(probe, Stamp::kernel(at(3)));
    assert_eq!(rtt(&run), Some((Duration::from_millis(17), traceroute_core::StampSource::Kernel)));
    run.handle_sent(probe, Stamp::kernel(at(5)));
    assert_eq!(
        rtt(&run).map(|(rtt, _)| rtt),
        Some(Duration::from_millis(15)),
        "the last copy is nearest to the wire"
    );
    run.handle_sent(probe, Stamp::kernel(at(25)));
    assert_eq!(
        rtt(&run).map(|(rtt, _)| rtt),
        Some(Duration::from_millis(15)),
        "a copy after the answer is none"
    );
    let events: Vec<_> = std::iter::from_fn(|| run.poll_event()).collect();
    let expected = [
        RunEvent::Sent(probe),
        RunEvent::Answered(ttl(1)),
        RunEvent::Updated(ttl(1)),
        RunEvent::Updated(ttl(1)),
    ];
    assert_eq!(events, expected);
}

#[test]
fn answers_to_what_was_never_sent_are_ignored() {
    let mut run = parallel(30);
    send(&mut run, 0);
    time_exceeded(&mut run, 9, 5);
    let mut other = answer(1, router(1), ReplyKind::TimeExceeded, 5, Some(1));
    other.probe = Some(ProbeId { flow: 1, ..ProbeId::first(ttl(1)) });
    run.handle_reply(other.clone());
    other.probe = Some(ProbeId { attempt: 3, ..ProbeId::first(ttl(1)) });
    run.handle_reply(other);
    let report = run.report();
    assert!(report.hops.iter().all(|hop| hop.answer.is_none()));
    assert_eq!((report.duplicates, report.late), (0, 0));
}

#[test]
fn a_destination_replaces_a_hop_and_nothing_replaces_a_destination() {
    let mut run = parallel(2);
    send(&mut run, 0);
    time_exceeded(&mut run, 2, 5);
    port_unreachable(&mut run, 2, 2, 6);
    time_exceeded(&mut run, 2, 7);
    assert_eq!(run.report().hops[1].answer.as_ref().map(|answer| answer.address), Some(TARGET));
    assert_eq!(run.report().duplicates, 1);
    let about_answers =
        std::iter::from_fn(|| run.poll_event()).filter(|event| !matches!(event, RunEvent::Sent(_)));
    assert_eq!(about_answers.collect::<Vec<_>>(), [RunEvent::Answered(ttl(2)), RunEvent::Updated(ttl(2))]);
}

#[test]
fn a_late_destination_still_reaches() {
    let mut run = parallel(2);
    send(&mut run, 0);
    run.handle_timeout(at(3000));
    assert_eq!((run.is_finished(), run.report().end_reason), (true, EndReason::MaxTtl));
    port_unreachable(&mut run, 2, 2, 3500);
    let report = run.report();
    assert_eq!((report.reached, report.end_reason, report.late), (true, EndReason::Destination, 1));
}

#[test]
fn an_unnamed_answer_is_that_of_the_oldest_probe_that_got_past_all_routers() {
    let mut run = Run::new(Protocol::Udp, TARGET, Schedule { sounding: true, ..parallel_schedule() });
    assert_eq!(send(&mut run, 0), [30, 1, 2]);
    let mut reply = answer(1, TARGET, ReplyKind::UdpAnswer, 8, None);
    reply.probe = None;
    reply.ttl = 62;
    run.handle_reply(reply.clone());
    assert_eq!(send(&mut run, 8), [3], "the answer has come three hops");
    time_exceeded(&mut run, 1, 9);
    time_exceeded(&mut run, 2, 9);
    reply.stamp = Stamp::kernel(at(16));
    run.handle_reply(reply);
    assert!(run.is_finished());
    assert_eq!(answered(&run), [Some(router(1)), Some(router(2)), Some(TARGET)]);
}

#[test]
fn an_interrupted_run_says_so_and_keeps_what_it_has() {
    let mut run = parallel(30);
    send(&mut run, 0);
    time_exceeded(&mut run, 1, 5);
    run.interrupt();
    assert!(run.is_finished());
    assert_eq!(run.poll_send(at(100)), None);
    let report = run.report();
    assert_eq!((report.end_reason, report.reached), (EndReason::Interrupted, false));
    assert_eq!(answered(&run), [Some(router(1)), None]);
}

#[test]
fn a_refused_first_probe_is_an_error_and_a_later_one_a_silent_hop() {
    let error = TracerouteError::System { operation: Operation::SendProbe, errno: 105 };
    let mut run = parallel(2);
    let first = run.poll_send(at(0)).expect("the first probe");
    assert_eq!(run.handle_send_error(first, error.clone()), Err(error.clone()));

    let mut run = parallel(2);
    let first = run.poll_send(at(0)).expect("the first probe");
    run.handle_sent(first, Stamp::user(at(0)));
    let second = run.poll_send(at(0)).expect("the second probe");
    assert_eq!(run.handle_send_error(second, error), Ok(()));
    assert_eq!(run.report().send_errors, 1);
    time_exceeded(&mut run, 2, 5);
    assert!(run.report().hops[1].answer.is_none(), "what was not sent is not answered");
}

#[test]
fn a_quoted_ttl_that_other_answers_belie_is_not_believed() {
    let mut run = Run::new(Protocol::Udp, TARGET, Schedule { sounding: true, ..parallel_schedule() });
    send(&mut run, 0);
    time_exceeded(&mut run, 1, 5);
    time_exceeded(&mut run, 2, 5);
    // A destination that quotes as if it were the first hop.
    port_unreachable(&mut run, 30, 1, 8);
    assert_eq!(send(&mut run, 8), [3, 4], "the usual pace");
    port_unreachable(&mut run, 3, 1, 12);
    assert_eq!(run.report().hops.len(), 3);
    assert!(run.is_finished());
}

#[test]
fn an_answer_seen_again_on_another_interface_is_no_duplicate() {
    let mut run = parallel(30);
    send(&mut run, 0);
    let first = answer(1, router(1), ReplyKind::TimeExceeded, 5, Some(1));
    run.handle_reply(first.clone());
    run.handle_reply(ProbeResponse { interface: 2, ..first.clone() });
    assert_eq!(run.report().duplicates, 0);
    run.handle_reply(first);
    assert_eq!(run.report().duplicates, 1);

    let mut run = parallel(30);
    send(&mut run, 0);
    let unnamed = ProbeResponse { probe: None, ..answer(1, TARGET, ReplyKind::UdpAnswer, 5, None) };
    run.handle_reply(unnamed.clone());
    run.handle_reply(ProbeResponse { interface: 2, ..unnamed });
    let answers = run.report().hops.iter().filter(|hop| hop.answer.is_some()).count();
    assert_eq!((answers, run.report().duplicates), (1, 0));
}

#[test]
fn an_unnamed_answer_is_never_that_of_a_probe_sent_after_it() {
    let mut run = parallel(30);
    assert_eq!(send(&mut run, 0), [1, 2]);
    time_exceeded(&mut run, 1, 5);
    // Hop 3 goes out before the answer to hop 2 is looked at, which had arrived a millisecond earlier.
    assert_eq!(send(&mut run, 10), [3]);
    let unnamed = |now| ProbeResponse { probe: None, ..answer(1, TARGET, ReplyKind::UdpAnswer, now, None) };
    run.handle_reply(unnamed(9));
    assert!(run.is_finished());
    assert_eq!(answered(&run), [Some(router(1)), Some(TARGET)]);
    run.handle_reply(unnamed(19));
    let report = run.report();
    assert_eq!((report.hops.len(), report.duplicates, report.late), (2, 0, 0));
}

#[test]
fn a_rewritten_quote_does_not_make_an_end_to_end_probe_the_last_of_thirty_hops() {
    let mut run = Run::new(Protocol::Udp, TARGET, Schedule::single(ttl(30), TIMEOUT));
    assert_eq!(send(&mut run, 0), [30]);
    // A quote that always says 1, in an answer that has come eight hops.
    let kind = ReplyKind::Unreachable(Unreachable::Port);
    run.handle_reply(ProbeResponse { ttl: 57, ..answer(30, TARGET, kind, 10, Some(1)) });
    assert_eq!(run.knowledge().distance, Some(Distance { ttl: ttl(8), exact: false }));
}

#[test]
fn silence_does_not_belie_a_quote() {
    let mut run = parallel(30);
    send(&mut run, 0);
    time_exceeded(&mut run, 1, 5);
    time_exceeded(&mut run, 2, 5);
    // Hop 3 is the destination, which may send its next ICMP error in a second.
    for probe in 3..=20 {
        send(&mut run, probe * 50);
    }
    port_unreachable(&mut run, 20, 3, 1_005);
    assert_eq!(answered(&run), [Some(router(1)), Some(router(2)), Some(TARGET)]);
}

#[test]
fn refused_probes_do_not_belie_a_quote() {
    let error = TracerouteError::System { operation: Operation::SendProbe, errno: 105 };
    let mut run = parallel(30);
    send(&mut run, 0);
    time_exceeded(&mut run, 1, 5);
    // Hop 2 is the destination and lost its probe; the system refused those with TTL 3 to 5.
    for refused in 3..=5 {
        let probe = run.poll_send(at(refused * 1_000)).expect("one at a time");
        assert_eq!(u64::from(probe.ttl.get()), refused);
        run.handle_send_error(probe, error.clone()).expect("not the first");
    }
    assert_eq!(send(&mut run, 6_000), [6]);
    port_unreachable(&mut run, 6, 2, 6_010);
    assert_eq!(answered(&run), [Some(router(1)), Some(TARGET)]);
}
