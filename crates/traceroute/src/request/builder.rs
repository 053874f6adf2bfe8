//! A request as it was typed, and its check.

use std::net::IpAddr;
use std::time::Duration;

use traceroute_core::{Family, Protocol, Shape, TcpMethod, Ttl, Wait};
use traceroute_packets::Access;

use super::Request;
use crate::error::InvalidRequest;
use crate::parameters::{
    DSCP, E2E_INTERVAL, E2E_QUERIES, FIRST_TTL, MAX_TTL, Number, PORT, SEND_DELAY, SIZE, TIMEOUT, TOS,
    TRACEROUTE_QUERIES,
};
use crate::target::{Host, Target, not_a_host};

/// The destination port when none is asked for.
const DEFAULT_PORT: u16 = 33_434;

/// The least size that can be asked for: that of a UDP probe over IPv6.
const LEAST_SIZE: i64 = 66;

/// A request as it was typed. Numbers of any size are taken here, and refused by [`build`](Self::build) with an error
/// that names the parameter and what is allowed.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[derive(Clone, Debug)]
pub struct RequestBuilder {
    target: String,
    protocol: Protocol,
    tcp_method: TcpMethod,
    port: i64,
    traceroute_queries: i64,
    e2e_queries: i64,
    first_ttl: i64,
    max_ttl: i64,
    timeout_ms: i64,
    send_delay_ms: i64,
    e2e_interval_ms: i64,
    ipv6: bool,
    family: Option<Family>,
    source: Option<IpAddr>,
    interface: Option<String>,
    tos: i64,
    dscp: Option<i64>,
    size: i64,
    reverse_dns: bool,
    source_public_ip: bool,
    skip_private_hops: bool,
    wait: Wait,
    serial: bool,
    paris: bool,
    windows_driver: bool,
}

impl RequestBuilder {
    /// A request for `target` with the defaults of the command line.
    pub(super) fn new(target: String) -> Self {
        Self {
            target,
            protocol: Protocol::Udp,
            tcp_method: TcpMethod::Syn,
            port: PORT.default,
            traceroute_queries: TRACEROUTE_QUERIES.default,
            e2e_queries: E2E_QUERIES.default,
            first_ttl: FIRST_TTL.default,
            max_ttl: MAX_TTL.default,
            timeout_ms: TIMEOUT.default,
            send_delay_ms: SEND_DELAY.default,
            e2e_interval_ms: E2E_INTERVAL.default,
            ipv6: false,
            family: None,
            source: None,
            interface: None,
            tos: TOS.default,
            dscp: None,
            size: SIZE.default,
            reverse_dns: false,
            source_public_ip: false,
            skip_private_hops: false,
            wait: Wait::ADAPTIVE,
            serial: false,
            windows_driver: false,
            paris: false,
        }
    }

    /// How to probe; UDP by default.
    #[must_use]
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = protocol;
        self
    }

    /// How to probe with TCP; SYN segments by default. Of no effect with other protocols.
    #[must_use]
    pub fn tcp_method(mut self, method: TcpMethod) -> Self {
        self.tcp_method = method;
        self
    }

    /// Destination port, 1 to 65,535; 0 means the default, 33,434.
    #[must_use]
    pub fn port(mut self, port: impl Into<i64>) -> Self {
        self.port = port.into();
        self
    }

    /// Number of runs, 0 to 1,000; 3 by default.
    #[must_use]
    pub fn traceroute_queries(mut self, queries: impl Into<i64>) -> Self {
        self.traceroute_queries = queries.into();
        self
    }

    /// Number of end-to-end probes, 0 to 10,000; 50 by default.
    #[must_use]
    pub fn e2e_queries(mut self, queries: impl Into<i64>) -> Self {
        self.e2e_queries = queries.into();
        self
    }

    /// The first TTL probed, 1 to 255 and not above the last; 1 by default.
    #[must_use]
    pub fn first_ttl(mut self, ttl: impl Into<i64>) -> Self {
        self.first_ttl = ttl.into();
        self
    }

    /// The last TTL probed, 1 to 255; 30 by default.
    #[must_use]
    pub fn max_ttl(mut self, ttl: impl Into<i64>) -> Self {
        self.max_ttl = ttl.into();
        self
    }

    /// How long answers are waited for after the last probe of a run, and after an end-to-end probe: 1 to 600,000 milliseconds;
    /// 3,000 by default.
    #[must_use]
    pub fn timeout_ms(mut self, timeout: impl Into<i64>) -> Self {
        self.timeout_ms = timeout.into();
        self
    }

    /// The time from one probe of a run to the next where answers stay out, 1 to 60,000 milliseconds; 50 by default.
    #[must_use]
    pub fn send_delay_ms(mut self, delay: impl Into<i64>) -> Self {
        self.send_delay_ms = delay.into();
        self
    }

    /// The time from one end-to-end probe to the next, 1 to 3,600,000 milliseconds; 0, the default, spreads them over the
    /// longest that a trace could take, at most a second apart.
    #[must_use]
    pub fn e2e_interval_ms(mut self, interval: impl Into<i64>) -> Self {
        self.e2e_interval_ms = interval.into();
        self
    }

    /// Trace an address of this family: a name is resolved to one, and an address of the other family is refused.
    #[must_use]
    pub fn family(mut self, family: Family) -> Self {
        self.family = Some(family);
        self
    }

    /// Send from this address of the host, instead of the one that the routing table chooses.
    #[must_use]
    pub fn source(mut self, source: IpAddr) -> Self {
        self.source = Some(source.to_canonical());
        self
    }

    /// Send through the interface with this name or index, instead of the one that the routing table chooses.
    #[must_use]
    pub fn interface(mut self, interface: impl Into<String>) -> Self {
        self.interface = Some(interface.into());
        self
    }

    /// The type of service (IPv4) or traffic class (IPv6) of the probes, 0 to 255; 0 by default.
    #[must_use]
    pub fn tos(mut self, tos: impl Into<i64>) -> Self {
        self.tos = tos.into();
        self.dscp = None;
        self
    }

    /// The differentiated services code point of the probes, 0 to 63: the upper six bits of their type of service, whose lower
    /// two are then 0.
    #[must_use]
    pub fn dscp(mut self, dscp: impl Into<i64>) -> Self {
        self.dscp = Some(dscp.into());
        self
    }

    /// The length of the probes' whole datagrams, 66 to 65,535 bytes; 0, the default, is as short as possible. TCP probes
    /// have one length.
    #[must_use]
    pub fn size(mut self, bytes: impl Into<i64>) -> Self {
        self.size = bytes.into();
        self
    }

    /// Resolve a name to an IPv6 address and not to an IPv4 one.
    #[must_use]
    pub fn ipv6(mut self, ipv6: bool) -> Self {
        self.ipv6 = ipv6;
        self
    }

    /// Look up the names of hops and destination while they are probed, see
    /// [`TraceEvent::Named`](crate::TraceEvent::Named); the result waits for those that are still missing, as long as
    /// [`NameOptions`](crate::NameOptions) says.
    #[must_use]
    pub fn reverse_dns(mut self, names: bool) -> Self {
        self.reverse_dns = names;
        self
    }

    /// Find out this host's public address from services on the Internet while the path is probed, see
    /// [`PublicIpOptions`](crate::PublicIpOptions). It stays empty where that fails.
    #[must_use]
    pub fn source_public_ip(mut self, public_ip: bool) -> Self {
        self.source_public_ip = public_ip;
        self
    }

    /// Blank hops whose address is private (10/8, 172.16/12, 192.168/16, `fc00::/7`), in events and in the result: only their
    /// TTL stays. The counts of hops, and all else, keep their values.
    #[must_use]
    pub fn skip_private_hops(mut self, skip: bool) -> Self {
        self.skip_private_hops = skip;
        self
    }

    /// How long to wait for silent hops once the path has been seen to its end.
    #[must_use]
    pub fn wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// Send one probe at a time, each given the whole time-out: for networks that cannot bear more.
    #[must_use]
    pub fn serial(mut self, serial: bool) -> Self {
        self.serial = serial;
        self
    }

    /// Let TCP SYN probes have the identification 41821 and random sequence numbers, as the reference's "Paris" option
    /// does. They go out one by one, as [`serial`](Self::serial) says.
    #[must_use]
    pub fn paris(mut self, paris: bool) -> Self {
        self.paris = paris;
        self
    }

    /// Send and capture by the network driver of the Datadog Agent, which the first request that asks for it starts. On Windows
    /// only; of no effect elsewhere.
    #[must_use]
    pub fn windows_driver(mut self, windows_driver: bool) -> Self {
        self.windows_driver = windows_driver;
        self
    }

    /// Checks every field.
    pub fn build(self) -> Result<Request, InvalidRequest> {
        let by_connections = (self.protocol, self.tcp_method) == (Protocol::Tcp, TcpMethod::SynSocket);
        if by_connections && !Access::Connections.is_offered() {
            return Err(InvalidRequest::NotOnThisPlatform {
                what: "tcp-method syn_socket",
                platform: "Windows",
                instead: "syn, sack or prefer_sack",
            });
        }
        let port = match checked(PORT, self.port)? {
            0 => DEFAULT_PORT,
            port => port,
        };
        let target = Target::parse(&self.target)?;
        self.check_combinations()?;
        let family = self.traced_family(&target)?;
        Ok(Request {
            protocol: self.protocol,
            tcp_method: self.tcp_method,
            port,
            traceroute_queries: checked(TRACEROUTE_QUERIES, self.traceroute_queries)?,
            e2e_queries: checked(E2E_QUERIES, self.e2e_queries)?,
            first_ttl: ttl(FIRST_TTL, self.first_ttl)?,
            max_ttl: ttl(MAX_TTL, self.max_ttl)?,
            timeout: Duration::from_millis(checked(TIMEOUT, self.timeout_ms)?),
            send_delay: checked(SEND_DELAY, self.send_delay_ms)?,
            e2e_interval: checked(E2E_INTERVAL, self.e2e_interval_ms)?,
            family,
            source: self.source,
            interface: self.interface.map(String::into_boxed_str),
            shape: Shape {
                traffic_class: match self.dscp {
                    Some(dscp) => checked::<u8>(DSCP, dscp)? << 2,
                    None => checked(TOS, self.tos)?,
                },
                size: checked(SIZE, self.size)?,
            },
            reverse_dns: self.reverse_dns,
            source_public_ip: self.source_public_ip,
            skip_private_hops: self.skip_private_hops,
            wait: self.wait,
            // Of the connections from one port to one target there is one at a time.
            serial: self.serial || self.paris || by_connections,
            windows_driver: self.windows_driver,
            paris: self.paris,
            held: None,
            target,
        })
    }

    /// Checks what is right alone and wrong together.
    fn check_combinations(&self) -> Result<(), InvalidRequest> {
        MAX_TTL.check(self.max_ttl)?;
        FIRST_TTL.check(self.first_ttl)?;
        let contradiction = |what: String, why: String| Err(InvalidRequest::Contradiction { what, why });
        if self.first_ttl > self.max_ttl {
            let why = format!("it is above {}, which is {}", MAX_TTL.name, self.max_ttl);
            return contradiction(format!("{} {}", FIRST_TTL.name, self.first_ttl), why);
        }
        if (1..LEAST_SIZE).contains(&self.size) {
            return Err(SIZE.refuse(self.size.to_string()));
        }
        if self.size > 0 && self.protocol == Protocol::Tcp {
            let why = "tcp probes have one length: use udp or icmp".into();
            return contradiction(format!("{} {}", SIZE.name, self.size), why);
        }
        Ok(())
    }

    /// The family that the target is traced over.
    fn traced_family(&self, target: &Target) -> Result<Family, InvalidRequest> {
        let family = match &target.host {
            Host::Address { address, .. } => Family::of(*address),
            Host::Name(_) => {
                let wanted = self.family.or(self.ipv6.then_some(Family::V6));
                wanted.or(self.source.map(Family::of)).unwrap_or(Family::V4)
            }
        };
        if let Some(wanted) = self.family
            && family != wanted
        {
            let reason = format!("an {} address is wanted", wanted.as_str());
            return Err(InvalidRequest::Target { target: self.target.clone(), reason });
        }
        if let Some(source) = self.source {
            let why = if let Some(reason) = not_a_host(source) {
                Some(format!("it {reason}"))
            } else if family != Family::of(source) {
                Some(format!("the target is to be reached over {}", family.as_str()))
            } else {
                None
            };
            let what = format!("source {source}");
            return match why {
                Some(why) => Err(InvalidRequest::Contradiction { what, why }),
                None => Ok(family),
            };
        }
        Ok(family)
    }
}

fn ttl(number: Number, value: i64) -> Result<Ttl, InvalidRequest> {
    // Within its range it is not zero.
    checked(number, value).map(|value| Ttl::new(value).unwrap_or(Ttl::FIRST))
}

fn checked<T: TryFrom<i64> + Default>(number: Number, value: i64) -> Result<T, InvalidRequest> {
    // The ranges fit their types.
    number.check(value).map(|value| T::try_from(value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_checked() {
        type Set = fn(RequestBuilder, i64) -> RequestBuilder;
        let fields: [(Number, Set); 10] = [
            (PORT, RequestBuilder::port),
            (TRACEROUTE_QUERIES, RequestBuilder::traceroute_queries),
            (E2E_QUERIES, RequestBuilder::e2e_queries),
            (MAX_TTL, RequestBuilder::max_ttl),
            (FIRST_TTL, |builder, ttl| builder.max_ttl(255).first_ttl(ttl)),
            (SEND_DELAY, RequestBuilder::send_delay_ms),
            (E2E_INTERVAL, RequestBuilder::e2e_interval_ms),
            (TOS, RequestBuilder::tos),
            (DSCP, RequestBuilder::dscp),
            (TIMEOUT, RequestBuilder::timeout_ms),
        ];
        for (number, set) in fields {
            let build = |value| set(Request::builder("192.0.2.1"), value).build();
            assert!(build(number.min).is_ok() && build(number.max).is_ok(), "{}", number.name);
            for value in [number.min - 1, number.max + 1] {
                assert_eq!(build(value).err(), number.check(value).err(), "{}", number.name);
            }
        }
    }

    fn by_syn_socket(protocol: Protocol) -> RequestBuilder {
        Request::builder("192.0.2.1").protocol(protocol).tcp_method(TcpMethod::SynSocket)
    }

    #[cfg(windows)]
    #[test]
    fn syn_socket_is_serial() {
        let request = by_syn_socket(Protocol::Tcp).build().expect("it is for this platform");
        assert!(request.serial);
        assert_eq!(request.access(), Access::Connections);
        assert_eq!(by_syn_socket(Protocol::Udp).build().expect("no effect").access(), Access::Usual);
    }

    #[cfg(not(windows))]
    #[test]
    fn syn_socket_is_refused_where_it_would_have_an_effect() {
        assert!(by_syn_socket(Protocol::Udp).build().is_ok());
        let error = by_syn_socket(Protocol::Tcp).build().expect_err("not on this platform").to_string();
        assert_eq!(error, "tcp-method syn_socket works on Windows only: use syn, sack or prefer_sack");
    }
}
