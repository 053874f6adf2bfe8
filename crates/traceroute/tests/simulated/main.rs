//! Whole requests in simulated networks under virtual time.

#![expect(clippy::float_cmp, reason = "whole milliseconds are exact")]

mod backends;
#[path = "../common/client.rs"]
mod client;
mod enrichment;
mod lab;
mod limits;
mod paths;
mod sack;
mod syn;
mod timelines;
