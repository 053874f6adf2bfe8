//! The connections that are being made, and what they come to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use traceroute_core::{Direction, Stamp};
use tracing::warn;

use super::{End, Flow, Probe, System, number};
use crate::clock::Clock;
use crate::inbox::{Inbox, Packet};
use crate::platform::windows::answers;
use crate::platform::windows::conclusion::{Conclusion, conclude};

/// The connections that are being made, which are given up when this is dropped.
pub(super) struct Attempts(Arc<Shared>);

/// Sees what they have come to.
pub(super) struct Watcher(Weak<Shared>);

struct Shared {
    system: System,
    clock: Clock,
    inbox: Inbox,
    under_way: Mutex<UnderWay>,
}

#[derive(Default)]
struct UnderWay {
    /// How many have begun.
    begun: u64,
    by_flow: HashMap<Flow, Attempt>,
}

/// A connection being made.
struct Attempt {
    number: u64,
    probe: Probe,
    stream: Arc<TcpStream>,
    /// Waits for its end.
    waiting: JoinHandle<()>,
}

impl Attempts {
    pub(super) fn new(system: System, clock: Clock, inbox: Inbox) -> Self {
        Self(Arc::new(Shared { system, clock, inbox, under_way: Mutex::default() }))
    }

    pub(super) fn watcher(&self) -> Watcher {
        Watcher(Arc::downgrade(&self.0))
    }

    /// Puts into the inbox what comes of a connection that has begun.
    pub(super) fn begun(&self, probe: Probe, stream: TcpStream) {
        let (flow, stream) = (probe.flow(), Arc::new(stream));
        // Its end is not to be noted before its beginning.
        let mut under_way = self.0.lock();
        under_way.begun += 1;
        let number = under_way.begun;
        let waiting = tokio::spawn(wait(Arc::downgrade(&self.0), flow, number, Arc::clone(&stream)));
        under_way.by_flow.insert(flow, Attempt { number, probe, stream, waiting });
    }

    /// Gives up the connection of a flow, if there is one. What it has come to by now counts. When this returns its socket is closed.
    pub(super) async fn end(&self, flow: Flow) {
        let settled = self.0.settle(flow, None);
        let attempt = settled.or_else(|| self.0.lock().by_flow.remove(&flow));
        if let Some(mut attempt) = attempt {
            attempt.waiting.abort();
            // However it has ended: until then it has the socket, too.
            let _ = (&mut attempt.waiting).await;
        }
    }
}

impl Watcher {
    /// Puts into the inbox what connections have come to by now.
    pub(super) fn look(&self) {
        let Some(shared) = self.0.upgrade() else { return };
        let flows: Vec<_> = shared.lock().by_flow.keys().copied().collect();
        for flow in flows {
            drop(shared.settle(flow, None));
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.waiting.abort();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts into the inbox what the attempt of a flow has come to, if it is the one of this number, or any, and has ended.
    fn settle(&self, flow: Flow, number: Option<u64>) -> Option<Attempt> {
        let stamp = Stamp::user(self.clock.now());
        // Held until the answer is in the inbox: a socket tells its end once only, and who looks meanwhile is to find the one or the
        // other.
        let mut under_way = self.lock();
        let attempt = under_way.by_flow.get(&flow);
        let attempt = attempt.filter(|attempt| number.is_none_or(|number| attempt.number == number))?;
        let conclusion = self.ask(attempt)?;
        let attempt = under_way.by_flow.remove(&flow)?;
        match conclusion {
            Conclusion::Answered(answer) => {
                if let Some(datagram) = answers::packet(&attempt.probe.datagram, &answer) {
                    let (direction, datagram) = (Direction::Received, datagram.into());
                    self.inbox.put(Packet { direction, stamp, datagram });
                }
            }
            Conclusion::Silent => {}
            Conclusion::Failed(errno) => {
                warn!(errno, remote = %attempt.probe.remote, "a connection failed");
            }
        }
        drop(under_way);
        Some(attempt)
    }

    /// What an attempt has come to, if it has ended.
    fn ask(&self, attempt: &Attempt) -> Option<Conclusion> {
        let Attempt { probe, stream, .. } = attempt;
        let conclude = |error| conclude(probe.remote.ip(), error, || (self.system.icmp_error)(stream));
        match (self.system.end)(stream) {
            Ok(End::NotYet) => None,
            Ok(End::Connected) => Some(conclude(None)),
            Ok(End::Failed(error)) => Some(conclude(Some(number(&error)))),
            Err(error) => Some(Conclusion::Failed(number(&error))),
        }
    }
}

/// Waits for the end of an attempt.
async fn wait(shared: Weak<Shared>, flow: Flow, number: u64, stream: Arc<TcpStream>) {
    // A runtime that ends is the end of all.
    let Ok(()) = stream.writable().await else { return };
    drop(stream);
    if let Some(shared) = shared.upgrade() {
        drop(shared.settle(flow, Some(number)));
    }
}
