//! The parameters of a request: name, range, default and meaning, once for every interface.

mod table;

use traceroute_core::{Family, Protocol, TcpMethod, Wait};

use crate::error::InvalidRequest;

pub use self::table::{ALL, Parameter, Word, source};

/// A number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    /// Its name, as a long flag and as a query parameter.
    pub name: &'static str,
    /// What it does.
    pub meaning: &'static str,
    /// The least value.
    pub min: i64,
    /// The greatest value.
    pub max: i64,
    /// The value when it is not given.
    pub default: i64,
    /// What stands behind the range where it is explained.
    remark: &'static str,
}

/// A switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch {
    /// Its name, as a long flag and as a query parameter.
    pub name: &'static str,
    /// What it does.
    pub meaning: &'static str,
}

/// Free text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text {
    /// Its name, as a long flag and as a query parameter.
    pub name: &'static str,
    /// What it says.
    pub meaning: &'static str,
}

/// A word out of some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice<T: 'static> {
    /// Its name in errors and as a query parameter; as a long flag, except for the protocol.
    pub name: &'static str,
    /// What it decides.
    pub meaning: &'static str,
    /// The words, in lower case, and what each stands for.
    pub values: &'static [(&'static str, T)],
    /// The word that stands when none is given.
    pub default: &'static str,
    /// The words in a sentence.
    allowed: &'static str,
}

/// What to trace.
pub const TARGET: Text = Text {
    name: "target",
    meaning: "Name, IPv4 or IPv6 address, HOST:PORT or [ADDRESS]:PORT. A link-local address takes its interface along, \
              as in fe80::1%eth0",
};

/// How to probe.
pub const PROTOCOL: Choice<Protocol> = Choice {
    name: "protocol",
    meaning: "How to probe: udp, icmp or tcp",
    values: &[("udp", Protocol::Udp), ("icmp", Protocol::Icmp), ("tcp", Protocol::Tcp)],
    default: "udp",
    allowed: "udp, icmp and tcp",
};

/// How to probe with TCP.
pub const TCP_METHOD: Choice<TcpMethod> = Choice {
    name: "tcp-method",
    meaning: "How to probe with tcp: syn, sack, prefer_sack (sack, or syn where that is not supported) or \
              syn_socket (Windows)",
    values: &[
        ("syn", TcpMethod::Syn),
        ("sack", TcpMethod::Sack),
        ("prefer_sack", TcpMethod::PreferSack),
        ("syn_socket", TcpMethod::SynSocket),
    ],
    default: "syn",
    allowed: "syn, sack, prefer_sack and syn_socket",
};

/// Destination port.
pub const PORT: Number = Number {
    name: "port",
    meaning: "Destination port, 1 to 65535; 0 means the default",
    min: 0,
    max: 65_535,
    default: 33_434,
    remark: " (0 means the default, 33434)",
};

/// Number of runs.
pub const TRACEROUTE_QUERIES: Number = Number {
    name: "traceroute-queries",
    meaning: "Traceroute runs, 0 to 1000, all started at once",
    min: 0,
    max: 1_000,
    default: 3,
    remark: "",
};

/// Number of end-to-end probes.
pub const E2E_QUERIES: Number = Number {
    name: "e2e-queries",
    meaning: "End-to-end probes, 0 to 10000, up to a second apart",
    min: 0,
    max: 10_000,
    default: 50,
    remark: "",
};

/// The last TTL probed.
pub const MAX_TTL: Number = Number {
    name: "max-ttl",
    meaning: "Last TTL probed, 1 to 255",
    min: 1,
    max: 255,
    default: 30,
    remark: "",
};

/// The first TTL probed.
pub const FIRST_TTL: Number = Number {
    name: "first-ttl",
    meaning: "First TTL probed, 1 to 255, not above the last",
    min: 1,
    max: 255,
    default: 1,
    remark: "",
};

/// The time from one probe to the next where answers stay out.
pub const SEND_DELAY: Number = Number {
    name: "send-delay",
    meaning: "Time from one probe of a run to the next where answers stay out, 1 to 60000 milliseconds",
    min: 1,
    max: 60_000,
    default: 50,
    remark: " (milliseconds)",
};

/// How long silent hops are waited for.
pub const WAIT: Choice<Wait> = Choice {
    name: "wait",
    meaning: "How long to wait for silent hops once the destination has answered: adaptive, ten times the slowest \
              round trip and at least 200 ms, or full, the whole time-out",
    values: &[("adaptive", Wait::ADAPTIVE), ("full", Wait::Full)],
    default: "adaptive",
    allowed: "adaptive and full",
};

/// No end-to-end probes.
pub const NO_E2E: Switch = Switch { name: "no-e2e", meaning: "Only the path, as with e2e-queries 0" };

/// The time between two end-to-end probes.
pub const E2E_INTERVAL: Number = Number {
    name: "e2e-interval",
    meaning: "Time from one end-to-end probe to the next, 1 to 3600000 milliseconds; 0 spreads them over the longest \
              time that a trace could take, at most a second apart",
    min: 0,
    max: 3_600_000,
    default: 0,
    remark: " (milliseconds; 0 spreads them, at most a second apart)",
};

/// The local port of the first run.
pub const SOURCE_PORT: Number = Number {
    name: "source-port",
    meaning: "First local port with udp and tcp, 1 to 65535; each further run, and then each end-to-end probe, has the next \
              free one. 0 chooses",
    min: 0,
    max: 65_535,
    default: 0,
    remark: " (0 chooses)",
};

/// The type of service or traffic class.
pub const TOS: Number = Number {
    name: "tos",
    meaning: "Type of service (IPv4) or traffic class (IPv6) of all that is sent to the target, 0 to 255",
    min: 0,
    max: 255,
    default: 0,
    remark: "",
};

/// The differentiated services code point, the upper six bits of [`TOS`].
pub const DSCP: Number = Number {
    name: "dscp",
    meaning: "Differentiated services code point, 0 to 63: the upper six bits of the type of service, instead of --tos",
    min: 0,
    max: 63,
    default: 0,
    remark: "",
};

/// The length of the probes.
pub const SIZE: Number = Number {
    name: "size",
    meaning: "Length of the probes' whole datagrams with udp and icmp, 66 to 65535 bytes; 0 is as short as possible",
    min: 0,
    max: 65_535,
    default: 0,
    remark: " (bytes), but none from 1 to 65",
};

/// How long answers are waited for.
pub const TIMEOUT: Number = Number {
    name: "timeout",
    meaning: "How long answers are waited for after the last probe, 1 to 600000 milliseconds",
    min: 1,
    max: 600_000,
    default: 3_000,
    remark: " (milliseconds)",
};

/// The address that probes leave from.
pub const SOURCE: Text = Text {
    name: "source",
    meaning: "Send from this address of this host; the routing table chooses one otherwise",
};

/// The interface that probes leave through.
pub const INTERFACE: Text = Text {
    name: "interface",
    meaning: "Send through this interface, given by name or index; the routing table chooses one otherwise",
};

/// The family that is traced over.
pub const FAMILY: Choice<Family> = Choice {
    name: "family",
    meaning: "Trace over this family only, ipv4 or ipv6: a name is resolved to such an address, and an address of the other \
              is refused",
    values: &[("ipv4", Family::V4), ("ipv6", Family::V6)],
    default: "",
    allowed: "ipv4 and ipv6",
};

/// Which family of addresses a name is resolved to.
pub const IPV6: Switch = Switch { name: "ipv6", meaning: "Resolve the target's name to an IPv6 address" };

/// Names of hops.
pub const REVERSE_DNS: Switch =
    Switch { name: "reverse-dns", meaning: "Look up the names of hops and destination" };

/// This host's public address.
pub const SOURCE_PUBLIC_IP: Switch =
    Switch { name: "source-public-ip", meaning: "Look up this host's public address" };

/// Hops with private addresses.
pub const SKIP_PRIVATE_HOPS: Switch =
    Switch { name: "skip-private-hops", meaning: "Blank hops with private addresses" };

/// The network driver of the Datadog Agent, on Windows.
pub const WINDOWS_DRIVER: Switch = Switch {
    name: "windows-driver",
    meaning: "Use the network driver of the Datadog Agent on Windows (no effect elsewhere)",
};

impl Number {
    /// Reads a decimal number, whether it is within the range or not.
    pub fn parse(&self, text: &str) -> Result<i64, InvalidRequest> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let decimal = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(value) if decimal => Ok(value),
            _ => Err(self.refuse(format!("{text:?}"))),
        }
    }

    /// Checks that a number is within the range.
    pub fn check(&self, value: i64) -> Result<i64, InvalidRequest> {
        if (self.min..=self.max).contains(&value) { Ok(value) } else { Err(self.refuse(value.to_string())) }
    }

    pub(crate) fn refuse(&self, given: String) -> InvalidRequest {
        let Self { name, min, max, remark, .. } = *self;
        InvalidRequest::NotInRange {
            name,
            given,
            allowed: format!("whole numbers from {min} to {max}{remark}"),
        }
    }
}

impl<T: Copy> Choice<T> {
    /// The words, in lower case.
    #[must_use]
    pub fn words(&self) -> Vec<&'static str> {
        self.values.iter().map(|(word, _)| *word).collect()
    }

    /// Reads one of the words, in upper or lower case.
    pub fn parse(&self, text: &str) -> Result<T, InvalidRequest> {
        let found = self.values.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
        found.map(|(_, value)| *value).ok_or_else(|| InvalidRequest::UnknownValue {
            name: self.name,
            given: text.to_owned(),
            allowed: self.allowed,
        })
    }
}

/// The words for the values of a switch.
pub const SWITCH_VALUES: &str = "true, t, 1, false, f and 0";

impl Switch {
    /// Reads one of the words that the reference knows.
    pub fn parse(&self, text: &str) -> Result<bool, InvalidRequest> {
        match text {
            "1" | "t" | "T" | "true" | "True" | "TRUE" => Ok(true),
            "0" | "f" | "F" | "false" | "False" | "FALSE" => Ok(false),
            _ => Err(InvalidRequest::UnknownValue {
                name: self.name,
                given: text.to_owned(),
                allowed: SWITCH_VALUES,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_decimal() {
        assert_eq!((PORT.parse("080"), PORT.parse("-1")), (Ok(80), Ok(-1)));
        for text in ["", "-", "abc", "0x50", "1_000", "+5", " 5", "5 ", "5.0", "1e3", "99999999999999999999"]
        {
            let error = PORT.parse(text).expect_err(text).to_string();
            assert_eq!(
                error,
                format!(
                    "invalid port {text:?}: allowed are whole numbers from 0 to 65535 (0 means the default, 33434)"
                )
            );
        }
    }

    #[test]
    fn every_number_has_its_range() {
        for number in [
            PORT,
            TRACEROUTE_QUERIES,
            E2E_QUERIES,
            MAX_TTL,
            FIRST_TTL,
            SEND_DELAY,
            E2E_INTERVAL,
            SOURCE_PORT,
            TOS,
            DSCP,
            SIZE,
            TIMEOUT,
        ] {
            let Number { name, min, max, .. } = number;
            assert_eq!((number.check(min), number.check(max)), (Ok(min), Ok(max)), "{name}");
            for value in [min - 1, max + 1, i64::MIN, i64::MAX] {
                let error = number.check(value).expect_err(name).to_string();
                let start = format!("invalid {name} {value}: allowed are whole numbers from {min} to {max}");
                assert!(error.starts_with(&start), "{error}");
            }
            assert!(number.check(number.default).is_ok());
        }
    }

    #[test]
    fn words_are_known_in_every_case() {
        for (word, method) in TCP_METHOD.values {
            assert_eq!((method.as_str(), TCP_METHOD.parse(&word.to_uppercase())), (*word, Ok(*method)));
        }
        for (word, protocol) in PROTOCOL.values {
            assert_eq!((protocol.as_str(), PROTOCOL.parse(&word.to_uppercase())), (*word, Ok(*protocol)));
        }
        let error = TCP_METHOD.parse("fin").expect_err("no method").to_string();
        assert_eq!(error, "unknown tcp-method \"fin\": allowed are syn, sack, prefer_sack and syn_socket");
        assert!(PROTOCOL.parse("").is_err());
        assert!(TCP_METHOD.parse(TCP_METHOD.default).is_ok() && PROTOCOL.parse(PROTOCOL.default).is_ok());
    }

    #[test]
    fn switches_know_the_references_words() {
        for (text, value) in [("1", true), ("T", true), ("TRUE", true), ("0", false), ("False", false)] {
            assert_eq!(IPV6.parse(text), Ok(value));
        }
        for text in ["", "yes", "on", "tRUE", "2"] {
            assert!(IPV6.parse(text).is_err(), "{text}");
        }
    }
}
