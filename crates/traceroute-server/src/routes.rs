//! What is answered at which path.

use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, Uri};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Extension, Router};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::limit::RequestBodyLimitLayer;
use traceroute::ErrorCode;

use crate::answer::{Failure, in_json, method_not_allowed, not_found};
use crate::health::Health;
use crate::observe::observe;
use crate::service::{Peer, Service};
use crate::{metrics, openapi, stream};

/// The longest body that is not refused. There is nothing to say in one.
const BODY: usize = 64 << 10;

/// The paths that there are.
pub(crate) const TRACEROUTE: &str = "/traceroute";
pub(crate) const STREAM: &str = "/traceroute/stream";
pub(crate) const HEALTH: &str = "/health";
pub(crate) const METRICS: &str = "/metrics";
pub(crate) const OPENAPI: &str = "/openapi.json";
pub(crate) const ALL: [&str; 5] = [TRACEROUTE, STREAM, HEALTH, METRICS, OPENAPI];

impl Service {
    /// What is answered at which path. Requests are to have their [`Peer`] among their extensions: otherwise
    /// nobody's rate is limited.
    pub fn router(&self) -> Router {
        let guarded = Router::new()
            .route(TRACEROUTE, any(traceroute))
            .route(STREAM, any(traceroute_stream))
            .route(METRICS, any(metrics_text))
            .route(OPENAPI, any(description))
            .route_layer(from_fn(only_get))
            .route_layer(from_fn_with_state(self.clone(), authorise));
        Router::new()
            .route(HEALTH, any(health))
            .merge(guarded)
            .fallback(async || not_found())
            .layer(RequestBodyLimitLayer::new(BODY))
            .layer(CatchPanicLayer::custom(|_| failed()))
            .layer(from_fn_with_state(self.clone(), observe))
            .with_state(self.clone())
    }
}

/// The service itself is at fault.
fn failed() -> Response {
    Failure::new(ErrorCode::Unknown, "the service failed, and its log says more").into_response()
}

async fn authorise(
    State(service): State<Service>,
    request: Request,
    next: Next,
) -> Result<Response, Failure> {
    service.authorise(request.headers())?;
    Ok(next.run(request).await)
}

/// `any` leaves the answer to other methods to us: it is the reference's.
async fn only_get(request: Request, next: Next) -> Response {
    if request.method() == Method::GET { next.run(request).await } else { method_not_allowed() }
}

async fn traceroute(
    State(service): State<Service>,
    uri: Uri,
    peer: Option<Extension<Peer>>,
) -> Result<Response, Failure> {
    let begun = service.begin(uri.query(), peer.map(|Extension(peer)| peer)).await?;
    Ok(in_json(&service.finish(begun).await?))
}

async fn traceroute_stream(
    State(service): State<Service>,
    uri: Uri,
    peer: Option<Extension<Peer>>,
) -> Result<Response, Failure> {
    let begun = service.begin(uri.query(), peer.map(|Extension(peer)| peer)).await?;
    stream::begin(service, begun).await
}

async fn health(State(service): State<Service>, method: Method) -> Response {
    if method != Method::GET && method != Method::HEAD {
        return method_not_allowed();
    }
    in_json(&Health::now(service.uptime()))
}

async fn metrics_text(State(service): State<Service>) -> Response {
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], service.metrics().text()).into_response()
}

async fn description() -> Response {
    in_json(&openapi::document())
}
