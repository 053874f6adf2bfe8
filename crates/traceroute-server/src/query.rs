//! What a query string asks for.

use traceroute::parameters::{ALL, PROTOCOL, TARGET};
use traceroute::{InvalidRequest, Request};

/// What is asked for, and what is to be said about how.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) request: Request,
    /// Parameters that are not known, and those that were given more than once.
    pub(crate) warnings: Vec<String>,
}

/// Why a query asks for nothing that can be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidQuery {
    /// There is nothing to trace.
    #[error("missing required parameter: {}", TARGET.name)]
    NoTarget,
    /// The value of a known parameter is no text.
    #[error("invalid {0}: its value is not UTF-8 in percent-encoding (RFC 3986 section 2.1)")]
    Encoding(String),
    /// A parameter is out of its range, or the parameters contradict each other.
    #[error(transparent)]
    Request(#[from] InvalidRequest),
}

/// A parameter as it was given.
struct Given {
    name: String,
    /// `None` if it is not UTF-8, or has an escape that is none.
    value: Option<String>,
}

/// How many unknown or repeated parameters are named.
const NAMED: usize = 16;
/// How much of a name is shown.
const SHOWN: usize = 64;

/// Reads a query string. Of a parameter that is given more than once the first counts, as with the reference.
pub(crate) fn parse(query: &str) -> Result<Asked, InvalidQuery> {
    let mut given: Vec<Given> = Vec::new();
    let mut warnings = Warnings::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let next = read(pair);
        if !is_known(&next.name) {
            warnings.add(format!("unknown parameter {:?}: ignored", shortened(&next.name)));
        } else if given.iter().any(|given| given.name == next.name) {
            warnings.add(format!("parameter {:?} is given more than once: the first counts", next.name));
        } else {
            given.push(next);
        }
    }
    let value = |name: &str| -> Result<Option<&str>, InvalidQuery> {
        match given.iter().find(|given| given.name == name) {
            Some(Given { value: None, .. }) => Err(InvalidQuery::Encoding(name.to_owned())),
            // An empty value is none, except for the protocol: that is the reference's way.
            Some(Given { value: Some(value), .. }) if value.is_empty() && name != PROTOCOL.name => Ok(None),
            found => Ok(found.and_then(|given| given.value.as_deref())),
        }
    };
    let target = value(TARGET.name)?.ok_or(InvalidQuery::NoTarget)?;
    let mut builder = Request::builder(target);
    for parameter in ALL {
        if let Some(text) = value(parameter.name())? {
            builder = parameter.set(builder, text)?;
        }
    }
    Ok(Asked { request: builder.build()?, warnings: warnings.listed() })
}

fn is_known(name: &str) -> bool {
    name == TARGET.name || ALL.iter().any(|parameter| parameter.name() == name)
}

/// A name and a value, with their escapes resolved and `+` for a blank.
fn read(pair: &str) -> Given {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    Given { name: decoded(name).unwrap_or_else(|| name.to_owned()), value: decoded(value) }
}

fn decoded(text: &str) -> Option<String> {
    let escapes = text.split('%').skip(1);
    let whole = |escape: &str| escape.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    if !escapes.into_iter().all(whole) {
        return None;
    }
    let bytes: Vec<u8> = percent_encoding::percent_decode_str(&text.replace('+', " ")).collect();
    String::from_utf8(bytes).ok()
}

fn shortened(name: &str) -> String {
    let short: String = name.chars().take(SHOWN).collect();
    if short.len() < name.len() { short + "..." } else { short }
}

/// Warnings, of which a query can have many.
#[derive(Default)]
struct Warnings {
    named: Vec<String>,
    more: usize,
}

impl Warnings {
    fn add(&mut self, warning: String) {
        if self.named.contains(&warning) {
            return;
        }
        if self.named.len() < NAMED {
            self.named.push(warning);
        } else {
            self.more += 1;
        }
    }

    fn listed(mut self) -> Vec<String> {
        if self.more > 0 {
            self.named.push(format!("{} more parameters are unknown or repeated", self.more));
        }
        self.named
    }
}

#[cfg(test)]
mod tests {
    use traceroute::Protocol;

    use super::*;

    fn error(query: &str) -> String {
        parse(query).expect_err(query).to_string()
    }

    #[test]
    fn known_parameters_make_a_request() {
        let query = "target=%5B2001%3Adb8%3A%3A1%5D:443&protocol=TCP&tcp-method=Prefer_SACK&traceroute-queries=007&\
                     e2e-queries=0&max-ttl=64&timeout=500&ipv6=T&family=ipv6&source=2001:db8::9&tos=184";
        let Asked { request, warnings } = parse(query).expect("valid");
        assert_eq!(request.target(), "[2001:db8::1]:443");
        assert_eq!(
            (request.protocol(), request.port(), request.traceroute_queries()),
            (Protocol::Tcp, 443, 7)
        );
        assert_eq!(warnings, [""; 0]);
    }

    #[test]
    fn empty_values_are_the_defaults_except_for_target_and_protocol() {
        let Asked { request, .. } =
            parse("target=192.0.2.1&port=&ipv6=&tcp-method=&timeout&wait=").expect("valid");
        assert_eq!((request.port(), request.protocol()), (33_434, Protocol::Udp));
        assert_eq!(error("target="), "missing required parameter: target");
        assert_eq!(error(""), "missing required parameter: target");
        assert_eq!(
            error("target=192.0.2.1&protocol="),
            "unknown protocol \"\": allowed are udp, icmp and tcp"
        );
    }

    #[test]
    fn what_is_malformed_is_named_with_what_is_allowed() {
        for (query, parts) in [
            ("port=abc", ["port \"abc\"", "0 to 65535"]),
            ("port=0x50", ["port \"0x50\"", "0 to 65535"]),
            ("port=70000", ["port 70000", "0 to 65535"]),
            ("port=-5", ["port -5", "0 to 65535"]),
            ("max-ttl=300", ["max-ttl 300", "1 to 255"]),
            ("traceroute-queries=1e3", ["traceroute-queries", "0 to 1000"]),
            ("ipv6=yes", ["ipv6 \"yes\"", "true, t, 1"]),
            ("tcp-method=fin", ["tcp-method \"fin\"", "syn, sack"]),
            ("first-ttl=9&max-ttl=3", ["first-ttl 9", "max-ttl"]),
            ("source=localhost", ["source", "address"]),
            ("port=%zz", ["port", "percent-encoding"]),
            ("port=%ff", ["port", "percent-encoding"]),
        ] {
            let error = error(&format!("target=192.0.2.1&{query}"));
            assert!(parts.iter().all(|part| error.contains(part)), "{query}: {error}");
        }
        assert!(error("target=%zz").contains("target"));
        assert!(error("target=a%20b").contains("invalid target"));
    }

    #[test]
    fn unknown_and_repeated_parameters_are_warnings() {
        let Asked { request, warnings } =
            parse("target=192.0.2.1&target=192.0.2.2&Port=80&x=%zz&x=1&no%20such=1&port=81&port=bad")
                .expect("valid");
        assert_eq!((request.target(), request.port()), ("192.0.2.1", 81));
        assert_eq!(
            warnings,
            [
                "parameter \"target\" is given more than once: the first counts",
                "unknown parameter \"Port\": ignored",
                "unknown parameter \"x\": ignored",
                "unknown parameter \"no such\": ignored",
                "parameter \"port\" is given more than once: the first counts",
            ]
        );
        let many: Vec<String> = (0..100).map(|i| format!("p{i}{}=1", "x".repeat(1000))).collect();
        let Asked { warnings, .. } = parse(&format!("target=192.0.2.1&{}", many.join("&"))).expect("valid");
        assert_eq!(warnings.len(), 17);
        assert!(warnings.iter().all(|warning| warning.len() < 120));
        assert_eq!(warnings[16], "84 more parameters are unknown or repeated");
    }
}
