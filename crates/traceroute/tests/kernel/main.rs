//! Whole requests over this host's kernel, in network namespaces. Needs root, iproute2 and nftables.
#![cfg(target_os = "linux")]

mod at_once;
mod identities;
mod links;
mod namespaces;
mod tcp;
mod ways;

use std::fmt::Display;

use traceroute::{Hop, Protocol, Request, RequestBuilder, Results};

/// One run without end-to-end probes.
fn one_run(target: impl Display, protocol: Protocol) -> RequestBuilder {
    Request::builder(target.to_string()).protocol(protocol).traceroute_queries(1).e2e_queries(0)
}

/// The hops of the only run.
fn hops(results: &Results) -> &[Hop] {
    match results.traceroute.runs.as_deref() {
        Some([run]) => &run.hops,
        runs => panic!("one run was asked for: {runs:?}"),
    }
}

/// The addresses of hops, empty for silence.
fn addresses(hops: &[Hop]) -> Vec<String> {
    hops.iter().map(|hop| hop.ip_address.map_or_else(String::new, |address| address.to_string())).collect()
}
