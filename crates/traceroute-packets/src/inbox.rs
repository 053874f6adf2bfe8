//! Packets that other threads bring: the source where the system calls back, or a thread waits for it.

use std::sync::Arc;

use traceroute_core::{Captured, Direction, DropCounter, Source, Stamp, TracerouteError};

use crate::queue::Queue;

/// How many packets may wait to be read: the answers of a thousand runs that come all at once.
const CAPACITY: usize = 8192;

/// Where packets are put. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Inbox {
    queue: Arc<Queue<Arrived>>,
    drops: DropCounter,
}

/// Where they are read, in the order in which they were put.
#[derive(Debug)]
pub(crate) struct InboxSource<C> {
    inbox: Inbox,
    current: Option<Packet>,
    catch_up: C,
}

/// A packet with what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) direction: Direction,
    pub(crate) stamp: Stamp,
    pub(crate) datagram: Box<[u8]>,
}

#[derive(Debug)]
enum Arrived {
    Packet(Packet),
    /// All that had come when somebody asked has been put.
    UpToDate,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self { queue: Arc::new(Queue::new(CAPACITY)), drops: DropCounter::default() }
    }

    /// The source of what is put here. `catch_up` is to see to it that [`up_to_date`](Self::up_to_date) is called once all
    /// packets have been put that the system has by then.
    pub(crate) fn source<C: FnMut(&Self) + Send>(&self, catch_up: C) -> InboxSource<C> {
        InboxSource { inbox: self.clone(), current: None, catch_up }
    }

    /// Puts a packet, or counts it as lost if nobody reads as fast as they come.
    pub(crate) fn put(&self, packet: Packet) {
        if !self.queue.push(|| Arrived::Packet(packet)) {
            self.drops.add(1);
        }
    }

    /// Counts packets that were lost before they came here.
    pub(crate) fn count_lost(&self, packets: u64) {
        self.drops.add(packets);
    }

    /// Answers a question to catch up.
    pub(crate) fn up_to_date(&self) {
        self.queue.insist(Arrived::UpToDate);
    }

    /// There will be no more packets.
    pub(crate) fn close(&self) {
        self.queue.close();
    }
}

impl<C: FnMut(&Inbox) + Send> Source for InboxSource<C> {
    async fn recv(&mut self) -> Result<Option<Captured<'_>>, TracerouteError> {
        match self.inbox.queue.pop().await {
            Some(Arrived::Packet(packet)) => {
                let Packet { direction, stamp, datagram } = self.current.insert(packet);
                let (direction, stamp) = (*direction, *stamp);
                Ok(Some(Captured { direction, stamp, interface: 0, datagram }))
            }
            Some(Arrived::UpToDate) => Ok(None),
            None => Err(TracerouteError::CaptureEnded),
        }
    }

    fn catch_up(&mut self) {
        (self.catch_up)(&self.inbox);
    }

    fn drop_counter(&self) -> DropCounter {
        self.inbox.drops.clone()
    }
}

#[cfg(test)]
mod tests {
    use traceroute_core::Timestamp;

    use super::*;

    fn packet(number: u8) -> Packet {
        let stamp = Stamp::user(Timestamp::from_nanos(number.into()));
        Packet { direction: Direction::Received, stamp, datagram: [number].into() }
    }

    #[tokio::test]
    async fn packets_come_in_order_and_the_answer_behind_those_before_it() {
        let inbox = Inbox::new();
        let mut source = inbox.source(Inbox::up_to_date);
        (0..3).for_each(|number| inbox.put(packet(number)));
        source.catch_up();
        inbox.put(packet(3));
        let mut read = Vec::new();
        for _ in 0..5 {
            let next = source.recv().await.expect("there are more");
            read.push(next.map(|captured| (captured.datagram.to_vec(), captured.stamp.at.as_nanos())));
        }
        let one = |number: u8| Some((vec![number], u64::from(number)));
        assert_eq!(read, [one(0), one(1), one(2), None, one(3)]);
        inbox.close();
        assert_eq!(source.recv().await, Err(TracerouteError::CaptureEnded));
    }

    #[test]
    fn what_does_not_fit_is_counted_with_what_was_lost_before() {
        let inbox = Inbox::new();
        let source = inbox.source(Inbox::up_to_date);
        (0..CAPACITY + 3).for_each(|_| inbox.put(packet(0)));
        inbox.count_lost(4);
        assert_eq!(source.drop_counter().count(), 7);
    }
}
