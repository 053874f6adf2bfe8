//! Opening the capture and the sinks of a network namespace.

use std::path::Path;

use socket2::Socket;
use tokio::time::Instant;
use traceroute_core::{Operation, TracerouteError};

use super::capture::{self, LinuxCapture};
use super::ephemeral;
use super::namespace::Namespace;
use super::sink::LinuxSink;
use crate::backend::Backend;
use crate::clock::Clock;
use crate::filter::{Base, FilterSpec, SnapLengths, capture_filter};
use crate::network::{Access, Network, NetworkOptions, Parts};
use crate::platform::blocks;
use crate::platform::errors::refused;
use crate::platform::sockets::{Place, SocketHost};
use crate::platform::unix::raise_descriptor_limit;

/// What there is.
pub(crate) const OFFERED: [Access; 1] = [Access::Usual];

/// A capture's socket that has its buffer, and captures nothing yet.
pub(crate) type Prepared = Socket;

/// Makes the socket of a capture.
pub(crate) fn prepare(namespace: Option<&Path>) -> Result<Prepared, TracerouteError> {
    let prepared = Namespace::enter(namespace)?.run(capture::prepare_socket)?;
    prepared.map_err(|error| refused(Operation::Capture, &error))
}

/// Opens the capture and the sinks of a network namespace.
pub(crate) async fn open(options: NetworkOptions) -> Result<Network, TracerouteError> {
    if options.access != Access::Usual {
        return Err(TracerouteError::Unsupported { operation: Operation::Capture });
    }
    raise_descriptor_limit(u64::MAX);
    let clock = Clock::since(Instant::now());
    let namespace = Namespace::enter(options.namespace.as_deref())?;
    let mut entropy = options.entropy.unwrap_or_else(|| Box::new(blocks::random_bits));
    let blocks = match options.blocks {
        Some(blocks) => blocks,
        None => namespace.run({
            let random = entropy();
            let first_port = options.first_port;
            move || blocks::choose(random, first_port, &ephemeral::ports())
        })?,
    };
    let filter = capture_filter(&FilterSpec {
        base: Base::LinuxDatagram,
        ports: blocks.ports.clone(),
        echo_ids: blocks.echo_ids.clone(),
        snap_lengths: SnapLengths::default(),
    });
    // Sinks first: where raw sockets are not permitted, so is the capture, and the error is about sending.
    let sink = LinuxSink::open(clock, &namespace)?;
    let mut source = LinuxCapture::open(clock, &namespace, &filter, options.prepared)?;
    source.await_stamps(&namespace, &blocks.ports).await;
    let host = SocketHost::new(namespace, |socket| Box::new(socket));
    Ok(Network::assemble(Parts { clock, source, sink, host, blocks, entropy }).of(Backend::PacketSocket))
}
