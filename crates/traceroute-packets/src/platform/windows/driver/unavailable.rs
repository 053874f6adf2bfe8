//! Why the driver cannot be used, and what to do about it.

use std::io;

use traceroute_core::{Remedy, TracerouteError};

use super::service::Step;

/// What of the driver's is not to be had, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unavailable {
    Service(Step, Number),
    Opening(Number),
    Filtering(Number),
    Reading(Number),
    Sending(Number),
}

/// The number of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number(pub(super) i32);

impl From<io::Error> for Number {
    fn from(error: io::Error) -> Self {
        // What has no number of the system's is found out here: `ERROR_TIMEOUT` and `ERROR_BROKEN_PIPE`.
        let ours = if error.kind() == io::ErrorKind::TimedOut { 1460 } else { 109 };
        Self(error.raw_os_error().unwrap_or(ours))
    }
}

impl From<Unavailable> for TracerouteError {
    fn from(unavailable: Unavailable) -> Self {
        let (step, Number(errno)) = match unavailable {
            Unavailable::Service(Step::Ask, errno) => ("asking for its service", errno),
            Unavailable::Service(Step::Enable, errno) => ("enabling its service", errno),
            Unavailable::Service(Step::Start, errno) => ("starting its service", errno),
            Unavailable::Opening(errno) => ("opening it", errno),
            Unavailable::Filtering(errno) => ("asking it for packets", errno),
            Unavailable::Reading(errno) => ("reading from it", errno),
            Unavailable::Sending(errno) => ("giving it a packet to send", errno),
        };
        let filtering = matches!(unavailable, Unavailable::Filtering(_));
        Self::DriverUnavailable { step, errno, remedy: remedy(filtering, errno) }
    }
}

fn remedy(filtering: bool, errno: i32) -> Remedy {
    const ACCESS_DENIED: i32 = 5;
    const DISABLED: i32 = 1058;
    const NO_SERVICE: i32 = 1060;
    match errno {
        ACCESS_DENIED => &"run as Administrator",
        NO_SERVICE => &"install the Datadog Agent, which brings the driver (2.10.0 or later is needed)",
        DISABLED => &"allow it to be started: `sc.exe config ddnpm start= demand`",
        _ if filtering => &"it may be too old: the driver of the Datadog Agent has to be 2.10.0 or later",
        _ => &"`sc.exe query ddnpm` shows its state",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_which_step_failed_and_what_to_do() {
        for (unavailable, words) in [
            (
                Unavailable::Service(Step::Ask, Number(1060)),
                ["asking for its service", "install the Datadog Agent"],
            ),
            (Unavailable::Service(Step::Enable, Number(5)), ["enabling its service", "Administrator"]),
            (Unavailable::Service(Step::Start, Number(1058)), ["starting its service", "sc.exe config"]),
            (Unavailable::Opening(Number(2)), ["opening it", "sc.exe query"]),
            (Unavailable::Filtering(Number(87)), ["asking it for packets", "too old"]),
            (Unavailable::Filtering(Number(5)), ["asking it for packets", "Administrator"]),
            (Unavailable::Reading(Number(1450)), ["reading from it", "sc.exe query"]),
            (Unavailable::Sending(Number(433)), ["giving it a packet to send", "sc.exe query"]),
        ] {
            let said = TracerouteError::from(unavailable).to_string();
            assert!(words.iter().all(|word| said.contains(word)), "{said}");
        }
    }

    #[test]
    fn what_is_found_out_here_has_a_number_too() {
        assert_eq!(Number::from(io::Error::from_raw_os_error(31)), Number(31));
        assert_eq!(Number::from(io::Error::from(io::ErrorKind::TimedOut)), Number(1460));
        assert_eq!(Number::from(io::Error::from(io::ErrorKind::BrokenPipe)), Number(109));
    }
}
