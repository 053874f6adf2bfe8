//! Which targets may be traced.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;
use traceroute::{Error, Protocol, Refusal, Request, TargetPolicy};

use crate::rate::RateLimit;

/// Which targets may be traced: those of the allowed networks and ports, all if none are named, except for those denied.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Rules of which one must fit, if there are any.
    pub allow: Vec<Rule>,
    /// Rules of which none may fit.
    pub deny: Vec<Rule>,
    /// Lets link-local addresses and those of cloud metadata services be traced, too.
    pub without_default_denials: bool,
}

/// A network, or ports, or ports of a network: `10.0.0.0/8`, `[2001:db8::/32]:443`, `192.0.2.7:1-1023`, `*:25`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// `None` is every network.
    network: Option<IpNet>,
    /// `None` is every port, and probes without ports.
    ports: Option<RangeInclusive<u16>>,
}

/// Why a rule is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no rule: write a network as 10.0.0.0/8 or 2001:db8::/32, perhaps with ports as 10.0.0.0/8:443, \
         [2001:db8::/32]:1-1023 or *:25"
)]
pub struct InvalidRule {
    text: String,
}

/// Why a target may not be traced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    /// By default.
    #[error("{what} are refused unless the service is started with --no-default-deny")]
    Default {
        /// Addresses of which kind.
        what: &'static str,
    },
    /// By a rule.
    #[error("the rule \"deny {0}\" forbids it")]
    Rule(Rule),
    /// By the want of one.
    #[error("no rule allows it")]
    NotAllowed,
}

const LINK_LOCAL: &str = "link-local addresses";
const METADATA: &str = "addresses of cloud metadata services";

/// What is denied by default: no path leads there but the one to the next machine, and what answers there gives away secrets.
/// Of the services that are not link-local: Alibaba, Azure, Oracle; and over IPv6 AWS, Google, Oracle, Scaleway, Akamai.
const DEFAULT_DENIALS: [(&str, &str); 10] = [
    ("169.254.0.0/16", LINK_LOCAL),
    ("fe80::/10", LINK_LOCAL),
    ("100.100.100.200/32", METADATA),
    ("168.63.129.16/32", METADATA),
    ("192.0.0.192/32", METADATA),
    ("fd00:ec2::/32", METADATA),
    ("fd20:ce::254/128", METADATA),
    ("fd00:c1::a9fe:a9fe/128", METADATA),
    ("fd00:42::42/128", METADATA),
    ("fd00:a9fe:a9fe::1/128", METADATA),
];

impl Policy {
    /// Whether `port` of a target may be probed, or the target by probes without one.
    pub(crate) fn check(&self, target: IpAddr, port: Option<u16>) -> Result<(), Denied> {
        let target = target.to_canonical();
        let meant: Vec<IpAddr> =
            [target].into_iter().chain(embedded(target).into_iter().map(IpAddr::V4)).collect();
        if !self.without_default_denials
            && let Some((_, what)) = DEFAULT_DENIALS.iter().find(|(network, _)| {
                network
                    .parse()
                    .is_ok_and(|network: IpNet| meant.iter().any(|address| network.contains(address)))
            })
        {
            return Err(Denied::Default { what });
        }
        let fits = |rule: &&Rule| meant.iter().any(|address| rule.fits(*address, port));
        if let Some(rule) = self.deny.iter().find(fits) {
            return Err(Denied::Rule(rule.clone()));
        }
        if self.allow.is_empty() || self.allow.iter().any(|rule| rule.fits(target, port)) {
            Ok(())
        } else {
            Err(Denied::NotAllowed)
        }
    }
}

/// The IPv4 address that translators and tunnels on the way would make of an IPv6 one: IPv4-compatible (RFC 4291 section
/// 2.5.5.1), IPv4-translated (RFC 2765 section 2.1), ISATAP (RFC 5214 section 6.1), NAT64 (RFC 6052 section 2.1), 6to4 (RFC
/// 3056 section 2), Teredo (RFC 4380 section 4). With a network's own NAT64 (RFC 8215) it depends on the length of its prefix,
/// which nobody else knows, and may be any of several.
fn embedded(address: IpAddr) -> Vec<Ipv4Addr> {
    let IpAddr::V6(address) = address else { return Vec::new() };
    let octets = address.octets();
    let segments = address.segments();
    let at =
        |place: usize| Ipv4Addr::from_bits(u32::from(segments[place]) << 16 | u32::from(segments[place + 1]));
    let last = at(6);
    let among =
        |network: &str| network.parse().is_ok_and(|network: IpNet| network.contains(&IpAddr::V6(address)));
    let of_interface = matches!(segments[4..6], [0 | 0x200, 0x5efe]);
    if of_interface
        || among("::ffff:0:0:0/96")
        || among("::/96") && !address.is_loopback() && address != Ipv6Addr::UNSPECIFIED
        || among("64:ff9b::/96")
    {
        vec![last]
    } else if among("64:ff9b:1::/48") {
        // RFC 6052 section 2.2: octet 8 is always zero.
        let places = [[6, 7, 9, 10], [7, 9, 10, 11], [9, 10, 11, 12], [12, 13, 14, 15]];
        places.map(|places| Ipv4Addr::from(places.map(|place: usize| octets[place]))).into()
    } else if among("2002::/16") {
        vec![at(1)]
    } else if among("2001::/32") {
        vec![Ipv4Addr::from_bits(!last.to_bits())]
    } else {
        Vec::new()
    }
}

impl Rule {
    fn fits(&self, address: IpAddr, port: Option<u16>) -> bool {
        let ports = self.ports.as_ref();
        self.network.is_none_or(|network| network.contains(&address))
            && ports.is_none_or(|ports| port.is_some_and(|port| ports.contains(&port)))
    }
}

impl FromStr for Rule {
    type Err = InvalidRule;

    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        let text = text.trim();
        let invalid = || InvalidRule { text: text.to_owned() };
        if let Some(network) = network(text) {
            return Ok(Self { network: Some(network), ports: None });
        }
        let (place, ports) = text.rsplit_once(':').ok_or_else(invalid)?;
        let ports = Some(self::ports(ports).ok_or_else(invalid)?);
        let network = match place.strip_prefix('[').and_then(|place| place.strip_suffix(']')) {
            _ if place == "*" => return Ok(Self { network: None, ports }),
            Some(bracketed) => network(bracketed).filter(|network| network.addr().is_ipv6()),
            None => network(place).filter(|network| network.addr().is_ipv4()),
        };
        Ok(Self { network: Some(network.ok_or_else(invalid)?), ports })
    }
}

/// A network, or one address.
fn network(text: &str) -> Option<IpNet> {
    let network =
        text.parse().ok().or_else(|| text.parse().ok().map(|address: IpAddr| IpNet::from(address)))?;
    // As its targets are written.
    match network {
        IpNet::V6(v6) if v6.addr().to_ipv4_mapped().is_some() => {
            let length = v6.prefix_len().checked_sub(96)?;
            IpNet::new(v6.addr().to_canonical(), length).ok()
        }
        network => Some(network),
    }
}

fn ports(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let ports = first.parse().ok()?..=last.parse().ok()?;
    (*ports.start() > 0 && !ports.is_empty()).then_some(ports)
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.network, &self.ports) {
            (None, _) => f.write_str("*")?,
            (Some(network @ IpNet::V6(_)), Some(_)) => write!(f, "[{network}]")?,
            (Some(network), _) => write!(f, "{network}")?,
        }
        match &self.ports {
            None => Ok(()),
            Some(ports) if ports.start() == ports.end() => write!(f, ":{}", ports.start()),
            Some(ports) => write!(f, ":{}-{}", ports.start(), ports.end()),
        }
    }
}

/// What a tracer is told about its targets.
#[derive(Clone, Debug)]
pub(crate) struct Targets {
    policy: Arc<Policy>,
    rate: Option<Arc<RateLimit<IpAddr>>>,
}

impl Targets {
    pub(crate) fn new(policy: Policy, per_minute: Option<NonZeroU32>) -> Self {
        let rate = per_minute.map(|per_minute| Arc::new(RateLimit::new("for one target", per_minute)));
        Self { policy: Arc::new(policy), rate }
    }

    /// Whether a request may have its target, as far as that is known before its name is resolved.
    pub(crate) fn check_beforehand(&self, request: &Request) -> Result<(), Error> {
        match request.address() {
            Some(target) => self.permits(target, request).map_err(|reason| Error::Refused { target, reason }),
            None => Ok(()),
        }
    }

    fn permits(&self, target: IpAddr, request: &Request) -> Result<(), Refusal> {
        // Echo requests have no port.
        let port = (request.protocol() != Protocol::Icmp).then(|| request.port());
        self.policy.check(target, port).map_err(|denied| -> Refusal { Arc::new(denied) })
    }
}

impl TargetPolicy for Targets {
    fn check(&self, target: IpAddr, request: &Request) -> Result<(), Refusal> {
        self.permits(target, request)?;
        let rate = self.rate.as_ref().map_or(Ok(()), |rate| rate.check(target.to_canonical()));
        rate.map_err(|too_many| -> Refusal { Arc::new(too_many) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn rules(texts: &[&str]) -> Vec<Rule> {
        texts.iter().map(|text| text.parse().expect("a rule")).collect()
    }

    const DISGUISES: [&str; 13] = [
        "::ffff:0:169.254.169.254",
        "2001:db8::5efe:169.254.169.254",
        "2001:db8::200:5efe:169.254.169.254",
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "::169.254.169.254",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1:2:3:4:169.254.169.254",
        "64:ff9b:1:a9fe:a9:fe00::",
        "64:ff9b:1:2a9:fe:a9fe::",
        "64:ff9b:1:2:a9:fea9:fe00::",
        "2002:a9fe:a9fe::1",
        "2001::5601:5601",
    ];

    #[test]
    fn link_local_and_metadata_addresses_are_denied_by_default_in_every_disguise() {
        let policy = Policy::default();
        for address in DISGUISES.iter().chain(&[
            "fe80::1",
            "febf::1",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fd00:c1::a9fe:a9fe",
            "fd00:42::42",
            "fd00:a9fe:a9fe::1",
        ]) {
            assert!(policy.check(ip(address), Some(80)).is_err(), "{address}");
            assert!(policy.check(ip(address), None).is_err(), "{address}");
        }
        for address in ["127.0.0.1", "::1", "10.0.0.1", "169.253.0.1", "2001:db8::1", "fd00::1", "fec0::1"] {
            assert_eq!(policy.check(ip(address), Some(80)), Ok(()), "{address}");
        }
        let lifted = Policy { without_default_denials: true, ..Policy::default() };
        for address in DISGUISES.iter().chain(&["fe80::1", "100.100.100.200"]) {
            assert_eq!(lifted.check(ip(address), Some(80)), Ok(()), "{address}");
        }
    }

    #[test]
    fn a_denied_network_is_denied_in_every_disguise_and_though_it_be_allowed() {
        let policy = Policy {
            allow: rules(&["0.0.0.0/0", "::/0"]),
            deny: rules(&["169.254.169.254"]),
            without_default_denials: true,
        };
        for address in DISGUISES {
            let denied = policy.check(ip(address), Some(80)).expect_err(address);
            assert_eq!(denied.to_string(), "the rule \"deny 169.254.169.254/32\" forbids it");
        }
        assert_eq!(policy.check(ip("169.254.169.253"), Some(80)), Ok(()));
        let mapped = Policy { deny: rules(&["::ffff:10.0.0.0/104"]), ..Policy::default() };
        assert!(mapped.check(ip("10.9.9.9"), Some(80)).is_err());
    }

    #[test]
    fn what_is_not_allowed_is_denied_if_anything_is_allowed() {
        let policy = Policy { allow: rules(&["10.0.0.0/8", "[2001:db8::/32]:443"]), ..Policy::default() };
        for (address, port, allowed) in [
            ("10.1.2.3", Some(1), true),
            ("10.1.2.3", None, true),
            ("::ffff:10.1.2.3", None, true),
            ("11.0.0.1", Some(1), false),
            // The translator's business, and not what was allowed.
            ("64:ff9b::10.1.2.3", Some(1), false),
            ("2001:db8::1", Some(443), true),
            ("2001:db8::1", Some(80), false),
            ("2001:db8::1", None, false),
        ] {
            let outcome = policy.check(ip(address), port);
            assert_eq!(outcome, if allowed { Ok(()) } else { Err(Denied::NotAllowed) }, "{address} {port:?}");
        }
    }

    #[test]
    fn ports_are_denied_everywhere_or_somewhere() {
        let policy = Policy { deny: rules(&["*:1-1023", "192.0.2.0/24:8080"]), ..Policy::default() };
        for (address, port, allowed) in [
            ("198.51.100.1", Some(1023), false),
            ("198.51.100.1", Some(1024), true),
            ("198.51.100.1", Some(8080), true),
            ("198.51.100.1", None, true),
            ("192.0.2.7", Some(8080), false),
            ("192.0.2.7", None, true),
        ] {
            assert_eq!(policy.check(ip(address), port).is_ok(), allowed, "{address} {port:?}");
        }
    }

    #[test]
    fn rules_are_written_in_one_way_and_read_in_some() {
        for (text, written) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("10.0.0.0/8:443", "10.0.0.0/8:443"),
            ("10.1.2.3:1-80", "10.1.2.3/32:1-80"),
            ("[2001:db8::/32]:443", "[2001:db8::/32]:443"),
            ("*:25", "*:25"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ] {
            assert_eq!(text.parse::<Rule>().map(|rule| rule.to_string()).as_deref(), Ok(written));
        }
        for text in [
            "",
            "*",
            "*:",
            "*:0",
            "*:80-79",
            "*:65536",
            "10.0.0.0/33",
            "10.0.0",
            "localhost",
            "[10.0.0.0/8]:80",
            "10.0.0.0/8:",
            "10.0.0.0/8:a",
            "[::1]",
            "::ffff:0.0.0.0/80",
        ] {
            assert!(text.parse::<Rule>().is_err(), "{text}");
        }
        let error = "localhost".parse::<Rule>().expect_err("no rule").to_string();
        assert!(error.contains("\"localhost\"") && error.contains("10.0.0.0/8"), "{error}");
    }

    #[test]
    fn the_networks_of_the_default_are_networks() {
        assert!(DEFAULT_DENIALS.iter().all(|(network, _)| network.parse::<IpNet>().is_ok()));
    }
}
