//! What a row of the table is, how it is measured and judged.

use std::thread;
use std::time::Duration;

use crate::error::Error;
use crate::statistics::Summary;

/// How many times as often as it is to be quiet the machine may be noisy.
const PATIENCE: u32 = 20;
/// How long to wait when it is.
const PAUSE: Duration = Duration::from_millis(50);

/// One figure of ours beside its limit and a peer's.
pub(crate) struct Row {
    /// What is measured, where.
    pub(crate) name: String,
    pub(crate) unit: Unit,
    /// Measures the product once.
    pub(crate) ours: Sampler,
    /// Measures the peer once, in the same way.
    pub(crate) peer: Sampler,
    pub(crate) limit: Limit,
}

/// Measures once.
pub(crate) type Sampler = Box<dyn FnMut() -> Result<f64, Error>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Milliseconds,
    /// 1,000,000 bytes.
    Megabytes,
    Packets,
}

/// Up to where our median is good.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Limit {
    AtMost(f64),
    /// At most so much more than the peer's median.
    AbovePeer(f64),
}

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Measured {
    pub(crate) ours: Summary,
    pub(crate) peer: Summary,
    /// How often the machine was too noisy, so that a turn did not count.
    pub(crate) disturbed: u32,
    /// Whether there were quiet turns enough.
    pub(crate) enough: bool,
}

/// What a row's figures say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Ok,
    Missed,
    TooNoisy,
}

impl Row {
    /// Runs both, turn by turn, until the machine was `quiet` before and after so many turns as `runs`, or too often not.
    pub(crate) fn measure(&mut self, runs: u32, quiet: &mut impl FnMut() -> bool) -> Result<Measured, Error> {
        // The first run of a program finds cold caches.
        (self.ours)()?;
        (self.peer)()?;
        let (mut ours, mut peer) = (Vec::new(), Vec::new());
        let (mut counted, mut disturbed) = (0, 0);
        let mut is_quiet = quiet();
        while counted < runs && disturbed < runs.saturating_mul(PATIENCE) {
            if !is_quiet {
                disturbed += 1;
                thread::sleep(PAUSE);
                is_quiet = quiet();
                continue;
            }
            let (figure, peers) = self.take_turn(counted % 2 == 0)?;
            is_quiet = quiet();
            if is_quiet {
                ours.push(figure);
                peer.push(peers);
                counted += 1;
            }
        }
        let (ours, peer) = (Summary::of(ours), Summary::of(peer));
        Ok(Measured { ours, peer, disturbed, enough: counted == runs })
    }

    /// One run of each; whoever comes second finds what the first one left behind.
    fn take_turn(&mut self, ours_first: bool) -> Result<(f64, f64), Error> {
        if ours_first {
            return Ok(((self.ours)()?, (self.peer)()?));
        }
        let peer = (self.peer)()?;
        Ok(((self.ours)()?, peer))
    }
}

impl Limit {
    /// The limit as a number.
    pub(crate) fn value(self, peer: Summary) -> f64 {
        match self {
            Self::AtMost(most) => most,
            Self::AbovePeer(above) => peer.median + above,
        }
    }

    pub(crate) fn judge(self, measured: &Measured) -> Verdict {
        if !measured.enough {
            Verdict::TooNoisy
        } else if measured.ours.median <= self.value(measured.peer) {
            Verdict::Ok
        } else {
            Verdict::Missed
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    fn measured(ours: f64, peer: f64) -> Measured {
        let summary = |median| Summary { lower: median - 1.0, median, upper: median + 1.0 };
        Measured { ours: summary(ours), peer: summary(peer), disturbed: 3, enough: true }
    }

    #[test]
    fn the_median_is_judged() {
        assert_eq!(Limit::AtMost(5.0).judge(&measured(5.0, 1.0)), Verdict::Ok);
        assert_eq!(Limit::AtMost(5.0).judge(&measured(5.1, 9.0)), Verdict::Missed);
        assert_eq!(Limit::AbovePeer(5.0).judge(&measured(6.9, 2.0)), Verdict::Ok);
        assert_eq!(Limit::AbovePeer(5.0).judge(&measured(7.1, 2.0)), Verdict::Missed);
    }

    #[test]
    fn noise_forbids_both_verdicts() {
        for ours in [1.0, 100.0] {
            let noisy = Measured { enough: false, ..measured(ours, 1.0) };
            assert_eq!(Limit::AtMost(5.0).judge(&noisy), Verdict::TooNoisy);
        }
    }

    #[test]
    fn what_is_not_a_number_is_missed() {
        assert_eq!(Limit::AtMost(5.0).judge(&measured(f64::NAN, 1.0)), Verdict::Missed);
    }

    /// Measures a row of four runs on a machine that is quiet when `quiet` says so; also in which order both ran.
    fn measure(quiet: &[bool]) -> (Measured, String) {
        let order = Rc::new(RefCell::new(String::new()));
        let sampler = |name: char, mut figures: std::vec::IntoIter<f64>| -> Sampler {
            let order = Rc::clone(&order);
            Box::new(move || {
                order.borrow_mut().push(name);
                Ok(figures.next().unwrap_or(3.0))
            })
        };
        let mut row = Row {
            name: "a row".into(),
            unit: Unit::Milliseconds,
            ours: sampler('o', vec![1000.0, 1.0, 2.0].into_iter()),
            peer: sampler('p', vec![1000.0].into_iter()),
            limit: Limit::AtMost(5.0),
        };
        let mut quiet = quiet.iter();
        let measured = row.measure(4, &mut || quiet.next().copied().unwrap_or(true)).unwrap();
        let order = order.borrow().clone();
        (measured, order)
    }

    #[test]
    fn both_run_by_turns_and_the_first_runs_do_not_count() {
        let (measured, order) = measure(&[]);
        assert_eq!(order, "opoppooppo");
        assert_eq!(measured.ours, Summary::of(vec![1.0, 2.0, 3.0, 3.0]));
        assert_eq!(measured.peer, Summary::of(vec![3.0; 4]));
        assert_eq!((measured.disturbed, measured.enough), (0, true));
    }

    #[test]
    fn a_turn_counts_only_between_two_quiet_moments() {
        // Noise before the first turn and after the second.
        let (measured, order) = measure(&[false, true, true, false]);
        assert_eq!(order, "opoppopooppo");
        assert_eq!(measured.ours, Summary::of(vec![1.0, 3.0, 3.0, 3.0]));
        assert_eq!((measured.disturbed, measured.enough), (2, true));
    }

    #[test]
    fn patience_ends() {
        let (measured, order) = measure(&[false; 100]);
        assert_eq!(order, "op");
        assert_eq!((measured.disturbed, measured.enough), (80, false));
    }
}
