//! Opening the sinks, and a capture that begins with the first route.

use tokio::sync::mpsc::unbounded_channel;
use tokio::time::Instant;
use traceroute_core::{Operation, TracerouteError};

use super::capture::DarwinCapture;
use super::host::DarwinHost;
use super::interfaces::Interfaces;
use super::sink::DarwinSink;
use super::{ephemeral, sys};
use crate::backend::Backend;
use crate::clock::Clock;
use crate::filter::{Base, FilterSpec, SnapLengths};
use crate::network::{Access, Network, NetworkOptions, Parts};
use crate::platform::blocks;
pub(crate) use crate::platform::here::{Prepared, prepare};
use crate::platform::unix::raise_descriptor_limit;

/// What there is.
pub(crate) const OFFERED: [Access; 1] = [Access::Usual];

/// The descriptors that any version gives a process (sys/syslimits.h).
const OPEN_MAX: u64 = 10_240;

/// Opens the sinks, and a capture that begins with the first route.
pub(crate) async fn open(options: NetworkOptions) -> Result<Network, TracerouteError> {
    if options.access != Access::Usual {
        return Err(TracerouteError::Unsupported { operation: Operation::Capture });
    }
    let Prepared = prepare(options.namespace.as_deref())?;
    let most = sys::sysctl(c"kern.maxfilesperproc").and_then(|most| u64::try_from(most).ok());
    raise_descriptor_limit(most.unwrap_or(OPEN_MAX));
    let clock = Clock::since(Instant::now());
    let mut entropy = options.entropy.unwrap_or_else(|| Box::new(blocks::random_bits));
    let blocks = options.blocks.unwrap_or_else(|| {
        let ephemeral = ephemeral::ports(
            sys::sysctl(c"net.inet.ip.portrange.first"),
            sys::sysctl(c"net.inet.ip.portrange.last"),
        );
        blocks::choose(entropy(), options.first_port, &ephemeral)
    });
    let filter = FilterSpec {
        // Each link has its own.
        base: Base::Raw,
        ports: blocks.ports.clone(),
        echo_ids: blocks.echo_ids.clone(),
        snap_lengths: SnapLengths::default(),
    };
    let interfaces = Interfaces::default();
    let sink = DarwinSink::open(clock, interfaces.clone())?;
    let (links, arriving) = unbounded_channel();
    let source = DarwinCapture::new(clock, interfaces.clone(), arriving);
    let host = DarwinHost::new(filter, interfaces, links);
    Ok(Network::assemble(Parts { clock, source, sink, host, blocks, entropy }).of(Backend::Bpf))
}
