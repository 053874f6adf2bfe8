//! A request as server-sent events: what happens as it happens, and the result in the end.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use serde::Serialize;
use traceroute::TraceEvent;

use crate::answer::{Failure, json};
use crate::service::{Begun, Service};

/// Answers with the events of a request. What cannot be done at all, as where the target has no address, is answered like a
/// request without a stream.
pub(crate) async fn begin(service: Service, mut begun: Begun) -> Result<Response, Failure> {
    let Some(first) = next_event(&service, &mut begun).await else {
        // Without an address there are no events.
        let results = service.finish(begun).await?;
        return Ok(
            Sse::new(unfold(Telling::end(vec![event("result", &results)]), Telling::next)).into_response()
        );
    };
    let told = VecDeque::from([event(first.name(), &first)]);
    let telling = Telling { told, begun: Some((service, begun)) };
    Ok(Sse::new(unfold(telling, Telling::next)).keep_alive(KeepAlive::default()).into_response())
}

/// What is still to be told.
struct Telling {
    told: VecDeque<Event>,
    /// The request, until it has ended.
    begun: Option<(Service, Begun)>,
}

/// Some events were lost because the client did not read them in time.
#[derive(Serialize)]
struct Lost {
    events: u64,
}

impl Telling {
    fn end(told: Vec<Event>) -> Self {
        Self { told: told.into(), begun: None }
    }

    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        if let Some(event) = self.told.pop_front() {
            return Some((Ok(event), self));
        }
        let (service, mut begun) = self.begun.take()?;
        if let Some(happened) = next_event(&service, &mut begun).await {
            self.begun = Some((service, begun));
            return Some((Ok(event(happened.name(), &happened)), self));
        }
        let lost = begun.trace.lost_events();
        if lost > 0 {
            self.told.push_back(event("lost", &Lost { events: lost }));
        }
        self.told.push_back(match service.finish(begun).await {
            Ok(results) => event("result", &results),
            Err(failure) => Event::default().event("error").data(line(failure.json())),
        });
        let event = self.told.pop_front()?;
        Some((Ok(event), self))
    }
}

/// What happens next in a request, which ends early if the service does.
async fn next_event(service: &Service, begun: &mut Begun) -> Option<TraceEvent> {
    let stopper = begun.trace.stopper();
    tokio::select! {
        biased;
        event = begun.trace.next_event() => event,
        () = service.stopping() => {
            stopper.stop();
            begun.trace.next_event().await
        }
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
