//! When a run's time is over.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tokio::time::Instant;
use traceroute_core::{
    Captured, Destination, Direction, Event, FlowKey, ProbeId, ProbeProtocol, ProbeResponse, ReplyKind, Run,
    Sink, Source, Stamp, Timestamp, TracerouteDriver, TracerouteError, Ttl,
};
use traceroute_packets::{Clock, PacketDriver};

const TARGET: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9));

/// A method for which every packet is an answer to the first probe.
struct Credulous;

impl ProbeProtocol for Credulous {
    fn flows(&self) -> &[FlowKey] {
        &[]
    }

    fn encode<'b>(&mut self, _: ProbeId, buffer: &'b mut [u8]) -> &'b [u8] {
        &buffer[..1]
    }

    fn match_sent(&self, _: &Captured<'_>) -> Option<ProbeId> {
        None
    }

    fn match_reply(&self, reply: &Captured<'_>) -> Option<ProbeResponse> {
        Some(ProbeResponse {
            probe: Some(ProbeId::first(Ttl::FIRST)),
            from: TARGET,
            kind: ReplyKind::TimeExceeded,
            stamp: reply.stamp,
            interface: 1,
            ttl: 64,
            quoted: None,
        })
    }
}

/// Has one more packet for whoever asks it to catch up.
#[derive(Default)]
struct Generous {
    asked: usize,
    packets: usize,
    answers: usize,
}

impl Source for Generous {
    async fn recv(&mut self) -> Result<Option<Captured<'_>>, TracerouteError> {
        if self.packets < self.asked {
            self.packets += 1;
            let stamp = Stamp::kernel(Timestamp::ZERO);
            return Ok(Some(Captured { direction: Direction::Received, stamp, interface: 1, datagram: &[] }));
        }
        if self.answers < self.asked {
            self.answers += 1;
            return Ok(None);
        }
        std::future::pending().await
    }

    fn catch_up(&mut self) {
        self.asked += 1;
    }
}

struct Nowhere;

impl Sink for Nowhere {
    async fn send(&self, _: &[u8], _: Destination) -> Result<Stamp, TracerouteError> {
        Ok(Stamp::user(Timestamp::ZERO))
    }
}

#[tokio::test(start_paused = true)]
async fn packets_that_keep_coming_do_not_keep_a_run_from_its_end() {
    let clock = Clock::since(Instant::now());
    let to = Destination::routed(TARGET);
    let mut driver =
        PacketDriver::new(Credulous, Generous::default(), Nowhere, to, clock, None, |_: &mut Run| {});
    let deadline = Timestamp::ZERO + Duration::from_millis(300);
    let first = driver.next_event(Some(deadline)).await.expect("an event");
    assert!(matches!(first, Event::Reply(_)), "what had come counts: {first:?}");
    assert_eq!(driver.next_event(Some(deadline)).await, Ok(Event::Deadline), "and then the time is over");
    assert_eq!(driver.now(), deadline);

    // What was asked for one deadline is no answer for a later one.
    let later = deadline + Duration::from_millis(100);
    let second = driver.next_event(Some(later)).await.expect("an event");
    assert!(matches!(second, Event::Reply(_)), "{second:?}");
    let latest = later + Duration::from_millis(100);
    let third = driver.next_event(Some(latest)).await.expect("an event");
    assert!(matches!(third, Event::Reply(_)), "{third:?}");
    assert_eq!(driver.now(), latest);
}

/// Never says that it has caught up.
struct Stuck;

impl Source for Stuck {
    async fn recv(&mut self) -> Result<Option<Captured<'_>>, TracerouteError> {
        std::future::pending().await
    }

    fn catch_up(&mut self) {}
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_stuck_does_not_keep_a_run_from_its_end() {
    let clock = Clock::since(Instant::now());
    let to = Destination::routed(TARGET);
    let mut driver = PacketDriver::new(Credulous, Stuck, Nowhere, to, clock, None, |_: &mut Run| {});
    let deadline = Timestamp::ZERO + Duration::from_millis(300);
    assert_eq!(driver.next_event(Some(deadline)).await, Ok(Event::Deadline));
    assert_eq!(driver.now(), deadline + Duration::from_secs(2));
    let later = driver.now() + Duration::from_millis(100);
    assert_eq!(driver.next_event(Some(later)).await, Ok(Event::Deadline), "it is asked again");
    assert_eq!(driver.now(), later + Duration::from_secs(2));
}
