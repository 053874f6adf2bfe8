//! Starts requests, and waits for them.

use std::time::{Duration, Instant};

use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep_until, timeout};
use traceroute::{Request, Results, Trace, Tracer};

use crate::plan::{Order, Plan};
use crate::results::Tally;

/// A request that has ended.
struct Ended {
    order: Order,
    took: Duration,
    lost_events: u64,
    outcome: Result<Results, String>,
}

/// Starts all requests of a plan, each in its time, and waits until the last has ended. Results are judged at once, and
/// not kept.
pub(crate) async fn offer(tracer: &Tracer, plan: &Plan) -> Tally {
    let mut tally = Tally::default();
    let mut under_way = JoinSet::new();
    let start = tokio::time::Instant::now();
    for index in 0..plan.requests() {
        sleep_until(start + plan.start(index)).await;
        // Every other owner reads no events, as most do.
        under_way.spawn(play(tracer.clone(), plan.order(index), plan.patience(), index % 2 == 0));
        while let Some(ended) = under_way.try_join_next() {
            book(&mut tally, ended);
        }
    }
    while let Some(ended) = under_way.join_next().await {
        book(&mut tally, ended);
    }
    tally
}

/// Starts one request and waits until it has ended.
pub(crate) async fn one(tracer: &Tracer, order: Order, tally: &mut Tally) {
    let ended = play(tracer.clone(), order, Duration::from_secs(30), true).await;
    book(tally, Ok(ended));
}

fn book(tally: &mut Tally, ended: Result<Ended, JoinError>) {
    let Ended { order, took, lost_events, outcome } =
        ended.unwrap_or_else(|failure| std::panic::resume_unwind(failure.into_panic()));
    tally.slowest = tally.slowest.max(took);
    tally.lost_events += lost_events;
    tally.add(&order, outcome.as_ref().map_err(String::as_str));
}

async fn play(tracer: Tracer, order: Order, patience: Duration, reads: bool) -> Ended {
    let start = Instant::now();
    let mut lost_events = 0;
    let outcome = match begin(&tracer, &order) {
        Ok(trace) => match timeout(patience, end(trace, reads, &mut lost_events)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("it did not end within {patience:?}")),
        },
        Err(error) => Err(error),
    };
    Ended { order, took: start.elapsed(), lost_events, outcome }
}

fn begin(tracer: &Tracer, order: &Order) -> Result<Trace, String> {
    let request = Request::builder(order.target.address(order.family).to_string())
        .protocol(order.protocol)
        .traceroute_queries(order.runs)
        .e2e_queries(order.probes);
    let request = request.build().map_err(|error| error.to_string())?;
    tracer.start(request).map_err(|error| error.to_string())
}

async fn end(mut trace: Trace, reads: bool, lost_events: &mut u64) -> Result<Results, String> {
    if reads {
        while trace.next_event().await.is_some() {}
        *lost_events = trace.lost_events();
    }
    trace.finish().await.map_err(|error| error.to_string())
}
