//! TCP SYN probes in simulated networks under virtual time.
//!
//! Every link takes 1 ms each way unless the test says otherwise, so hop `n` answers after `2n` ms.

use std::time::Duration;

use traceroute::{EndReason, PortState, Protocol, RequestBuilder, RunResult};
use traceroute_testnet::sim::virtual_time::Attachment;
use traceroute_testnet::sim::{
    IcmpError, Quote, ResetNumber, TcpListener, TcpService, Topology, icmp_error, tcp_answer,
};

use crate::lab::{Lab, addresses, one_run};

const MS: Duration = Duration::from_millis(1);

fn run(results: &traceroute::Results) -> &RunResult {
    &results.traceroute.runs.as_ref().expect("there are runs")[0]
}

fn rtts(results: &traceroute::Results) -> Vec<f64> {
    run(results).hops.iter().map(|hop| hop.rtt).collect()
}

fn syn(routers: u8) -> RequestBuilder {
    one_run(routers, Protocol::Tcp)
}

fn open(listener: TcpListener) -> Topology {
    Topology::chain(3).with_target(|target| target.services.tcp = TcpService::Listening(listener))
}

const PATH: [&str; 4] = ["10.71.0.2", "10.71.1.2", "10.71.2.2", "10.71.3.2"];

#[tokio::test(start_paused = true)]
async fn an_open_port() {
    let lab = Lab::new(open(TcpListener::default())).await;
    let (results, took) = lab.trace(syn(3)).await;
    // The sounding is answered when the path is nearly known. The kernel resets what it has half opened, so that the
    // fourth TTL finds the port listening.
    assert_eq!(
        lab.recorder.outline(),
        "0.000 > tcp-syn ttl=30\n\
         0.000 > tcp-syn ttl=1\n\
         0.000 > tcp-syn ttl=2\n\
         2.000 < time-exceeded from 10.71.0.2\n\
         2.000 > tcp-syn ttl=3\n\
         4.000 < time-exceeded from 10.71.1.2\n\
         4.000 > tcp-syn ttl=4\n\
         8.000 < tcp-syn-ack from 10.71.3.2\n\
         8.000 > tcp-rst ttl=64\n\
         8.000 < time-exceeded from 10.71.2.2\n\
         12.000 < tcp-rst-ack from 10.71.3.2\n"
    );
    assert_eq!((addresses(&results, 0), took), (PATH.map(String::from).to_vec(), 12 * MS));
    assert_eq!(rtts(&results), [2.0, 4.0, 6.0, 8.0]);
    assert_eq!((run(&results).reached, run(&results).end_reason), (true, EndReason::Destination));
    // TTL 4 came while the sounding's connection was half open, and was reset with it.
    assert_eq!(run(&results).port_state, Some(PortState::Open));
}

#[tokio::test(start_paused = true)]
async fn a_closed_port() {
    let lab = Lab::new(Topology::chain(3)).await;
    let (results, took) = lab.trace(syn(3)).await;
    assert_eq!((addresses(&results, 0), took), (PATH.map(String::from).to_vec(), 12 * MS));
    assert_eq!(rtts(&results), [2.0, 4.0, 6.0, 8.0]);
    assert_eq!((run(&results).reached, run(&results).port_state), (true, Some(PortState::Closed)));
}

/// Behind two routers, of which the first is silent. The answer to the sounding, a SYN-ACK, is lost.
fn with_the_first_answer_lost(topology: Topology) -> Topology {
    topology
        .with_target(|target| target.services.tcp = TcpService::Listening(TcpListener::default()))
        .with_link(2, |link| link.back.drop = [1].into())
}

/// What the target answered, in the order in which it came.
fn answers(lab: &Lab) -> Vec<String> {
    let outline = lab.recorder.outline();
    let tcp = outline.lines().filter_map(|line| line.split_once("< tcp-"));
    tcp.map(|(_, answer)| answer.split_once(' ').expect("a sender").0.to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_syn_ack_anywhere_means_open() {
    // TTL 3 and 4 leave at 4 ms, when router 2 has answered. The one is reset with what the sounding has half opened, the
    // other finds the port listening. Both answers come while the silent hop is waited for.
    let topology =
        with_the_first_answer_lost(Topology::chain(2)).with_router(1, |router| router.answers.silent = true);
    let lab = Lab::attached(topology, Attachment::drop_resets).await;
    let (results, _) = lab.trace(syn(2)).await;
    assert_eq!(answers(&lab), ["rst-ack", "syn-ack"]);
    assert_eq!((run(&results).reached, run(&results).port_state), (true, Some(PortState::Open)));
    assert_eq!(addresses(&results, 0), ["", "10.71.1.2", "10.71.2.2"]);
}

#[tokio::test(start_paused = true)]
async fn a_reset_alone_does_not_mean_closed_where_an_answer_is_missing() {
    let lab = Lab::new(with_the_first_answer_lost(Topology::chain(2))).await;
    let (results, _) = lab.trace(syn(2)).await;
    assert_eq!(answers(&lab), ["syn-ack", "rst-ack"][1..]);
    assert_eq!((run(&results).reached, run(&results).port_state), (true, None));
    assert_eq!(addresses(&results, 0), PATH[..3]);
}

/// The run does not sound itself, so that it is the one probe of two that reaches the target first whose answer is lost.
#[tokio::test(start_paused = true)]
async fn where_a_reset_is_doubtful_the_sisters_know() {
    for (service, state) in [
        (TcpService::Listening(TcpListener::default()), PortState::Open),
        (TcpService::Closed, PortState::Closed),
    ] {
        // The first answer is the end-to-end probe's, the second that to the run's TTL 3. TTL 4 leaves 50 ms later.
        let topology = Topology::chain(2)
            .with_target(|target| target.services.tcp = service)
            .with_link(2, |link| link.back.drop = [2].into());
        let lab = Lab::attached(topology, Attachment::drop_resets).await;
        let (results, _) = lab.trace(syn(2).e2e_queries(1)).await;
        let run = run(&results);
        assert_eq!(run.port_state, Some(state), "{}", lab.recorder.outline());
        assert_eq!(
            addresses(&results, 0),
            ["10.71.0.2", "10.71.1.2", "", "10.71.2.2"],
            "{}",
            lab.recorder.outline()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn syn_cookies_answer_each_probe() {
    let lab = Lab::attached(
        open(TcpListener { syn_cookies: true, ..TcpListener::default() }),
        Attachment::drop_resets,
    )
    .await;
    let (results, took) = lab.trace(syn(3)).await;
    let outline = lab.recorder.outline();
    assert_eq!(outline.matches("tcp-syn-ack").count(), 2, "the sounding and TTL 4: {outline}");
    assert_eq!((addresses(&results, 0), took), (PATH.map(String::from).to_vec(), 12 * MS));
    assert_eq!(rtts(&results), [2.0, 4.0, 6.0, 8.0]);
    assert_eq!((run(&results).port_state, run(&results).duplicates), (Some(PortState::Open), 0));
}

#[tokio::test(start_paused = true)]
async fn resets_without_acknowledgement_find_their_probes() {
    for number in [ResetNumber::Zero, ResetNumber::Mirrored] {
        let service = TcpService::ClosedWithoutAck(number);
        let lab =
            Lab::new(Topology::chain(3).with_target(|target| target.services.tcp = service.clone())).await;
        let (results, took) = lab.trace(syn(3)).await;
        assert_eq!((addresses(&results, 0), took), (PATH.map(String::from).to_vec(), 12 * MS), "{number:?}");
        assert_eq!(rtts(&results), [2.0, 4.0, 6.0, 8.0], "{number:?}");
        assert_eq!((run(&results).reached, run(&results).port_state), (true, Some(PortState::Closed)));
    }
}

/// The network brings the probe with TTL 4 after that with TTL 5, below the number that the target expects next.
#[tokio::test(start_paused = true)]
async fn a_challenge_is_no_answer() {
    // A target that answers nothing but with what the forgeries say: a bare acknowledgement for each of the first probes,
    // which names the first of them.
    let target = [10, 71, 3, 2].into();
    let mut topology = open(TcpListener::default());
    for number in 1..=3 {
        topology = topology.with_forgery_after_probe(number, MS / 2, move |probe| {
            let mut challenge = tcp_answer(target, 61, probe, true);
            // SYN and ACK become ACK alone; the checksum is not looked at.
            challenge[20 + 13] = 0x10;
            challenge
        });
    }
    let lab = Lab::new(topology).await;
    let (results, took) = lab.trace(syn(3)).await;
    assert_eq!((addresses(&results, 0), took), (PATH.map(String::from).to_vec(), 12 * MS));
    assert_eq!(rtts(&results), [2.0, 4.0, 6.0, 8.0]);
    assert_eq!((run(&results).duplicates, run(&results).late), (0, 0));
}

/// Without the kernel's reset a half-open connection sends its SYN-ACK again, and names the first probe again.
#[tokio::test(start_paused = true)]
async fn a_repeated_syn_ack_is_a_duplicate_of_its_own_probe() {
    let topology = open(TcpListener::default()).with_router(3, |router| router.answers.silent = true);
    let lab = Lab::attached(topology, Attachment::drop_resets).await;
    // One probe reaches the target, and no other resets what that has half opened. The silent hop is given ten seconds, in which
    // the target repeats itself after one, three and seven.
    let request = syn(3).first_ttl(3).max_ttl(4).wait(traceroute::Wait::Full).timeout_ms(10_000);
    let (results, took) = lab.trace(request).await;
    assert_eq!(
        lab.recorder.outline(),
        "0.000 > tcp-syn ttl=4\n\
         0.000 > tcp-syn ttl=3\n\
         8.000 < tcp-syn-ack from 10.71.3.2\n\
         1008.000 < tcp-syn-ack from 10.71.3.2\n\
         3008.000 < tcp-syn-ack from 10.71.3.2\n\
         7008.000 < tcp-syn-ack from 10.71.3.2\n"
    );
    assert_eq!(addresses(&results, 0), ["", "10.71.3.2"]);
    assert_eq!((run(&results).hops[1].rtt, run(&results).duplicates), (8.0, 3));
    assert_eq!(run(&results).port_state, Some(PortState::Open));
    assert!(took >= 10_000 * MS && took < 10_010 * MS, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_300_ms_late_is_booked_on_the_probe_that_caused_it() {
    for service in [TcpService::Listening(TcpListener::default()), TcpService::Closed] {
        let topology = Topology::chain(3).with_target(|target| {
            target.services.tcp = service.clone();
            target.answers.delay = 300 * MS;
        });
        let lab = Lab::new(topology).await;
        let (results, _) = lab.trace(syn(3)).await;
        let outline = lab.recorder.outline();
        assert_eq!(addresses(&results, 0), PATH, "{outline}");
        assert_eq!(rtts(&results), [2.0, 4.0, 6.0, 308.0], "{outline}");
        assert_eq!(run(&results).end_reason, EndReason::Destination);
    }
}

#[tokio::test(start_paused = true)]
async fn two_silent_hops_are_given_their_wait_and_no_more() {
    let topology = open(TcpListener::default())
        .with_router(2, |router| router.answers.silent = true)
        .with_router(3, |router| router.answers.silent = true);
    let lab = Lab::new(topology).await;
    let (results, took) = lab.trace(syn(3)).await;
    assert_eq!(addresses(&results, 0), ["10.71.0.2", "", "", "10.71.3.2"]);
    // TTL 3 was sent when TTL 1 was answered, at 2 ms.
    assert_eq!(took, 202 * MS);
}

/// A firewall that answers in the target's name, with RST, is what the path shows.
#[tokio::test(start_paused = true)]
async fn an_error_about_the_kernels_reset_is_nobodys() {
    // The reset, the sixth datagram, has the number of the second probe. A router quotes eight bytes of it.
    let liar = [10, 66, 6, 6].into();
    let topology = open(TcpListener::default()).with_forgery_after_probe(6, MS / 2, move |reset| {
        assert_eq!(reset[20 + 13], 0x04, "the kernel's reset");
        icmp_error(liar, 64, IcmpError::TimeExceeded, reset, Quote::Transport(8), None)
    });
    let lab = Lab::new(topology).await;
    let (results, _) = lab.trace(syn(3)).await;
    assert_eq!(addresses(&results, 0), PATH);
    assert_eq!((run(&results).duplicates, run(&results).late), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn one_by_one() {
    for (request, paris) in [(syn(3).serial(true), false), (syn(3).paris(true), true)] {
        let topology = open(TcpListener::default()).with_router(2, |router| router.answers.silent = true);
        let lab = Lab::new(topology).await;
        let (results, took) = lab.trace(request.timeout_ms(500)).await;
        assert_eq!(
            lab.recorder.outline(),
            "0.000 > tcp-syn ttl=1\n\
             2.000 < time-exceeded from 10.71.0.2\n\
             2.000 > tcp-syn ttl=2\n\
             502.000 > tcp-syn ttl=3\n\
             508.000 < time-exceeded from 10.71.2.2\n\
             508.000 > tcp-syn ttl=4\n\
             516.000 < tcp-syn-ack from 10.71.3.2\n\
             516.000 > tcp-rst ttl=64\n"
        );
        assert_eq!(took, 516 * MS);
        let probes: Vec<_> =
            lab.recorder.sent().into_iter().filter(|sent| sent.datagram[20 + 13] == 0x02).collect();
        let identifications: Vec<_> =
            probes.iter().map(|probe| u16::from_be_bytes([probe.datagram[4], probe.datagram[5]])).collect();
        assert_eq!(identifications.len(), 4);
        assert_eq!(identifications.iter().all(|id| *id == 41_821), paris, "{identifications:?}");
        assert_eq!(addresses(&results, 0), ["10.71.0.2", "", "10.71.2.2", "10.71.3.2"]);
        assert_eq!(run(&results).port_state, Some(PortState::Open));
    }
}

#[tokio::test(start_paused = true)]
async fn end_to_end_probes_are_answered_by_syn_ack_and_by_reset() {
    for service in [TcpService::Listening(TcpListener::default()), TcpService::Closed] {
        let lab =
            Lab::new(Topology::chain(3).with_target(|target| target.services.tcp = service.clone())).await;
        let (results, _) = lab.trace(syn(3).e2e_queries(5)).await;
        assert_eq!(results.e2e_probe.rtts, Some(vec![8.0; 5]), "{service:?}");
        assert_eq!(addresses(&results, 0), PATH);
    }
}
