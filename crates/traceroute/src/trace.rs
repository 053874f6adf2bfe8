//! A request under way, as its owner sees it.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use traceroute_core::Results;
use traceroute_packets::{Queue, Watched};

use crate::error::Error;
use crate::event::{Events, TraceEvent};
use crate::request::Request;
use crate::run::{Phase, enter};
use crate::tracer::Inner;
use crate::work::carry_out;

/// How many events may wait to be read; more are lost, and counted.
const EVENTS: usize = 4096;

/// A request under way. Dropping it ends the request: nothing more is sent, and no socket, lease or task is left. Only a
/// name that is being looked up keeps its thread until the system's resolver gives up.
#[derive(Debug)]
#[must_use = "dropping a trace ends its request"]
pub struct Trace {
    events: Arc<Queue<TraceEvent>>,
    phase: Arc<Watched<Phase>>,
    task: JoinHandle<Result<Results, Error>>,
}

impl Trace {
    pub(crate) fn start(
        tracer: Arc<Inner>,
        runtime: &Handle,
        request: Request,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let events = Arc::new(Queue::new(EVENTS));
        let phase = Arc::new(Watched::new(Phase::Running));
        let events_out = Events(Arc::clone(&events));
        let phase_out = Arc::clone(&phase);
        let task = runtime.spawn(async move {
            let _permit = permit;
            carry_out(&tracer, &request, &events_out, &phase_out).await
        });
        Self { events, phase, task }
    }

    /// The next thing that happens; `None` when the request has ended. Dropping the future loses no event.
    pub async fn next_event(&mut self) -> Option<TraceEvent> {
        self.events.pop().await
    }

    /// How many events were lost because they were not read in time.
    #[must_use]
    pub fn lost_events(&self) -> u64 {
        self.events.lost()
    }

    /// Waits for the end of the request and returns its results.
    ///
    /// Events that have not been read are discarded, and no more are made.
    pub async fn finish(mut self) -> Result<Results, Error> {
        self.events.discard();
        match (&mut self.task).await {
            Ok(outcome) => outcome,
            Err(failure) => match failure.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(Error::Stopped),
            },
        }
    }

    /// Ends the request now, and returns what was learnt.
    pub async fn stop(self) -> Result<Results, Error> {
        self.stopper().stop();
        self.finish().await
    }

    /// What ends the request while somebody else waits for its results.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper { phase: Arc::clone(&self.phase) }
    }
}

/// Ends a request.
#[derive(Clone, Debug)]
pub struct Stopper {
    phase: Arc<Watched<Phase>>,
}

impl Stopper {
    /// Ends the request now; [`Trace::finish`] returns what was learnt.
    pub fn stop(&self) {
        enter(&self.phase, Phase::Stopped);
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.task.abort();
    }
}
