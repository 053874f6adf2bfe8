//! Linux: an `AF_PACKET` capture, raw sockets with the header included, routes and ports by ordinary sockets.

mod blocks;
mod capture;
mod closing;
mod connector;
mod host;
mod namespace;
mod sink;
mod sys;

use std::io;
use std::path::Path;

use socket2::Socket;
use tokio::time::Instant;
use traceroute_core::{Operation, TracerouteError};

use crate::clock::Clock;
use crate::filter::{Base, FilterSpec, SnapLengths, capture_filter};
use crate::network::{Network, NetworkOptions, Parts};

use self::capture::LinuxCapture;
use self::host::LinuxHost;
use self::namespace::Namespace;
use self::sink::LinuxSink;

/// A capture's socket that has its buffer, and captures nothing yet.
pub(crate) type Prepared = Socket;

/// Makes the socket of a capture.
pub(crate) fn prepare(namespace: Option<&Path>) -> Result<Prepared, TracerouteError> {
    let prepared = Namespace::enter(namespace)?.run(capture::prepare_socket)?;
    prepared.map_err(|error| refused(Operation::Capture, &error))
}

/// Opens the capture and the sinks of a network namespace.
pub(crate) async fn open(options: NetworkOptions) -> Result<Network, TracerouteError> {
    sys::raise_descriptor_limit();
    let clock = Clock::since(Instant::now());
    let namespace = Namespace::enter(options.namespace.as_deref())?;
    let mut entropy = options.entropy.unwrap_or_else(|| Box::new(random_bits));
    let blocks = match options.blocks {
        Some(blocks) => blocks,
        None => namespace.run({
            let random = entropy();
            let first_port = options.first_port;
            move || blocks::choose(random, first_port)
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
    let host = LinuxHost::new(namespace);
    Ok(Network::assemble(Parts { clock, source, sink, host, blocks, entropy }))
}

/// Random bits of the operating system.
fn random_bits() -> u64 {
    // Without the system's generator (none known) the clock still differs from run to run.
    getrandom::u64().unwrap_or_else(|_| sys::wall_clock())
}

/// What a refusal of the system means.
fn refused(operation: Operation, error: &io::Error) -> TracerouteError {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => TracerouteError::NotPermitted { operation },
        Some(libc::EMFILE | libc::ENFILE) => {
            TracerouteError::DescriptorsExhausted { operation, limit: sys::descriptor_limit() }
        }
        errno => TracerouteError::System { operation, errno: errno.unwrap_or_default() },
    }
}
