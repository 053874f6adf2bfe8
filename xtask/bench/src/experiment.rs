//! What an experiment is, how it is measured, and how its rows of the table are judged.

use std::thread;
use std::time::Duration;

use crate::error::Error;
use crate::statistics::{Statistic, Summary};

/// How many times as often as it is to be quiet the machine may be noisy.
const PATIENCE: u32 = 20;
/// How long to wait when it is.
const PAUSE: Duration = Duration::from_millis(50);
/// However seldom something is measured, it is so often.
const FEWEST_TURNS: u32 = 3;

/// Something that is done again and again, by the product and by its peers, and the figures that come of it.
pub(crate) struct Experiment {
    /// What is done, where.
    pub(crate) name: String,
    /// What is measured each time.
    pub(crate) rows: Vec<Row>,
    /// Does it once with the product.
    pub(crate) ours: Sampler,
    pub(crate) peers: Vec<Peer>,
    /// Only one of so many turns is taken, because each takes long.
    pub(crate) one_in: u32,
}

/// One figure of an experiment.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// What is measured.
    pub(crate) what: &'static str,
    pub(crate) unit: Unit,
    /// What is made of all samples.
    pub(crate) statistic: Statistic,
    pub(crate) limit: Limit,
}

/// Something to compare with.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// Does the same once.
    pub(crate) sampler: Sampler,
    /// It takes part in one of so many turns, because it is slow.
    pub(crate) one_in: u32,
}

/// Does something once.
pub(crate) type Sampler = Box<dyn FnMut() -> Result<Samples, Error>>;

/// The samples of each row; none where there is no such figure.
pub(crate) type Samples = Vec<Vec<f64>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Milliseconds,
    Microseconds,
    Nanoseconds,
    /// 1,000,000 bytes.
    Megabytes,
    /// 1,024 bytes.
    Kibibytes,
    Count,
    Percent,
    /// Of something in a second.
    Rate,
}

impl Unit {
    /// Whether a machine that is busy with something else makes another figure of it.
    pub(crate) const fn is_of_time(self) -> bool {
        match self {
            Self::Milliseconds | Self::Microseconds | Self::Nanoseconds | Self::Rate => true,
            Self::Megabytes | Self::Kibibytes | Self::Count | Self::Percent => false,
        }
    }
}

/// Of bytes.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(crate) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// How far our figure is good. Those that refer to a peer mean the first one that has such a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Limit {
    AtMost(f64),
    AtLeast(f64),
    /// At most so much more than the peer's.
    AbovePeer(f64),
    /// At most so many times the peer's.
    TimesPeer(f64),
    /// For orientation.
    None,
}

/// What was measured for a row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Measured {
    pub(crate) ours: Summary,
    /// By the peer's name, those that have such a figure.
    pub(crate) peers: Vec<(&'static str, Summary)>,
    /// Whether there were turns enough, at quiet moments if that matters.
    pub(crate) enough: bool,
}

/// What a row's figures say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Ok,
    Missed,
    TooNoisy,
    /// There is no limit.
    Shown,
}

/// The samples of one program, row by row.
struct Collected(Samples);

impl Collected {
    fn new(rows: usize) -> Self {
        Self(vec![Vec::new(); rows])
    }

    /// Adds the samples of the rows that are wanted.
    fn add(&mut self, samples: Samples, wanted: &[bool]) {
        for ((all, new), _) in self.0.iter_mut().zip(samples).zip(wanted).filter(|(_, wanted)| **wanted) {
            all.extend(new);
        }
    }
}

impl Experiment {
    /// What the table calls a row.
    pub(crate) fn name_of(&self, row: &Row) -> String {
        format!("{}, {}", row.what, self.name)
    }

    /// Lets all take turns until the machine was `quiet` before and after so many turns as `runs` says, or too often not.
    /// Returns what was measured for each row, and how often the machine was too noisy, so that a turn did not count. What is
    /// not a matter of time counts in any turn.
    pub(crate) fn measure(
        &mut self,
        runs: u32,
        quiet: &mut impl FnMut() -> bool,
    ) -> Result<(Vec<Measured>, u32), Error> {
        let turns = (runs / self.one_in).max(runs.min(FEWEST_TURNS));
        // The first run of a program finds cold caches.
        (self.ours)()?;
        for peer in &mut self.peers {
            (peer.sampler)()?;
        }
        let mut ours = Collected::new(self.rows.len());
        let mut peers: Vec<_> = self.peers.iter().map(|_| Collected::new(self.rows.len())).collect();
        let noise_matters: Vec<bool> = self.rows.iter().map(|row| row.unit.is_of_time()).collect();
        let (any_of_time, any_other) = (noise_matters.contains(&true), noise_matters.contains(&false));
        // In turns at quiet moments, and in turns at all.
        let (mut counted, mut taken, mut disturbed) = (0, 0, 0);
        let mut is_quiet = quiet();
        while any_of_time && counted < turns && disturbed < turns.saturating_mul(PATIENCE)
            || any_other && taken < turns
        {
            let wants_other = any_other && taken < turns;
            if !is_quiet && !wants_other {
                disturbed += 1;
                thread::sleep(PAUSE);
                is_quiet = quiet();
                continue;
            }
            let (new, new_of_peers) = self.take_turn(if any_of_time { counted } else { taken })?;
            let was_quiet = is_quiet;
            is_quiet = quiet();
            let counts = was_quiet && is_quiet;
            if any_of_time && !was_quiet {
                disturbed += 1;
            }
            let wanted = |of_time: bool| if of_time { counts } else { wants_other };
            let wanted: Vec<bool> = noise_matters.iter().map(|of_time| wanted(*of_time)).collect();
            ours.add(new, &wanted);
            peers.iter_mut().zip(new_of_peers).for_each(|(all, new)| all.add(new, &wanted));
            counted += u32::from(counts);
            taken += 1;
        }
        let measured = self.rows.iter().enumerate().map(|(index, row)| {
            let of_peers = self.peers.iter().zip(&peers).filter(|(_, samples)| !samples.0[index].is_empty());
            Measured {
                ours: row.statistic.of(&ours.0[index]),
                peers: of_peers.map(|(peer, all)| (peer.name, row.statistic.of(&all.0[index]))).collect(),
                enough: if row.unit.is_of_time() { counted >= turns } else { taken >= turns },
            }
        });
        Ok((measured.collect(), disturbed))
    }

    /// One run of each; whoever comes second finds what the first one left behind, so they change places.
    fn take_turn(&mut self, number: u32) -> Result<(Samples, Vec<Samples>), Error> {
        let first = if number.is_multiple_of(2) { Some((self.ours)()?) } else { None };
        let mut of_peers = Vec::with_capacity(self.peers.len());
        for peer in &mut self.peers {
            of_peers.push(if number.is_multiple_of(peer.one_in) { (peer.sampler)()? } else { Vec::new() });
        }
        let ours = match first {
            Some(ours) => ours,
            None => (self.ours)()?,
        };
        Ok((ours, of_peers))
    }
}

impl Limit {
    /// The limit as a number, if there is one.
    pub(crate) fn value(self, measured: &Measured) -> Option<f64> {
        let peer = || measured.peers.first().map_or(f64::NAN, |(_, peer)| peer.figure);
        match self {
            Self::AtMost(value) | Self::AtLeast(value) => Some(value),
            Self::AbovePeer(above) => Some(peer() + above),
            Self::TimesPeer(times) => Some(peer() * times),
            Self::None => None,
        }
    }

    pub(crate) fn judge(self, measured: &Measured) -> Verdict {
        let ours = measured.ours.figure;
        let Some(limit) = self.value(measured) else { return Verdict::Shown };
        let good = if matches!(self, Self::AtLeast(_)) { ours >= limit } else { ours <= limit };
        match (measured.enough, good) {
            (false, _) => Verdict::TooNoisy,
            (true, true) => Verdict::Ok,
            (true, false) => Verdict::Missed,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    fn measured(ours: f64, peer: f64) -> Measured {
        let summary = |figure| Summary { lower: figure - 1.0, figure, upper: figure + 1.0 };
        Measured { ours: summary(ours), peers: vec![("peer", summary(peer))], enough: true }
    }

    #[test]
    fn our_figure_is_judged() {
        assert_eq!(Limit::AtMost(5.0).judge(&measured(5.0, 1.0)), Verdict::Ok);
        assert_eq!(Limit::AtMost(5.0).judge(&measured(5.1, 9.0)), Verdict::Missed);
        assert_eq!(Limit::AtLeast(5.0).judge(&measured(5.0, 1.0)), Verdict::Ok);
        assert_eq!(Limit::AtLeast(5.0).judge(&measured(4.9, 9.0)), Verdict::Missed);
        assert_eq!(Limit::AbovePeer(5.0).judge(&measured(6.9, 2.0)), Verdict::Ok);
        assert_eq!(Limit::AbovePeer(5.0).judge(&measured(7.1, 2.0)), Verdict::Missed);
        assert_eq!(Limit::TimesPeer(2.0).judge(&measured(3.9, 2.0)), Verdict::Ok);
        assert_eq!(Limit::TimesPeer(2.0).judge(&measured(4.1, 2.0)), Verdict::Missed);
        assert_eq!(Limit::None.judge(&measured(4.1, 2.0)), Verdict::Shown);
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
        assert_eq!(Limit::AtLeast(5.0).judge(&measured(f64::NAN, 1.0)), Verdict::Missed);
        let alone = Measured { peers: Vec::new(), ..measured(1.0, 1.0) };
        assert_eq!(Limit::TimesPeer(5.0).judge(&alone), Verdict::Missed);
    }

    /// Measures an experiment of two rows four times, the slow peer in every other turn, on a machine that is quiet when
    /// `quiet` says so; also in which order they ran.
    fn measure(quiet: &[bool]) -> (Vec<Measured>, u32, String) {
        measure_in([Unit::Milliseconds; 2], quiet)
    }

    /// The same with rows of these units.
    fn measure_in(units: [Unit; 2], quiet: &[bool]) -> (Vec<Measured>, u32, String) {
        let order = Rc::new(RefCell::new(String::new()));
        let sampler = |name: char, mut figures: std::vec::IntoIter<f64>| -> Sampler {
            let order = Rc::clone(&order);
            Box::new(move || {
                order.borrow_mut().push(name);
                Ok(vec![vec![figures.next().unwrap_or(3.0)], Vec::new()])
            })
        };
        let row = |what, unit| Row { what, unit, statistic: Statistic::Median, limit: Limit::AtMost(5.0) };
        let mut experiment = Experiment {
            name: "an experiment".into(),
            rows: vec![row("one", units[0]), row("two", units[1])],
            ours: sampler('o', vec![1000.0, 1.0, 2.0].into_iter()),
            peers: vec![
                Peer { name: "peer", sampler: sampler('p', vec![1000.0].into_iter()), one_in: 1 },
                Peer { name: "slow", sampler: sampler('s', vec![].into_iter()), one_in: 2 },
            ],
            one_in: 1,
        };
        let mut quiet = quiet.iter();
        let (measured, disturbed) =
            experiment.measure(4, &mut || quiet.next().copied().unwrap_or(true)).unwrap();
        let order = order.borrow().clone();
        (measured, disturbed, order)
    }

    #[test]
    fn all_run_by_turns_and_the_first_runs_do_not_count() {
        let (measured, disturbed, order) = measure(&[]);
        assert_eq!(order, "ops ops po ops po".replace(' ', ""));
        assert_eq!(measured[0].ours, Statistic::Median.of(&[1.0, 2.0, 3.0, 3.0]));
        let peers = [("peer", [3.0; 4].as_slice()), ("slow", &[3.0; 2])];
        assert_eq!(measured[0].peers, peers.map(|(name, samples)| (name, Statistic::Median.of(samples))));
        assert!(measured[1].ours.figure.is_nan() && measured[1].peers.is_empty());
        assert!(measured.iter().all(|measured| measured.enough));
        assert_eq!(disturbed, 0);
    }

    #[test]
    fn a_turn_counts_only_between_two_quiet_moments() {
        // Noise before the first turn and after the second.
        let (measured, disturbed, order) = measure(&[false, true, true, false]);
        assert_eq!(order, "ops ops po po ops po".replace(' ', ""));
        assert_eq!(measured[0].ours, Statistic::Median.of(&[1.0, 3.0, 3.0, 3.0]));
        assert_eq!((disturbed, measured[0].enough), (2, true));
    }

    #[test]
    fn what_is_counted_is_counted_at_any_time() {
        let (measured, disturbed, order) = measure_in([Unit::Count; 2], &[false; 100]);
        assert_eq!(order, "ops ops po ops po".replace(' ', ""));
        assert_eq!(measured[0].ours, Statistic::Median.of(&[1.0, 2.0, 3.0, 3.0]));
        assert_eq!((disturbed, measured[0].enough), (0, true));
        // Beside it, times are waited for.
        let (measured, disturbed, order) = measure_in([Unit::Count, Unit::Milliseconds], &[false; 100]);
        assert_eq!(order, "ops".repeat(5));
        assert_eq!(measured[0].ours, Statistic::Median.of(&[1.0, 2.0, 3.0, 3.0]));
        assert_eq!((measured[0].enough, measured[1].enough, disturbed), (true, false, 80));
        // Noise in the first two turns: what is counted is not counted again while times are waited for.
        let (measured, disturbed, order) = measure_in([Unit::Milliseconds, Unit::Count], &[false, false]);
        assert_eq!(order, "ops ops ops ops po ops po".replace(' ', ""));
        assert_eq!(measured[0].ours, Statistic::Median.of(&[3.0; 4]));
        assert_eq!((disturbed, measured[0].enough, measured[1].enough), (2, true, true));
    }

    #[test]
    fn patience_ends() {
        let (measured, disturbed, order) = measure(&[false; 100]);
        assert_eq!(order, "ops");
        assert_eq!((disturbed, measured[0].enough), (80, false));
    }
}
