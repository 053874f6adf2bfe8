//! What a trace tells while it goes on.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};
use traceroute_core::{Hop, RunResult, TcpMethod, Ttl};
use traceroute_packets::Queue;

/// Something that happened in a request.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum TraceEvent {
    /// The target's address is known.
    Resolved {
        /// The target.
        target: IpAddr,
        /// The address that the probes carry as their source.
        source: IpAddr,
    },
    /// A probe was sent.
    ProbeSent {
        /// The run, counted from 0.
        run: usize,
        /// Its TTL.
        ttl: Ttl,
    },
    /// A hop was answered for the first time.
    HopAnswered {
        /// The run, counted from 0.
        run: usize,
        /// The hop as far as it is known.
        hop: Hop,
    },
    /// What is known of an answered hop has changed, or it was answered after its run had ended.
    HopUpdated {
        /// The run, counted from 0.
        run: usize,
        /// The hop as it is known now.
        hop: Hop,
    },
    /// A run goes on by another method, because the one that was asked for is not supported. What was told of the run so
    /// far counts no more.
    FellBack {
        /// The run, counted from 0.
        run: usize,
        /// How it probes now.
        method: TcpMethod,
        /// Why.
        reason: String,
    },
    /// A run has ended. Late answers may still change it.
    RunFinished {
        /// The run, counted from 0.
        run: usize,
        /// Its result so far.
        result: RunResult,
    },
    /// A run could not be done.
    RunFailed {
        /// The run, counted from 0.
        run: usize,
        /// Why.
        reason: String,
    },
    /// The names of an address were found: of a hop, or of the target. Told once for each address that has any, as soon as they
    /// are known; the hops of other events come without theirs.
    Named {
        /// The address.
        address: IpAddr,
        /// All its names.
        names: Vec<String>,
    },
    /// This host's public address was found.
    PublicIp {
        /// The address.
        address: Ipv4Addr,
    },
    /// An end-to-end probe was answered by the destination, or lost.
    EndToEnd {
        /// The probe, counted from 0 in the order of sending.
        probe: usize,
        /// Its round trip, milliseconds in JSON; `None` if it was lost.
        #[serde(serialize_with = "milliseconds")]
        rtt: Option<Duration>,
    },
    /// An end-to-end probe could not be made or measured, for want of a local port, a descriptor or the capture. It counts as
    /// neither sent nor lost.
    EndToEndFailed {
        /// The probe, counted from 0 in the order of sending.
        probe: usize,
        /// Why.
        reason: String,
    },
}

impl TraceEvent {
    /// Its name, which is `event` in its JSON.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Resolved { .. } => "resolved",
            Self::ProbeSent { .. } => "probe_sent",
            Self::HopAnswered { .. } => "hop_answered",
            Self::HopUpdated { .. } => "hop_updated",
            Self::FellBack { .. } => "fell_back",
            Self::RunFinished { .. } => "run_finished",
            Self::RunFailed { .. } => "run_failed",
            Self::Named { .. } => "named",
            Self::PublicIp { .. } => "public_ip",
            Self::EndToEnd { .. } => "end_to_end",
            Self::EndToEndFailed { .. } => "end_to_end_failed",
        }
    }
}

#[expect(clippy::ref_option, reason = "serde's signature")]
fn milliseconds<S: Serializer>(rtt: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    rtt.map(traceroute_core::milliseconds).serialize(serializer)
}

/// Where events go, until this is dropped.
#[derive(Debug)]
pub(crate) struct Events(pub(crate) Arc<Queue<TraceEvent>>);

impl Events {
    /// Sends an event, which is made only if there is room for it.
    pub(crate) fn send(&self, event: impl FnOnce() -> TraceEvent) {
        self.0.push(event);
    }

    /// Where tasks send them that may live on for a moment.
    pub(crate) fn queue(&self) -> Arc<Queue<TraceEvent>> {
        Arc::clone(&self.0)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.0.close();
    }
}
