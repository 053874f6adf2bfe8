//! The TCP of the simulated network's client, under virtual time.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::MS;
use common::tcp::{In, Out, ack, rst, segment, syn};
use tokio::time::{Instant, sleep, timeout};
use traceroute_core::{Destination, Direction, Sink, Source};
use traceroute_testnet::sim::virtual_time::{
    Attachment, SimConnectError, SimConnection, SimSink, SimSource, attach,
};
use traceroute_testnet::sim::{
    Closing, Network, Recorder, Refusal, ResetNumber, TcpApplication, TcpListener, TcpService, Topology,
    Unreachable,
};
use traceroute_wire::Timestamp;

const S: u32 = 1000;

/// A client with one router between it and its target: a round trip takes four milliseconds.
struct Lab {
    source: SimSource,
    sink: SimSink,
    recorder: Recorder,
    client: SocketAddr,
    target: SocketAddr,
}

impl Lab {
    fn new(tcp: TcpService) -> Self {
        Self::of(topology(tcp))
    }

    fn of(topology: Topology) -> Self {
        Self::attached(topology, |attachment| attachment)
    }

    fn attached(topology: Topology, change: impl FnOnce(Attachment) -> Attachment) -> Self {
        let network = Network::new(topology, 1);
        let client = SocketAddr::new(network.client().v4.into(), 50_000);
        let target = SocketAddr::new(network.target().v4.into(), 443);
        let (source, sink, recorder) = change(Attachment::new(network)).attach(Instant::now());
        Self { source, sink, recorder, client, target }
    }

    async fn connect(&self) -> Result<SimConnection, SimConnectError> {
        self.sink.tcp().connect(self.client, self.target).await
    }

    async fn send(&self, out: &Out) {
        let to = Destination::routed(self.target.ip());
        self.sink.send(&out.datagram(self.client, self.target), to).await.unwrap();
    }

    /// What the capture shows until it has had nothing to show for twenty seconds.
    async fn captured(&mut self) -> Vec<(Direction, u64, Vec<u8>)> {
        let mut seen = Vec::new();
        while let Ok(captured) = timeout(20_000 * MS, self.source.recv()).await {
            let captured = captured.unwrap().unwrap();
            let millis = captured.stamp.at.as_nanos() / 1_000_000;
            seen.push((captured.direction, millis, captured.datagram.to_vec()));
        }
        seen
    }

    /// The outline after all that happens has happened.
    async fn outline(&mut self) -> String {
        self.captured().await;
        self.recorder.outline()
    }
}

fn topology(tcp: TcpService) -> Topology {
    Topology::chain(1).with_target(|t| t.services.tcp = tcp)
}

fn listening() -> TcpService {
    TcpService::Listening(TcpListener::default())
}

/// The network with a datagram from the target that nobody sent, at 50 ms.
fn forged(out: &Out) -> Topology {
    let (client, target) = (([10, 71, 0, 1], 50_000).into(), ([10, 71, 1, 2], 443).into());
    let forged_at = Timestamp::ZERO + 50 * MS;
    topology(TcpService::Silent).with_forgery_at(forged_at, out.datagram(target, client))
}

#[tokio::test(start_paused = true)]
async fn the_kernel_resets_what_raw_probes_bring_back() {
    let mut lab = Lab::new(listening());
    sleep(10 * MS).await;
    lab.send(&syn(S).ttl(30)).await;
    let captured = lab.captured().await;
    assert_eq!(
        lab.recorder.outline(),
        "10.000 > tcp-syn ttl=30\n\
         14.000 < tcp-syn-ack from 10.71.1.2\n\
         14.000 > tcp-rst ttl=64\n"
    );
    // The capture shows the same, and the half-open connection is gone: nothing is repeated.
    let shown: Vec<_> = captured.iter().map(|c| (c.0, c.1)).collect();
    assert_eq!(shown, [(Direction::Sent, 10), (Direction::Received, 14), (Direction::Sent, 14)]);
    let answer = In::parse(&captured[1].2);
    let reset = In::parse(&captured[2].2);
    assert_eq!(reset.line(answer.header.sequence_number, S), "rst seq=+1");
    assert_eq!((reset.from, reset.to), (lab.client, lab.target));
}

#[tokio::test(start_paused = true)]
async fn a_firewall_can_drop_resets() {
    let mut lab = Lab::attached(topology(listening()), Attachment::drop_resets);
    lab.send(&syn(S)).await;
    assert_eq!(
        lab.outline().await,
        "0.000 > tcp-syn ttl=64\n\
         4.000 < tcp-syn-ack from 10.71.1.2\n\
         1004.000 < tcp-syn-ack from 10.71.1.2\n\
         3004.000 < tcp-syn-ack from 10.71.1.2\n\
         7004.000 < tcp-syn-ack from 10.71.1.2\n"
    );
    lab.connect().await.unwrap();
    assert!(!lab.outline().await.contains("rst"), "not even that of a closed socket");
}

#[tokio::test(start_paused = true)]
async fn the_kernel_answers_by_the_book() {
    for (out, expected) in [
        (ack(S, 77), Some("rst seq=+77")),
        (syn(S).with_ack(77), Some("rst seq=+77")),
        (syn(S), Some("rst-ack seq=0 ack=+1")),
        (segment(S).data(b"abc"), Some("rst-ack seq=0 ack=+3")),
        (rst(S), None),
        (rst(S).with_ack(77), None),
    ] {
        let mut lab = Lab::of(forged(&out));
        lab.captured().await;
        let sent = lab.recorder.sent();
        let lines: Vec<_> = sent.iter().map(|r| In::parse(&r.datagram).line(S, 0)).collect();
        assert_eq!(lines, Vec::from_iter(expected));
        assert!(sent.iter().all(|r| r.ttl() == Some(64) && r.at == Timestamp::ZERO + 50 * MS));
    }
}

#[tokio::test(start_paused = true)]
async fn the_kernel_answers_on_time_though_nobody_looks() {
    let mut lab = Lab::new(listening());
    lab.send(&syn(S)).await;
    sleep(500 * MS).await;
    lab.send(&syn(S + 1)).await;
    assert_eq!(
        lab.outline().await,
        "0.000 > tcp-syn ttl=64\n\
         4.000 < tcp-syn-ack from 10.71.1.2\n\
         4.000 > tcp-rst ttl=64\n\
         500.000 > tcp-syn ttl=64\n\
         504.000 < tcp-syn-ack from 10.71.1.2\n\
         504.000 > tcp-rst ttl=64\n"
    );
}

#[tokio::test(start_paused = true)]
async fn what_the_kernel_sends_is_captured_like_everything_else_and_no_probe() {
    let forgery = syn(9).datagram(([10, 71, 1, 2], 1).into(), ([10, 71, 0, 1], 2).into());
    let topology =
        topology(TcpService::Closed).with_forgery_after_probe(2, 10 * MS, move |_| forgery.clone());
    let mut lab = Lab::attached(topology, Attachment::duplicate_sent);
    assert_eq!(lab.connect().await.unwrap_err(), SimConnectError::Refused);
    lab.send(&syn(S)).await;
    let directions: Vec<_> = lab.captured().await.iter().map(|c| c.0).collect();
    let [sent, received] = [Direction::Sent, Direction::Received];
    assert_eq!(directions, [sent, sent, received, sent, sent, received]);
    lab.send(&syn(S)).await;
    assert!(lab.outline().await.contains("< tcp-syn from"), "the second probe is forged");
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_established_and_reset_in_the_end() {
    let application = TcpApplication::default();
    let listener = TcpListener { application: application.clone(), ..TcpListener::default() };
    let mut lab = Lab::new(TcpService::Listening(listener));
    sleep(10 * MS).await;
    let connection = lab.connect().await.unwrap();
    assert_eq!((connection.local(), connection.peer()), (lab.client, lab.target));
    let info = connection.info().unwrap();
    sleep(6 * MS).await;
    // A millisecond is a tick.
    let later = connection.info().unwrap().timestamps.unwrap();
    assert_eq!(later.0.wrapping_sub(info.timestamps.unwrap().0), 6);
    assert_eq!((application.accepted(), info.sack), (1, true));

    // Probes beyond what the kernel has sent: it heeds none of the acknowledgements.
    let (seq, number) = (info.next, info.expected);
    lab.send(&ack(seq.wrapping_add(3), number).stamps(later.0, later.1).data(b"x").ttl(30)).await;
    sleep(10 * MS).await;
    drop(connection);
    let captured = lab.captured().await;
    assert_eq!(
        lab.recorder.outline(),
        "10.000 > tcp-syn ttl=64\n\
         14.000 < tcp-syn-ack from 10.71.1.2\n\
         14.000 > tcp-ack ttl=64\n\
         20.000 > tcp-psh-ack ttl=30\n\
         24.000 < tcp-ack sack from 10.71.1.2\n\
         30.000 > tcp-rst-ack ttl=64\n"
    );
    let lines: Vec<_> = captured.iter().map(|c| In::parse(&c.2)).collect();
    let mine = seq.wrapping_sub(1);
    let theirs = number.wrapping_sub(1);
    let stamp = |i: usize| lines[i].stamps.unwrap();
    assert_eq!(lines[0].line(theirs, mine), "syn seq=+0 mss=1460 sack-permitted window-scale echo=0");
    assert_eq!(lines[2].line(theirs, mine), format!("ack seq=+1 ack=+1 echo={}", stamp(1).0));
    assert_eq!(stamp(1).1, stamp(0).0);
    assert_eq!(stamp(2).0.wrapping_sub(stamp(0).0), 4);
    assert_eq!(lines[4].line(mine, theirs), format!("ack seq=+1 ack=+1 echo={} sack=+4..+5", stamp(2).0));
    // The number of its next byte, not of the probe's, and what it has acknowledged.
    assert_eq!(lines[5].line(theirs, mine), format!("rst-ack seq=+1 ack=+1 echo={}", stamp(4).0));
    assert_eq!(application.received(), 0);
}

#[tokio::test(start_paused = true)]
async fn syns_are_repeated_until_the_future_is_dropped() {
    let mut lab = Lab::of(topology(listening()).with_link(1, |l| l.forward.drop = (1..=4).collect()));
    assert!(timeout(5_000 * MS, lab.connect()).await.is_err());
    assert_eq!(
        lab.recorder.outline(),
        "0.000 > tcp-syn ttl=64\n1000.000 > tcp-syn ttl=64\n3000.000 > tcp-syn ttl=64\n"
    );
    let attempts: Vec<_> = lab.recorder.take().iter().map(|r| In::parse(&r.datagram)).collect();
    assert!(attempts.iter().all(|a| a.header.sequence_number == attempts[0].header.sequence_number));
    // The flow is free again, and an attempt of its own.
    let connection = lab.connect().await.unwrap();
    drop(connection);
    assert_eq!(
        lab.outline().await,
        "5000.000 > tcp-syn ttl=64\n\
         6000.000 > tcp-syn ttl=64\n\
         6004.000 < tcp-syn-ack from 10.71.1.2\n\
         6004.000 > tcp-ack ttl=64\n\
         6004.000 > tcp-rst-ack ttl=64\n"
    );
    let again = In::parse(&lab.recorder.sent()[0].datagram);
    assert_ne!(again.header.sequence_number, attempts[0].header.sequence_number);
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_attempt_is_not_connected() {
    let mut lab = Lab::new(listening());
    assert!(timeout(2 * MS, lab.connect()).await.is_err());
    assert_eq!(
        lab.outline().await,
        "0.000 > tcp-syn ttl=64\n\
         4.000 < tcp-syn-ack from 10.71.1.2\n\
         4.000 > tcp-rst ttl=64\n"
    );
}

#[tokio::test(start_paused = true)]
async fn attempts_fail_as_they_do_in_linux() {
    let lab = Lab::new(TcpService::Closed);
    assert_eq!(lab.connect().await.unwrap_err(), SimConnectError::Refused);
    // It acknowledges nothing, so it may be anybody's.
    let lab = Lab::new(TcpService::ClosedWithoutAck(ResetNumber::Zero));
    assert!(timeout(Duration::from_mins(1), lab.connect()).await.is_err());

    for why in [Unreachable::Host, Unreachable::AdminProhibited, Unreachable::Code(10)] {
        let refuses = Some(Refusal::Firewall(why));
        let lab = Lab::of(topology(listening()).with_router(1, |r| r.refuses = refuses));
        assert_eq!(lab.connect().await.unwrap_err(), SimConnectError::Unreachable(why));
    }
    // Not that only a smaller one would pass.
    let refuses = Some(Refusal::TooBig { mtu: 1400 });
    let lab = Lab::of(topology(listening()).with_router(1, |r| r.refuses = refuses));
    assert!(timeout(Duration::from_mins(1), lab.connect()).await.is_err());
    // That of another SYN of the same flow is not the attempt's.
    let refuses = Some(Refusal::Firewall(Unreachable::Host));
    let lab = Lab::of(topology(listening()).with_router(1, |r| {
        r.refuses = refuses;
        r.link.forward.drop = (2..).take(50).collect();
    }));
    lab.send(&syn(S)).await;
    assert!(timeout(Duration::from_mins(1), lab.connect()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_attempt_resets_what_acknowledges_something_else() {
    let forged_at = Timestamp::ZERO + 3 * MS;
    let (client, target) = (([10, 71, 0, 1], 50_000).into(), ([10, 71, 1, 2], 443).into());
    let forgery = syn(S).with_ack(77).datagram(target, client);
    let mut lab = Lab::of(topology(listening()).with_forgery_at(forged_at, forgery));
    let _connection = lab.connect().await.unwrap();
    assert_eq!(
        lab.outline().await,
        "0.000 > tcp-syn ttl=64\n\
         3.000 < tcp-syn-ack from 10.71.1.2\n\
         3.000 > tcp-rst ttl=64\n\
         4.000 < tcp-syn-ack from 10.71.1.2\n\
         4.000 > tcp-ack ttl=64\n"
    );
    let reset = In::parse(&lab.recorder.sent()[1].datagram);
    assert_eq!(reset.line(S, 0), "rst seq=+77");
}

#[tokio::test(start_paused = true)]
async fn what_is_for_another_host_is_not_answered() {
    let datagram = syn(S).datagram(([10, 71, 1, 2], 443).into(), ([10, 71, 0, 9], 50_000).into());
    let forged_at = Timestamp::ZERO + 50 * MS;
    let mut lab = Lab::of(topology(TcpService::Silent).with_forgery_at(forged_at, datagram));
    assert_eq!(lab.outline().await, "50.000 < tcp-syn from 10.71.1.2\n");
}

#[tokio::test(start_paused = true)]
async fn addresses_must_be_the_clients_and_free() {
    let lab = Lab::new(listening());
    let tcp = lab.sink.tcp();
    let elsewhere = SocketAddr::new([10, 71, 0, 9].into(), 50_000);
    let unavailable = Err(SimConnectError::AddressNotAvailable);
    assert_eq!(tcp.connect(elsewhere, lab.target).await.map(drop), unavailable);
    let v6 = SocketAddr::new("fd00:71:1::2".parse().unwrap(), 443);
    assert_eq!(tcp.connect(lab.client, v6).await.map(drop), unavailable);

    let connection = lab.connect().await.unwrap();
    assert_eq!(lab.connect().await.map(drop), Err(SimConnectError::AddressInUse));
    let other = SocketAddr::new(lab.client.ip(), 50_001);
    tcp.connect(other, lab.target).await.unwrap();
    drop(connection);
    lab.connect().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn sockets_offer_what_they_are_told() {
    let lab = Lab::new(listening());
    let tcp = lab.sink.tcp().without_sack();
    let info = tcp.connect(lab.client, lab.target).await.unwrap().info().unwrap();
    assert!(!info.sack && info.timestamps.is_some());
    let info = tcp.without_timestamps().connect(lab.client, lab.target).await.unwrap().info().unwrap();
    assert_eq!((info.sack, info.timestamps), (false, None));
    let sent = lab.recorder.sent();
    let offers: Vec<_> = sent.iter().map(|r| In::parse(&r.datagram)).filter(|s| s.header.syn).collect();
    let offers: Vec<_> = offers.iter().map(|s| (s.sack_permitted, s.stamps.is_some())).collect();
    assert_eq!(offers, [(false, true), (false, false)]);

    let plain = TcpListener { timestamps: false, ..TcpListener::default() };
    let lab = Lab::new(TcpService::Listening(plain));
    let info = lab.connect().await.unwrap().info().unwrap();
    assert_eq!((info.sack, info.timestamps), (true, None));
}

#[tokio::test(start_paused = true)]
async fn what_arrives_is_acknowledged() {
    let listener = TcpListener {
        banner: Some((50 * MS, b"220 ready\r\n".to_vec())),
        closes: Some((90 * MS, Closing::Fin)),
        ..TcpListener::default()
    };
    let mut lab = Lab::new(TcpService::Listening(listener));
    let connection = lab.connect().await.unwrap();
    let info = connection.info().unwrap();
    let captured = lab.captured().await;
    assert_eq!(
        lab.recorder.outline(),
        "0.000 > tcp-syn ttl=64\n\
         4.000 < tcp-syn-ack from 10.71.1.2\n\
         4.000 > tcp-ack ttl=64\n\
         58.000 < tcp-psh-ack from 10.71.1.2\n\
         58.000 > tcp-ack ttl=64\n\
         98.000 < tcp-fin-ack from 10.71.1.2\n\
         98.000 > tcp-ack ttl=64\n"
    );
    let segments: Vec<_> = captured.iter().map(|c| In::parse(&c.2)).collect();
    let (mine, theirs) = (info.next.wrapping_sub(1), info.expected.wrapping_sub(1));
    let stamp = |i: usize| segments[i].stamps.unwrap();
    assert_eq!(segments[4].line(theirs, mine), format!("ack seq=+1 ack=+12 echo={}", stamp(3).0));
    assert_eq!(stamp(4).0.wrapping_sub(stamp(0).0), 58);
    assert_eq!(segments[6].line(theirs, mine), format!("ack seq=+1 ack=+13 echo={}", stamp(5).0));
    assert_eq!(connection.info().unwrap().expected, theirs.wrapping_add(13));
    // It is half open to this side, and can still be reset.
    drop(connection);
    assert!(lab.outline().await.ends_with("> tcp-rst-ack ttl=64\n"));
}

#[tokio::test(start_paused = true)]
async fn a_reset_ends_a_connection() {
    let closes = Some((50 * MS, Closing::Reset));
    let mut lab = Lab::new(TcpService::Listening(TcpListener { closes, ..TcpListener::default() }));
    let connection = lab.connect().await.unwrap();
    sleep(53 * MS).await;
    assert!(connection.info().is_some());
    sleep(MS).await;
    assert_eq!(connection.info(), None);
    drop(connection);
    assert_eq!(
        lab.outline().await,
        "0.000 > tcp-syn ttl=64\n\
         4.000 < tcp-syn-ack from 10.71.1.2\n\
         4.000 > tcp-ack ttl=64\n\
         58.000 < tcp-rst-ack from 10.71.1.2\n"
    );
}

#[tokio::test(start_paused = true)]
async fn a_waiting_source_wakes_for_what_the_kernel_sends() {
    let (source, sink, recorder) = attach(Network::new(topology(listening()), 1), Instant::now());
    let reader = tokio::spawn(async move {
        let mut source = source;
        let mut shown = Vec::new();
        while shown.len() < 3 {
            shown.push(source.recv().await.unwrap().unwrap().direction);
        }
        shown
    });
    // It waits for what nothing has announced yet.
    tokio::task::yield_now().await;
    let (client, target) = (([10, 71, 0, 1], 50_000).into(), ([10, 71, 1, 2], 443).into());
    let connection = sink.tcp().connect(client, target).await.unwrap();
    assert_eq!(reader.await.unwrap(), [Direction::Sent, Direction::Received, Direction::Sent]);
    assert_eq!(recorder.records().len(), 3);
    drop(connection);
}
