//! Test networks, simulated and real. Not published.
//!
//! | what | where | for |
//! |---|---|---|
//! | [`sim::Network`] | memory, no clock | functions on datagrams |
//! | [`sim::virtual_time`] | memory, tokio's paused clock | runs, timelines compared as text |
//! | `sim::real_time` | a thread behind a veth pair or a TUN device | whole programs, with delays and faults |
//! | `kernel::Chain` | real kernels in network namespaces | whole programs, against the real thing |
//! | `Capture` | an interface of a namespace | the truth about times |
//!
//! All share one [`AddressPlan`]. The last three need Linux and root.
//!
//! ```
//! use traceroute_testnet::sim::virtual_time::attach;
//! use traceroute_testnet::sim::{Network, RateLimit, Topology};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
//! let topology = Topology::chain(8)
//!     .with_router(3, |router| router.answers.silent = true)
//!     .with_target(|target| target.answers.rate_limit = Some(RateLimit::LINUX));
//! let (source, sink, recorder) = attach(Network::new(topology, 1), tokio::time::Instant::now());
//! // ... run a trace over `source` and `sink` ...
//! assert_eq!(recorder.timeline(), "");
//! # });
//! ```

mod address_plan;
#[cfg(target_os = "linux")]
mod capture;
#[cfg(target_os = "linux")]
mod error;
pub mod heap;
#[cfg(target_os = "linux")]
pub mod kernel;
pub mod sim;
#[cfg(target_os = "linux")]
mod sys;

pub use address_plan::{AddressPlan, DualStack};
#[cfg(target_os = "linux")]
pub use capture::{Capture, CapturedPacket};
#[cfg(target_os = "linux")]
pub use error::Error;
