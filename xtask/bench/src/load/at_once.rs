//! Many traces at one time on one tracer: whether all are right, and what round trips they see.

use std::net::IpAddr;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use traceroute::{Protocol, Request, Results, Tracer};

use super::{Failure, unlimited};

/// What came of the traces.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// How many found all routers and the target, each in its place.
    pub(crate) right: usize,
    /// Nanoseconds from the first start to the last result.
    pub(crate) wall: u64,
    /// The round trips of all hops of all traces, in nanoseconds.
    pub(crate) round_trips: Vec<u64>,
}

/// Traces so many times, so many `at_once`, toward the targets in turn, beyond these routers.
pub(super) async fn measure(
    protocol: Protocol,
    routers: &[IpAddr],
    targets: &[IpAddr],
    traces: usize,
    at_once: usize,
) -> Result<Outcome, Failure> {
    let tracer = Tracer::builder().limits(unlimited()).build().await?;
    let mut outcome = Outcome { right: 0, wall: 0, round_trips: Vec::new() };
    let targets: Vec<_> = targets.iter().copied().cycle().take(traces).collect();
    let started = Instant::now();
    let mut all = Vec::with_capacity(traces);
    for batch in targets.chunks(at_once) {
        let mut under_way = Vec::with_capacity(batch.len());
        for target in batch {
            let request = Request::builder(target.to_string()).protocol(protocol);
            under_way.push(tracer.start(request.traceroute_queries(1).e2e_queries(0).build()?)?);
        }
        for trace in under_way {
            all.push(trace.finish().await);
        }
    }
    outcome.wall = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
    for (results, target) in all.into_iter().zip(targets) {
        if let Some(round_trips) = results.ok().and_then(|results| round_trips(&results, routers, target)) {
            outcome.right += 1;
            outcome.round_trips.extend(round_trips);
        }
    }
    Ok(outcome)
}

/// The round trips of a trace that is right, in nanoseconds.
fn round_trips(results: &Results, routers: &[IpAddr], target: IpAddr) -> Option<Vec<u64>> {
    let [run] = results.traceroute.runs.as_deref()? else { return None };
    let path = routers.iter().copied().chain([target]);
    let right = run.reached && run.hops.iter().map(|hop| hop.ip_address).eq(path.map(Some));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "milliseconds of seconds at most"
    )]
    right.then(|| run.hops.iter().map(|hop| (hop.rtt * 1e6) as u64).collect())
}
