//! The service: what a request passes before it is carried out, and how all of them end.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until};
use traceroute::{Error, ErrorCode, Results, Stopper, Trace, TraceEvent, Tracer, TracerBuilder};

use crate::answer::Failure;
use crate::gate::Gate;
use crate::metrics::Metrics;
use crate::policy::{Policy, Targets};
use crate::query::{self, Asked};
use crate::rate::{self, RateLimit};
use crate::share::{Share, Shares};
use crate::token::Token;

/// What a service allows.
#[derive(Clone, Debug)]
pub struct Options {
    /// What clients have to show, except for `/health`.
    pub token: Option<Token>,
    /// Which targets may be traced.
    pub policy: Policy,
    /// Requests carried out at one time.
    pub max_concurrent: usize,
    /// Requests that wait for others to end.
    pub max_queued: usize,
    /// How long each waits at most.
    pub max_queue_wait: Duration,
    /// Requests of one client at one time, those that wait included; 0 is no limit.
    pub max_per_client: usize,
    /// How long a request may go on. What it has learnt by then is its answer.
    pub max_duration: Duration,
    /// Requests a minute of one client, an IPv4 address or the /64 network of an IPv6 one.
    pub client_rate: Option<NonZeroU32>,
    /// Requests a minute for one target address.
    pub target_rate: Option<NonZeroU32>,
}

impl Default for Options {
    /// 256 requests at one time, of an hour at most, 256 that wait for up to ten seconds, no token, no rates.
    fn default() -> Self {
        Self {
            token: None,
            policy: Policy::default(),
            max_concurrent: 256,
            max_queued: 256,
            max_queue_wait: Duration::from_secs(10),
            max_per_client: 0,
            max_duration: Duration::from_hours(1),
            client_rate: None,
            target_rate: None,
        }
    }
}

/// Where a probe would have to wait longer, no request is begun.
const BACKLOG: Duration = Duration::from_secs(1);
/// When it is worth to try again where nobody knows.
const SOON: Duration = Duration::from_secs(1);

/// The client's end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// How far the service is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Serving,
    /// Those who ask now are refused.
    Draining,
    /// What is under way gives what it has learnt.
    Stopping,
}

/// The service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Service {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    tracer: Tracer,
    token: Option<Token>,
    client_rate: Option<RateLimit<IpAddr>>,
    gate: Arc<Gate>,
    targets: Targets,
    shares: Option<Shares>,
    max_duration: Duration,
    metrics: Metrics,
    stage: watch::Sender<Stage>,
    started: Instant,
}

/// A request under way.
pub(crate) struct Begun {
    trace: Trace,
    /// Of the query.
    warnings: Vec<String>,
    /// When it has to end.
    ends: Instant,
    /// Whether it was ended because of that.
    was_ended: bool,
    /// Its place among those that are carried out.
    _place: Arc<(OwnedSemaphorePermit, Option<Share>)>,
}

impl Service {
    /// Opens the service's tracer, which `tracer` describes.
    pub async fn open(options: Options, tracer: TracerBuilder) -> Result<Self, Error> {
        let targets = Targets::new(options.policy, options.target_rate);
        let tracer = tracer.target_policy(targets.clone()).build().await?;
        let gate = Arc::new(Gate::new(options.max_concurrent, options.max_queued, options.max_queue_wait));
        Ok(Self {
            inner: Arc::new(Inner {
                metrics: Metrics::new(&tracer, &gate),
                tracer,
                token: options.token,
                client_rate: options.client_rate.map(|rate| RateLimit::new("from one client", rate)),
                gate,
                targets,
                shares: (options.max_per_client > 0).then(|| Shares::new(options.max_per_client)),
                max_duration: options.max_duration,
                stage: watch::Sender::new(Stage::Serving),
                started: Instant::now(),
            }),
        })
    }

    /// Refuses all who ask from now on.
    pub fn drain(&self) {
        self.inner.gate.close();
        self.enter(Stage::Draining);
    }

    /// Ends what is under way: those who wait get what was learnt.
    pub fn stop(&self) {
        self.drain();
        self.enter(Stage::Stopping);
    }

    fn enter(&self, stage: Stage) {
        self.inner.stage.send_if_modified(|current| {
            let later = stage > *current;
            *current = stage.max(*current);
            later
        });
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// How long the service has been there.
    pub(crate) fn uptime(&self) -> Duration {
        self.inner.started.elapsed()
    }

    /// Lets only those pass who show the token, if there is one.
    pub(crate) fn authorise(&self, headers: &HeaderMap) -> Result<(), Failure> {
        if self.inner.token.as_ref().is_none_or(|token| token.is_shown_by(headers)) {
            return Ok(());
        }
        let message = "a bearer token is required, as in \"Authorization: Bearer TOKEN\"";
        Err(Failure::new(ErrorCode::Unauthorized, message))
    }

    /// Begins what a query asks for, if it may be.
    pub(crate) async fn begin(&self, query: Option<&str>, peer: Option<Peer>) -> Result<Begun, Failure> {
        if let (Some(limit), Some(Peer(peer))) = (&self.inner.client_rate, peer) {
            limit.check(rate::client(peer.ip()))?;
        }
        let Asked { mut request, warnings } = query::parse(query.unwrap_or_default())
            .map_err(|invalid| Failure::new(ErrorCode::InvalidRequest, invalid.to_string()))?;
        // Nobody is to wait, or to keep others waiting, for a refusal.
        self.inner.targets.check_beforehand(&request)?;
        let share = match (&self.inner.shares, peer) {
            (Some(shares), Some(Peer(peer))) => Some(shares.take(peer.ip()).ok_or_else(|| {
                let message = "this client has as many requests at one time as it may";
                Failure { retry_after: Some(SOON), ..Failure::new(ErrorCode::RateLimited, message) }
            })?),
            _ => None,
        };
        let backlog = self.inner.tracer.stats().probe_backlog;
        if backlog > BACKLOG {
            let message = "more probes wait than may be sent within a second";
            return Err(Failure::overloaded(message, backlog));
        }
        let permit = self.inner.gate.enter().await;
        let permit = permit.map_err(|full| Failure::overloaded(full.to_string(), SOON))?;
        // Names are looked up in threads that cannot be called off: while they last, they count.
        let place = Arc::new((permit, share));
        request.keep(Arc::clone(&place) as _);
        let trace = self.inner.tracer.start(request)?;
        Ok(Begun {
            trace,
            warnings,
            ends: Instant::now() + self.inner.max_duration,
            was_ended: false,
            _place: place,
        })
    }

    /// What happens next in a request, until it ends.
    pub(crate) async fn next_event(&self, begun: &mut Begun) -> Option<TraceEvent> {
        let Begun { trace, ends, was_ended, .. } = begun;
        let stopper = trace.stopper();
        self.until_the_end(*ends, was_ended, &stopper, trace.next_event()).await
    }

    /// Waits for the end of a request.
    pub(crate) async fn finish(&self, begun: Begun) -> Result<Results, Failure> {
        let Begun { trace, mut warnings, ends, mut was_ended, _place } = begun;
        let stopper = trace.stopper();
        let outcome = self.until_the_end(ends, &mut was_ended, &stopper, trace.finish()).await;
        if was_ended {
            let longest = self.inner.max_duration.as_millis();
            warnings.push(format!(
                "the request was ended after {longest} ms, which is the longest that is allowed"
            ));
        }
        let mut results = match outcome {
            Err(Error::Stopped) if self.is_stopping() => {
                return Err(Failure::overloaded("the service is shutting down", SOON));
            }
            outcome => outcome?,
        };
        results.warnings.splice(0..0, warnings);
        Ok(results)
    }

    /// What `work` for a request comes to, which is stopped when it has to end.
    async fn until_the_end<T>(
        &self,
        ends: Instant,
        was_ended: &mut bool,
        stopper: &Stopper,
        work: impl Future<Output = T>,
    ) -> T {
        let mut work = pin!(work);
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = self.time_is_up(ends) => stopper.stop(),
        }
        *was_ended |= ends <= Instant::now();
        work.await
    }

    fn is_stopping(&self) -> bool {
        *self.inner.stage.borrow() == Stage::Stopping
    }

    /// Waits until a request has to end: by its own time, or with the service.
    async fn time_is_up(&self, ends: Instant) {
        let mut stage = self.inner.stage.subscribe();
        tokio::select! {
            () = sleep_until(ends) => {}
            // The sender lives as long as this.
            _ = stage.wait_for(|stage| *stage == Stage::Stopping) => {}
        }
    }
}

impl Begun {
    /// How many of its events were lost because nobody read them in time.
    pub(crate) fn lost_events(&self) -> u64 {
        self.trace.lost_events()
    }
}
