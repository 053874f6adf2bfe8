//! Path tracing as a library: a [`Tracer`], a [`Request`], events and results.
//!
//! ```no_run
//! # async fn example() -> Result<(), traceroute::Error> {
//! use traceroute::{Protocol, Request, Tracer};
//!
//! let tracer = Tracer::builder().build().await?;
//! let request = Request::builder("192.0.2.1").protocol(Protocol::Icmp).e2e_queries(0).build()?;
//! let mut trace = tracer.start(request)?;
//! while let Some(event) = trace.next_event().await {
//!     tracing::info!(?event);
//! }
//! let results = trace.finish().await?;
//! assert!(results.traceroute.runs.is_some());
//! # Ok(())
//! # }
//! ```
//!
//! A [`Tracer`] owns the packet I/O of a network namespace, one capture and a few sockets, and serves any number of
//! requests at one time. [`Tracer::start`] returns at once; the work goes on in a task of its own. The [`Trace`] gives
//! the events as they come and the results at the end; [`Trace::stop`] ends it early with what was learnt, and
//! dropping it ends it without a word.
//!
//! A request's runs start together and tell each other what they learn about the path ([`traceroute_core`] explains
//! the pace). Its end-to-end probes go out beside them, each on a flow of its own, and the first of them is the first
//! packet of all: it asks the destination how far it is.

mod budget;
mod connect;
mod enrich;
mod error;
mod event;
mod id;
mod json;
mod networks;
pub mod parameters;
mod request;
mod resolve;
mod run;
mod tally;
mod target;
mod trace;
mod tracer;
mod work;

pub use enrich::{
    Cache, LookingUp, LookupError, NameCache, NameOptions, NameSource, PUBLIC_IP_PROVIDERS, Proxy,
    PublicIpCache, PublicIpOptions, ReverseLookup, Trust,
};
pub use error::{Error, InvalidRequest};
pub use event::TraceEvent;
pub use json::{Style, write_json};
pub use request::{Request, RequestBuilder};
pub use trace::{Stopper, Trace};
pub use tracer::{Limits, Refusal, TargetPolicy, Tracer, TracerBuilder, TracerStats};

pub use traceroute_core::{
    ConnectFailure, EndReason, EndToEnd, ErrorCode, Family, Hop, Interface, Mode, MplsLabel, Nat, Operation,
    PortState, Protocol, RequestDestination, RequestSource, Results, RunDestination, RunResult, RunSource,
    SackRefusal, Spread, TcpMethod, Traceroute, TracerouteError, Ttl, Unreachable, Wait,
};
pub use traceroute_packets::{Blocks, Entropy, Network};
