//! Many runs that wait for answers.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::timeout;
use traceroute::{Trace, TraceEvent, Tracer};
use traceroute_testnet::heap::{self, Counting};

use super::{Cost, Failure, request, unlimited};
use crate::tool::Method;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How long it may take until all runs have got what they are to wait for.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long they then wait.
const TIMEOUT_MS: i64 = 600_000;

/// Runs that wait, as long as this lives.
pub(super) struct Live {
    pub(super) cost: Cost,
    _traces: Vec<Trace>,
    _tracer: Tracer,
}

pub(super) async fn start(
    method: Method,
    targets: &[IpAddr],
    runs: usize,
    ttls: u8,
    answered: u8,
) -> Result<Live, Failure> {
    let tracer = Tracer::builder().limits(unlimited()).build().await?;
    let mut under_way = Vec::with_capacity(runs);
    let before = now()?;
    for target in targets.iter().cycle().take(runs) {
        let request = request(method, *target).timeout_ms(TIMEOUT_MS).max_ttl(ttls);
        under_way.push(tracer.start(request.build()?)?);
    }
    let ready = async {
        for trace in &mut under_way {
            await_events(trace, ttls, answered).await?;
        }
        Ok::<_, Failure>(())
    };
    timeout(READY_WITHIN, ready).await.map_err(|_| Failure::Late(READY_WITHIN))??;
    let after = now()?;
    let cost = Cost {
        heap: after.heap.saturating_sub(before.heap),
        descriptors: after.descriptors.saturating_sub(before.descriptors),
        tasks: after.tasks.saturating_sub(before.tasks),
    };
    Ok(Live { cost, _traces: under_way, _tracer: tracer })
}

/// Waits until a trace has sent and got so much.
async fn await_events(trace: &mut Trace, mut to_send: u8, mut to_get: u8) -> Result<(), Failure> {
    while to_send > 0 || to_get > 0 {
        match trace.next_event().await {
            Some(TraceEvent::ProbeSent { .. }) => to_send = to_send.saturating_sub(1),
            Some(TraceEvent::HopAnswered { .. }) => to_get = to_get.saturating_sub(1),
            Some(_) => {}
            None => return Err(Failure::Ended),
        }
    }
    Ok(())
}

fn now() -> io::Result<Cost> {
    Ok(Cost {
        heap: heap::live(),
        descriptors: fs::read_dir("/proc/self/fd")?.count(),
        tasks: Handle::current().metrics().num_alive_tasks(),
    })
}
