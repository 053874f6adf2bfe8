//! Systems without packet I/O: everything compiles, and opening a network says why it cannot be done.

use traceroute_core::{Operation, TracerouteError};

use crate::network::{Network, NetworkOptions};

pub(crate) async fn open(_options: NetworkOptions) -> Result<Network, TracerouteError> {
    Err(TracerouteError::Unsupported { operation: Operation::Capture })
}
