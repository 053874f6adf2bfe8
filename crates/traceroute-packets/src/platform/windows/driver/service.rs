//! Starting the driver's service: what to ask the service control manager for, and what its answers mean.

use std::io;

/// The service control manager, of which each call opens the service with just the rights that it needs.
pub(super) trait ServiceControl {
    /// What the service is doing.
    fn state(&self) -> io::Result<State>;
    /// Whether it may not be started.
    fn is_disabled(&self) -> io::Result<bool>;
    /// Lets it be started on demand.
    fn enable(&self) -> io::Result<()>;
    /// Starts it. For a driver this returns when it has been initialised (`StartService`).
    fn start(&self) -> io::Result<()>;
    /// Lets some time pass.
    fn pause(&self);
}

/// What a service is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Running,
    Other,
}

/// Which step failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Asking what the service is doing, or how it is started.
    Ask,
    /// Letting it be started.
    Enable,
    /// Starting it, until it runs.
    Start,
}

/// How often a service that is being started is asked whether it runs, with a pause in between.
const PAUSES: usize = 100;

/// `ERROR_SERVICE_ALREADY_RUNNING`: somebody else was faster.
const ALREADY_RUNNING: i32 = 1056;

/// Sees to it that the service runs. The Agent's installer leaves it disabled until something needs it, so that it is enabled is
/// the usual case. It is never stopped: others may use it by then.
pub(super) fn start(service: &impl ServiceControl) -> Result<(), (Step, io::Error)> {
    let failed = |step| move |error| (step, error);
    if service.state().map_err(failed(Step::Ask))? == State::Running {
        return Ok(());
    }
    if service.is_disabled().map_err(failed(Step::Ask))? {
        service.enable().map_err(failed(Step::Enable))?;
    }
    match service.start() {
        // It may be about to be.
        Err(error) if error.raw_os_error() == Some(ALREADY_RUNNING) => {}
        started => started.map_err(failed(Step::Start))?,
    }
    for _ in 0..PAUSES {
        if service.state().map_err(failed(Step::Ask))? == State::Running {
            return Ok(());
        }
        service.pause();
    }
    Err((Step::Start, io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// A service that notes what is asked of it, and refuses one thing.
    struct Service {
        running: bool,
        /// How many pauses it takes to start.
        slow: usize,
        disabled: bool,
        refuses: Option<(&'static str, i32)>,
        asked: RefCell<Vec<&'static str>>,
    }

    impl Service {
        fn ask(&self, what: &'static str) -> io::Result<()> {
            self.asked.borrow_mut().push(what);
            match self.refuses {
                Some((refused, errno)) if refused == what => Err(io::Error::from_raw_os_error(errno)),
                _ => Ok(()),
            }
        }
    }

    impl ServiceControl for Service {
        fn state(&self) -> io::Result<State> {
            self.ask("state")?;
            let asked = self.asked.borrow();
            let has_been = |what| asked.iter().filter(|asked| **asked == what).count();
            let started = has_been("start") > 0 && has_been("pause") >= self.slow;
            Ok(if self.running || started { State::Running } else { State::Other })
        }

        fn is_disabled(&self) -> io::Result<bool> {
            self.ask("is_disabled")?;
            Ok(self.disabled)
        }

        fn enable(&self) -> io::Result<()> {
            self.ask("enable")
        }

        fn start(&self) -> io::Result<()> {
            self.ask("start")
        }

        fn pause(&self) {
            self.ask("pause").expect("time passes");
        }
    }

    type Outcome = Result<(), (Step, Option<i32>)>;

    fn started(
        running: bool,
        disabled: bool,
        refuses: Option<(&'static str, i32)>,
    ) -> (Outcome, Vec<&'static str>) {
        let service = Service { running, slow: 0, disabled, refuses, asked: RefCell::default() };
        let outcome = start(&service).map_err(|(step, error)| (step, error.raw_os_error()));
        (outcome, service.asked.into_inner())
    }

    #[test]
    fn only_what_is_needed_is_asked_for() {
        assert_eq!(started(true, true, None), (Ok(()), vec!["state"]));
        assert_eq!(started(false, false, None), (Ok(()), vec!["state", "is_disabled", "start", "state"]));
        assert_eq!(
            started(false, true, None),
            (Ok(()), vec!["state", "is_disabled", "enable", "start", "state"])
        );
    }

    #[test]
    fn a_service_that_somebody_else_has_started_meanwhile_runs() {
        let (outcome, _) = started(false, true, Some(("start", 1056)));
        assert_eq!(outcome, Ok(()));
    }

    #[test]
    fn a_service_that_is_slow_is_waited_for_but_not_for_ever() {
        let service = |slow| Service {
            running: false,
            slow,
            disabled: false,
            refuses: None,
            asked: RefCell::default(),
        };
        assert!(start(&service(PAUSES - 1)).is_ok());
        let (step, error) = start(&service(PAUSES)).expect_err("it never runs");
        assert_eq!((step, error.kind()), (Step::Start, io::ErrorKind::TimedOut));
    }

    #[test]
    fn the_step_that_failed_is_told_and_nothing_is_done_after_it() {
        for (what, errno, step, asked) in [
            ("state", 1060, Step::Ask, 1),
            ("is_disabled", 5, Step::Ask, 2),
            ("enable", 5, Step::Enable, 3),
            ("start", 1058, Step::Start, 4),
        ] {
            let (outcome, done) = started(false, true, Some((what, errno)));
            assert_eq!((outcome, done.len()), (Err((step, Some(errno))), asked), "{what}");
        }
    }
}
