//! What is noted of every request: a line in the log, and the metrics.

use std::fmt::Write;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tracing::{Instrument, info, info_span, warn};

use crate::routes;
use crate::service::{Peer, Service};

/// What names a request in the log and to its client.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest that is taken over from a client.
const LONGEST_ID: usize = 64;
/// How much of a query is logged.
const LONGEST_QUERY: usize = 512;
/// Nginx's number for a request whose client did not wait.
const CLIENT_GONE: u16 = 499;

/// Notes a request, whatever becomes of it.
pub(crate) async fn observe(State(service): State<Service>, request: Request, next: Next) -> Response {
    let id = known_id(request.headers()).unwrap_or_else(random_id);
    let client = request.extensions().get().map(|Peer(address)| address.to_string()).unwrap_or_default();
    let span = info_span!("request", id = %id, client);
    let mut observed = Observed {
        path: routes::ALL.iter().find(|path| **path == request.uri().path()).unwrap_or(&"other"),
        query: request.uri().query().unwrap_or_default().chars().take(LONGEST_QUERY).collect(),
        service,
        started: Instant::now(),
        status: CLIENT_GONE,
        span: span.clone(),
    };
    let mut response = next.run(request).instrument(span).await;
    observed.status = response.status().as_u16();
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// A request, which is noted when this is dropped, answered or not.
struct Observed {
    path: &'static str,
    query: String,
    service: Service,
    started: Instant,
    status: u16,
    span: tracing::Span,
}

impl Drop for Observed {
    fn drop(&mut self) {
        let Self { path, ref query, status, .. } = *self;
        let took = self.started.elapsed();
        self.service.metrics().answered(path, status, took);
        let ms = (took.as_secs_f64() * 1e6).round() / 1e3;
        let _entered = self.span.enter();
        match status {
            500.. => warn!(path, query, status, ms, "failed"),
            CLIENT_GONE => info!(path, query, ms, "the client is gone"),
            _ => info!(path, query, status, ms, "answered"),
        }
    }
}

/// The id that the client gave, if it is fit for a log.
fn known_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    (!id.is_empty() && id.len() <= LONGEST_ID && id.bytes().all(fits)).then(|| id.to_owned())
}

fn random_id() -> String {
    let mut bytes = [0; 8];
    // Without random bits all have one id: worse things are the matter then.
    getrandom::fill(&mut bytes).unwrap_or_default();
    bytes.iter().fold(String::new(), |mut id, byte| {
        write!(id, "{byte:02x}").unwrap_or_default();
        id
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_clients_are_taken_over_if_they_are_harmless() {
        let known = |id: &str| {
            let value = HeaderValue::from_str(id).expect("a header");
            known_id(&HeaderMap::from_iter([(REQUEST_ID, value)]))
        };
        assert_eq!(known("aZ0-._").as_deref(), Some("aZ0-._"));
        for id in ["", "two words", "a=b", &"a".repeat(65)] {
            assert_eq!(known(id), None, "{id:?}");
        }
        assert_eq!((random_id().len(), random_id() == random_id()), (16, false));
    }
}
