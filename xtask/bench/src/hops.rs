//! The hops of our JSON, as far as they are looked at.

use serde::Deserialize;

#[derive(Deserialize)]
pub(crate) struct Hop {
    pub(crate) ttl: u8,
    pub(crate) ip_address: String,
    /// Milliseconds.
    pub(crate) rtt: f64,
}

#[derive(Deserialize)]
struct Results {
    traceroute: Traceroute,
}

#[derive(Deserialize)]
struct Traceroute {
    runs: Vec<Run>,
}

#[derive(Deserialize)]
struct Run {
    hops: Vec<Hop>,
}

/// Those of each run.
pub(crate) fn of_runs(json: &str) -> Option<Vec<Vec<Hop>>> {
    let results: Results = serde_json::from_str(json).ok()?;
    Some(results.traceroute.runs.into_iter().map(|run| run.hops).collect())
}
