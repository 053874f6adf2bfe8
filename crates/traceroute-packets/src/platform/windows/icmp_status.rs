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
pub(super) const PACKET_TOO_BIG: u32 = 11_009;
const REQUEST_TIMED_OUT: u32 = 11_010;
const TTL_EXPIRED: u32 = 11_013;
const REASSEMBLY_EXPIRED: u32 = 11_014;
const PARAMETER_PROBLEM: u32 = 11_015;
const DESTINATION_UNREACHABLE: u32 = 11_040;
const TIME_EXCEEDED: u32 = 11_041;
const UNRECOGNIZED_NEXT_HEADER: u32 = 11_043;
const SCOPE_MISMATCH: u32 = 11_045;

/// What it means that the system has no answer, for a reason with this number.
pub(super) const fn outcome_of_none(errno: u32) -> Outcome {
    match errno {
        REQUEST_TIMED_OUT => Outcome::Silent,
        other => Outcome::NotSent(other),
    }
}

/// What a status means for an IPv4 request, in the numbers of RFC 792.
pub(super) const fn outcome_v4(status: u32) -> Outcome {
    let (kind, code) = match status {
        SUCCESS => return Outcome::Answered(AnswerKind::EchoReply),
        REQUEST_TIMED_OUT => return Outcome::Silent,
        TTL_EXPIRED | TIME_EXCEEDED => (11, 0),
        NET_UNREACHABLE => (3, 0),
        HOST_UNREACHABLE | DESTINATION_UNREACHABLE => (3, 1),
        PROTOCOL_UNREACHABLE => (3, 2),
        PORT_UNREACHABLE => (3, 3),
        PACKET_TOO_BIG => (3, 4),
        REASSEMBLY_EXPIRED => (11, 1),
        PARAMETER_PROBLEM => (12, 0),
        other => return Outcome::NotSent(other),
    };
    Outcome::Answered(AnswerKind::Error { kind, code })
}

/// What a status means for an IPv6 request, in the numbers of RFC 4443.
pub(super) const fn outcome_v6(status: u32) -> Outcome {
    let (kind, code) = match status {
        SUCCESS => return Outcome::Answered(AnswerKind::EchoReply),
        REQUEST_TIMED_OUT => return Outcome::Silent,
        TTL_EXPIRED | TIME_EXCEEDED => (3, 0),
        REASSEMBLY_EXPIRED => (3, 1),
        PARAMETER_PROBLEM => (4, 0),
        NET_UNREACHABLE => (1, 0),
        PROTOCOL_UNREACHABLE => (1, 1),
        SCOPE_MISMATCH => (1, 2),
        HOST_UNREACHABLE | DESTINATION_UNREACHABLE => (1, 3),
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

    /// The number of success among them: nothing has gone wrong, and there is nothing.
    #[test]
    fn nothing_is_no_answer() {
        assert_eq!(outcome_of_none(SUCCESS), Outcome::NotSent(SUCCESS));
        assert_eq!(outcome_of_none(REQUEST_TIMED_OUT), Outcome::Silent);
    }

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
            (REASSEMBLY_EXPIRED, error(11, 1), error(3, 1)),
            (PARAMETER_PROBLEM, error(12, 0), error(4, 0)),
            (DESTINATION_UNREACHABLE, error(3, 1), error(1, 3)),
            (TIME_EXCEEDED, error(11, 0), error(3, 0)),
            (SUCCESS, Outcome::Answered(AnswerKind::EchoReply), Outcome::Answered(AnswerKind::EchoReply)),
            (REQUEST_TIMED_OUT, Outcome::Silent, Outcome::Silent),
            (GENERAL_FAILURE, Outcome::NotSent(GENERAL_FAILURE), Outcome::NotSent(GENERAL_FAILURE)),
        ] {
            assert_eq!((outcome_v4(status), outcome_v6(status)), (v4, v6), "{status}");
        }
    }
}
