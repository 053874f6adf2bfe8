//! The seam between a run and the world: a driver owns the clock, the wait and the I/O.

use core::future::Future;

use traceroute_wire::{Stamp, Timestamp};

use crate::{Knowledge, ProbeId, ProbeResponse, Run, SackRefusal, TracerouteError};

/// Something a run has to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A probe was seen on its way out: a better send time.
    Sent {
        /// Which.
        probe: ProbeId,
        /// When.
        stamp: Stamp,
    },
    /// A probe was answered.
    Reply(ProbeResponse),
    /// A packet says that the method does not work.
    Refused(SackRefusal),
    /// A sister run has learnt something.
    Learnt(Knowledge),
    /// The time waited for has come.
    Deadline,
}

/// Sends probes and waits for what comes of them. Closing is dropping.
pub trait TracerouteDriver: Send {
    /// The time now, on the time line of all stamps.
    fn now(&self) -> Timestamp;

    /// Sends a probe; the stamp is user space's, [`Event::Sent`] may bring a better one.
    fn send_probe(&mut self, probe: ProbeId) -> impl Future<Output = Result<Stamp, TracerouteError>> + Send;

    /// Waits for the next event, until `until` at the latest.
    fn next_event(
        &mut self,
        until: Option<Timestamp>,
    ) -> impl Future<Output = Result<Event, TracerouteError>> + Send;

    /// Is told after each step, so that events and knowledge can be passed on.
    fn observe(&mut self, run: &mut Run) {
        let _ = run;
    }
}

/// Drives a run to its end.
pub async fn trace<D: TracerouteDriver>(run: &mut Run, driver: &mut D) -> Result<(), TracerouteError> {
    while !run.is_finished() {
        while let Some(probe) = run.poll_send(driver.now()) {
            match driver.send_probe(probe).await {
                Ok(stamp) => run.handle_sent(probe, stamp),
                Err(error) => run.handle_send_error(probe, error)?,
            }
            driver.observe(run);
        }
        if !run.is_finished() {
            let event = driver.next_event(run.poll_timeout()).await?;
            handle(run, driver, event);
        }
    }
    Ok(())
}

/// Books what has arrived until now, and sends nothing: for a run that is to end before its time.
pub async fn settle<D: TracerouteDriver>(run: &mut Run, driver: &mut D) {
    let now = driver.now();
    while let Ok(event) = driver.next_event(Some(now)).await {
        let last = event == Event::Deadline;
        handle(run, driver, event);
        if last {
            return;
        }
    }
}

/// Books what still comes after the end of a run. Never returns unless the driver fails.
pub async fn linger<D: TracerouteDriver>(run: &mut Run, driver: &mut D) -> TracerouteError {
    loop {
        match driver.next_event(None).await {
            Ok(event) => handle(run, driver, event),
            Err(error) => return error,
        }
    }
}

fn handle<D: TracerouteDriver>(run: &mut Run, driver: &mut D, event: Event) {
    match event {
        Event::Sent { probe, stamp } => run.handle_sent(probe, stamp),
        Event::Reply(response) => run.handle_reply(response),
        Event::Refused(reason) => run.handle_refusal(reason, driver.now()),
        Event::Learnt(knowledge) => run.handle_learnt(knowledge),
        Event::Deadline => run.handle_timeout(driver.now()),
    }
    driver.observe(run);
}
