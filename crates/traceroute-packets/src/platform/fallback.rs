//! Systems without packet I/O: everything compiles, and opening a network says why it cannot be done.

use std::path::Path;

use traceroute_core::{Operation, TracerouteError};

use crate::network::{Access, Network, NetworkOptions};

/// What there is.
pub(crate) const OFFERED: [Access; 0] = [];

/// Nothing can be done beforehand.
#[derive(Debug)]
pub(crate) struct Prepared;

pub(crate) fn prepare(_namespace: Option<&Path>) -> Result<Prepared, TracerouteError> {
    Err(TracerouteError::Unsupported { operation: Operation::Capture })
}

pub(crate) async fn open(_options: NetworkOptions) -> Result<Network, TracerouteError> {
    Err(TracerouteError::Unsupported { operation: Operation::Capture })
}
