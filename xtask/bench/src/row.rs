//! What a row of the table is, how it is measured and judged.

use crate::error::Error;
use crate::noise::{Noise, Observations, Probe};
use crate::statistics::Summary;

/// How often a row is measured anew because the machine was too noisy.
const RETRIES: u32 = 3;

/// One figure of ours beside its limit and, where there is one, a peer's.
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
    pub(crate) noise: Noise,
}

/// What a row's figures say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Ok,
    Missed,
    TooNoisy,
}

impl Row {
    /// Runs both by turns until the machine was quiet for all of `runs` turns, or never will be.
    pub(crate) fn measure(&mut self, runs: u32, probe: &Probe) -> Result<Measured, Error> {
        let mut measured = self.measure_once(runs, probe)?;
        for _ in 0..RETRIES {
            if !measured.noise.is_too_much() {
                break;
            }
            eprintln!("  too noisy, once more");
            measured = self.measure_once(runs, probe)?;
        }
        Ok(measured)
    }

    fn measure_once(&mut self, runs: u32, probe: &Probe) -> Result<Measured, Error> {
        // The first run of a program finds cold caches.
        (self.ours)()?;
        (self.peer)()?;
        let (mut ours, mut peer) = (Vec::new(), Vec::new());
        let mut observations = Observations::default();
        for turn in 0..runs {
            probe.observe(&mut observations);
            // Whoever comes second finds what the first one left behind.
            if turn % 2 == 0 {
                ours.push((self.ours)()?);
                peer.push((self.peer)()?);
            } else {
                peer.push((self.peer)()?);
                ours.push((self.ours)()?);
            }
        }
        probe.observe(&mut observations);
        Ok(Measured { ours: Summary::of(ours), peer: Summary::of(peer), noise: observations.noise() })
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
        if measured.noise.is_too_much() {
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

    fn measured(ours: f64, peer: f64, slower: f64) -> Measured {
        let summary = |median| Summary { lower: median - 1.0, median, upper: median + 1.0 };
        Measured { ours: summary(ours), peer: summary(peer), noise: Noise { slower, late: 0.1 } }
    }

    #[test]
    fn the_median_is_judged() {
        assert_eq!(Limit::AtMost(5.0).judge(&measured(5.0, 1.0, 0.0)), Verdict::Ok);
        assert_eq!(Limit::AtMost(5.0).judge(&measured(5.1, 9.0, 0.0)), Verdict::Missed);
        assert_eq!(Limit::AbovePeer(5.0).judge(&measured(6.9, 2.0, 0.0)), Verdict::Ok);
        assert_eq!(Limit::AbovePeer(5.0).judge(&measured(7.1, 2.0, 0.0)), Verdict::Missed);
    }

    #[test]
    fn noise_forbids_both_verdicts() {
        for ours in [1.0, 100.0] {
            assert_eq!(Limit::AtMost(5.0).judge(&measured(ours, 1.0, 50.0)), Verdict::TooNoisy);
        }
    }

    #[test]
    fn what_is_not_a_number_is_missed() {
        assert_eq!(Limit::AtMost(5.0).judge(&measured(f64::NAN, 1.0, 0.0)), Verdict::Missed);
    }

    #[test]
    fn both_run_by_turns_and_the_first_runs_do_not_count() {
        let order = Rc::new(RefCell::new(String::new()));
        let sampler = |name: char, first: f64, later: f64| -> Sampler {
            let order = Rc::clone(&order);
            let mut next = first;
            Box::new(move || {
                order.borrow_mut().push(name);
                Ok(std::mem::replace(&mut next, later))
            })
        };
        let mut row = Row {
            name: "a row".into(),
            unit: Unit::Milliseconds,
            ours: sampler('o', 1000.0, 3.0),
            peer: sampler('p', 1000.0, 2.0),
            limit: Limit::AtMost(5.0),
        };
        let measured = row.measure_once(4, &Probe::calibrate()).unwrap();
        assert_eq!(*order.borrow(), "opoppooppo");
        assert_eq!(measured.ours, Summary { lower: 3.0, median: 3.0, upper: 3.0 });
        assert_eq!(measured.peer, Summary { lower: 2.0, median: 2.0, upper: 2.0 });
    }
}
