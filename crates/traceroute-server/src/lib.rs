//! Path tracing as an HTTP service: a drop-in for the reference's server that can be exposed.
//!
//! ```text
//! connection -> observe -> authorise -> rate of the client -> query -> policy, if the target is an address
//!     -> share of the client -> backlog of probes -> gate -> tracer: name, policy and rate of the target
//!     -> result, or events and result
//! ```
//!
//! One [`Tracer`](traceroute::Tracer) serves all requests. What a request may not do it is told in the reference's form, a code
//! and a message, before anything is sent to its target. A client that goes away, or closes its side of the
//! connection, takes its request along: what answers it is dropped, and dropping a trace ends it.

mod answer;
mod client;
mod gate;
mod health;
mod metrics;
mod observe;
mod openapi;
mod policy;
mod privileges;
mod query;
mod rate;
mod routes;
mod server;
mod service;
mod share;
mod stream;
mod system;
mod token;

pub use policy::{InvalidRule, Policy, Rule};
pub use privileges::keep_only_what_tracing_needs;
pub use server::{Connections, listen, serve};
pub use service::{Options, Peer, Service};
pub use token::{Token, UnfitToken};
