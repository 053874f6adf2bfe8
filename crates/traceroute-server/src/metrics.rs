//! Figures for Prometheus.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use traceroute::{Tracer, TracerStats};

use crate::gate::Gate;

/// The type of the text.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds in seconds: from a refusal to the default request, which lasts 50 s, and beyond.
const DURATIONS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 300.0];

/// What is counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    durations: Family<Asked, Histogram>,
    connections: Gauge,
}

/// An open connection, which counts while this lives.
pub(crate) struct Connection(Gauge);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// What was asked for: one of the known paths, or `other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    path: &'static str,
}

/// What was asked for, and how it was answered: a status, or 499 if the client was gone before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    path: &'static str,
    code: u16,
}

impl Metrics {
    pub(crate) fn new(tracer: &Tracer, gate: &Arc<Gate>) -> Self {
        let mut registry = Registry::with_prefix("traceroute");
        let requests = Family::default();
        registry.register("http_requests", "Requests answered, by path and status", requests.clone());
        let durations = Family::new_with_constructor((|| Histogram::new(DURATIONS)) as fn() -> Histogram);
        let help = "How long requests took until they were answered, in seconds";
        registry.register("http_request_duration_seconds", help, durations.clone());
        let connections = Gauge::default();
        registry.register("http_connections", "Open connections", connections.clone());
        registry.register_collector(Box::new(AtWork { tracer: tracer.clone(), gate: Arc::clone(gate) }));
        Self { registry, requests, durations, connections }
    }

    /// Counts a request.
    pub(crate) fn answered(&self, path: &'static str, code: u16, took: Duration) {
        self.requests.get_or_create(&Answered { path, code }).inc();
        self.durations.get_or_create(&Asked { path }).observe(took.as_secs_f64());
    }

    /// Counts a connection.
    pub(crate) fn connection(&self) -> Connection {
        self.connections.inc();
        Connection(self.connections.clone())
    }

    /// All figures as text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Memory does not fail.
        text::encode(&mut text, &self.registry).unwrap_or_default();
        text
    }
}

/// What is known of the work when somebody asks.
#[derive(Debug)]
struct AtWork {
    tracer: Tracer,
    gate: Arc<Gate>,
}

impl Collector for AtWork {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let TracerStats {
            probes_sent,
            probes_answered,
            probe_waits,
            captured,
            capture_drops,
            requests,
            runs,
            ..
        } = self.tracer.stats();
        for (name, help, count) in [
            ("probes_sent", "Probes sent", probes_sent),
            ("probes_answered", "Probes answered, without those beyond the destination", probes_answered),
            ("probe_waits", "Probes that had to wait for the limit of probes a second", probe_waits),
            ("captured_packets", "Packets that the capture has read", captured),
            ("capture_drops", "Packets that the capture has lost", capture_drops),
        ] {
            let counter = ConstCounter::new(count);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        for (name, help, count) in [
            ("requests_in_flight", "Requests carried out", requests),
            ("requests_queued", "Requests that wait for others to end", self.gate.queued()),
            ("runs_in_flight", "Runs and end-to-end probes that have not ended, late answers included", runs),
        ] {
            let gauge = ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}
