use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard};
use std::task::Waker;
use std::time::{Duration, SystemTime};

use etherparse::PacketBuilder;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::super::devices::OpenDevices;
use super::super::interfaces::{Entry, Fact, gather};
use super::super::records::tests::record;
use super::*;

const HERE: [u8; 4] = [192, 0, 2, 1];
const TARGET: [u8; 4] = [198, 51, 100, 7];

/// A device that has captured what it is told.
#[derive(Debug, Default)]
struct Scripted(Mutex<Script>);

#[derive(Debug, Default)]
struct Script {
    reads: VecDeque<io::Result<Vec<u8>>>,
    drops: u32,
    waiting: Option<Waker>,
}

impl Scripted {
    fn lock(&self) -> MutexGuard<'_, Script> {
        self.0.lock().expect("no panic")
    }

    fn capture(&self, read: io::Result<Vec<u8>>) {
        let mut script = self.lock();
        script.reads.push_back(read);
        script.waiting.take().into_iter().for_each(Waker::wake);
    }
}

impl Device for Scripted {
    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match self.try_read(buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.lock().waiting = Some(cx.waker().clone());
                Poll::Pending
            }
            result => Poll::Ready(result),
        }
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.lock().reads.pop_front().unwrap_or(Err(ErrorKind::WouldBlock.into()))?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    fn drops(&self) -> io::Result<u32> {
        Ok(self.lock().drops)
    }
}

struct Fixture {
    capture: DarwinCapture<Scripted>,
    /// `None` when the host is gone.
    links: Option<UnboundedSender<Link<Scripted>>>,
}

impl Fixture {
    fn new() -> Self {
        let (links, arriving) = unbounded_channel();
        let ours = Interfaces::default();
        let interface = |fact| Entry { name: c"en0".into(), loopback: false, fact };
        let entries = [Fact::Index(5), Fact::Address(HERE.into())].map(interface);
        ours.are(gather(entries.into()).into());
        let clock = Clock::since(Instant::now() - Duration::from_secs(1));
        Self { capture: DarwinCapture::new(clock, ours, arriving), links: Some(links) }
    }

    fn link(&self, interface: u32, base: Base, loopback: bool) -> Arc<Scripted> {
        let device = Arc::new(Scripted::default());
        let settings = Settings { base, buffer_length: 4096 };
        let link = Link::new(Arc::clone(&device), settings, interface, loopback);
        self.links.as_ref().expect("the host lives").send(link).expect("the capture lives");
        device
    }

    /// What there is already, until the capture waits.
    async fn all(&mut self) -> Vec<(u32, Direction, u16)> {
        let mut seen = Vec::new();
        while let Some(packet) = self.poll_once().await {
            seen.push(packet.expect("no error").expect("nobody asked"));
        }
        seen
    }

    async fn poll_once(&mut self) -> Option<Result<Option<(u32, Direction, u16)>, TracerouteError>> {
        let mut next = pin!(async { Ok(self.capture.recv().await?.map(|captured| summary(&captured))) });
        poll_fn(|cx| match next.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    async fn next(&mut self) -> Option<(u32, Direction, u16)> {
        self.poll_once().await.expect("something is there").expect("no error")
    }
}

fn summary(captured: &Captured<'_>) -> (u32, Direction, u16) {
    // The identification of the datagram is its number.
    let number = u16::from_be_bytes([captured.datagram[4], captured.datagram[5]]);
    (captured.interface, captured.direction, number)
}

/// A datagram with a number, behind a link header of this length, captured so long ago.
fn packet(number: u8, link_header: usize, source: [u8; 4], destination: [u8; 4], ago: Duration) -> Vec<u8> {
    let mut datagram = Vec::new();
    let builder = PacketBuilder::ipv4(source, destination, 5).udp(40_000, 33_434);
    builder.write(&mut datagram, &[]).expect("fits");
    datagram[4..6].copy_from_slice(&[0, number]);
    let now = SystemTime::UNIX_EPOCH.elapsed().expect("after the epoch");
    let at = now.saturating_sub(ago);
    let seconds = u32::try_from(at.as_secs()).expect("this century");
    let mut bytes = record(seconds, at.subsec_micros(), 18, &[vec![0; link_header], datagram].concat());
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

const MOMENT: Duration = Duration::from_millis(10);

#[tokio::test]
async fn all_links_are_read_as_one() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.all().await, [], "without a link there is nothing to read");
    let ethernet = fixture.link(5, Base::Ethernet, false);
    let tunnel = fixture.link(9, Base::Loopback, false);
    ethernet.capture(Ok([packet(1, 14, HERE, TARGET, MOMENT), packet(2, 14, TARGET, HERE, MOMENT)].concat()));
    tunnel.capture(Ok(packet(3, 4, TARGET, HERE, MOMENT)));
    let mut seen = fixture.all().await;
    seen.sort_by_key(|(_, _, number)| *number);
    assert_eq!(seen, [(5, Direction::Sent, 1), (5, Direction::Received, 2), (9, Direction::Received, 3)]);
    fixture.links = None;
    ethernet.capture(Ok(packet(4, 14, TARGET, HERE, MOMENT)));
    assert_eq!(fixture.all().await, [(5, Direction::Received, 4)], "links stay when the host is gone");
}

#[tokio::test]
async fn a_packet_over_loopback_is_sent_and_received() {
    let mut fixture = Fixture::new();
    let loopback = fixture.link(1, Base::Loopback, true);
    loopback.capture(Ok([packet(1, 4, HERE, HERE, MOMENT), packet(2, 4, TARGET, HERE, MOMENT)].concat()));
    assert_eq!(
        fixture.all().await,
        [
            (1, Direction::Sent, 1),
            (1, Direction::Received, 1),
            (1, Direction::Sent, 2),
            (1, Direction::Received, 2),
        ]
    );
}

#[tokio::test]
async fn a_busy_link_does_not_keep_others_from_being_read() {
    let mut fixture = Fixture::new();
    let busy = fixture.link(5, Base::Raw, false);
    let other = fixture.link(6, Base::Raw, false);
    busy.capture(Ok((1..=4).flat_map(|number| packet(number, 0, TARGET, HERE, MOMENT)).collect()));
    assert_eq!(fixture.next().await, Some((5, Direction::Received, 1)));
    other.capture(Ok(packet(9, 0, TARGET, HERE, MOMENT)));
    for numbers in [5..=6, 7..=8] {
        let records = numbers.map(|number| packet(number, 0, TARGET, HERE, MOMENT));
        records.for_each(|record| busy.capture(Ok(record)));
    }
    let numbers: Vec<_> = fixture.all().await.into_iter().map(|(_, _, number)| number).collect();
    assert_eq!(numbers, [2, 3, 4, 9, 5, 6, 7, 8], "after what has been read already");
}

#[tokio::test]
async fn stamps_are_the_kernels() {
    let mut fixture = Fixture::new();
    let device = fixture.link(5, Base::Raw, false);
    let first = packet(1, 0, TARGET, HERE, Duration::from_millis(30));
    let mut second = first.clone();
    // A millisecond apart, and none at all.
    let microseconds = u32::from_ne_bytes(first[4..8].try_into().expect("four bytes"));
    let later = if microseconds < 999_000 { microseconds + 1_000 } else { microseconds - 1_000 };
    second[4..8].copy_from_slice(&later.to_ne_bytes());
    let mut third = first.clone();
    third[4..8].copy_from_slice(&2_000_000_u32.to_ne_bytes());
    device.capture(Ok([first, second, third].concat()));
    let mut stamps = Vec::new();
    for _ in 0..3 {
        stamps.push(fixture.capture.recv().await.expect("no error").expect("a packet").stamp);
    }
    let kernels = stamps.iter().map(|stamp| stamp.source == traceroute_core::StampSource::Kernel);
    assert_eq!(kernels.collect::<Vec<_>>(), [true, true, false]);
    let apart = stamps[0].at.saturating_since(stamps[1].at) + stamps[1].at.saturating_since(stamps[0].at);
    assert!(apart.abs_diff(Duration::from_millis(1)) < Duration::from_micros(100), "{apart:?}");
}

#[tokio::test]
async fn all_that_came_before_the_question_is_returned_before_the_answer() {
    let mut fixture = Fixture::new();
    let [a, b] = [5, 6].map(|interface| fixture.link(interface, Base::Raw, false));
    a.capture(Ok([packet(1, 0, TARGET, HERE, MOMENT), packet(2, 0, TARGET, HERE, MOMENT)].concat()));
    assert_eq!(fixture.next().await, Some((5, Direction::Received, 1)));
    a.capture(Ok(packet(3, 0, TARGET, HERE, MOMENT)));
    b.capture(Ok(packet(4, 0, HERE, TARGET, MOMENT)));
    fixture.capture.catch_up();
    let mut numbers = Vec::new();
    while let Some((_, _, number)) = fixture.next().await {
        numbers.push(number);
    }
    assert_eq!(numbers, [2, 3, 4]);
    assert_eq!(fixture.all().await, [], "and there is one answer");
}

#[tokio::test]
async fn what_comes_after_the_question_comes_after_the_answer() {
    let mut fixture = Fixture::new();
    let loopback = fixture.link(1, Base::Loopback, true);
    let other = fixture.link(5, Base::Raw, false);
    loopback.capture(Ok(packet(1, 4, HERE, HERE, MOMENT)));
    assert_eq!(fixture.next().await, Some((1, Direction::Sent, 1)));
    fixture.capture.catch_up();
    // So that the stamps, whole microseconds, are later than the question.
    tokio::time::sleep(Duration::from_millis(2)).await;
    loopback.capture(Ok(packet(2, 4, HERE, HERE, Duration::ZERO)));
    other.capture(Ok(packet(3, 0, TARGET, HERE, Duration::ZERO)));
    assert_eq!(fixture.next().await, Some((1, Direction::Received, 1)), "its second half was there");
    assert_eq!(fixture.next().await, None);
    let mut after = fixture.all().await;
    after.sort_by_key(|(_, _, number)| *number);
    let expected = [(1, Direction::Sent, 2), (1, Direction::Received, 2), (5, Direction::Received, 3)];
    assert_eq!(after, expected, "and nothing is lost");
}

#[tokio::test]
async fn a_question_without_links_is_answered() {
    let mut fixture = Fixture::new();
    fixture.capture.catch_up();
    assert_eq!(fixture.next().await, None);
    let device = fixture.link(5, Base::Raw, false);
    device.capture(Ok(packet(1, 0, TARGET, HERE, MOMENT)));
    fixture.capture.catch_up();
    assert_eq!(fixture.next().await, Some((5, Direction::Received, 1)), "a link that has just come");
    assert_eq!(fixture.next().await, None);
}

#[tokio::test]
async fn losses_are_counted_once() {
    let mut fixture = Fixture::new();
    let [a, b] = [5, 6].map(|interface| fixture.link(interface, Base::Raw, false));
    let lost = fixture.capture.drop_counter();
    a.lock().drops = 7;
    a.capture(Ok(packet(1, 0, TARGET, HERE, MOMENT)));
    assert_eq!(fixture.all().await.len(), 1);
    assert_eq!(lost.count(), 7);
    b.lock().drops = 2;
    fixture.capture.catch_up();
    assert_eq!(fixture.next().await, None);
    assert_eq!(lost.count(), 9);
    a.lock().drops = 8;
    a.capture(Ok(Vec::new()));
    assert_eq!(fixture.all().await, []);
    assert_eq!(lost.count(), 10);
}

#[tokio::test]
async fn an_interface_that_is_gone_takes_its_link_alone() {
    let mut fixture = Fixture::new();
    let [gone, stays] = [5, 6].map(|interface| fixture.link(interface, Base::Raw, false));
    gone.capture(Err(io::Error::from_raw_os_error(6)));
    stays.capture(Ok(packet(1, 0, TARGET, HERE, MOMENT)));
    // What the host keeps.
    let mut devices = OpenDevices::default();
    devices.add(5, &gone);
    devices.add(6, &stays);
    assert_eq!(fixture.all().await, [(6, Direction::Received, 1)]);
    assert_eq!(Arc::strong_count(&gone), 1, "the test's own: its device is closed");
    drop(gone);
    assert!(!devices.has(5, |_| true) && devices.has(6, |_| true));

    stays.capture(Err(io::Error::from_raw_os_error(6)));
    fixture.capture.catch_up();
    assert_eq!(fixture.next().await, None, "also when the capture is to catch up");

    let back = fixture.link(6, Base::Raw, false);
    back.capture(Ok(packet(2, 0, TARGET, HERE, MOMENT)));
    assert_eq!(fixture.all().await, [(6, Direction::Received, 2)]);
}

#[tokio::test]
async fn a_new_link_of_an_interface_replaces_the_old_one() {
    let mut fixture = Fixture::new();
    let old = fixture.link(5, Base::Raw, false);
    assert_eq!(fixture.all().await, []);
    let new = fixture.link(5, Base::Ethernet, false);
    new.capture(Ok(packet(1, 14, TARGET, HERE, MOMENT)));
    assert_eq!(fixture.all().await, [(5, Direction::Received, 1)]);
    assert_eq!(Arc::strong_count(&old), 1);
}

#[tokio::test]
async fn other_errors_are_those_of_the_capture() {
    let mut fixture = Fixture::new();
    let device = fixture.link(5, Base::Raw, false);
    device.capture(Err(ErrorKind::Interrupted.into()));
    assert_eq!(fixture.all().await, [], "but a signal is none");
    device.capture(Err(io::Error::from_raw_os_error(5)));
    let error = TracerouteError::System { operation: Operation::Capture, errno: 5 };
    assert_eq!(fixture.poll_once().await, Some(Err(error)));
}

#[tokio::test]
async fn records_that_say_nothing_are_passed_over() {
    let mut fixture = Fixture::new();
    let device = fixture.link(5, Base::Ethernet, false);
    let mut short = record(1, 0, 18, &[0; 9]);
    short.resize(28, 0);
    device.capture(Ok([short, packet(1, 14, TARGET, HERE, MOMENT)].concat()));
    device.capture(Ok(vec![0xff; 100]));
    device.capture(Ok(packet(2, 14, TARGET, HERE, MOMENT)));
    let numbers: Vec<_> = fixture.all().await.into_iter().map(|(_, _, number)| number).collect();
    assert_eq!(numbers, [1, 2]);
}
