//! What was sent and what arrived, with times.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use traceroute_core::Direction;
use traceroute_wire::Timestamp;

use super::describe;

/// The record of all datagrams that left or reached the client of a simulated network.
///
/// Clones share it, and it can be read while the network is in operation.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Mutex<Vec<Record>>>);

/// A datagram that left or reached the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When it passed.
    pub at: Timestamp,
    /// Which way it went.
    pub direction: Direction,
    /// The datagram.
    pub datagram: Vec<u8>,
    /// Why it got no further, if it did not.
    pub fault: Option<String>,
}

impl Recorder {
    pub(super) fn record(&self, record: Record) {
        self.record_after(|| record);
    }

    /// Records what comes of some work, while which nobody can read the record.
    pub(super) fn record_after(&self, work: impl FnOnce() -> Record) {
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        records.push(work());
    }

    /// Everything so far, in the order of time.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        records.sort_by_key(|r| r.at);
        records
    }

    /// Everything since the last call, in the order of time, and forgets it: for those who watch for so long that all
    /// of it would not fit into memory.
    #[must_use]
    pub fn take(&self) -> Vec<Record> {
        let mut records = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        records.sort_by_key(|r| r.at);
        records
    }

    /// What the client sent.
    #[must_use]
    pub fn sent(&self) -> Vec<Record> {
        self.of(Direction::Sent)
    }

    /// What reached the client.
    #[must_use]
    pub fn received(&self) -> Vec<Record> {
        self.of(Direction::Received)
    }

    /// How many datagrams the client sent with each TTL or hop limit.
    #[must_use]
    pub fn sent_per_ttl(&self) -> BTreeMap<u8, usize> {
        let mut counts = BTreeMap::new();
        for ttl in self.sent().iter().filter_map(Record::ttl) {
            *counts.entry(ttl).or_default() += 1;
        }
        counts
    }

    /// Everything so far, a line for each datagram: milliseconds, `>` for sent or `<` for received, and
    /// [described](super::describe()).
    ///
    /// ```text
    /// 12.340 > udp 10.71.0.1:61000 > 10.71.8.2:33434 ttl=3 len=36
    /// 18.340 < time-exceeded from 10.71.2.2 quoting ttl=1 udp 10.71.0.1:61000 > 10.71.8.2:33434
    /// ```
    #[must_use]
    pub fn timeline(&self) -> String {
        self.lines(|record| describe::describe(&record.datagram))
    }

    /// The timeline without ports, ids and lengths, which may be drawn at random.
    ///
    /// ```text
    /// 12.340 > udp ttl=3
    /// 18.340 < time-exceeded from 10.71.2.2
    /// ```
    #[must_use]
    pub fn outline(&self) -> String {
        self.lines(|record| {
            let mut line = describe::outline(&record.datagram);
            match (record.direction, record.ttl(), record.source()) {
                (Direction::Sent, Some(ttl), _) => {
                    let _ = write!(line, " ttl={ttl}");
                }
                (Direction::Received, _, Some(source)) if !line.contains(" from ") => {
                    let _ = write!(line, " from {source}");
                }
                _ => {}
            }
            line
        })
    }

    fn of(&self, direction: Direction) -> Vec<Record> {
        let mut records = self.records();
        records.retain(|r| r.direction == direction);
        records
    }

    fn lines(&self, describe: impl Fn(&Record) -> String) -> String {
        let mut text = String::new();
        for record in self.records() {
            let arrow = if record.direction == Direction::Sent { '>' } else { '<' };
            let _ = write!(text, "{} {arrow} {}", milliseconds(record.at), describe(&record));
            match &record.fault {
                Some(fault) => drop(writeln!(text, " ! {fault}")),
                None => text.push('\n'),
            }
        }
        text
    }
}

impl Record {
    /// The TTL or hop limit in its header.
    #[must_use]
    pub fn ttl(&self) -> Option<u8> {
        describe::ttl(&self.datagram)
    }

    /// The source address in its header.
    #[must_use]
    pub fn source(&self) -> Option<IpAddr> {
        describe::source(&self.datagram)
    }
}

fn milliseconds(at: Timestamp) -> String {
    let micros = Duration::from_nanos(at.as_nanos()).as_micros();
    format!("{}.{:03}", micros / 1000, micros % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_forgotten_by_all_clones() {
        let recorder = Recorder::default();
        let record = |millis| Record {
            at: Timestamp::ZERO + Duration::from_millis(millis),
            direction: Direction::Sent,
            datagram: vec![0; 20],
            fault: None,
        };
        recorder.clone().record(record(2));
        recorder.record(record(1));
        assert_eq!(recorder.take(), [record(1), record(2)]);
        recorder.record(record(3));
        assert_eq!(recorder.clone().take(), [record(3)]);
        assert_eq!(recorder.records(), []);
    }
}
