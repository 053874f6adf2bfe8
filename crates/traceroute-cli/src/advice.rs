//! What to do about an error, where the error itself does not say so.

use std::borrow::Cow;

use traceroute::{Error, Family, InvalidRequest, Operation, TracerouteError};

use crate::system;

/// The error in a line for each reason, with what to do next.
pub(crate) fn with_advice(error: &Error) -> String {
    match advice(error) {
        Some(advice) => format!("{error}; {advice}"),
        None => error.to_string(),
    }
}

fn advice(error: &Error) -> Option<Cow<'static, str>> {
    match error {
        Error::Trace(error) => reason(error),
        Error::AllRunsFailed(errors) => match errors.as_slice() {
            [error] => reason(error),
            _ => None,
        },
        error => of_the_name(error).map(Cow::from),
    }
}

/// About what was to be traced and how, before that was tried.
fn of_the_name(error: &Error) -> Option<&'static str> {
    match error {
        Error::NoAddress { family: Family::V4, .. } => Some("try -6"),
        Error::NoAddress { family: Family::V6, .. } => Some("try without -6 and --ipv6"),
        Error::Resolve { .. } => Some("check the spelling and the name servers, or give an address"),
        Error::ResolvedTo { .. } => Some("check the name, or give an address"),
        Error::Invalid(InvalidRequest::Interface { .. }) => Some(system::INTERFACES),
        _ => None,
    }
}

fn reason(error: &TracerouteError) -> Option<Cow<'static, str>> {
    match error {
        TracerouteError::NotPermitted { operation } if *operation != Operation::EnterNamespace => {
            system::grant().map(Cow::from)
        }
        error => of_the_network(error).map(Cow::from),
    }
}

fn of_the_network(error: &TracerouteError) -> Option<&'static str> {
    match error {
        TracerouteError::NetworkUnreachable { .. } | TracerouteError::HostUnreachable { .. } => {
            Some(system::ROUTE)
        }
        TracerouteError::NoSourceAddress { .. } => Some(system::FAMILIES),
        TracerouteError::ForeignSource { .. } => Some(system::ADDRESSES),
        TracerouteError::SendRejected { .. } => Some(system::FIREWALL),
        TracerouteError::Broadcast { .. } => Some("give the address of a host"),
        TracerouteError::SourceAddressGone { .. } | TracerouteError::CaptureEnded => {
            Some("this host's network has changed: try again")
        }
        TracerouteError::MessageTooLong { .. } => Some(system::MTU),
        TracerouteError::HandshakeMissed { .. } => Some("try again, or --tcp-method syn"),
        TracerouteError::IdentitiesExhausted { .. } => Some("try again when other traces have ended"),
        TracerouteError::SackNotSupported { .. } => Some("try --tcp-method prefer_sack or syn"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use traceroute::{ConnectFailure, SackRefusal};

    use super::*;

    #[test]
    fn a_name_without_an_address_of_the_family_is_told_of_the_flag() {
        let error = |family| with_advice(&Error::NoAddress { name: "six.test".into(), family });
        assert!(error(Family::V4).ends_with("it has no IPv4 address; try -6"));
        assert!(error(Family::V6).ends_with("it has no IPv6 address; try without -6 and --ipv6"));
    }

    #[test]
    fn advice_follows_the_reason_in_the_same_line() {
        let target = "192.0.2.1:80".parse().expect("an address");
        let refused = || TracerouteError::SackNotSupported {
            target,
            reason: SackRefusal::NotConnected(ConnectFailure::Refused),
        };
        let text = with_advice(&Error::AllRunsFailed(vec![refused()]));
        assert_eq!(
            text,
            "SACK not supported for this target/source: the connection to 192.0.2.1:80 was refused; \
             try --tcp-method prefer_sack or syn"
        );
        let two = Error::AllRunsFailed(vec![refused(), TracerouteError::CaptureEnded]);
        assert_eq!(with_advice(&two), two.to_string(), "one does not help against all");
    }
}
