//! What the end of a connection attempt with a limited TTL means.

use std::net::{IpAddr, Ipv4Addr};

use super::answers::{Answer, AnswerKind};

/// What became of an attempt to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conclusion {
    Answered(Answer),
    /// Nobody has answered, or the system does not know who.
    Silent,
    /// This host has not tried, by Winsock's number.
    Failed(i32),
}

/// `WSAETIMEDOUT`.
const TIMED_OUT: i32 = 10_060;
/// `WSAECONNREFUSED`.
const REFUSED: i32 = 10_061;
/// `WSAEHOSTUNREACH`, with which every ICMP error ends an attempt where `TCP_FAIL_CONNECT_ON_ICMP_ERROR` is set.
const HOST_UNREACHABLE: i32 = 10_065;

/// What an attempt to connect to `target` has come to, which ended with this error, or none. `information` asks for the bytes of
/// `TCP_ICMP_ERROR_INFO`, of which there are none where the system has received no ICMP error.
pub(super) fn conclude(
    target: IpAddr,
    error: Option<i32>,
    information: impl FnOnce() -> Result<Vec<u8>, i32>,
) -> Conclusion {
    let answered = |kind| Conclusion::Answered(Answer { from: target, ttl: 0, kind });
    match error {
        None => answered(AnswerKind::SynAck),
        Some(REFUSED) => answered(AnswerKind::Reset),
        Some(TIMED_OUT) => Conclusion::Silent,
        Some(HOST_UNREACHABLE) => match information() {
            Ok(bytes) => error_of(&bytes).map_or(Conclusion::Silent, Conclusion::Answered),
            Err(errno) => Conclusion::Failed(errno),
        },
        Some(errno) => Conclusion::Failed(errno),
    }
}

/// The ICMP error that an `ICMP_ERROR_INFO` (ws2ipdef.h) tells: the address is a union of `sockaddr_in` and `sockaddr_in6`, 28
/// bytes, then come the protocol, the type and the code.
fn error_of(bytes: &[u8]) -> Option<Answer> {
    const AF_INET: u16 = 2;
    const TYPE: usize = 32;
    const CODE: usize = 33;
    let family = u16::from_le_bytes(*bytes.first_chunk()?);
    let address = Ipv4Addr::from(*bytes.get(4..)?.first_chunk()?);
    let kind = AnswerKind::Error { kind: *bytes.get(TYPE)?, code: *bytes.get(CODE)? };
    (family == AF_INET).then_some(Answer { from: address.into(), ttl: 0, kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
    const ROUTER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 3));

    /// What Windows writes for an error of ICMPv4.
    fn information(family: u8, kind: u8, code: u8) -> Vec<u8> {
        let mut bytes = vec![0; 36];
        bytes[0] = family;
        bytes[4..8].copy_from_slice(&[203, 0, 113, 3]);
        bytes[28] = 1;
        (bytes[32], bytes[33]) = (kind, code);
        bytes
    }

    #[test]
    fn the_end_of_an_attempt_says_who_answered_and_how() {
        let concluded = |error, information: Vec<u8>| conclude(TARGET, error, || Ok(information));
        let answered = |from, kind| Conclusion::Answered(Answer { from, ttl: 0, kind });
        let expired = AnswerKind::Error { kind: 11, code: 0 };
        let prohibited = AnswerKind::Error { kind: 3, code: 13 };
        for (error, bytes, expected) in [
            (None, vec![], answered(TARGET, AnswerKind::SynAck)),
            (Some(10_061), vec![], answered(TARGET, AnswerKind::Reset)),
            (Some(10_065), information(2, 11, 0), answered(ROUTER, expired)),
            (Some(10_065), information(2, 3, 13), answered(ROUTER, prohibited)),
            (Some(10_065), vec![], Conclusion::Silent),
            (Some(10_065), information(23, 3, 0), Conclusion::Silent),
            (Some(10_060), vec![], Conclusion::Silent),
            (Some(10_013), vec![], Conclusion::Failed(10_013)),
            (Some(10_051), vec![], Conclusion::Failed(10_051)),
        ] {
            assert_eq!(concluded(error, bytes), expected, "{error:?}");
        }
    }

    #[test]
    fn information_that_is_not_whole_names_nobody() {
        let whole = information(2, 11, 0);
        for length in 0..34 {
            assert_eq!(error_of(&whole[..length]), None, "{length} bytes");
        }
        assert!(error_of(&whole[..34]).is_some());
    }

    #[test]
    fn only_an_icmp_error_is_asked_about() {
        for error in [None, Some(10_061), Some(10_060), Some(10_013)] {
            conclude(TARGET, error, || panic!("{error:?}"));
        }
        assert_eq!(conclude(TARGET, Some(10_065), || Err(10_042)), Conclusion::Failed(10_042));
    }
}
