//! This program as a load: many traces of the library in one process, in the namespace it was started in.

mod at_once;
mod heap;
mod live;

use std::ffi::OsString;
use std::net::IpAddr;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use traceroute::{Limits, Protocol};

pub(crate) use self::at_once::Outcome;
pub(crate) use self::live::Cost;

/// The first argument that makes this program a load; the second is an [`Order`].
pub(crate) const LOAD: &str = "load";

/// What a load is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Prints an [`Outcome`].
    AtOnce { protocol: Name, routers: Vec<IpAddr>, targets: Vec<IpAddr>, traces: usize, at_once: usize },
    /// Prints a [`Cost`].
    Live { protocol: Name, target: IpAddr, runs: usize, ttls: u8 },
}

/// A protocol's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Name {
    Udp,
    Icmp,
}

impl From<Name> for Protocol {
    fn from(name: Name) -> Self {
        match name {
            Name::Udp => Self::Udp,
            Name::Icmp => Self::Icmp,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("an order was expected")]
    NoOrder,
    #[error("not an order: {0}")]
    Order(#[from] serde_json::Error),
    #[error(transparent)]
    System(#[from] std::io::Error),
    #[error(transparent)]
    Request(#[from] traceroute::InvalidRequest),
    #[error(transparent)]
    Trace(#[from] traceroute::Error),
    #[error("a trace ended before it had sent its probes")]
    Ended,
}

/// Does what the order says and prints what came of it as JSON.
pub(crate) fn main(words: impl Iterator<Item = OsString>) -> ExitCode {
    match carry_out(words) {
        Ok(json) => {
            println!("{json}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(mut words: impl Iterator<Item = OsString>) -> Result<String, Failure> {
    let order = words.next().and_then(|word| word.into_string().ok()).ok_or(Failure::NoOrder)?;
    let order: Order = serde_json::from_str(&order)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        Ok(match order {
            Order::AtOnce { protocol, routers, targets, traces, at_once } => {
                let outcome = at_once::measure(protocol.into(), &routers, &targets, traces, at_once).await?;
                serde_json::to_string(&outcome)?
            }
            Order::Live { protocol, target, runs, ttls } => {
                serde_json::to_string(&live::measure(protocol.into(), target, runs, ttls).await?)?
            }
        })
    })
}

fn unlimited() -> Limits {
    Limits { probes_per_second: None, requests: usize::MAX }
}
