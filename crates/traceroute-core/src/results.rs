//! The result of a request, in the shape of the reference's JSON, and its statistics.
//!
//! Keys keep the reference's names, order, types and scale; additive keys come last in their object and are left out
//! when there is nothing to say. Times are milliseconds.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use serde::{Serialize, Serializer};
use traceroute_wire::{MplsLabel, StampSource, Unreachable};

use crate::{EndReason, HopReport, Interface, PortState, Protocol, RunReport, TcpMethod, Ttl};

/// The result of a request.
#[derive(Clone, Debug, Serialize)]
pub struct Results {
    /// 22 characters: a random UUID, URL-safe base64 without padding.
    pub test_run_id: String,
    /// The protocol asked for.
    pub protocol: Protocol,
    /// Where the request was made from.
    pub source: RequestSource,
    /// What was asked for.
    pub destination: RequestDestination,
    /// The runs.
    pub traceroute: Traceroute,
    /// The end-to-end probes.
    pub e2e_probe: EndToEnd,
    /// What went wrong without failing the request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Where a request was made from.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RequestSource {
    /// This host's public address, empty when it was not asked for or is not known.
    pub public_ip: String,
}

/// What was asked for.
#[derive(Clone, Debug, Serialize)]
pub struct RequestDestination {
    /// The target as it was given.
    pub hostname: String,
    /// The port that was asked for, whatever the target says.
    pub port: u16,
}

/// All runs of a request.
#[derive(Clone, Debug, Serialize)]
pub struct Traceroute {
    /// The runs in the order in which they ended; `None` (null) when there were none.
    pub runs: Option<Vec<RunResult>>,
    /// How many hops they saw.
    pub hop_count: Spread,
}

/// Mean, least and greatest of some figures; all zero when there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// Mean.
    pub avg: f64,
    /// Least.
    pub min: f64,
    /// Greatest.
    pub max: f64,
}

impl Spread {
    /// The spread of `figures`.
    #[must_use]
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures = figures.into_iter();
        let Some(first) = figures.next() else { return Self::default() };
        let (mut sum, mut count, mut min, mut max) = (first, 1.0, first, first);
        for figure in figures {
            sum += figure;
            count += 1.0;
            min = figure.min(min);
            max = figure.max(max);
        }
        Self { avg: sum / count, min, max }
    }
}

/// One run.
#[derive(Clone, Debug, Serialize)]
pub struct RunResult {
    /// An id of the same form as the request's.
    pub run_id: String,
    /// The local end.
    pub source: RunSource,
    /// The target.
    pub destination: RunDestination,
    /// The hops from the first TTL on.
    pub hops: Vec<Hop>,
    /// Whether the destination answered.
    pub reached: bool,
    /// Why the run ended.
    pub end_reason: EndReason,
    /// Whether the target accepts connections on the port; TCP, where the target said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_state: Option<PortState>,
    /// How the run probed after all, where that is not what was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<TcpMethod>,
    /// How its packets were sent and seen, where that is not the usual way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Answers that came after the run had ended.
    #[serde(skip_serializing_if = "is_zero")]
    pub late: u32,
    /// Answers to probes that had been answered before.
    #[serde(skip_serializing_if = "is_zero")]
    pub duplicates: u32,
    /// Packets that the capture lost while the run was under way; any of them may have been an answer.
    #[serde(skip_serializing_if = "is_zero_u64")]
    pub capture_drops: u64,
    /// Probes that the system refused to send.
    #[serde(skip_serializing_if = "is_zero")]
    pub send_errors: u32,
}

impl RunResult {
    /// The result of a finished run.
    #[must_use]
    pub fn new(
        run_id: String,
        source: SocketAddr,
        destination: SocketAddr,
        report: RunReport,
        method: Option<TcpMethod>,
        mode: Option<Mode>,
        capture_drops: u64,
    ) -> Self {
        Self {
            run_id,
            source: RunSource { ip_address: source.ip(), port: source.port() },
            destination: RunDestination {
                ip_address: destination.ip(),
                port: destination.port(),
                reverse_dns: Vec::new(),
            },
            hops: report.hops.into_iter().map(Hop::from).collect(),
            reached: report.reached,
            end_reason: report.end_reason,
            port_state: report.port_state,
            method,
            mode,
            late: report.late,
            duplicates: report.duplicates,
            capture_drops,
            send_errors: report.send_errors,
        }
    }

    /// The TTL of the last hop that answered, that of the last hop when none did.
    #[must_use]
    pub fn hop_count(&self) -> usize {
        let last = self.hops.iter().rfind(|hop| hop.reachable).or(self.hops.last());
        last.map_or(0, |hop| hop.ttl.get().into())
    }
}

/// A way to send and see packets that is not the usual one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Mode {
    /// By what the system does for everybody: it sends the probes and says who answered. The probes of a run are no one flow, so
    /// that a load balancer may have sent each of them another way, and what answers quote is not seen.
    Unprivileged,
}

impl Mode {
    /// The word of the JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unprivileged => "unprivileged",
        }
    }
}

/// The local end of a run.
#[derive(Clone, Debug, Serialize)]
pub struct RunSource {
    /// The address that the probes carry.
    pub ip_address: IpAddr,
    /// The local port, or the echo id.
    pub port: u16,
}

/// The far end of a run.
#[derive(Clone, Debug, Serialize)]
pub struct RunDestination {
    /// The target's address.
    pub ip_address: IpAddr,
    /// The port probed, 0 for ICMP.
    pub port: u16,
    /// The names of the address.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reverse_dns: Vec<String>,
}

/// One hop of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Hop {
    /// The TTL.
    pub ttl: Ttl,
    /// The address that answered; empty (`""`) when none did.
    #[serde(serialize_with = "address_or_empty")]
    pub ip_address: Option<IpAddr>,
    /// The round trip in milliseconds, 0 when nothing answered.
    pub rtt: f64,
    /// Whether an address answered.
    pub reachable: bool,
    /// The names of the address.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reverse_dns: Vec<String>,
    /// Why the probe went no further.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "unreachable")]
    pub unreachable: Option<Unreachable>,
    /// The size that would have fitted, with `fragmentation_needed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// The label stack that the probe arrived with, top first.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "labels")]
    pub mpls: Vec<MplsLabel>,
    /// The interface that the router describes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<Interface>,
    /// The address translation that the probe had gone through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nat: Option<Nat>,
    /// `user` when the round trip is not the difference of two kernel stamps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_source: Option<&'static str>,
}

/// What a hop shows of an address translation before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Nat {
    /// The source that the router saw; the port is the echo id in ICMP.
    pub source: SocketAddr,
}

impl Hop {
    /// A hop that nothing is known of.
    #[must_use]
    pub const fn unanswered(ttl: Ttl) -> Self {
        Self {
            ttl,
            ip_address: None,
            rtt: 0.0,
            reachable: false,
            reverse_dns: Vec::new(),
            unreachable: None,
            mtu: None,
            mpls: Vec::new(),
            interface: None,
            nat: None,
            rtt_source: None,
        }
    }
}

impl From<HopReport> for Hop {
    fn from(report: HopReport) -> Self {
        let mut hop = Self::unanswered(report.ttl);
        let Some(answer) = report.answer else { return hop };
        hop.ip_address = Some(answer.address);
        hop.rtt = milliseconds(answer.rtt);
        hop.reachable = true;
        hop.rtt_source = (answer.rtt_source == StampSource::User).then_some("user");
        hop.unreachable = answer.unreachable;
        hop.mtu = match answer.unreachable {
            Some(Unreachable::FragmentationNeeded { mtu }) => Some(mtu),
            _ => None,
        };
        if let Some(quoted) = answer.quoted {
            hop.mpls = quoted.mpls;
            hop.interface = quoted.interface;
            hop.nat = quoted.rewritten_source.map(|source| Nat { source });
        }
        hop
    }
}

/// The end-to-end probes of a request.
#[derive(Clone, Debug, Serialize)]
pub struct EndToEnd {
    /// Round trips in milliseconds in the order in which the probes ended, 0 for a lost one; `None` (null) when there
    /// were none.
    pub rtts: Option<Vec<f64>>,
    /// How many were sent.
    pub packets_sent: usize,
    /// How many the destination answered.
    pub packets_received: usize,
    /// The lost part, 0 to 1, whatever the name says.
    pub packet_loss_percentage: f32,
    /// Mean absolute difference of consecutive round trips, lost ones left out.
    pub jitter: f64,
    /// Round trips of the answered probes.
    pub rtt: Spread,
}

impl EndToEnd {
    /// The statistics of round trips in the order in which the probes ended, `None` for a lost one.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "at most 10,000 probes")]
    pub fn new(rtts: &[Option<Duration>]) -> Self {
        let answered: Vec<f64> = rtts.iter().flatten().copied().map(milliseconds).collect();
        let differences = answered.windows(2).map(|pair| (pair[1] - pair[0]).abs());
        Self {
            rtts: (!rtts.is_empty()).then(|| rtts.iter().map(|rtt| rtt.map_or(0.0, milliseconds)).collect()),
            packets_sent: rtts.len(),
            packets_received: answered.len(),
            packet_loss_percentage: if rtts.is_empty() {
                0.0
            } else {
                (rtts.len() - answered.len()) as f32 / rtts.len() as f32
            },
            jitter: Spread::of(differences).avg,
            rtt: Spread::of(answered),
        }
    }
}

impl Traceroute {
    /// The runs in the order in which they ended.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "at most 255 hops")]
    pub fn new(runs: Vec<RunResult>) -> Self {
        let hop_count = Spread::of(runs.iter().map(|run| run.hop_count() as f64));
        Self { runs: (!runs.is_empty()).then_some(runs), hop_count }
    }

    /// All hops of all runs.
    pub fn hops_mut(&mut self) -> impl Iterator<Item = &mut Hop> {
        self.runs.iter_mut().flatten().flat_map(|run| &mut run.hops)
    }
}

/// A time in milliseconds, as results have it.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "exact up to 104 days")]
pub fn milliseconds(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e6
}

#[expect(clippy::ref_option, reason = "serde's signature")]
fn address_or_empty<S: Serializer>(address: &Option<IpAddr>, serializer: S) -> Result<S::Ok, S::Error> {
    match address {
        Some(address) => serializer.collect_str(address),
        None => serializer.serialize_str(""),
    }
}

#[expect(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn unreachable<S: Serializer>(reason: &Option<Unreachable>, serializer: S) -> Result<S::Ok, S::Error> {
    match reason {
        Some(reason) => serializer.collect_str(reason),
        None => serializer.serialize_none(),
    }
}

fn labels<S: Serializer>(labels: &[MplsLabel], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Entry {
        label: u32,
        exp: u8,
        bottom: bool,
        ttl: u8,
    }

    serializer.collect_seq(labels.iter().map(|&MplsLabel { label, exp, bottom, ttl }| Entry {
        label,
        exp,
        bottom,
        ttl,
    }))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_zero(count: &u32) -> bool {
    *count == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_zero_u64(count: &u64) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn lost_probes_count_as_zero_and_not_in_the_statistics() {
        let e2e = EndToEnd::new(&[Some(ms(10)), None, Some(ms(14)), Some(ms(12))]);
        assert_eq!(e2e.rtts, Some(alloc::vec![10.0, 0.0, 14.0, 12.0]));
        assert_eq!((e2e.packets_sent, e2e.packets_received), (4, 3));
        assert!((e2e.packet_loss_percentage - 0.25).abs() < f32::EPSILON);
        // |14 - 10| and |12 - 14|: the lost one between 10 and 14 is left out.
        assert!((e2e.jitter - 3.0).abs() < 1e-12);
        assert_eq!(e2e.rtt, Spread { avg: 12.0, min: 10.0, max: 14.0 });
    }

    #[test]
    fn no_probes_are_null_and_zero() {
        let e2e = EndToEnd::new(&[]);
        assert_eq!(e2e.rtts, None);
        assert_eq!(e2e.rtt, Spread::default());
        assert!(e2e.packet_loss_percentage.abs() < f32::EPSILON);
    }

    #[test]
    fn one_answer_has_no_jitter() {
        assert!(EndToEnd::new(&[None, Some(ms(3))]).jitter.abs() < f64::EPSILON);
    }
}
