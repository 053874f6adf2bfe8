//! All parameters of a request, for interfaces that take them by name.

use std::net::IpAddr;

use super::{
    DSCP, E2E_INTERVAL, E2E_QUERIES, FAMILY, FIRST_TTL, INTERFACE, IPV6, MAX_TTL, NO_E2E, Number, PORT,
    PROTOCOL, REVERSE_DNS, SEND_DELAY, SIZE, SKIP_PRIVATE_HOPS, SOURCE, SOURCE_PUBLIC_IP, Switch, TCP_METHOD,
    TIMEOUT, TOS, TRACEROUTE_QUERIES, Text, WAIT, WINDOWS_DRIVER,
};
use crate::error::InvalidRequest;
use crate::request::RequestBuilder;

/// A parameter of a request beside its target, by what it takes.
#[derive(Clone, Copy, Debug)]
pub enum Parameter {
    /// A number.
    Number(&'static Number, fn(RequestBuilder, i64) -> RequestBuilder),
    /// A switch.
    Switch(&'static Switch, fn(RequestBuilder, bool) -> RequestBuilder),
    /// A word out of some.
    Word(Word),
    /// Free text.
    Text(&'static Text, fn(RequestBuilder, &str) -> Result<RequestBuilder, InvalidRequest>),
}

/// A word out of some, whatever the words stand for.
#[derive(Clone, Copy, Debug)]
pub struct Word {
    /// Its name.
    pub name: &'static str,
    /// What it decides.
    pub meaning: &'static str,
    /// The words, in lower case.
    pub words: fn() -> Vec<&'static str>,
    /// The word that stands when none is given, if it is one of them.
    pub default: &'static str,
    set: fn(RequestBuilder, &str) -> Result<RequestBuilder, InvalidRequest>,
}

/// All parameters beside the target, in the order in which they take effect.
pub const ALL: &[Parameter] = &[
    Parameter::Word(Word {
        name: PROTOCOL.name,
        meaning: PROTOCOL.meaning,
        words: || PROTOCOL.words(),
        default: PROTOCOL.default,
        set: |request, word| Ok(request.protocol(PROTOCOL.parse(word)?)),
    }),
    Parameter::Number(&PORT, RequestBuilder::port),
    Parameter::Word(Word {
        name: TCP_METHOD.name,
        meaning: TCP_METHOD.meaning,
        words: || TCP_METHOD.words(),
        default: TCP_METHOD.default,
        set: |request, word| Ok(request.tcp_method(TCP_METHOD.parse(word)?)),
    }),
    Parameter::Number(&TRACEROUTE_QUERIES, RequestBuilder::traceroute_queries),
    Parameter::Number(&E2E_QUERIES, RequestBuilder::e2e_queries),
    Parameter::Switch(&NO_E2E, |request, no_e2e| if no_e2e { request.e2e_queries(0) } else { request }),
    Parameter::Number(&E2E_INTERVAL, RequestBuilder::e2e_interval_ms),
    Parameter::Number(&FIRST_TTL, RequestBuilder::first_ttl),
    Parameter::Number(&MAX_TTL, RequestBuilder::max_ttl),
    Parameter::Number(&TIMEOUT, RequestBuilder::timeout_ms),
    Parameter::Word(Word {
        name: WAIT.name,
        meaning: WAIT.meaning,
        words: || WAIT.words(),
        default: WAIT.default,
        set: |request, word| Ok(request.wait(WAIT.parse(word)?)),
    }),
    Parameter::Number(&SEND_DELAY, RequestBuilder::send_delay_ms),
    Parameter::Text(&SOURCE, |request, text| Ok(request.source(source(text)?))),
    Parameter::Text(&INTERFACE, |request, name| Ok(request.interface(name))),
    Parameter::Number(&TOS, RequestBuilder::tos),
    Parameter::Number(&DSCP, RequestBuilder::dscp),
    Parameter::Number(&SIZE, RequestBuilder::size),
    Parameter::Word(Word {
        name: FAMILY.name,
        meaning: FAMILY.meaning,
        words: || FAMILY.words(),
        default: FAMILY.default,
        set: |request, word| Ok(request.family(FAMILY.parse(word)?)),
    }),
    Parameter::Switch(&IPV6, RequestBuilder::ipv6),
    Parameter::Switch(&REVERSE_DNS, RequestBuilder::reverse_dns),
    Parameter::Switch(&SOURCE_PUBLIC_IP, RequestBuilder::source_public_ip),
    Parameter::Switch(&SKIP_PRIVATE_HOPS, RequestBuilder::skip_private_hops),
    Parameter::Switch(&WINDOWS_DRIVER, RequestBuilder::windows_driver),
];

impl Parameter {
    /// Its name, as a query parameter.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Number(number, _) => number.name,
            Self::Switch(switch, _) => switch.name,
            Self::Word(word) => word.name,
            Self::Text(text, _) => text.name,
        }
    }

    /// What it does.
    #[must_use]
    pub const fn meaning(&self) -> &'static str {
        match self {
            Self::Number(number, _) => number.meaning,
            Self::Switch(switch, _) => switch.meaning,
            Self::Word(word) => word.meaning,
            Self::Text(text, _) => text.meaning,
        }
    }

    /// Reads its value from text, and sets it.
    pub fn set(&self, request: RequestBuilder, text: &str) -> Result<RequestBuilder, InvalidRequest> {
        match self {
            Self::Number(number, set) => Ok(set(request, number.check(number.parse(text)?)?)),
            Self::Switch(switch, set) => Ok(set(request, switch.parse(text)?)),
            Self::Word(word) => (word.set)(request, text),
            Self::Text(_, set) => set(request, text),
        }
    }
}

/// Reads an address to send from.
pub fn source(text: &str) -> Result<IpAddr, InvalidRequest> {
    text.parse().map_err(|_| InvalidRequest::Contradiction {
        what: format!("{} {text:?}", SOURCE.name),
        why: match text.split_once('%') {
            Some((_, zone)) => format!("leave out %{zone}, and give {} {zone}", INTERFACE.name),
            None => "it must be an IPv4 or IPv6 address of this host".into(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Request;

    #[test]
    fn names_are_unique_and_every_parameter_sets_something() {
        let names: std::collections::BTreeSet<_> = ALL.iter().map(Parameter::name).collect();
        assert_eq!(names.len(), ALL.len());
        for parameter in ALL {
            assert!(!parameter.meaning().is_empty());
            let builder = || Request::builder("192.0.2.1");
            let value = match parameter {
                Parameter::Number(number, _) => (number.default + 1).to_string(),
                Parameter::Switch(..) => "true".to_owned(),
                Parameter::Word(word) => {
                    let other = (word.words)().into_iter().find(|other| *other != word.default);
                    other.expect("there are two").to_owned()
                }
                Parameter::Text(text, _) => {
                    if text.name == SOURCE.name { "192.0.2.7" } else { "eth0" }.to_owned()
                }
            };
            let set = parameter.set(builder(), &value).expect("allowed");
            assert_ne!(format!("{set:?}"), format!("{:?}", builder()), "{}={value}", parameter.name());
        }
    }

    #[test]
    fn what_is_malformed_is_refused_with_the_name() {
        for parameter in ALL {
            let refused = parameter.set(Request::builder("192.0.2.1"), "no such value");
            match parameter {
                // Whether there is such an interface is known later.
                Parameter::Text(text, _) if text.name == INTERFACE.name => assert!(refused.is_ok()),
                _ => {
                    let error = refused.expect_err("malformed").to_string();
                    assert!(error.contains(parameter.name()), "{error}");
                }
            }
        }
    }
}
