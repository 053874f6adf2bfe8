//! What the echo functions of Windows say of an echo request (`IP_STATUS`, ipexport.h).

use super::answers::AnswerKind;

/// What became of an echo request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Answered(AnswerKind),
    /// Nothing came in time.
    Silent,
    /// This host has not sent it, by the system's number.
    NotSent(u32),
}

const SUCCESS: u32 = 0;
const NET_UNREACHABLE: u32 = 11_002;
const HOST_UNREACHABLE: u32 = 11_003;
/// In IPv6 another meaning of the same number: a policy forbids it.
const PROTOCOL_UNREACHABLE: u32 = 11_004;
const PORT_UNREACHABLE: u32 = 11_005;
const PACKET_TOO_BIG: u32 = 11_009;
const REQUEST_TIMED_OUT: u32 = 11_010;
const TTL_EXPIRED: u32 = 11_013;
const UNREACHABLE_V6: u32 = 11_040;
const TIME_EXCEEDED_V6: u32 = 11_041;
const UNRECOGNIZED_NEXT_HEADER: u32 = 11_043;
const SCOPE_MISMATCH: u32 = 11_045;

/// What a status means for an IPv4 request, in the numbers of RFC 792.
pub(super) const fn outcome_v4(status: u32) -> Outcome {
    let (kind, code) = match status {
        SUCCESS => return Outcome::Answered(AnswerKind::EchoReply),
        REQUEST_TIMED_OUT => return Outcome::Silent,
        TTL_EXPIRED => (11, 0),
        NET_UNREACHABLE => (3, 0),
        HOST_UNREACHABLE => (3, 1),
        PROTOCOL_UNREACHABLE => (3, 2),
        PORT_UNREACHABLE => (3, 3),
        PACKET_TOO_BIG => (3, 4),
        other => return Outcome::NotSent(other),
    };
    Outcome::Answered(AnswerKind::Error { kind, code })
}

/// What a status means for an IPv6 request, in the numbers of RFC 4443.
pub(super) const fn outcome_v6(status: u32) -> Outcome {
    let (kind, code) = match status {
        SUCCESS => return Outcome::Answered(AnswerKind::EchoReply),
        REQUEST_TIMED_OUT => return Outcome::Silent,
        TTL_EXPIRED | TIME_EXCEEDED_V6 => (3, 0),
        NET_UNREACHABLE => (1, 0),
        PROTOCOL_UNREACHABLE => (1, 1),
        SCOPE_MISMATCH => (1, 2),
        HOST_UNREACHABLE | UNREACHABLE_V6 => (1, 3),
        PORT_UNREACHABLE => (1, 4),
        PACKET_TOO_BIG => (2, 0),
        UNRECOGNIZED_NEXT_HEADER => (4, 1),
        other => return Outcome::NotSent(other),
    };
    Outcome::Answered(AnswerKind::Error { kind, code })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `IP_GENERAL_FAILURE`.
    const GENERAL_FAILURE: u32 = 11_050;

    #[test]
    fn each_family_has_its_own_numbers() {
        let error = |kind, code| Outcome::Answered(AnswerKind::Error { kind, code });
        for (status, v4, v6) in [
            (TTL_EXPIRED, error(11, 0), error(3, 0)),
            (NET_UNREACHABLE, error(3, 0), error(1, 0)),
            (HOST_UNREACHABLE, error(3, 1), error(1, 3)),
            (PROTOCOL_UNREACHABLE, error(3, 2), error(1, 1)),
            (PORT_UNREACHABLE, error(3, 3), error(1, 4)),
            (PACKET_TOO_BIG, error(3, 4), error(2, 0)),
            (SUCCESS, Outcome::Answered(AnswerKind::EchoReply), Outcome::Answered(AnswerKind::EchoReply)),
            (REQUEST_TIMED_OUT, Outcome::Silent, Outcome::Silent),
            (GENERAL_FAILURE, Outcome::NotSent(GENERAL_FAILURE), Outcome::NotSent(GENERAL_FAILURE)),
        ] {
            assert_eq!((outcome_v4(status), outcome_v6(status)), (v4, v6), "{status}");
        }
    }
}
