//! What live runs cost: memory, descriptors and tasks, while they wait for answers.

use std::fs;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use traceroute::{Protocol, Request, TraceEvent, Tracer};

use super::{Failure, heap, unlimited};

/// What is there because of the live runs, for all of them together.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// Allocated bytes.
    pub(crate) heap: usize,
    /// Open descriptors.
    pub(crate) descriptors: usize,
    /// Tasks of the runtime.
    pub(crate) tasks: usize,
}

/// Starts so many runs, a request each, and looks at them when each has sent its probes to all of `ttls`.
pub(super) async fn measure(
    protocol: Protocol,
    target: IpAddr,
    runs: usize,
    ttls: u8,
) -> Result<Cost, Failure> {
    let tracer = Tracer::builder().limits(unlimited()).build().await?;
    let request = || {
        let builder = Request::builder(target.to_string()).protocol(protocol).timeout_ms(60_000);
        builder.traceroute_queries(1).e2e_queries(0).max_ttl(ttls).build()
    };
    let before = now()?;
    let mut traces = Vec::with_capacity(runs);
    for _ in 0..runs {
        traces.push(tracer.start(request()?)?);
    }
    for trace in &mut traces {
        let mut sent = 0;
        while sent < ttls {
            match trace.next_event().await {
                Some(TraceEvent::ProbeSent { .. }) => sent += 1,
                Some(_) => {}
                None => return Err(Failure::Ended),
            }
        }
    }
    let after = now()?;
    Ok(Cost {
        heap: after.heap.saturating_sub(before.heap),
        descriptors: after.descriptors.saturating_sub(before.descriptors),
        tasks: after.tasks.saturating_sub(before.tasks),
    })
}

fn now() -> Result<Cost, Failure> {
    Ok(Cost {
        heap: heap::live(),
        descriptors: fs::read_dir("/proc/self/fd")?.count(),
        tasks: Handle::current().metrics().num_alive_tasks(),
    })
}
