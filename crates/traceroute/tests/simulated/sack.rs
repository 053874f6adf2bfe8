//! TCP SACK probes in simulated networks under virtual time.
//!
//! Every link takes 1 ms each way unless the test says otherwise, so hop `n` answers after `2n` ms, and a connection to the
//! target behind three routers takes 8 ms.

use std::time::Duration;

use traceroute::{
    EndReason, Error, PortState, Protocol, RequestBuilder, Results, RunResult, TcpMethod, TraceEvent,
};
use traceroute_testnet::sim::virtual_time::{Attachment, SimTcp};
use traceroute_testnet::sim::{
    Closing, PortMapping, Refusal, SackUse, SequenceShift, SourceNat, TcpApplication, TcpListener,
    TcpService, Topology, Unreachable, tcp_answer,
};

use crate::lab::{Lab, addresses, one_run};

const MS: Duration = Duration::from_millis(1);
const PATH: [&str; 4] = ["10.71.0.2", "10.71.1.2", "10.71.2.2", "10.71.3.2"];

fn run(results: &Results) -> &RunResult {
    &results.traceroute.runs.as_ref().expect("there are runs")[0]
}

fn rtts(results: &Results) -> Vec<f64> {
    run(results).hops.iter().map(|hop| hop.rtt).collect()
}

fn sack() -> RequestBuilder {
    one_run(3, Protocol::Tcp).tcp_method(TcpMethod::Sack)
}

fn prefer_sack() -> RequestBuilder {
    one_run(3, Protocol::Tcp).tcp_method(TcpMethod::PreferSack)
}

fn open(listener: TcpListener) -> Topology {
    Topology::chain(3).with_target(|target| target.services.tcp = TcpService::Listening(listener))
}

/// The reason for which a request fails.
async fn refusal(lab: &Lab, request: RequestBuilder) -> String {
    let trace = lab.tracer.start(request.build().expect("a valid request")).expect("room");
    let error = trace.finish().await.expect_err("the method does not work");
    assert!(matches!(&error, Error::AllRunsFailed(errors) if errors.len() == 1), "{error:?}");
    let text = error.to_string();
    let reason = text.strip_prefix("SACK not supported for this target/source: ");
    reason.unwrap_or_else(|| panic!("{text}")).to_owned()
}

#[tokio::test(start_paused = true)]
async fn probes_within_a_connection() {
    let application = TcpApplication::default();
    let lab =
        Lab::new(open(TcpListener { application: application.clone(), ..TcpListener::default() })).await;
    let (results, took) = lab.trace(sack()).await;
    // The SYN-ACK's TTL tells how far the target is.
    assert_eq!(
        lab.recorder.outline(),
        "0.000 > tcp-syn ttl=64\n\
         8.000 < tcp-syn-ack from 10.71.3.2\n\
         8.000 > tcp-ack ttl=64\n\
         8.000 > tcp-psh-ack ttl=30\n\
         8.000 > tcp-psh-ack ttl=1\n\
         8.000 > tcp-psh-ack ttl=2\n\
         8.000 > tcp-psh-ack ttl=3\n\
         8.000 > tcp-psh-ack ttl=4\n\
         10.000 < time-exceeded from 10.71.0.2\n\
         12.000 < time-exceeded from 10.71.1.2\n\
         14.000 < time-exceeded from 10.71.2.2\n\
         16.000 < tcp-ack sack from 10.71.3.2\n\
         16.000 < tcp-ack sack from 10.71.3.2\n\
         16.000 > tcp-rst-ack ttl=64\n"
    );
    assert_eq!((addresses(&results, 0), took), (PATH.map(String::from).to_vec(), 16 * MS));
    assert_eq!(rtts(&results), [2.0, 4.0, 6.0, 8.0]);
    assert_eq!((run(&results).reached, run(&results).end_reason), (true, EndReason::Destination));
    assert_eq!((run(&results).port_state, run(&results).method), (Some(PortState::Open), None));
    // The reset reaches the target.
    tokio::time::sleep(10 * MS).await;
    assert_eq!((application.accepted(), application.received()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn end_to_end_probes_are_syn_probes() {
    let application = TcpApplication::default();
    let lab =
        Lab::new(open(TcpListener { application: application.clone(), ..TcpListener::default() })).await;
    for request in [sack(), prefer_sack()] {
        let (results, _) = lab.trace(request.e2e_queries(3)).await;
        assert_eq!(results.e2e_probe.rtts, Some(vec![8.0; 3]));
        assert_eq!(addresses(&results, 0), PATH);
    }
    assert_eq!((application.accepted(), application.received()), (2, 0), "one connection for each run");
}

/// The round trip is longer than what a time stamp may be off: a probe whose stamp is older than the handshake's last one
/// would be taken for an old duplicate.
#[tokio::test(start_paused = true)]
async fn a_long_round_trip_makes_no_probe_look_old() {
    let topology = open(TcpListener::default()).with_link(0, |link| link.set_delay(500 * MS));
    let lab = Lab::new(topology).await;
    let (results, _) = lab.trace(sack()).await;
    assert_eq!(addresses(&results, 0), PATH);
    assert_eq!(rtts(&results), [1000.0, 1002.0, 1004.0, 1006.0]);
}

#[tokio::test(start_paused = true)]
async fn without_time_stamps() {
    for target_too in [false, true] {
        let topology = open(TcpListener { timestamps: !target_too, ..TcpListener::default() });
        let lab = Lab::connecting(
            topology,
            |attachment| attachment,
            |tcp| {
                if target_too { tcp } else { tcp.without_timestamps() }
            },
        )
        .await;
        let (results, _) = lab.trace(sack()).await;
        assert_eq!(addresses(&results, 0), PATH);
        assert_eq!(rtts(&results), [2.0, 4.0, 6.0, 8.0]);
    }
}

/// What the network doubles the target acknowledges twice, the second time as a duplicate (RFC 2883).
#[tokio::test(start_paused = true)]
async fn doubled_probes_are_duplicates() {
    let topology = open(TcpListener::default()).with_link(3, |link| link.forward.duplicate = 1.0);
    let lab = Lab::new(topology).await;
    let (results, _) = lab.trace(sack()).await;
    assert_eq!(addresses(&results, 0), PATH);
    assert_eq!(rtts(&results), [2.0, 4.0, 6.0, 8.0]);
    assert!(run(&results).duplicates > 0, "{:?}", run(&results));
}

#[tokio::test(start_paused = true)]
async fn a_rewritten_source_is_no_obstacle() {
    let topology = open(TcpListener::default());
    let nat = SourceNat {
        addresses: traceroute_testnet::DualStack {
            v4: [203, 0, 113, 7].into(),
            v6: "2001:db8:7::7".parse().expect("an address"),
        },
        ports: PortMapping::From(5_000),
        translates_quotes: false,
    };
    let lab = Lab::new(topology.with_router(1, |router| router.source_nat = Some(nat.clone()))).await;
    let (results, _) = lab.trace(sack()).await;
    assert_eq!(addresses(&results, 0), PATH);
    let sources: Vec<_> =
        run(&results).hops.iter().map(|hop| hop.nat.as_ref().map(|nat| nat.source.to_string())).collect();
    let rewritten = Some("203.0.113.7:5000".to_owned());
    assert_eq!(sources, [None, rewritten.clone(), rewritten, None]);
}

#[tokio::test(start_paused = true)]
async fn no_connection() {
    let closed = Lab::new(Topology::chain(3)).await;
    assert_eq!(refusal(&closed, sack()).await, "the connection to 10.71.3.2:33434 was refused");

    let silent = Lab::new(Topology::chain(3).with_target(|target| target.answers.silent = true)).await;
    let before = tokio::time::Instant::now();
    let reason = refusal(&silent, sack().timeout_ms(700)).await;
    assert_eq!(reason, "10.71.3.2:33434 did not answer the connection within the time-out");
    assert_eq!(before.elapsed(), 700 * MS);

    let refuses = Some(Refusal::NoRoute(Unreachable::Host));
    let unreachable = Lab::new(Topology::chain(3).with_router(2, |router| router.refuses = refuses)).await;
    let reason = refusal(&unreachable, sack()).await;
    assert_eq!(
        reason,
        "a router says that the host of 10.71.3.2:33434 is unreachable, or may not be reached"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_not_offered_and_what_is_not_used_are_told_apart() {
    let listener = |sack| open(TcpListener { sack, ..TcpListener::default() });
    let lab = Lab::new(listener(SackUse::NotPermitted)).await;
    let reason = refusal(&lab, sack()).await;
    assert_eq!(reason, "10.71.3.2:33434 does not offer selective acknowledgements");
    assert!(!lab.recorder.outline().contains("psh"), "nothing is sent then");

    let lab = Lab::new(listener(SackUse::PermittedUnused)).await;
    let reason = refusal(&lab, sack()).await;
    assert_eq!(reason, "10.71.3.2:33434 offers selective acknowledgements, but acknowledges without them");

    let lab = Lab::connecting(listener(SackUse::Full), |attachment| attachment, SimTcp::without_sack).await;
    let reason = refusal(&lab, sack()).await;
    assert!(
        reason.starts_with("this host does not ask 10.71.3.2:33434 for selective acknowledgements"),
        "{reason}"
    );
}

/// Its data is told apart from its acknowledgements, whichever come first; and if it acknowledges no probe, that is why.
#[tokio::test(start_paused = true)]
async fn a_target_that_speaks_first() {
    for after in [Duration::ZERO, 2 * MS] {
        let application = TcpApplication::default();
        let listener = |sack| TcpListener {
            sack,
            banner: Some((after, b"220 ready".to_vec())),
            application: application.clone(),
            ..TcpListener::default()
        };
        // A silent hop keeps the run under way until the data has come.
        let silent = |topology: Topology| topology.with_router(2, |router| router.answers.silent = true);
        let lab = Lab::new(silent(open(listener(SackUse::Full)))).await;
        let (results, _) = lab.trace(sack()).await;
        assert_eq!(addresses(&results, 0), ["10.71.0.2", "", "10.71.2.2", "10.71.3.2"]);
        assert_eq!(rtts(&results), [2.0, 0.0, 6.0, 8.0]);
        let said = "in 1 of 1 runs the target sent data before it was asked for any: only its bare acknowledgements \
                    count as answers";
        assert_eq!(results.warnings, [said]);

        let lab = Lab::new(open(listener(SackUse::PermittedUnused))).await;
        let reason = refusal(&lab, sack()).await;
        let spoke = "10.71.3.2:33434 sends data before it is asked for any, and acknowledges no probe";
        assert_eq!(reason, spoke, "{after:?}");
        tokio::time::sleep(10 * MS).await;
        assert_eq!((application.accepted(), application.received()), (2, 0));
    }
}

/// Lets a bare acknowledgement of what the kernel has sent come half a millisecond after the first probe, as a proxy on the way
/// sends it when it has connected, or a target whose window changes.
fn with_window_update(topology: Topology) -> Topology {
    topology.with_forgery_after_probe(1, MS / 2, |probe| {
        let mut update = tcp_answer([10, 71, 3, 2].into(), 61, probe, true);
        update[20 + 13] = 0x10;
        // The probe with TTL 30 is 16 bytes and twice its TTL further on.
        let sequence = u32::from_be_bytes([probe[24], probe[25], probe[26], probe[27]]);
        update[28..32].copy_from_slice(&sequence.wrapping_sub(16 + 2 * 30).to_be_bytes());
        update
    })
}

/// The target's own acknowledgement comes a little later.
#[tokio::test(start_paused = true)]
async fn a_bare_acknowledgement_is_a_suspicion_only() {
    let lab = Lab::new(with_window_update(open(TcpListener::default()))).await;
    let (results, took) = lab.trace(sack()).await;
    assert_eq!((addresses(&results, 0), took), (PATH.map(String::from).to_vec(), 16 * MS));
}

/// And where no router answers, and the first probe that reaches the target is that of the right TTL, much later.
#[tokio::test(start_paused = true)]
async fn a_bare_acknowledgement_stays_a_suspicion_while_routers_are_silent() {
    // Into the last link go SYN, acknowledgement and the first probe, with TTL 30, which is lost.
    let mut topology = open(TcpListener::default()).with_link(3, |link| link.forward.drop = [3].into());
    for router in 1..=3 {
        topology = topology.with_router(router, |router| router.answers.silent = true);
    }
    // As if a proxy, one hop away, had answered the SYN.
    let topology = topology.with_target(|target| target.answers.ttl = 67);
    let lab = Lab::new(with_window_update(topology)).await;
    let (results, _) = lab.trace(sack()).await;
    assert_eq!(addresses(&results, 0), ["", "", "", "10.71.3.2"], "{}", lab.recorder.outline());
}

/// Nothing but the destination answers, and it takes long. Its data, which comes first, is no reason to give up before its
/// acknowledgements can have come.
#[tokio::test(start_paused = true)]
async fn a_suspicion_is_given_the_time_that_an_answer_takes() {
    let listener = TcpListener { banner: Some((Duration::ZERO, vec![1])), ..TcpListener::default() };
    let mut topology = open(listener).with_link(0, |link| link.set_delay(300 * MS));
    for router in 1..=3 {
        topology = topology.with_router(router, |router| router.answers.silent = true);
    }
    let lab = Lab::new(topology).await;
    for e2e in [0, 1] {
        let (results, _) = lab.trace(sack().traceroute_queries(3).e2e_queries(e2e)).await;
        for run in 0..3 {
            assert_eq!(
                addresses(&results, run),
                ["", "", "", "10.71.3.2"],
                "{e2e}: {}",
                lab.recorder.outline()
            );
        }
    }
}

/// The target closes before the probe with TTL 4 reaches it. What this host's kernel sends to acknowledge that has a later time
/// stamp than the handshake had, and arrives before the probe: which is refused, and not taken for an old duplicate.
#[tokio::test(start_paused = true)]
async fn an_end_of_the_targets_makes_no_probe_look_old() {
    let listener = TcpListener { closes: Some((10 * MS, Closing::Fin)), ..TcpListener::default() };
    let topology = open(listener).with_link(0, |link| link.set_delay(100 * MS));
    let topology = topology.with_target(|target| target.answers.ttl = 67);
    let lab = Lab::new(topology).await;
    let (results, _) = lab.trace(sack()).await;
    let outline = lab.recorder.outline();
    assert_eq!(addresses(&results, 0), PATH, "{outline}");
    for line in
        ["422.000 > tcp-ack ttl=64\n", "456.000 > tcp-psh-ack ttl=4\n", "662.000 < tcp-rst from 10.71.3.2\n"]
    {
        assert!(outline.contains(line), "{line}{outline}");
    }
}

/// A carrier-grade NAT that gives the connection other sequence numbers: quotes behind it, and blocks, show those.
#[tokio::test(start_paused = true)]
async fn shifted_sequence_numbers_are_recognised() {
    for (translates_quotes, translates_sack) in [(false, true), (true, false), (false, false)] {
        let shift = SequenceShift { by: 0x0123_4567, translates_sack, translates_quotes };
        let topology =
            open(TcpListener::default()).with_router(2, |router| router.sequence_shift = Some(shift));
        let lab = Lab::new(topology).await;
        let reason = refusal(&lab, sack()).await;
        assert_eq!(
            reason,
            "something on the way to 10.71.3.2:33434, a carrier-grade NAT or a firewall, shifts sequence numbers"
        );
    }
    // One that does it well is not seen.
    let shift = SequenceShift { by: 0x0123_4567, translates_sack: true, translates_quotes: true };
    let topology = open(TcpListener::default()).with_router(2, |router| router.sequence_shift = Some(shift));
    let (results, _) = Lab::new(topology).await.trace(sack()).await;
    assert_eq!(addresses(&results, 0), PATH);
}

const BEFORE_THE_CLOSE: &str = "0.000 > tcp-syn ttl=64\n\
                                8.000 < tcp-syn-ack from 10.71.3.2\n\
                                8.000 > tcp-ack ttl=64\n\
                                8.000 > tcp-psh-ack ttl=30\n\
                                8.000 > tcp-psh-ack ttl=1\n\
                                10.000 < time-exceeded from 10.71.0.2\n\
                                10.000 > tcp-psh-ack ttl=2\n\
                                10.000 > tcp-psh-ack ttl=3\n\
                                14.000 < time-exceeded from 10.71.1.2\n\
                                14.000 > tcp-psh-ack ttl=4\n\
                                16.000 < tcp-ack sack from 10.71.3.2\n\
                                16.000 < time-exceeded from 10.71.2.2\n\
                                16.000 > tcp-psh-ack ttl=5\n";

/// The target closes when it has acknowledged the first probe. It seems to be farther than it is, so that others reach it
/// afterwards and are refused.
#[tokio::test(start_paused = true)]
async fn a_target_that_closes_meanwhile_answers_with_resets() {
    let by_end = "18.000 < tcp-fin-ack sack from 10.71.3.2\n\
                  18.000 > tcp-ack ttl=64\n\
                  22.000 < tcp-rst from 10.71.3.2\n\
                  24.000 < tcp-rst from 10.71.3.2\n\
                  24.000 > tcp-rst-ack ttl=64\n";
    let by_reset = "18.000 < tcp-rst-ack sack from 10.71.3.2\n\
                    22.000 < tcp-rst from 10.71.3.2\n\
                    24.000 < tcp-rst from 10.71.3.2\n";
    for (closing, after) in [(Closing::Fin, by_end), (Closing::Reset, by_reset)] {
        let application = TcpApplication::default();
        let listener = TcpListener {
            closes: Some((2 * MS, closing)),
            application: application.clone(),
            ..TcpListener::default()
        };
        let topology = open(listener).with_target(|target| target.answers.ttl = 67);
        let lab = Lab::new(topology).await;
        let (results, _) = lab.trace(sack()).await;
        assert_eq!(lab.recorder.outline(), format!("{BEFORE_THE_CLOSE}{after}"));
        assert_eq!(
            (addresses(&results, 0), rtts(&results)),
            (PATH.map(String::from).to_vec(), vec![2.0, 4.0, 6.0, 8.0])
        );
        assert_eq!((run(&results).reached, run(&results).port_state), (true, Some(PortState::Open)));
        assert_eq!(application.received(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn prefer_sack_uses_it_where_it_works() {
    let lab = Lab::new(open(TcpListener::default())).await;
    let (results, took) = lab.trace(prefer_sack()).await;
    assert_eq!((addresses(&results, 0), took), (PATH.map(String::from).to_vec(), 16 * MS));
    assert_eq!(run(&results).method, None);
}

#[tokio::test(start_paused = true)]
async fn prefer_sack_falls_back_and_says_so() {
    let listening = |listener| TcpService::Listening(listener);
    for (service, state, reason) in [
        (TcpService::Closed, PortState::Closed, "was refused"),
        (
            listening(TcpListener { sack: SackUse::NotPermitted, ..TcpListener::default() }),
            PortState::Open,
            "does not offer",
        ),
        (
            listening(TcpListener { sack: SackUse::PermittedUnused, ..TcpListener::default() }),
            PortState::Open,
            "acknowledges without them",
        ),
        (
            listening(TcpListener {
                sack: SackUse::PermittedUnused,
                banner: Some((Duration::ZERO, vec![1])),
                ..TcpListener::default()
            }),
            PortState::Open,
            "sends data",
        ),
    ] {
        let lab =
            Lab::new(Topology::chain(3).with_target(|target| target.services.tcp = service.clone())).await;
        let request = prefer_sack().traceroute_queries(2).build().expect("valid");
        let mut trace = lab.tracer.start(request).expect("room");
        let (mut fell_back, mut finished) = (Vec::new(), Vec::new());
        while let Some(event) = trace.next_event().await {
            match event {
                TraceEvent::FellBack { run, method, reason } => fell_back.push((run, method, reason)),
                TraceEvent::RunFinished { run, result } => finished.push((run, result.method)),
                _ => {}
            }
        }
        fell_back.sort_by_key(|(run, ..)| *run);
        let told: Vec<_> = fell_back.iter().map(|(run, method, _)| (*run, *method)).collect();
        assert_eq!(told, [(0, TcpMethod::Syn), (1, TcpMethod::Syn)]);
        assert!(fell_back.iter().all(|(_, _, why)| why.contains(reason)), "{fell_back:?}");
        let results = trace.finish().await.expect("a result");
        for index in 0..2 {
            assert_eq!(addresses(&results, index), PATH, "{service:?}");
            let run = &results.traceroute.runs.as_ref().expect("there are runs")[index];
            assert_eq!((run.method, run.port_state), (Some(TcpMethod::Syn), Some(state)), "{service:?}");
        }
        finished.sort_by_key(|(run, _)| *run);
        assert_eq!(finished, [(0, Some(TcpMethod::Syn)), (1, Some(TcpMethod::Syn))]);
        assert_eq!(results.warnings, [""; 0]);
    }
}

/// An end of the capture, unlike a target that does not support the method, is not papered over.
#[tokio::test(start_paused = true)]
async fn prefer_sack_does_not_paper_over_other_failures() {
    // Nothing of what is sent and received is seen of the handshake... but the first probe cannot be sent.
    let failure = traceroute::TracerouteError::SendRejected { target: [10, 71, 3, 2].into() };
    let lab =
        Lab::attached(open(TcpListener::default()), |attachment| attachment.fail_send(1, failure)).await;
    let trace = lab.tracer.start(prefer_sack().build().expect("valid")).expect("room");
    let error = trace.finish().await.expect_err("the probe is rejected").to_string();
    assert!(error.contains("a firewall or routing rule of this host forbids it"), "{error}");
}

/// The bytes that a run sends never become data, whatever is lost of its end: with a target that hears no reset.
#[tokio::test(start_paused = true)]
async fn the_application_receives_nothing_even_if_the_reset_is_lost() {
    let application = TcpApplication::default();
    let lab = Lab::attached(
        open(TcpListener { application: application.clone(), ..TcpListener::default() }),
        Attachment::drop_resets,
    )
    .await;
    for _ in 0..3 {
        let (results, _) = lab.trace(sack()).await;
        assert_eq!(addresses(&results, 0), PATH);
    }
    // Another run with SYN probes meets the connections that the target still has.
    let (results, _) = lab.trace(one_run(3, Protocol::Tcp)).await;
    assert_eq!(addresses(&results, 0), PATH);
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!((application.accepted(), application.received()), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_stopped_while_it_connects_ends_at_once() {
    let lab = Lab::new(Topology::chain(3).with_target(|target| target.answers.silent = true)).await;
    let trace = lab.tracer.start(sack().build().expect("valid")).expect("room");
    tokio::time::sleep(100 * MS).await;
    let stopped = tokio::time::Instant::now();
    let results = trace.stop().await.expect("what was learnt, which is nothing");
    assert_eq!((results.traceroute.runs.is_none(), stopped.elapsed()), (true, Duration::ZERO));
    tokio::task::yield_now().await;
    assert!(lab.tracer.is_idle());
    // Nothing is sent any more.
    let sent = lab.recorder.outline();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(lab.recorder.outline(), sent);
}
