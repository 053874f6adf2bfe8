//! Sinks behind a pointer, so that what uses them need not name their type.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use traceroute_core::{Destination, Sink, Stamp, TracerouteError};

type Sending<'a> = Pin<Box<dyn Future<Output = Result<Stamp, TracerouteError>> + Send + 'a>>;

trait ErasedSink: Send + Sync {
    fn send_erased<'a>(&'a self, datagram: &'a [u8], to: Destination) -> Sending<'a>;
}

impl<S: Sink> ErasedSink for S {
    fn send_erased<'a>(&'a self, datagram: &'a [u8], to: Destination) -> Sending<'a> {
        Box::pin(self.send(datagram, to))
    }
}

/// Any sink, shared by all runs of a network.
#[derive(Clone)]
pub struct SharedSink(Arc<dyn ErasedSink>);

impl SharedSink {
    /// Shares `sink`.
    pub fn new(sink: impl Sink + 'static) -> Self {
        Self(Arc::new(sink))
    }
}

impl Sink for SharedSink {
    async fn send(&self, datagram: &[u8], to: Destination) -> Result<Stamp, TracerouteError> {
        self.0.send_erased(datagram, to).await
    }
}

impl std::fmt::Debug for SharedSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedSink")
    }
}
