//! Medians and quartiles.

/// The middle of some samples and how far they spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    /// A quarter of the samples is below.
    pub(crate) lower: f64,
    pub(crate) median: f64,
    /// A quarter of the samples is above.
    pub(crate) upper: f64,
}

impl Summary {
    /// Not numbers when there are no samples.
    pub(crate) fn of(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        let quartile = |quarters| quantile(&samples, quarters, 4);
        Self { lower: quartile(1), median: quartile(2), upper: quartile(3) }
    }
}

/// The value below which the first `part` of `whole` parts of the sorted samples lie; between two samples it is on the
/// straight line from one to the other, and without samples not a number.
fn quantile(sorted: &[f64], part: u8, whole: u8) -> f64 {
    let steps = sorted.len().saturating_sub(1) * usize::from(part);
    let (place, rest) = (steps / usize::from(whole), steps % usize::from(whole));
    let below = sorted.get(place).copied().unwrap_or(f64::NAN);
    let above = sorted.get(place + 1).copied().unwrap_or(below);
    // The rest is less than `whole`.
    below + (above - below) * f64::from(u8::try_from(rest).unwrap_or(0)) / f64::from(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_split_the_samples_in_four() {
        let summary = Summary::of(vec![5.0, 1.0, 4.0, 2.0, 3.0]);
        assert_eq!(summary, Summary { lower: 2.0, median: 3.0, upper: 4.0 });
    }

    #[test]
    fn between_samples_is_a_straight_line() {
        let summary = Summary::of(vec![10.0, 20.0]);
        assert_eq!(summary, Summary { lower: 12.5, median: 15.0, upper: 17.5 });
        assert!((quantile(&[0.0, 1.0, 2.0, 3.0], 9, 10) - 2.7).abs() < 1e-9);
    }

    #[test]
    fn few_samples_are_no_trouble() {
        assert!(Summary::of(vec![]).median.is_nan());
        assert_eq!(Summary::of(vec![7.0]), Summary { lower: 7.0, median: 7.0, upper: 7.0 });
    }
}
