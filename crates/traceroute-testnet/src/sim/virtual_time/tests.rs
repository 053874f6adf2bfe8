use etherparse::PacketBuilder;

use super::*;
use crate::sim::Topology;

const MS: Duration = Duration::from_millis(1);

fn probe(ttl: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ipv4([10, 71, 0, 1], [10, 71, 3, 2], ttl)
        .udp(61000, 33434)
        .write(&mut bytes, b"x")
        .unwrap();
    bytes
}

fn to() -> Destination {
    Destination::routed([10, 71, 3, 2].into())
}

fn network() -> Network {
    Network::new(Topology::chain(3), 1)
}

async fn next(source: &mut SimSource) -> (Direction, Stamp, Vec<u8>) {
    let captured = source.recv().await.unwrap().unwrap();
    (captured.direction, captured.stamp, captured.datagram.to_vec())
}

#[tokio::test(start_paused = true)]
async fn probes_and_answers_pass_in_virtual_time() {
    let origin = Instant::now();
    let (mut source, sink, recorder) = attach(network(), origin);
    tokio::time::sleep(10 * MS).await;
    let stamp = sink.send(&probe(2), to()).await.unwrap();
    let sent_at = Timestamp::ZERO + 10 * MS;
    assert_eq!(stamp, Stamp::user(sent_at));
    assert_eq!(next(&mut source).await, (Direction::Sent, Stamp::kernel(sent_at), probe(2)));
    let (direction, stamp, _) = next(&mut source).await;
    assert_eq!((direction, stamp), (Direction::Received, Stamp::kernel(sent_at + 4 * MS)));
    assert_eq!(origin.elapsed(), 14 * MS);

    assert_eq!(
        recorder.timeline(),
        "10.000 > udp 10.71.0.1:61000 > 10.71.3.2:33434 ttl=2 len=29\n\
         14.000 < time-exceeded from 10.71.1.2 quoting ttl=1 udp 10.71.0.1:61000 > 10.71.3.2:33434\n"
    );
    assert_eq!(recorder.outline(), "10.000 > udp ttl=2\n14.000 < time-exceeded from 10.71.1.2\n");
    assert_eq!(recorder.sent_per_ttl(), [(2, 1)].into());
    assert_eq!(recorder.received().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn stamps_are_exact_though_timers_are_not() {
    let topology = Topology::chain(3).with_link(0, |l| l.forward.delay = Duration::from_micros(123));
    let (mut source, sink, _) = attach(Network::new(topology, 1), Instant::now());
    sink.send(&probe(1), to()).await.unwrap();
    next(&mut source).await;
    assert_eq!(next(&mut source).await.1.at, Timestamp::from_nanos(1_123_000));
}

#[tokio::test(start_paused = true)]
async fn a_waiting_source_wakes_for_what_is_sent_meanwhile() {
    let (mut source, sink, _) = attach(network(), Instant::now());
    let reader = tokio::spawn(async move { [next(&mut source).await, next(&mut source).await].map(|n| n.0) });
    tokio::task::yield_now().await;
    sink.clone().send(&probe(1), to()).await.unwrap();
    assert_eq!(reader.await.unwrap(), [Direction::Sent, Direction::Received]);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_wait_loses_nothing() {
    let (mut source, sink, _) = attach(network(), Instant::now());
    for ttl in 1..=4 {
        sink.send(&probe(ttl), to()).await.unwrap();
    }
    let mut seen = Vec::new();
    for _ in 0..100 {
        if let Ok(item) = tokio::time::timeout(Duration::from_micros(500), next(&mut source)).await {
            seen.push(item.0);
        }
    }
    assert_eq!(seen, [[Direction::Sent; 4], [Direction::Received; 4]].concat());
}

#[tokio::test(start_paused = true)]
async fn what_the_capture_shows_is_in_order() {
    let (mut source, sink, _) = attach(network(), Instant::now());
    sink.send(&probe(1), to()).await.unwrap();
    tokio::time::sleep(5 * MS).await;
    sink.send(&probe(2), to()).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(next(&mut source).await.1.at.as_nanos() / 1_000_000);
    }
    assert_eq!(seen, [0, 2, 5, 9]);
}

#[tokio::test(start_paused = true)]
async fn captures_differ() {
    let (mut source, sink, _) =
        Attachment::new(network()).withhold_sent().user_stamps().attach(Instant::now());
    sink.send(&probe(1), to()).await.unwrap();
    let (direction, stamp, _) = next(&mut source).await;
    assert_eq!((direction, stamp), (Direction::Received, Stamp::user(Timestamp::ZERO + 2 * MS)));

    let (mut source, sink, _) = Attachment::new(network()).duplicate_sent().attach(Instant::now());
    sink.send(&probe(1), to()).await.unwrap();
    let seen = [next(&mut source).await.0, next(&mut source).await.0, next(&mut source).await.0];
    assert_eq!(seen, [Direction::Sent, Direction::Sent, Direction::Received]);
}

#[tokio::test(start_paused = true)]
async fn sending_can_fail() {
    let error = TracerouteError::NetworkUnreachable { target: to().address };
    let (mut source, sink, recorder) =
        Attachment::new(network()).fail_send(2, error.clone()).attach(Instant::now());
    assert!(sink.send(&probe(1), to()).await.is_ok());
    assert_eq!(sink.send(&probe(2), to()).await, Err(error));
    assert!(sink.send(&probe(3), to()).await.is_ok());
    let mut shown = Vec::new();
    while let Ok(item) = tokio::time::timeout(100 * MS, next(&mut source)).await {
        shown.push(item.0);
    }
    assert_eq!(shown, [[Direction::Sent; 2], [Direction::Received; 2]].concat());
    assert!(recorder.timeline().contains("ttl=2 len=29 ! no route to 10.71.3.2: network is unreachable"));
}

#[tokio::test(start_paused = true)]
async fn the_kernels_part_of_an_ipv4_header_is_filled_in() {
    let (mut source, sink, _) = attach(network(), Instant::now());
    let mut bare = probe(1);
    bare[2..4].fill(0);
    bare[10..12].fill(0);
    sink.send(&bare, to()).await.unwrap();
    assert_eq!(next(&mut source).await.2, probe(1));
    assert_eq!(next(&mut source).await.0, Direction::Received);
}

#[tokio::test(start_paused = true)]
async fn what_no_router_takes_is_marked() {
    let (_source, sink, recorder) = attach(network(), Instant::now());
    sink.send(b"nonsense", to()).await.unwrap();
    assert_eq!(recorder.timeline(), "0.000 > 8 bytes, not IP ! not an IP datagram\n");
}
