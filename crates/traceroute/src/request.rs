//! What to trace and how, checked.

mod builder;

use std::any::Any;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use traceroute_core::{Family, Protocol, Shape, TcpMethod, Ttl, Wait};
use traceroute_packets::Access;

use crate::resolve::Held;
use crate::target::{Host, Target};

pub use self::builder::RequestBuilder;

/// A request in which every field is within its range. [`Request::builder`] makes one.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[derive(Clone, Debug)]
pub struct Request {
    pub(crate) target: Target,
    pub(crate) protocol: Protocol,
    pub(crate) tcp_method: TcpMethod,
    /// As asked for, the default filled in; a port in the target wins over it.
    pub(crate) port: u16,
    pub(crate) traceroute_queries: u16,
    pub(crate) e2e_queries: u16,
    pub(crate) first_ttl: Ttl,
    pub(crate) max_ttl: Ttl,
    pub(crate) timeout: Duration,
    /// Milliseconds, in few bytes: requests are many.
    send_delay: u16,
    /// Milliseconds; 0 spreads them.
    e2e_interval: u32,
    /// Whether a name is resolved to an IPv6 address.
    pub(crate) family: Family,
    pub(crate) source: Option<IpAddr>,
    pub(crate) interface: Option<Box<str>>,
    pub(crate) shape: Shape,
    pub(crate) reverse_dns: bool,
    pub(crate) source_public_ip: bool,
    pub(crate) skip_private_hops: bool,
    pub(crate) wait: Wait,
    pub(crate) serial: bool,
    pub(crate) paris: bool,
    windows_driver: bool,
    /// In few bytes: hardly any request has it.
    held: Option<Box<Kept>>,
}

/// What is kept as long as there is work for a request.
#[derive(Clone)]
struct Kept(Held);

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept")
    }
}

impl Request {
    /// A request for `target`, a name, an address, `host:port` or `[address]:port`, with the defaults of the command
    /// line.
    #[must_use]
    pub fn builder(target: impl Into<String>) -> RequestBuilder {
        RequestBuilder::new(target.into())
    }

    /// Keeps something, as a place among those that may ask, until all work for the request has ended, also that of the
    /// system's resolver, which cannot be called off.
    pub fn keep(&mut self, held: Arc<dyn Any + Send + Sync>) {
        self.held = Some(Box::new(Kept(held)));
    }

    pub(crate) fn held(&self) -> Option<Held> {
        self.held.as_ref().map(|kept| Arc::clone(&kept.0))
    }

    /// The target's address, if it was given as one.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match self.target.host {
            Host::Address { address, .. } => Some(address),
            Host::Name(_) => None,
        }
    }

    /// The target as it was given.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target.text
    }

    /// How to probe.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The number of runs.
    #[must_use]
    pub fn traceroute_queries(&self) -> u16 {
        self.traceroute_queries
    }

    /// Whether names are looked up.
    #[must_use]
    pub fn reverse_dns(&self) -> bool {
        self.reverse_dns
    }

    /// Whether this host's public address is found out.
    #[must_use]
    pub fn source_public_ip(&self) -> bool {
        self.source_public_ip
    }

    /// Whether hops with private addresses are blanked.
    #[must_use]
    pub fn skip_private_hops(&self) -> bool {
        self.skip_private_hops
    }

    /// The number of end-to-end probes.
    #[must_use]
    pub fn e2e_queries(&self) -> u16 {
        self.e2e_queries
    }

    /// The port that the probes go to, unless they are ICMP.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.effective_port()
    }

    /// The port that the probes go to.
    pub(crate) fn effective_port(&self) -> u16 {
        self.target.port.unwrap_or(self.port)
    }

    /// By which means its packets are sent and captured.
    pub(crate) fn access(&self) -> Access {
        if (self.protocol, self.tcp_method) == (Protocol::Tcp, TcpMethod::SynSocket) {
            Access::Connections
        } else if self.windows_driver && Access::Driver.is_offered() {
            Access::Driver
        } else {
            Access::Usual
        }
    }

    /// The time from one probe of a run to the next where answers stay out.
    pub(crate) fn send_delay(&self) -> Duration {
        Duration::from_millis(self.send_delay.into())
    }

    /// The time between two end-to-end probes: unless asked for, spread over the longest that a serial trace would take, at
    /// most a second.
    pub(crate) fn e2e_interval(&self) -> Duration {
        if self.e2e_interval > 0 {
            return Duration::from_millis(self.e2e_interval.into());
        }
        let whole = self.timeout * u32::from(self.max_ttl.get());
        (whole / u32::from(self.e2e_queries.max(1))).min(Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_zero_is_the_default_and_the_target_wins() {
        let request = |target: &str, port| Request::builder(target).port(port).build().expect("valid");
        assert_eq!(request("192.0.2.1", 0).effective_port(), 33_434);
        assert_eq!(request("192.0.2.1:53", 80).effective_port(), 53);
        assert_eq!(request("192.0.2.1:53", 80).port, 80);
    }

    #[test]
    fn e2e_probes_are_at_most_a_second_apart() {
        let interval = |queries: i64, timeout: i64| {
            let request = Request::builder("192.0.2.1").e2e_queries(queries).timeout_ms(timeout);
            request.build().expect("valid").e2e_interval()
        };
        assert_eq!(interval(50, 3_000), Duration::from_secs(1));
        assert_eq!(interval(10_000, 3_000), Duration::from_millis(9));
        assert_eq!(interval(0, 3_000), Duration::from_secs(1));
    }
}
