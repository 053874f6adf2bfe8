//! A request as server-sent events: what happens as it happens, and the result in the end.

use std::convert::Infallible;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use serde::Serialize;
use tokio::sync::mpsc::{Sender, channel};
use traceroute::TraceEvent;
use tracing::Instrument;

use crate::answer::{Failure, in_json, json};
use crate::service::{Begun, Service};

/// How many events may wait for a client to read them; more are lost, and counted.
const WAITING: usize = 1024;

/// Answers with the events of a request. What cannot be done at all, as where the target has no address, is answered like a
/// request without a stream.
pub(crate) async fn begin(service: Service, mut begun: Begun) -> Result<Response, Failure> {
    let Some(first) = service.next_event(&mut begun).await else {
        return Ok(in_json(&service.finish(begun).await?));
    };
    let (teller, told) = channel(WAITING);
    // The request does not wait for its client: one that reads slowly keeps no place longer than others.
    tokio::spawn(tell(service, begun, first, teller).in_current_span());
    let events =
        unfold(told, async |mut told| told.recv().await.map(|event| (Ok::<_, Infallible>(event), told)));
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}

/// Some events were lost because the client did not read them in time.
#[derive(Serialize)]
struct Lost {
    events: u64,
}

/// Tells all that happens, unless the client goes away: the request then ends with this.
async fn tell(service: Service, mut begun: Begun, first: TraceEvent, teller: Sender<Event>) {
    let mut missed = 0;
    let mut next = Some(first);
    while let Some(happened) = next {
        missed += u64::from(teller.try_send(event(happened.name(), &happened)).is_err());
        next = tokio::select! {
            next = service.next_event(&mut begun) => next,
            () = teller.closed() => return,
        };
    }
    missed += begun.lost_events();
    let last = match service.finish(begun).await {
        Ok(results) => event("result", &results),
        Err(failure) => Event::default().event("error").data(line(failure.json())),
    };
    let told = (missed > 0).then(|| event("lost", &Lost { events: missed }));
    for event in told.into_iter().chain([last]) {
        // A client that has gone needs nothing.
        teller.send(event).await.unwrap_or_default();
    }
}

fn event(name: &str, value: &impl Serialize) -> Event {
    Event::default().event(name).data(line(json(value)))
}

/// The text of a line without its end.
fn line(json: Vec<u8>) -> String {
    let text = String::from_utf8(json).unwrap_or_default();
    text.trim_end().to_owned()
}
