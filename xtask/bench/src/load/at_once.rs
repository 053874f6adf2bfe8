//! Many traces on one tracer.

use std::net::IpAddr;
use std::time::Instant;

use traceroute::{Results, Tracer};

use super::{Answer, Failure, nanos, request, unlimited};
use crate::tool::Method;

pub(super) async fn measure(
    method: Method,
    routers: &[IpAddr],
    targets: &[IpAddr],
    count: usize,
    at_once: usize,
) -> Result<Answer, Failure> {
    let tracer = Tracer::builder().limits(unlimited()).build().await?;
    let targets: Vec<_> = targets.iter().copied().cycle().take(count).collect();
    let mut all = Vec::with_capacity(count);
    let started = Instant::now();
    for batch in targets.chunks(at_once) {
        let mut under_way = Vec::with_capacity(batch.len());
        for target in batch {
            under_way.push(tracer.start(request(method, *target).build()?)?);
        }
        for trace in under_way {
            all.push(trace.finish().await);
        }
    }
    let wall = nanos(started.elapsed());
    let mut answer = Answer { traces: count, right: 0, wall, round_trips: Vec::new() };
    for (results, target) in all.into_iter().zip(targets) {
        if let Some(round_trips) = results.ok().and_then(|results| round_trips(&results, routers, target)) {
            answer.right += 1;
            answer.round_trips.extend(round_trips);
        }
    }
    Ok(answer)
}

/// The round trips of a trace that is right, in nanoseconds.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds at most")]
fn round_trips(results: &Results, routers: &[IpAddr], target: IpAddr) -> Option<Vec<u64>> {
    let [run] = results.traceroute.runs.as_deref()? else { return None };
    let path = routers.iter().copied().chain([target]);
    let right = run.reached && run.hops.iter().map(|hop| hop.ip_address).eq(path.map(Some));
    right.then(|| run.hops.iter().map(|hop| (hop.rtt * 1e6) as u64).collect())
}
