//! The shared capture: who gets which packet, and what is lost.

use std::net::IpAddr;

use etherparse::PacketBuilder;
use tokio::sync::mpsc;
use traceroute_core::{
    Captured, Direction, DropCounter, FlowKey, Operation, Protocol, Source, Stamp, Timestamp, TracerouteError,
};
use traceroute_packets::{Capture, Subscription};

const TARGET: [u8; 4] = [192, 0, 2, 9];
const LOCAL: [u8; 4] = [192, 0, 2, 1];

/// Packets that a test puts in.
struct Script {
    packets: mpsc::UnboundedReceiver<Result<Vec<u8>, TracerouteError>>,
    current: Vec<u8>,
    catching_up: bool,
    drops: DropCounter,
}

impl Source for Script {
    async fn recv(&mut self) -> Result<Option<Captured<'_>>, TracerouteError> {
        if self.catching_up && self.packets.is_empty() {
            self.catching_up = false;
            return Ok(None);
        }
        match self.packets.recv().await {
            Some(packet) => self.current = packet?,
            None => std::future::pending().await,
        }
        Ok(Some(Captured {
            direction: Direction::Received,
            stamp: Stamp::kernel(Timestamp::ZERO),
            interface: 1,
            datagram: &self.current,
        }))
    }

    fn catch_up(&mut self) {
        self.catching_up = true;
    }

    fn drop_counter(&self) -> DropCounter {
        self.drops.clone()
    }
}

struct Lab {
    capture: Capture,
    packets: mpsc::UnboundedSender<Result<Vec<u8>, TracerouteError>>,
    drops: DropCounter,
}

impl Lab {
    fn new() -> Self {
        let (packets, queue) = mpsc::unbounded_channel();
        let drops = DropCounter::default();
        let source = Script { packets: queue, current: Vec::new(), catching_up: false, drops: drops.clone() };
        Self { capture: Capture::start(source), packets, drops }
    }

    /// An answer in UDP of the target to this local port.
    fn answer(&self, port: u16) {
        self.packets.send(Ok(answer(port))).expect("the capture reads");
    }
}

fn answer(port: u16) -> Vec<u8> {
    let mut packet = Vec::new();
    let builder = PacketBuilder::ipv4(TARGET, LOCAL, 64).udp(53, port);
    builder.write(&mut packet, b"answer").expect("memory does not fail");
    packet
}

fn flow(local: u16) -> FlowKey {
    FlowKey { protocol: Protocol::Udp, local, remote: IpAddr::from(TARGET), label: 1 }
}

async fn next(subscription: &mut Subscription) -> Vec<u8> {
    subscription.recv().await.expect("the capture lives").expect("a packet").datagram.to_vec()
}

#[tokio::test]
async fn each_run_gets_its_own_packets() {
    let lab = Lab::new();
    let mut first = lab.capture.subscribe(&[flow(61_000)]);
    let mut second = lab.capture.subscribe(&[flow(61_001), flow(61_002)]);
    for port in [61_002, 61_000, 61_099, 61_001] {
        lab.answer(port);
    }
    assert_eq!(next(&mut second).await, answer(61_002));
    assert_eq!(next(&mut second).await, answer(61_001));
    assert_eq!(next(&mut first).await, answer(61_000));
}

#[tokio::test]
async fn a_run_that_catches_up_gets_what_has_arrived_first() {
    let lab = Lab::new();
    let mut first = lab.capture.subscribe(&[flow(61_000)]);
    let mut second = lab.capture.subscribe(&[flow(61_001)]);
    // The capture has not read them yet: it is a task of this very thread.
    lab.answer(61_000);
    lab.answer(61_001);
    lab.answer(61_000);
    first.catch_up();
    assert_eq!(next(&mut first).await, answer(61_000));
    first.catch_up();
    second.catch_up();
    assert_eq!(next(&mut first).await, answer(61_000));
    assert_eq!(first.recv().await, Ok(None), "both questions, one answer");
    assert_eq!(next(&mut second).await, answer(61_001));
    assert_eq!(second.recv().await, Ok(None));

    lab.answer(61_000);
    assert_eq!(next(&mut first).await, answer(61_000), "nobody asked");
    // However full the queue is.
    (0..200).for_each(|_| lab.answer(61_000));
    second.catch_up();
    assert_eq!(second.recv().await, Ok(None), "all two hundred were read");
    first.catch_up();
    second.catch_up();
    assert_eq!(second.recv().await, Ok(None), "and the first has its answer, behind a full queue");
    for _ in 0..128 {
        next(&mut first).await;
    }
    assert_eq!(first.recv().await, Ok(None));
    assert_eq!(first.losses().count(), 200 - 128);
}

#[tokio::test]
async fn a_run_that_does_not_read_loses_its_own_packets_only() {
    let lab = Lab::new();
    let idle = lab.capture.subscribe(&[flow(61_000)]);
    let mut busy = lab.capture.subscribe(&[flow(61_001)]);
    for _ in 0..1000 {
        lab.answer(61_000);
        lab.answer(61_001);
        next(&mut busy).await;
    }
    assert_eq!(busy.losses().count(), 0);
    // The queue keeps the first 128.
    assert_eq!(idle.losses().count(), 1000 - 128);
}

#[tokio::test]
async fn what_the_capture_loses_counts_from_the_subscription_on() {
    let lab = Lab::new();
    lab.drops.add(5);
    let subscription = lab.capture.subscribe(&[flow(61_000)]);
    assert_eq!(subscription.losses().count(), 0);
    lab.drops.add(2);
    assert_eq!((subscription.losses().count(), lab.capture.drops()), (2, 7));
}

#[tokio::test]
async fn the_end_of_the_source_ends_every_run() {
    let lab = Lab::new();
    let error = TracerouteError::System { operation: Operation::Capture, errno: 5 };
    let mut before = lab.capture.subscribe(&[flow(61_000)]);
    lab.packets.send(Err(error.clone())).expect("the capture reads");
    assert_eq!(before.recv().await, Err(error.clone()));
    let mut after = lab.capture.subscribe(&[flow(61_001)]);
    assert_eq!(after.recv().await, Err(error));
}

#[tokio::test]
async fn dropping_the_capture_ends_every_run() {
    let Lab { capture, packets: _packets, .. } = Lab::new();
    let mut subscription = capture.subscribe(&[flow(61_000)]);
    drop(capture);
    assert_eq!(subscription.recv().await, Err(TracerouteError::CaptureEnded));
}

#[tokio::test]
async fn nothing_is_left_of_a_dropped_subscription() {
    let lab = Lab::new();
    let subscription = lab.capture.subscribe(&[flow(61_000), flow(61_001)]);
    assert!(!lab.capture.is_idle());
    drop(subscription);
    assert!(lab.capture.is_idle());
}
