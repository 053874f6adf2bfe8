//! What is traced: a name, an address, or either with a port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::error::InvalidRequest;

/// A target as it was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// As it was given.
    pub(crate) text: String,
    pub(crate) host: Host,
    /// The port in the target, which wins over the parameter.
    pub(crate) port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Address {
        address: IpAddr,
        /// The interface of a link-local address: its name or number (RFC 4007 section 11).
        zone: Option<String>,
    },
    Name(String),
}

impl Target {
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidRequest> {
        let refuse = |reason: String| InvalidRequest::Target { target: text.to_owned(), reason };
        let (host, port) = split(text).map_err(|reason| refuse(reason.into()))?;
        let port = port.map(parse_port).transpose().map_err(refuse)?;
        let host = Host::parse(host).map_err(refuse)?;
        Ok(Self { text: text.to_owned(), host, port })
    }
}

/// What stands before the port, and the port.
#[derive(Clone, Copy, Debug)]
enum HostText<'a> {
    Bracketed(&'a str),
    Plain(&'a str),
}

fn split(text: &str) -> Result<(HostText<'_>, Option<&str>), &'static str> {
    if text.contains("://") {
        return Err("it is a URL: give its host, or HOST:PORT");
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').ok_or("the bracket is not closed")?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((HostText::Bracketed(address), Some(port))),
            None if rest.is_empty() => Ok((HostText::Bracketed(address), None)),
            None => Err("only a colon and a port may follow the bracket"),
        };
    }
    match text.split_once(':') {
        // More than one colon is an IPv6 address.
        Some((host, port)) if !port.contains(':') => Ok((HostText::Plain(host), Some(port))),
        _ => Ok((HostText::Plain(text), None)),
    }
}

fn parse_port(text: &str) -> Result<u16, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port) if digits && port != 0 => Ok(port),
        _ => Err(format!("the port {text:?} is not a number from 1 to 65535")),
    }
}

impl Host {
    fn parse(text: HostText<'_>) -> Result<Self, String> {
        let (text, bracketed) = match text {
            HostText::Bracketed(text) => (text, true),
            HostText::Plain(text) => (text, false),
        };
        if let Some((address, zone)) = text.split_once('%') {
            return Self::with_zone(address, zone);
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            let address = address.to_canonical();
            return match not_a_host(address) {
                Some(reason) => Err(format!("{address} {reason}")),
                None => Ok(Self::Address { address, zone: None }),
            };
        }
        if bracketed {
            return Err(format!("{text:?} is not an IP address, and only those stand in brackets"));
        }
        if text.contains(':') {
            return Err(format!("{text:?} is not an IPv6 address"));
        }
        check_name(text)?;
        Ok(Self::Name(text.to_owned()))
    }

    fn with_zone(address: &str, zone: &str) -> Result<Self, String> {
        let Ok(address) = address.parse::<Ipv6Addr>() else {
            return Err(format!("{address:?} before the % is not an IPv6 address"));
        };
        if zone.is_empty() {
            return Err("the % must be followed by the name of an interface".into());
        }
        if !address.is_unicast_link_local() {
            return Err(format!("{address} is not link-local (fe80::/10), so it has no zone %{zone}"));
        }
        Ok(Self::Address { address: address.into(), zone: Some(zone.to_owned()) })
    }
}

/// Why an address is not that of one host.
pub(crate) fn not_a_host(address: IpAddr) -> Option<&'static str> {
    if address.is_unspecified() {
        Some("is the unspecified address, not that of a host")
    } else if address.is_multicast() {
        Some("is a multicast group, not a host")
    } else if address == IpAddr::V4(Ipv4Addr::BROADCAST) {
        Some("is the broadcast address, not that of a host")
    } else {
        None
    }
}

/// Refuses what no resolver should be asked for, above all what some take for an old notation of an IPv4 address:
/// `127.1`, `010.0.0.1`, `0x7f000001`.
fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("the host is empty".into());
    }
    let labels = name.strip_suffix('.').unwrap_or(name);
    if labels.len() > 253 || labels.split('.').any(|label| label.is_empty() || label.len() > 63) {
        return Err("a host name has labels of 1 to 63 characters, and 253 characters in all".into());
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        return Err("a host name has letters, digits, hyphens, underscores and dots only; \
                    write an international name in its xn-- form"
            .into());
    }
    let last = labels.rsplit('.').next().unwrap_or_default();
    let number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last
            .strip_prefix("0x")
            .or(last.strip_prefix("0X"))
            .is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if number {
        return Err(
            "it is neither a name nor an IPv4 address, which has four decimal numbers from 0 to 255 without \
                    leading zeros"
                .into(),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<(IpAddr, Option<u16>)> {
        match Target::parse(text) {
            Ok(Target { host: Host::Address { address, zone: None }, port, .. }) => Some((address, port)),
            _ => None,
        }
    }

    #[test]
    fn addresses() {
        let v4 = IpAddr::from([192, 0, 2, 1]);
        assert_eq!(address("192.0.2.1"), Some((v4, None)));
        assert_eq!(address("192.0.2.1:80"), Some((v4, Some(80))));
        assert_eq!(address("[192.0.2.1]:80"), Some((v4, Some(80))));
        assert_eq!(address("::ffff:192.0.2.1"), Some((v4, None)));
        assert_eq!(address("[::ffff:192.0.2.1]:80"), Some((v4, Some(80))));
        assert_eq!(address("::1"), Some((Ipv6Addr::LOCALHOST.into(), None)));
        assert_eq!(address("[::1]"), Some((Ipv6Addr::LOCALHOST.into(), None)));
        assert_eq!(address("[::1]:99"), Some((Ipv6Addr::LOCALHOST.into(), Some(99))));
        assert_eq!(address("::1:99"), Some(("::1:99".parse().expect("an address"), None)));
    }

    #[test]
    fn names() {
        for (text, host, port) in [
            ("example.test", "example.test", None),
            ("example.test.", "example.test.", None),
            ("example.test:443", "example.test", Some(443)),
            ("_srv.a-b.c1", "_srv.a-b.c1", None),
            ("localhost", "localhost", None),
            ("1.example", "1.example", None),
        ] {
            let target = Target::parse(text).expect(text);
            assert_eq!((target.host, target.port), (Host::Name(host.into()), port), "{text}");
        }
    }

    #[test]
    fn zones() {
        let target = Target::parse("[fe80::1%eth0]:53").expect("a scoped address");
        let expected =
            Host::Address { address: "fe80::1".parse().expect("an address"), zone: Some("eth0".into()) };
        assert_eq!((target.host, target.port), (expected, Some(53)));
        for text in ["fe80::1%", "2001:db8::1%eth0", "192.0.2.1%eth0", "name%eth0", "%eth0"] {
            assert!(Target::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_target() {
        for text in [
            "",
            " ",
            ":",
            ":80",
            "host:",
            "host:0",
            "host:http",
            "host:65536",
            "host:-1",
            "host:+80",
            "host: 80",
            "[::1",
            "[::1]x",
            "[::1]:",
            "[]",
            "[host]:80",
            "127.1",
            "010.0.0.1",
            "1.2.3.4.5",
            "256.0.0.1",
            "0x7f.0.0.0x1",
            "2130706433",
            "a b",
            "a\nb",
            "..",
            ".a",
            "a..b",
            "ex\u{e4}mple.test",
            "1:2:3",
            "::g",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
            "http://example.test/",
            "user@host",
        ] {
            assert!(Target::parse(text).is_err(), "{text:?}");
        }
        assert!(Target::parse(&"a".repeat(64)).is_err());
        assert!(Target::parse(&"a.".repeat(128)).is_err());
    }
}
