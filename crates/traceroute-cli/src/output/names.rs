//! Where the names of addresses come from.

use traceroute::{Hop, RunDestination};

/// The names of a hop's address.
pub(crate) fn of_hop(_hop: &Hop) -> &[String] {
    &[]
}

/// The names of a run's destination.
pub(crate) fn of_destination(_destination: &RunDestination) -> &[String] {
    &[]
}
