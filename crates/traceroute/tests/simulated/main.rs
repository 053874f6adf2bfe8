//! Whole requests in simulated networks under virtual time.

#![expect(clippy::float_cmp, reason = "whole milliseconds are exact")]

mod lab;
mod limits;
mod paths;
mod timelines;
